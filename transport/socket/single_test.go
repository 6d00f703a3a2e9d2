package socket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"gateway/bank"
	"gateway/transport/socket"
	"gateway/wire"
)

func TestGoldenBytes(t *testing.T) {
	for _, c := range []struct {
		format       wire.Format
		ack, request string
		reply        string
	}{
		{wire.JSON, "true\n", deposit, done20},
		{
			wire.Msgpack, "\xc3", "\x83\xa2op\xa7deposit\xa7account\xa3ana\xa6amount\x14",
			"\x86\xa6status\xc3\xa3msg\x14\xa4code\xa2ok\xa7balance\xa520.00\xa3seq\x01\xa4time\xbb2026-01-02T03:04:05.678901Z",
		},
		{ // a Deposito('ana', 20), pickled by Python 3 at protocol 2; the reply is {'status': True, 'msg': 20}
			wire.Pickle, "\x80\x02\x88.",
			"\x80\x02cdominio.Operacao\nDeposito\nq\x00)\x81q\x01}q\x02(X\x09\x00\x00\x00id_pessoaq\x03X\x03\x00\x00\x00anaq\x04" +
				"X\x05\x00\x00\x00valorq\x05K\x14ub.",
			"\x80\x02}(X\x06\x00\x00\x00status\x88X\x03\x00\x00\x00msgK\x14u.",
		},
	} {
		t.Run(c.format.String(), func(t *testing.T) {
			s := start(t, setup{codec: wire.NewCodec(c.format, 2)})
			p := connect(t, s.address)
			p.expect(c.ack)
			p.send(c.request)
			if got := p.rest(); got != c.reply {
				t.Errorf("reply %q\nwant  %q", got, c.reply)
			}
		})
	}
}

// TestOneWrite counts the writes of one operation: the ack, and the reply in one, for old clients call recv once. It looks at
// Nagle's algorithm, which would hold such a reply back, on the way.
func TestOneWrite(t *testing.T) {
	l := &counting{Listener: listen(t), delay: make(chan int, 1)}
	s := start(t, setup{net: l})
	p := dial(t, s.address)
	p.send(deposit)
	if got := p.rest(); got != done20 {
		t.Errorf("reply %q", got)
	}
	s.stop()
	if n := l.writes.Load(); n != 2 {
		t.Errorf("%d writes, not one for the ack and one for the reply", n)
	}
	if <-l.delay == 0 {
		t.Error("TCP_NODELAY is off")
	}
}

// counting counts the writes of its connection.
type counting struct {
	net.Listener
	writes atomic.Int64
	most   atomic.Int64 // bytes of one
	delay  chan int
}

type countingConn struct {
	*net.TCPConn
	l *counting
}

func (l *counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) {
		v, _ := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
		l.delay <- v
	}); err != nil {
		return nil, err
	}
	return countingConn{conn.(*net.TCPConn), l}, nil
}

func (c countingConn) Write(b []byte) (int, error) {
	c.l.writes.Add(1)
	c.l.most.Store(max(c.l.most.Load(), int64(len(b)))) // of one connection
	return c.TCPConn.Write(b)
}

// TestP4CutsAndTrailingBytes: an operation is the same in one write and byte by byte, and none with anything behind it.
func TestP4CutsAndTrailingBytes(t *testing.T) {
	for format, pair := range inEveryCodec {
		ask := func(entries int, writes ...string) string {
			s := start(t, setup{codec: wire.NewCodec(format, 2)})
			p := connect(t, s.address)
			for _, write := range writes {
				p.send(write)
			}
			reply := p.rest()
			s.stop()
			if n := len(s.memory.Entries()); n != entries {
				t.Errorf("%v in %d writes, the last %q: %d entries", format, len(writes), writes[len(writes)-1], n)
			}
			return reply
		}
		whole := ask(1, pair[0])
		if bytes := ask(1, strings.Split(pair[0], "")...); bytes != whole {
			t.Errorf("%v byte by byte: %q, not %q", format, bytes, whole)
		}
		for _, behind := range []string{"x", "\x00", pair[1], pair[0]} {
			if refused := ask(0, pair[0]+behind); !strings.Contains(refused, "malformed") {
				t.Errorf("%v with %q behind it: %q", format, behind, refused)
			}
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	limited := socket.Options{Message: 100}
	for _, c := range []struct {
		name, sent string
		half       bool
		code       string
		entries    int
	}{
		{"space round it", " \r\n\t" + deposit + "\n \n", false, "ok", 1},
		{"as long as may be", padded(100), false, "ok", 1},
		{"and a byte behind that", padded(100) + "x", false, "malformed", 0},
		{"one byte longer", padded(101), false, "too_large", 0},
		{"much longer", padded(1 << 18), false, "too_large", 0},
		{"never ending", `{"op":"` + strings.Repeat("x", 200), false, "too_large", 0},
		{"a byte behind it", deposit + "x", false, "malformed", 0},
		{"another operation behind it", deposit + deposit, false, "malformed", 0},
		{"a byte behind its line", deposit + "\n}", false, "malformed", 0},
		{"an unknown operation", `{"op":"rob","account":"ana"}`, false, "unknown_operation", 0},
		{"an unknown one and more", `{"op":"rob","account":"ana"}{`, false, "malformed", 0},
		{"no operation", "GET / HTTP/1.1\r\n\r\n", false, "malformed", 0},
		{"half of it, then the end", deposit[:20], true, "malformed", 0},
		{"nothing, then the end", "", true, "", 0},
		{"space, then the end", "\n", true, "", 0},
		{"all of it, then the end", deposit, true, "ok", 1},
		{"no account", `{"op":"deposit","amount":1}`, false, "invalid_account", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, setup{options: limited})
			p := dial(t, s.address)
			p.send(c.sent)
			if c.half {
				p.half()
			}
			got := p.rest()
			if c.code == "" && got != "" || c.code != "" && !strings.Contains(got, `"code":"`+c.code+`"`) {
				t.Errorf("reply %q, not %s", got, c.code)
			}
			s.stop()
			if n := len(s.memory.Entries()); n != c.entries {
				t.Errorf("%d entries, not %d", n, c.entries)
			}
			if len(s.seen.answers) > 1 || s.seen.opened != 1 || s.seen.closed != 1 {
				t.Errorf("observed %+v", s.seen)
			}
		})
	}
}

// padded returns a deposit of n bytes.
func padded(n int) string {
	const start = `{"op":"deposit",`
	return start + strings.Repeat(" ", n-len(deposit)) + deposit[len(start):]
}

// TestLongMessages: the bound is the setting, up to the codec's own.
func TestLongMessages(t *testing.T) {
	for _, session := range []bool{false, true} {
		for setting, bound := range map[int]int{0: socket.DefaultMessage, 3000: 3000, 1 << 20: wire.MaxMessage} {
			s := start(t, setup{session: session, options: socket.Options{Message: setting}})
			for length, code := range map[int]string{bound: `"ok"`, bound + 1: `"too_large"`} {
				p := dial(t, s.address)
				p.send(padded(length))
				p.half()
				if got := p.rest(); !strings.Contains(got, code) {
					t.Errorf("session %v, setting %d: %d bytes: reply %q", session, setting, length, got)
				}
			}
		}
	}
}

// TestReplyIsNotReset sends much that is not read. A server that closes then resets the connection, which may destroy the
// reply on its way; the client must see it, and a clean end.
func TestReplyIsNotReset(t *testing.T) {
	s := start(t, setup{options: socket.Options{Message: 100}})
	for range 50 {
		p := dial(t, s.address)
		p.send(deposit + strings.Repeat("x", 200_000))
		if got := p.rest(); !strings.Contains(got, `"malformed"`) {
			t.Fatalf("reply %q", got)
		}
	}
}

// TestLateBytes: what comes after the operation while the bank works on it was not sent with it, and does no harm.
func TestLateBytes(t *testing.T) {
	h := newHeld()
	s := start(t, setup{bank: h})
	p := dial(t, s.address)
	p.send(balance)
	<-h.took
	p.send("\n" + strings.Repeat("x", 10_000))
	h.answer(1)
	if got := p.rest(); !strings.Contains(got, `"ok"`) {
		t.Errorf("reply %q", got)
	}
}

func TestSubmitErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
	}{
		{bank.ErrOverloaded, "overloaded"},
		{fmt.Errorf("queue: %w", bank.ErrOverloaded), "overloaded"},
		{bank.ErrClosed, "unavailable"},
		{fmt.Errorf("%w: the disk failed", bank.ErrClosed), "unavailable"},
		{context.Canceled, "unavailable"},
		{errors.New("anything"), "unavailable"},
	} {
		for _, session := range []bool{false, true} {
			s := start(t, setup{bank: refusing{c.err}, session: session})
			p := dial(t, s.address)
			p.send(`{"op":"deposit","account":"ana","amount":20,"id":"7"}`)
			p.half()
			if got := p.rest(); !strings.Contains(got, `"code":"`+c.code+`","id":"7"`) {
				t.Errorf("%v: reply %q, not %s", c.err, got, c.code)
			}
		}
	}
}

func TestNobodyIsUnauthorized(t *testing.T) {
	s := start(t, setup{nobody: true})
	for sent, code := range map[string]string{
		deposit:                              "unauthorized",
		`{"op":"rob"}`:                       "unknown_operation", // which comes first
		deposit + deposit:                    "malformed",
		`{"op":"balance","account":"@cash"}`: "unauthorized",
	} {
		p := dial(t, s.address)
		p.send(sent)
		if got := p.rest(); !strings.Contains(got, `"`+code+`"`) {
			t.Errorf("%s: reply %q, not %s", sent, got, code)
		}
	}
	s.stop()
	if n := len(s.memory.Entries()); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestWhoAsksAndFromWhere(t *testing.T) {
	h := newHeld()
	s := start(t, setup{bank: h})
	p := dial(t, s.address)
	p.send(balance)
	<-h.took
	h.answer(1)
	p.rest()
	op := h.ops[0]
	if op.Principal != bank.AnonymousPrincipal || op.Origin.Door != bank.DoorSocket || op.Origin.Peer.String() != p.LocalAddr().String() {
		t.Errorf("operation %+v from %v", op, p.LocalAddr())
	}
}

// broken is a codec with a fault of its own.
type broken struct{ wire.Codec }

func (broken) Decode([]byte, *bank.Operation) (int, error) { panic("a fault in the codec") }

func TestCodecFault(t *testing.T) {
	s := start(t, setup{codec: broken{wire.NewCodec(wire.JSON, 2)}})
	p := dial(t, s.address)
	p.send(deposit)
	if got := p.rest(); !strings.Contains(got, `"malformed"`) {
		t.Errorf("reply %q", got)
	}
}

// TestLogTellsNoSecrets: what a client sends is never logged, not even at the most talkative level.
func TestLogTellsNoSecrets(t *testing.T) {
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	for _, sent := range []string{"secret", `{"op":"secret"}`, `{"op":"balance","account":"secret","secret":1}`, deposit + "secret"} {
		var log bytes.Buffer
		s := start(t, setup{options: socket.Options{Logger: slog.New(slog.NewTextHandler(&log, options))}})
		for range 3 {
			p := dial(t, s.address)
			p.send(sent)
			p.rest()
		}
		s.stop()
		if n := strings.Count(log.String(), "no operation"); n != 1 || strings.Contains(log.String(), "secret") {
			t.Errorf("log: %s", log.String())
		}
	}
}

func TestObserver(t *testing.T) {
	s := start(t, setup{})
	for _, sent := range []string{
		`{"op":"deposit","account":"ana","amount":20,"id":"1"}`, balance, "no", `{"op":"status","id":"1"}`,
		`{"op":"withdraw","account":"ana","amount":50}`,
	} {
		p := dial(t, s.address)
		p.send(sent)
		p.rest()
	}
	s.stop()
	want := []string{"deposit ok", "balance ok", " malformed", "withdraw insufficient_funds", "status ok"}
	slices.Sort(want)
	slices.Sort(s.seen.answers)
	if !slices.Equal(s.seen.answers, want) {
		t.Errorf("observed %q", s.seen.answers)
	}
	if s.seen.opened != 5 || s.seen.closed != 5 {
		t.Errorf("%d opened, %d closed", s.seen.opened, s.seen.closed)
	}
}
