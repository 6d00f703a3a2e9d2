package socket_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/transport/socket"
	"gateway/wire"
)

const stopping = `{"status":false,"msg":"unavailable: the server is stopping and has done nothing; ask again later","code":"unavailable"}` + "\n"

// TestStopAnswersWhatWasAccepted stops with operations at every stage, in both modes.
func TestStopAnswersWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s, l := slowly(t, setup{bank: h})
		accepted, begun, silent := l.dial(t), l.dial(t), l.dial(t)
		for _, p := range []*peer{accepted, begun, silent} {
			p.expect("true\n")
		}
		accepted.send(balance)
		begun.send(balance[:10])
		synctest.Wait()
		stopped := make(chan struct{})
		go func() {
			s.stop()
			close(stopped)
		}()
		begun.expect(stopping)
		silent.expect(stopping)
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("stopped before what was accepted was answered")
		default:
		}
		h.answer(1)
		if got := accepted.rest(); !strings.Contains(got, `"ok"`) {
			t.Errorf("reply %q", got)
		}
		<-stopped
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHeld()
		s, l := slowly(t, setup{bank: h, session: true, options: socket.Options{InFlight: 4}})
		full, begun, between := l.dial(t), l.dial(t), l.dial(t)
		for _, p := range []*peer{full, begun, between} {
			p.expect("true\n")
		}
		full.send(strings.Repeat(numbered("deposit", 7), 6)) // four accepted, two read and not accepted
		begun.send(numbered("deposit", 8) + deposit[:9])
		between.send(numbered("deposit", 9) + "\n")
		synctest.Wait()
		go func() {
			synctest.Wait()
			h.answer(6)
		}()
		go s.stop()
		for p, want := range map[*peer]string{full: "ok:7 ok:7 ok:7 ok:7 unavailable", begun: "ok:8 unavailable", between: "ok:9"} {
			if got := codes(p.rest()); got != want {
				t.Errorf("replies %s, want %s", got, want)
			}
		}
		s.stop()
	})
}

// TestStopDoesNotWaitForPeers: whatever they do, a stop takes seconds.
func TestStopDoesNotWaitForPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 2000 // replies of many writes
		h := newHeld()
		s, l := slowly(t, setup{bank: h, session: true, options: socket.Options{InFlight: all}})
		for _, appetite := range []int{1, 64 << 10} { // a little of a write every 2 s, or all of it
			p := l.dial(t)
			p.expect("true\n")
			for range all {
				p.send(numbered("deposit", 1))
			}
			go func() {
				for err := error(nil); err == nil; _, err = p.Read(make([]byte, appetite)) {
					<-time.After(2 * time.Second)
				}
			}()
		}
		l.dial(t) // does not even take the ack
		synctest.Wait()
		h.answer(all)
		began := time.Now()
		go func() {
			<-time.After(time.Second)
			h.answer(all)
		}()
		s.stop()
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("stopping took %v", took)
		}
		<-time.After(2 * time.Second)
	})
}

// TestStopMeetsArrivals stops at the moment between the acceptance of a connection and its first read.
func TestStopMeetsArrivals(t *testing.T) {
	for _, session := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, l := slowly(t, setup{session: session})
			client, server := net.Pipe()
			defer client.Close()
			l.conns <- &hooked{Conn: server, hook: func() {
				go s.stop()
				synctest.Wait() // until it waits for this connection
			}}
			began := time.Now()
			s.stop()
			if took := time.Since(began); took > 0 {
				t.Errorf("the stop waited %v for a connection that came with it", took)
			}
		})
	}
}

// hooked is a connection that calls hook when its first deadline is set, which is the first thing done with it.
type hooked struct {
	net.Conn
	once sync.Once
	hook func()
}

func (h *hooked) SetDeadline(at time.Time) error {
	h.once.Do(h.hook)
	return h.Conn.SetDeadline(at)
}

func (h *hooked) SetWriteDeadline(at time.Time) error {
	h.once.Do(h.hook)
	return h.Conn.SetWriteDeadline(at)
}

// TestStopOverTCP: a peer that sends without end and never reads cannot delay a stop beyond the linger, and what it was owed
// arrives before the end.
func TestStopOverTCP(t *testing.T) {
	s := start(t, setup{session: true})
	p := dial(t, s.address)
	read := make(chan int)
	go func() {
		got, _ := io.ReadAll(p)
		p.Close()
		read <- strings.Count(string(got), `"ok"`)
	}()
	for range 1000 {
		p.send(deposit)
	}
	s.stop()
	if _, err := net.Dial("tcp", s.address); err == nil {
		t.Error("the listener is open after the stop")
	}
	if n := <-read; n != len(s.memory.Entries()) {
		t.Errorf("%d operations done, %d replies read", len(s.memory.Entries()), n)
	}
}

func TestServeAgain(t *testing.T) {
	server := socket.New(refusing{bank.ErrClosed}, socket.Options{})
	l := socket.Listener{Net: listen(t), Codec: wire.NewCodec(wire.JSON, 2), Principal: "ana"}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Serve(ctx, l); err != nil {
		t.Errorf("with a context that has ended: %v", err)
	}
	if err := server.Serve(context.Background(), l); err == nil {
		t.Error("no error with a listener that somebody has closed")
	}
}
