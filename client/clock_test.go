package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/client"
	"gateway/wire"
)

// pipes is a network in memory, so that a test's clock may be false.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.accepted <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return nil }

// A connection that owes an answer for too long is given up, and the operation goes out again.
func TestStalledConnection(t *testing.T) {
	for _, session := range []bool{false, true} {
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: session, plan: first(silent, silent)}
				network := newPipes()
				f.accept(network)
				c := socketClient(t, "bank:1", client.SocketOptions{Session: session, AnswerTimeout: 10 * time.Second, Dial: network.dial})
				began := time.Now()
				reply, err := c.Do(t.Context(), deposit("ana"))
				if took := time.Since(began); err != nil || !reply.Duplicate || took < 20*time.Second || took > 30*time.Second {
					t.Errorf("%+v, %v after %s", reply, err, took)
				}
			})
		})
	}
}

// An idle session is left alone.
func TestIdleSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: true}
		network := newPipes()
		f.accept(network)
		c := socketClient(t, "bank:1", client.SocketOptions{Session: true, Dial: network.dial})
		for range 2 {
			if reply, err := c.Do(t.Context(), deposit("ana")); err != nil {
				t.Errorf("%+v, %v", reply, err)
			}
			<-time.After(time.Hour)
		}
		if n := f.connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A gateway that is away is asked again after pauses that grow to two seconds, by all goroutines together.
func TestPausesGrow(t *testing.T) {
	for _, session := range []bool{false, true} {
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts []time.Time
				away := errors.New("away")
				began := time.Now()
				dial := func(context.Context, string, string) (net.Conn, error) {
					attempts = append(attempts, time.Now())
					return nil, away
				}
				c := socketClient(t, "bank:1", client.SocketOptions{Session: session, InFlight: 1, Dial: dial})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := c.Do(ctx, deposit("ana")); !errors.Is(err, away) || !errors.Is(err, client.ErrNotSent) {
					t.Error(err)
				}
				if n := len(attempts); n < 20 || n > 80 {
					t.Errorf("%d attempts in a minute", n)
				}
				if took := attempts[8].Sub(began); took < time.Second {
					t.Errorf("eight pauses were %s", took)
				}
				if attempts[1].Sub(began) > 50*time.Millisecond {
					t.Errorf("the second attempt came after %s", attempts[1].Sub(began))
				}
			})
		})
	}
}

// A gateway that takes connections and breaks them is not stormed, however many wait.
func TestBrokenConnectionsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: true}
		f.plan = func(int, int) fault { return dropUnread }
		network := newPipes()
		f.accept(network)
		c := socketClient(t, "bank:1", client.SocketOptions{Session: true, Dial: network.dial})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := c.Do(ctx, deposit("ana")); !errors.Is(err, client.ErrUnknown) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := f.connections(); n < 20 || n > 80 {
			t.Errorf("%d connections in a minute", n)
		}
	})
}

// Close ends an attempt to connect.
func TestCloseWhileConnecting(t *testing.T) {
	for _, session := range []bool{false, true} {
		network := newPipes() // nobody accepts
		dialing := make(chan struct{}, 2)
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialing <- struct{}{}
			return network.dial(ctx, "", "")
		}
		c := socketClient(t, "bank:1", client.SocketOptions{Session: session, DialTimeout: time.Hour, Dial: dial})
		outcome := make(chan error)
		go func() {
			_, err := c.Do(t.Context(), deposit("ana"))
			outcome <- err
		}()
		<-dialing
		c.Close()
		if err := <-outcome; !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrNotSent) {
			t.Error(err)
		}
	}
}

// The time to connect is bounded, ack included.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2)}
		silentOnce := func(f *fake, conn net.Conn, n int) {
			if n == 0 {
				conn.Read(make([]byte, 1)) // no ack: until the client has had enough
				return
			}
			f.serveSocket(conn, n)
		}
		f.serve = silentOnce
		f.accept(network)
		c := socketClient(t, "bank:1", client.SocketOptions{DialTimeout: 3 * time.Second, Dial: network.dial})
		began := time.Now()
		reply, err := c.Do(t.Context(), client.Operation{Kind: bank.KindOpen, Account: "ana"})
		if took := time.Since(began); err != nil || took < 3*time.Second || took > 4*time.Second {
			t.Errorf("%+v, %v after %s", reply, err, took)
		}
	})
}
