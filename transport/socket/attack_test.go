package socket_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/gate"
	"gateway/transport/socket"
)

// dialer returns one of an address of loopback.
func dialer(from string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
}

// drip sends a byte at a time until the connection is ended, and returns how long that took.
func drip(t testing.TB, address, sent string) time.Duration {
	t.Helper()
	began := time.Now()
	p := connect(t, address)
	defer p.Close()
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	defer dripping.Wait()
	defer close(stop)
	dripping.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, err := io.WriteString(p, sent[i%len(sent):i%len(sent)+1]); err != nil {
				return
			}
		}
	})
	if _, err := io.Copy(io.Discard, p); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("not ended")
	}
	return time.Since(began)
}

// TestN8Slowloris: who sends a byte at a time is ended by one absolute deadline, and honest clients are served meanwhile.
func TestN8Slowloris(t *testing.T) {
	const timeout = time.Second
	v := newVault(t, false)
	for name, o := range map[string]setup{
		"plain":       {},
		"session":     {session: true},
		"TLS":         {tls: v.identity.Config()},
		"TLS session": {session: true, tls: v.identity.Config()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.options.ReadTimeout = timeout
			s := start(t, o)
			sent := `{"op":"` + strings.Repeat("x", 1000)
			if o.tls != nil {
				sent = "\x16\x03\x01\x02\x00\x01" + strings.Repeat("\x00", 1000) // a ClientHello that does not end
			}
			var dripping sync.WaitGroup
			for range 25 {
				dripping.Go(func() {
					if took := drip(t, s.address, sent); took < timeout {
						t.Errorf("ended after %v", took)
					}
				})
			}
			for range 20 {
				p := connect(t, s.address)
				if o.tls != nil {
					p.Conn = v.over(p.Conn)
				}
				p.ask(deposit)
				p.expect(`{"status":true`)
				p.Close()
			}
			dripping.Wait()
		})
	}
}

// TestN9ConnectionFlood: however fast silent connections are made, there are never more of them than may be, and a client of
// another address is served every time.
func TestN9ConnectionFlood(t *testing.T) {
	const unknown, floods, honest = 32, 4, 300
	s := start(t, setup{options: socket.Options{Gate: gate.New(gate.Limits{Connections: 1000, Unknown: unknown})}})
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	for range floods {
		flooding.Go(func() {
			var held [200]net.Conn
			defer func() {
				for _, conn := range held {
					if conn != nil {
						conn.Close()
					}
				}
			}()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := dialer("127.0.0.2").Dial("tcp", s.address)
				if err != nil {
					t.Error(err)
					return
				}
				if old := held[i%len(held)]; old != nil {
					old.Close()
				}
				held[i%len(held)] = conn
			}
		})
	}
	most := 0
	for range honest {
		most = max(most, s.gate.Unknown())
		p := dial(t, s.address)
		p.send(deposit)
		if got := p.rest(); !strings.Contains(got, `"ok"`) {
			t.Errorf("reply %q", got)
		}
	}
	close(stop)
	flooding.Wait()
	s.stop()
	if most > unknown {
		t.Errorf("%d connections were unknown at once", most)
	}
	reasons := make(map[string]int)
	for _, reason := range s.seen.rejected {
		reasons[reason]++
	}
	if reasons[gate.LimitUnknown] == 0 || len(reasons) != 1 {
		t.Errorf("rejected for %v", reasons)
	}
}

// TestN9OneAddress: an address at its bound has no more connections, just below it has one, and others have theirs.
func TestN9OneAddress(t *testing.T) {
	s := start(t, setup{session: true, options: socket.Options{Gate: gate.New(gate.Limits{PerAddress: 3})}})
	var inside []*peer
	for range 3 {
		inside = append(inside, dial(t, s.address))
	}
	if got := connect(t, s.address).rest(); got != "" {
		t.Errorf("the fourth got %q", got)
	}
	other, err := dialer("127.0.0.2").Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	(&peer{other, t}).expect("true\n")
	other.Close()
	inside[0].Close()
	for s.gate.Open() > 2 { // until both are counted out
		runtime.Gosched()
	}
	inside[0] = dial(t, s.address)
	for _, p := range inside {
		p.send(deposit)
		p.expect(`{"status":true`)
		p.Close()
	}
	s.stop()
	if len(s.seen.rejected) == 0 || s.seen.rejected[0] != gate.LimitPerAddress {
		t.Errorf("rejected %q", s.seen.rejected)
	}
}

// TestAnAcceptedOperationIsAnsweredWhateverComes: a client is known from then on, and its place is nobody else's.
func TestAnAcceptedOperationIsAnsweredWhateverComes(t *testing.T) {
	for _, session := range []bool{false, true} {
		h := newHeld()
		s := start(t, setup{bank: h, session: session, options: socket.Options{Gate: gate.New(gate.Limits{Connections: 2, Unknown: 1})}})
		p := dial(t, s.address)
		p.send(deposit)
		<-h.took
		silent := dial(t, s.address)
		<-time.After(200 * time.Millisecond) // more than its time of grace
		loud := dial(t, s.address)
		if got := silent.rest(); got != "" {
			t.Errorf("who gave way got %q", got)
		}
		h.answer(1)
		p.expect(`{"status":true`)
		p.Close()
		loud.Close()
		s.stop()
	}
}
