package socket_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gateway/bank"
	"gateway/gate"
	"gateway/transport/socket"
	"gateway/wire"
)

// messages returns operations by name and format: real pickles of every protocol, and maps.
func messages(t testing.TB) map[string]message {
	list := map[string]message{}
	for op, text := range map[string]string{
		"balance":  `{"op":"balance","account":"1"}`,
		"deposit":  `{"op":"deposit","account":"1","amount":20}`,
		"withdraw": `{"op":"withdraw","account":"1","amount":20}`,
		"transfer": `{"op":"transfer","account":"1","to":"2","amount":20}`,
	} {
		list["json "+op] = message{wire.JSON, text}
	}
	for op, text := range map[string]string{
		"balance":  "\x82\xa2op\xa7balance\xa7account\xa11",
		"deposit":  "\x83\xa2op\xa7deposit\xa7account\xa11\xa6amount\x14",
		"withdraw": "\x83\xa2op\xa8withdraw\xa7account\xa11\xa6amount\x14",
		"transfer": "\x84\xa2op\xa8transfer\xa7account\xa11\xa2to\xa12\xa6amount\x14",
	} {
		list["msgpack "+op] = message{wire.Msgpack, text}
	}
	file, err := os.Open("testdata/pickles.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), "\t")
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		list["pickle "+name] = message{wire.Pickle, string(b)}
	}
	if len(list) != 8+6*4 {
		t.Fatalf("%d messages", len(list))
	}
	return list
}

type message struct {
	format wire.Format
	bytes  string
}

// TestEveryCut ends a client's bytes at every place of every message, in two ways: it half-closes and waits for its answer, or
// it is gone. An operation is done wholly or not at all, and nothing of a connection stays behind, which
// start and TestMain check.
func TestEveryCut(t *testing.T) {
	var cases atomic.Int64
	for name, m := range messages(t) {
		for _, session := range []bool{false, true} {
			if session && !strings.Contains(strings.ToLower(name), "transfer") {
				continue // the longest will do
			}
			s := start(t, setup{codec: wire.NewCodec(m.format, 2), session: session})
			var all sync.WaitGroup
			for _, gone := range []bool{false, true} {
				all.Go(func() {
					for cut := range len(m.bytes) {
						cases.Add(1)
						p := connect(t, s.address)
						p.expect(string(m.format.Ack()))
						p.send(m.bytes[:cut])
						if gone {
							p.reset()
							continue
						}
						p.half()
						if got := p.rest(); (got != "") != (cut > 0) || cut > 0 && !strings.Contains(got, "malformed: the client's bytes ended") {
							t.Errorf("%s cut at %d: reply %q", name, cut, got)
						}
					}
				})
			}
			all.Wait()
			s.stop()
			if n := len(s.memory.Entries()); n != 0 {
				t.Errorf("%s: %d entries of operations that were never whole", name, n)
			}
		}
	}
	t.Logf("%d cases", cases.Load())
}

// TestGoneAround lets clients vanish before the ack, after it, right after the operation, while the bank works, before the
// reply is taken, and within it. An accepted operation is done once, whoever is there to hear of it.
func TestGoneAround(t *testing.T) {
	const rounds = 50
	for _, session := range []bool{false, true} {
		s := start(t, setup{session: session})
		for range rounds {
			connect(t, s.address).reset()
			dial(t, s.address).reset()
			p := dial(t, s.address)
			p.send(deposit)
			p.reset() // which may overtake the operation
		}
		s.stop()
		done := 0
		for _, answer := range s.seen.answers {
			if answer == "deposit ok" {
				done++ // the others were refused by the stop
			}
		}
		if n := len(s.memory.Entries()); n > rounds || n != done {
			t.Errorf("%d entries and %d answers for at most %d operations", n, done, rounds)
		}

		h := newHeld()
		s = start(t, setup{bank: h, session: session})
		for range rounds {
			working, taken, within := dial(t, s.address), dial(t, s.address), dial(t, s.address)
			for _, p := range []*peer{working, taken, within} {
				p.send(deposit)
				<-h.took
			}
			working.reset()
			h.answer(3)
			taken.reset()
			within.expect(`{"status"`)
			within.reset()
		}
		s.stop()
		if n := h.accepted(); n != 3*rounds || h.waiting() != 0 {
			t.Errorf("%d operations accepted, %d of them not answered", n, h.waiting())
		}
	}
}

// TestFlood: beyond the gate's places connections are closed before any byte, those inside are served, and a place given back
// is free.
func TestFlood(t *testing.T) {
	var log bytes.Buffer
	s := start(t, setup{session: true, options: socket.Options{
		Gate: gate.New(gate.Limits{Connections: 8}), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}})
	var held []*peer
	for range 8 {
		p := dial(t, s.address)
		p.send(balance)
		p.expect(`{"status":true`) // it is known
		held = append(held, p)
	}
	for range 500 {
		p := connect(t, s.address)
		if got := p.rest(); got != "" {
			t.Fatalf("one too many got %q", got)
		}
	}
	for _, p := range held {
		p.send(deposit)
		p.half()
		if got := p.rest(); strings.Count(got, `"ok"`) != 2 {
			t.Errorf("replies %q", got)
		}
	}
	s.stop()
	if n := len(s.seen.rejected); n != 500 || s.seen.rejected[0] != gate.LimitConnections || s.seen.opened != 8 {
		t.Errorf("%d rejected, %d opened", n, s.seen.opened)
	}
	if n := strings.Count(log.String(), "connection rejected"); n != 1 {
		t.Errorf("the flood was logged %d times", n)
	}
}

// TestSlowNeighbours: a thousand silent connections change nothing for the one that works.
func TestSlowNeighbours(t *testing.T) {
	s := start(t, setup{})
	var silent []*peer
	for range 1000 {
		p := dial(t, s.address)
		p.send("{")
		silent = append(silent, p)
	}
	for range 100 {
		p := dial(t, s.address)
		p.send(deposit)
		p.rest()
	}
	for _, p := range silent {
		p.reset()
	}
	s.stop()
	if n := bank.Amount(20_00 * len(s.memory.Entries())); n != 2000_00 {
		t.Errorf("%s moved", n.Format(2))
	}
}
