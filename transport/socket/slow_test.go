package socket_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/transport/socket"
)

// The tests of time run on synctest's clock, over connections in memory: they wait for nothing and are exact.

// slowly serves connections in memory.
func slowly(t *testing.T, o setup) (*served, *pipes) {
	l := newPipes()
	o.net = l
	return start(t, o), l
}

func TestReadTimeout(t *testing.T) {
	for name, every := range map[string]time.Duration{"silent": time.Hour, "dripping": time.Second} {
		for _, session := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s, l := slowly(t, setup{session: session, options: socket.Options{ReadTimeout: 5 * time.Second, IdleTimeout: time.Minute}})
				p := l.dial(t)
				p.expect("true\n")
				began := time.Now()
				if session { // an operation's time begins with its first byte
					<-time.After(30 * time.Second)
					began = time.Now()
					p.send("{")
				}
				go func() {
					for {
						<-time.After(every)
						if _, err := io.WriteString(p, " "); err != nil {
							return
						}
					}
				}()
				got := p.rest()
				if !strings.Contains(got, `"malformed: timeout: no whole operation came within 5s`) {
					t.Errorf("%s: reply %q", name, got)
				}
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("%s: closed after %v", name, took)
				}
				s.stop()
				<-time.After(every) // the dripping ends
			})
		}
	}
}

// TestSessionSteady: an operation every 4 s, each in time, is no slow session: every operation's time is its own.
func TestSessionSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := slowly(t, setup{session: true, options: socket.Options{ReadTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second}})
		p := l.dial(t)
		p.expect("true\n")
		for range 10 {
			p.send(balance[:9])
			<-time.After(4 * time.Second)
			p.send(balance[9:])
			p.expect(`{"status":true,"msg":0,"code":"ok","balance":"0.00","seq":0}` + "\n")
			<-time.After(4 * time.Second)
		}
		s.stop()
	})
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s, l := slowly(t, setup{bank: h, session: true, options: socket.Options{IdleTimeout: time.Minute}})
		p := l.dial(t)
		p.expect("true\n")
		p.send(balance)
		<-time.After(10 * time.Minute) // not idle: a reply is owed to it
		h.answer(1)
		buffer := make([]byte, 4096)
		if _, err := p.Read(buffer); err != nil {
			t.Fatalf("closed while a reply was owed: %v", err)
		}
		began := time.Now()
		go func() { // space is no operation
			for range 5 {
				<-time.After(10 * time.Second)
				p.send("\n")
			}
		}()
		if got := p.rest(); got != "" {
			t.Errorf("an idle session was told %q", got)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("closed after %v", took)
		}
		s.stop()
	})
}

// TestSlowBank: a client that sent its operation in time gets its reply, however long the bank works on it.
func TestSlowBank(t *testing.T) {
	for _, session := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHeld()
			s, l := slowly(t, setup{bank: h, session: session})
			p := l.dial(t)
			p.expect("true\n")
			p.send(balance)
			<-time.After(10 * time.Minute)
			h.answer(1)
			p.expect(`{"status":true`)
			p.Close()
			s.stop()
		})
	}
}

// TestPeerThatNeverReads: it costs the bank nothing, and itself its connection.
func TestPeerThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the ack
		s, l := slowly(t, setup{})
		l.dial(t)
		<-time.After(5 * time.Second)
		synctest.Wait()
		if n := s.gate.Open(); n != 0 {
			t.Errorf("%d connections", n)
		}
		s.stop()
	})
	synctest.Test(t, func(t *testing.T) { // the reply
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		s, l := slowly(t, setup{options: socket.Options{Logger: logger}})
		for range 4 { // and the log gets one line of it a minute
			p := l.dial(t)
			p.expect("true\n")
			p.send(deposit)
			<-time.After(time.Second)
			synctest.Wait()
			if n := s.gate.Open(); n != 0 {
				t.Errorf("%d connections", n)
			}
		}
		s.stop()
		if strings.Count(log.String(), "reply not delivered") != 1 || !strings.Contains(log.String(), "seq=1") {
			t.Errorf("log %q", log.String())
		}
	})
	synctest.Test(t, func(t *testing.T) { // the replies of a session
		s, l := slowly(t, setup{session: true, options: socket.Options{InFlight: 8}})
		p := l.dial(t)
		p.expect("true\n")
		l.dial(t).ask(deposit) // and never reads again, nor sends
		go func() {
			for range 100 {
				if _, err := io.WriteString(p, deposit); err != nil {
					return
				}
			}
		}()
		honest := l.dial(t)
		honest.expect("true\n")
		honest.send(balance)
		honest.expect(`{"status":true,"msg":`)
		go io.Copy(io.Discard, honest)
		<-time.After(5 * time.Second)
		synctest.Wait()
		if n := s.gate.Open(); n != 1 {
			t.Errorf("%d connections, not the honest one", n)
		}
		honest.Close()
		s.stop()
	})
}

// TestAcceptFailures: the loop waits longer each time, tells it once a minute, and begins anew when it could accept.
func TestAcceptFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, l := slowly(t, setup{options: socket.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
		want := []time.Duration{0, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000} // ms before each failure
		for round := range 2 {
			for i, pause := range want {
				began := time.Now()
				l.errs <- &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
				if took := time.Since(began); took != pause*time.Millisecond {
					t.Errorf("round %d: failure %d came after %v", round, i, took)
				}
			}
			p := l.dial(t)
			p.expect("true\n")
			p.send(balance)
			p.rest()
			synctest.Wait()
		}
		if n := strings.Count(log.String(), "cannot accept"); n != 1 {
			t.Errorf("logged %d times: %s", n, log.String())
		}
		s.stop()
	})
}

func TestAllowFrom(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		from  net.Addr
		allow []netip.Prefix
		in    bool
	}{
		{&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 1}, allow, true}, // as ::ffff:10.1.2.3
		{&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3).To4(), Port: 1}, allow, true},
		{&net.TCPAddr{IP: net.IPv4(10, 2, 2, 3), Port: 1}, allow, false},
		{&net.TCPAddr{IP: net.ParseIP("fd12::1"), Port: 1, Zone: "eth0"}, allow, true},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1}, allow, false},
		{&net.UnixAddr{Name: "x"}, allow, false},
		{&net.UnixAddr{Name: "x"}, nil, true},
		{&net.TCPAddr{IP: net.IPv4(10, 2, 2, 3), Port: 1}, nil, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipes()
			l.from = c.from
			s := start(t, setup{net: l, allow: c.allow})
			p := l.dial(t)
			if c.in {
				p.expect("true\n")
				p.Close()
			} else if got := p.rest(); got != "" {
				t.Errorf("%v got %q", c.from, got)
			}
			s.stop()
			if (len(s.seen.rejected) == 0) != c.in || s.seen.opened != len(s.seen.rejected)^1 {
				t.Errorf("%v: observed %+v", c.from, s.seen)
			}
		})
	}
}
