package socket_test

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/transport/socket"
	"gateway/wire"
)

// TestLimitsAreCounted comes to each limit, which nobody hears of, and then reaches it, which is counted once.
func TestLimitsAreCounted(t *testing.T) {
	const timeout = time.Second
	cases := map[string]struct {
		setup setup
		come  func(p *peer) // just below
		reach func(p *peer)
	}{
		socket.LimitMessage: {
			setup{options: socket.Options{Message: len(deposit)}},
			func(p *peer) { p.send(deposit); p.expect(`{"status":true`); p.rest() },
			func(p *peer) { p.send(padded(len(deposit) + 1)); p.expect(`{"status":false`); p.rest() },
		},
		socket.LimitReadTimeout: {
			setup{options: socket.Options{ReadTimeout: timeout}},
			func(p *peer) { <-time.After(timeout - 1); p.send(deposit); p.expect(`{"status":true`); p.rest() },
			func(p *peer) { p.send(deposit[:9]); p.expect(`{"status":false`); p.rest() },
		},
		socket.LimitIdleTimeout: {
			setup{session: true, options: socket.Options{IdleTimeout: timeout}},
			func(p *peer) { <-time.After(timeout - 1); p.send(deposit); p.expect(done20); p.Close() },
			func(p *peer) { p.rest() },
		},
		socket.LimitInFlight: {
			setup{bank: newHeld(), session: true, options: socket.Options{InFlight: 2}},
			func(p *peer) { p.send(deposit); synctest.Wait(); p.Close() },
			func(p *peer) { p.send(deposit + deposit); synctest.Wait(); p.Close() },
		},
		socket.LimitWriteTimeout: {
			setup{},
			func(p *peer) { p.send(deposit); <-time.After(timeout - 1); p.expect(`{"status":true`); p.rest() },
			func(p *peer) { p.send(deposit); <-time.After(timeout + 1) },
		},
	}
	if all := socket.Limits(); len(all) != len(cases) {
		t.Errorf("%d limits, and %v are tried", len(all), len(cases))
	}
	for _, limit := range socket.Limits() {
		synctest.Test(t, func(t *testing.T) {
			c := cases[limit]
			if c.setup.bank != nil {
				c.setup.bank = newHeld() // of this bubble
			}
			s, l := slowly(t, c.setup)
			visit := func(do func(*peer), want ...string) {
				p := l.dial(t)
				p.expect("true\n")
				do(p)
				if h, ok := c.setup.bank.(*held); ok {
					h.answer(h.waiting())
				}
				p.Close()
				synctest.Wait()
				s.seen.mu.Lock()
				defer s.seen.mu.Unlock()
				if !slices.Equal(s.seen.limited, want) {
					t.Errorf("%s: reached %q, want %q", limit, s.seen.limited, want)
				}
			}
			visit(c.come)
			visit(c.reach, limit)
			s.stop()
		})
	}
}

// TestP2RefusedOpcodesAreLoggedOnceAMinute for each address, without a byte of what was sent.
func TestP2RefusedOpcodesAreLoggedOnceAMinute(t *testing.T) {
	bombs := []string{
		"cos\nsystem\n(S'secret'\ntR.", "(S'secret'\nios\nsystem\n.", "\x80\x02\x82\x01.", "Psecret\n.", "\x80\x04\x95secret\x92.",
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, l := slowly(t, setup{
			codec: wire.NewCodec(wire.Pickle, 2), options: socket.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		})
		throw := func(address string) {
			l.from = &net.TCPAddr{IP: net.ParseIP(address), Port: 40000}
			for _, bomb := range bombs {
				p := l.dial(t)
				p.expect(string(wire.NewCodec(wire.Pickle, 2).Ack()))
				p.send(bomb)
				p.rest()
			}
			synctest.Wait()
		}
		throw("192.0.2.1")
		throw("192.0.2.2")
		throw("192.0.2.1")
		<-time.After(time.Minute)
		throw("192.0.2.2")
		s.stop()
		var told []string
		for line := range strings.Lines(log.String()) {
			_, what, _ := strings.Cut(line, "msg=")
			told = append(told, what)
		}
		want := []string{"192.0.2.1:40000", "192.0.2.2:40000", "192.0.2.2:40000"}
		for i, line := range told {
			if i >= len(want) || !strings.HasPrefix(line, `"no operation"`) || !strings.Contains(line, want[i]) {
				t.Errorf("line %d: %s", i+1, line)
			}
		}
		if len(told) != len(want) || !strings.HasSuffix(told[len(told)-1], "held_back=4\n") || strings.Contains(log.String(), "secret") {
			t.Errorf("log:\n%s", log.String())
		}
		if n := len(s.seen.answers); n != 4*len(bombs) || slices.ContainsFunc(s.seen.answers, func(a string) bool {
			return !strings.HasSuffix(a, bank.Malformed.String())
		}) {
			t.Errorf("answers %q", s.seen.answers)
		}
		if n := len(s.memory.Entries()); n != 0 {
			t.Errorf("%d entries", n)
		}
	})
}

// TestAFullSessionHoldsNobodyElse: one session floods with more than may be in flight while another is measured.
func TestAFullSessionHoldsNobodyElse(t *testing.T) {
	s := start(t, setup{session: true, options: socket.Options{InFlight: 4}})
	flood := dial(t, s.address)
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		for {
			if _, err := io.WriteString(flood, strings.Repeat(deposit, 100)); err != nil {
				return
			}
		}
	}()
	go io.Copy(io.Discard, flood.Conn)
	honest := dial(t, s.address)
	replies := bufio.NewReader(honest)
	worst := time.Duration(0)
	for range 300 {
		began := time.Now()
		honest.send(`{"op":"balance","account":"bia"}`)
		if reply, err := replies.ReadString('\n'); err != nil || !strings.Contains(reply, `"balance":"0.00"`) {
			t.Fatalf("%q, %v", reply, err)
		}
		worst = max(worst, time.Since(began))
	}
	flood.Close()
	<-flooding
	honest.Close()
	s.stop()
	t.Logf("in flight: an honest client waited %v at most (seconds would be wrong)", worst)
	if worst > 3*time.Second {
		t.Errorf("a flood delayed another client by %v", worst)
	}
	if !slices.Contains(s.seen.limited, socket.LimitInFlight) {
		t.Error("the flood did not come to the limit")
	}
}
