package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
	"gateway/wire"
)

// socketClient returns a client that is closed when the test ends.
func socketClient(t *testing.T, address string, o client.SocketOptions) *client.Client {
	t.Helper()
	c, err := client.NewSocket(address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var socketFaults = map[string][]fault{
	"none":                  {},
	"dropped before ack":    {dropAtOnce, dropAtOnce},
	"wrong ack":             {wrongAck},
	"dropped unread":        {dropUnread, dropUnread},
	"dropped when done":     {dropDone, dropDone},
	"dropped in reply":      {dropInReply, dropInReply},
	"garbage":               {garbage, garbage},
	"a reply without end":   {endless},
	"another's reply":       {stranger, stranger},
	"malformed, unasked":    {nameless},
	"one after the other":   {dropAtOnce, dropDone, dropInReply, garbage, dropUnread},
	"unknown, then refused": {unavailable, overloaded},
}

// An operation happens once, whatever the connection does, and its reply carries the id.
func TestOnceOverSockets(t *testing.T) {
	for name, faults := range socketFaults {
		for _, format := range []wire.Format{wire.Msgpack, wire.JSON} {
			for _, session := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/session=%t", name, format, session), func(t *testing.T) {
					t.Parallel()
					f := &fake{book: newBook(t), codec: wire.NewCodec(format, 2), session: session, plan: first(faults...)}
					var open openConns
					c := socketClient(t, f.start(), client.SocketOptions{Format: format, Session: session, Dial: open.dial})
					reply := mustDo(t, c, deposit("ana"))
					if reply.Balance != "1.00" || len(reply.ID) != 26 || reply.Seq != 1 || f.balance("ana") != 100 {
						t.Errorf("%+v, in the book %d", reply, f.balance("ana"))
					}
					status := mustDo(t, c, client.Operation{Kind: bank.KindStatus, ID: reply.ID})
					if !status.Duplicate || status.Seq != reply.Seq || status.ID != reply.ID {
						t.Errorf("status: %+v", status)
					}
					c.Close()
					if n := open.Load(); n != 0 {
						t.Errorf("%d connections were left open", n)
					}
				})
			}
		}
	}
}

// openConns counts the connections that it dialled and that are not closed yet.
type openConns struct{ atomic.Int32 }

func (n *openConns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	n.Add(1)
	return &countedConn{Conn: conn, close: sync.OnceFunc(func() { n.Add(-1) })}, nil
}

type countedConn struct {
	net.Conn
	close func()
}

func (c *countedConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// Many goroutines over a session that breaks in every way: each gets the answer to its own operation.
func TestNobodyGetsAnothersReply(t *testing.T) {
	const goroutines, each = 16, 40
	f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: true}
	var faults sync.Mutex // guards random
	random := rand.New(rand.NewPCG(1, 2))
	f.plan = func(int, int) fault {
		faults.Lock()
		defer faults.Unlock()
		if random.IntN(10) > 0 {
			return honest
		}
		return fault(random.IntN(int(unavailable) + 1))
	}
	c := socketClient(t, f.start(), client.SocketOptions{Session: true, InFlight: 8})
	var all sync.WaitGroup
	for i := range goroutines {
		account := fmt.Sprintf("account-%d", i)
		all.Go(func() {
			for n := 1; n <= each; n++ {
				id := fmt.Sprintf("%s/%d", account, n)
				op := deposit(account)
				op.ID = id
				reply, err := c.Do(within(t), op)
				if err != nil || reply.Balance != fmt.Sprintf("%d.00", n) || reply.ID != id {
					t.Errorf("%s: %+v, %v", id, reply, err)
					return
				}
			}
		})
	}
	all.Wait()
	if f.entries() != goroutines*each {
		t.Errorf("%d entries", f.entries())
	}
}

// A session carries as many operations at once as InFlight says, and not one more.
func TestSessionIsPipelinedAndBounded(t *testing.T) {
	const inFlight, operations = 8, 40
	f := &fake{book: newBook(t), codec: wire.NewCodec(wire.JSON, 2), session: true}
	tooMany := make(chan struct{})
	f.serve = func(f *fake, conn net.Conn, n int) {
		conn.Write(f.codec.Ack())
		var buffer []byte
		for range operations / inFlight {
			var replies []byte
			for range inFlight {
				op, rest, err := f.readOperation(conn, buffer)
				if err != nil {
					return
				}
				buffer = rest
				reply := f.do(op)
				replies = f.codec.AppendReply(replies, &reply)
			}
			if len(buffer) > f.codec.Space(buffer) {
				close(tooMany)
			}
			conn.Write(replies) // only now: a client that waits for each reply would wait for ever
		}
		conn.Read(make([]byte, 1)) // until the client goes
	}
	c := socketClient(t, f.start(), client.SocketOptions{Format: wire.JSON, Session: true, InFlight: inFlight})
	var all sync.WaitGroup
	for range operations {
		all.Go(func() { mustDo(t, c, deposit("ana")) })
	}
	all.Wait()
	select {
	case <-tooMany:
		t.Error("the client sent more than it may have on the way")
	default:
	}
	if f.balance("ana") != operations*100 {
		t.Errorf("balance %d", f.balance("ana"))
	}
}

// When ctx ends after the operation was sent, the error is ErrUnknown and carries the id, by which the bank knows it.
func TestUnknown(t *testing.T) {
	for _, session := range []bool{false, true} {
		t.Run(fmt.Sprintf("session=%t", session), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: session}
			defer cancel()
			f.plan, f.kept = first(silent), cancel
			c := socketClient(t, f.start(), client.SocketOptions{Session: session})
			reply, err := c.Do(ctx, deposit("ana"))
			var unknown *client.UnknownError
			if !errors.Is(err, client.ErrUnknown) || !errors.As(err, &unknown) || !errors.Is(err, context.Canceled) ||
				errors.Is(err, client.ErrNotSent) || reply.ID != unknown.ID || !strings.Contains(err.Error(), unknown.ID) {
				t.Fatalf("%+v, %v", reply, err)
			}
			f.cut()
			if status := mustDo(t, c, client.Operation{Kind: bank.KindStatus, ID: unknown.ID}); status.Balance != "1.00" {
				t.Errorf("status: %+v", status)
			}
		})
	}
}

// What never left is ErrNotSent, and the error says why.
func TestNotSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, session := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var dials atomic.Int32
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1) == 6 {
				cancel()
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		c := socketClient(t, l.Addr().String(), client.SocketOptions{Session: session, Dial: dial})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				reply, err := c.Do(ctx, deposit("ana"))
				if !errors.Is(err, client.ErrNotSent) || errors.Is(err, client.ErrUnknown) || reply.Done() || len(reply.ID) != 26 ||
					!errors.Is(err, context.Canceled) || !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("session=%t: %+v, %v", session, reply, err)
				}
			})
		}
		all.Wait()
	}
}

// To a peer that greets in another tongue nothing is sent.
func TestWrongAck(t *testing.T) {
	for _, session := range []bool{false, true} {
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: session}
		f.plan = func(int, int) fault { return wrongAck }
		c := socketClient(t, f.start(), client.SocketOptions{Session: session})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Do(ctx, deposit("ana")); !errors.Is(err, client.ErrNotSent) {
			t.Error(err)
		}
	}
}

// What cannot be an operation is not sent.
func TestNeverSent(t *testing.T) {
	c := socketClient(t, "127.0.0.1:1", client.SocketOptions{})
	long := client.Operation{Kind: bank.KindBalance, Account: strings.Repeat("a", client.MaxRequest)}
	for _, op := range []client.Operation{{}, {Kind: bank.KindYield}, {Kind: 200}, long} {
		if _, err := c.Do(t.Context(), op); !errors.Is(err, client.ErrNotSent) {
			t.Errorf("kind %d: %v", op.Kind, err)
		}
	}
}

// Overloaded left no trace: when ctx ends it is a refusal like any other. Unavailable is no answer.
func TestRepeatedRefusals(t *testing.T) {
	for _, session := range []bool{false, true} {
		var kind atomic.Int32
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: session}
		f.plan = func(int, int) fault { return fault(kind.Load()) }
		c := socketClient(t, f.start(), client.SocketOptions{Session: session})
		kind.Store(int32(overloaded))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		reply, err := c.Do(ctx, deposit("ana"))
		if err != nil || reply.Code != bank.Overloaded || !strings.HasPrefix(reply.Msg, "overloaded") || f.entries() != 0 {
			t.Errorf("%+v, %v, %d entries", reply, err, f.entries())
		}
		kind.Store(int32(unavailable))
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		reply, err = c.Do(ctx, deposit("ana"))
		var unknown *client.UnknownError
		if !errors.As(err, &unknown) || unknown.Last == nil || unknown.Last.Code != bank.Unavailable || f.entries() != 1 {
			t.Errorf("%+v, %v, %d entries", reply, err, f.entries())
		}
	}
}

// A refusal is a reply, and one that says nothing of its operation is believed when it comes twice.
func TestRefusals(t *testing.T) {
	for _, session := range []bool{false, true} {
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.JSON, 2), session: session}
		f.plan = func(int, int) fault { return honest }
		c := socketClient(t, f.start(), client.SocketOptions{Format: wire.JSON, Session: session})
		reply, err := c.Do(within(t), client.Operation{Kind: bank.KindWithdraw, Account: "ana", Amount: "5"})
		if err != nil || reply.Code != bank.InsufficientFunds || reply.Msg == "" || reply.Done() {
			t.Errorf("%+v, %v", reply, err)
		}
		reply, err = c.Do(within(t), client.Operation{Kind: bank.KindBalance, Account: "@cash", ID: "no\x00id"})
		if err != nil || reply.Code != bank.InvalidAccount {
			t.Errorf("%+v, %v", reply, err)
		}
		reply, err = c.Do(within(t), client.Operation{Kind: bank.KindBalance, Account: "ana"})
		if err != nil || !reply.Done() || reply.Balance != "0.00" || reply.ID != "" {
			t.Errorf("%+v, %v", reply, err)
		}
	}
}

// What the gateway says before it looks at ids settles nothing once a copy of the operation may have arrived; of one that
// writes nothing, and of a first copy, it is believed.
func TestBlindRefusals(t *testing.T) {
	f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: true, plan: first(dropDone, forbidden)}
	b := newBroker(newBook(t))
	b.plan = f.plan
	for name, c := range map[string]*client.Client{
		"socket": socketClient(t, f.start(), client.SocketOptions{Session: true}), "mqtt": mqttClient(t, b.start(), client.MQTTOptions{}),
	} {
		reply, err := c.Do(within(t), deposit("ana"))
		var unknown *client.UnknownError
		if !errors.As(err, &unknown) || unknown.Last == nil || unknown.Last.Code != bank.Forbidden || reply.Done() {
			t.Fatalf("%s: %+v, %v", name, reply, err)
		}
		if status := mustDo(t, c, client.Operation{Kind: bank.KindStatus, ID: unknown.ID}); status.Balance != "1.00" {
			t.Errorf("%s: it did happen: %+v", name, status)
		}
	}
	for _, plan := range []func(int, int) fault{first(dropDone, forbidden), first(forbidden)} {
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), plan: plan}
		c := socketClient(t, f.start(), client.SocketOptions{})
		reply, err := c.Do(within(t), client.Operation{Kind: bank.KindBalance, Account: "ana"})
		if err != nil || reply.Code != bank.Forbidden {
			t.Errorf("balance: %+v, %v", reply, err)
		}
	}
}

// Close ends what waits, may come twice, and what was sent stays unknown.
func TestClose(t *testing.T) {
	for _, session := range []bool{false, true} {
		heard := make(chan struct{}, 1)
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: session}
		f.plan = func(int, int) fault { return silent }
		f.kept = func() { heard <- struct{}{} }
		c := socketClient(t, f.start(), client.SocketOptions{Session: session, InFlight: 1})
		outcomes := make(chan error, 2)
		do := func() {
			_, err := c.Do(t.Context(), deposit("ana"))
			outcomes <- err
		}
		go do()
		<-heard
		go do() // waits for its place
		c.Close()
		c.Close()
		var unknown, notSent int
		for range 2 {
			switch err := <-outcomes; {
			case errors.Is(err, client.ErrUnknown) && errors.Is(err, client.ErrClosed):
				unknown++
			case errors.Is(err, client.ErrNotSent) && errors.Is(err, client.ErrClosed):
				notSent++
			default:
				t.Errorf("session=%t: %v", session, err)
			}
		}
		if _, err := c.Do(t.Context(), deposit("ana")); unknown != 1 || notSent != 1 || !errors.Is(err, client.ErrClosed) {
			t.Errorf("session=%t: %d unknown, %d not sent, then %v", session, unknown, notSent, err)
		}
	}
}

func TestSocketOptions(t *testing.T) {
	if _, err := client.NewSocket("127.0.0.1", client.SocketOptions{}); err == nil {
		t.Error("an address without a port")
	}
	if _, err := client.NewSocket("127.0.0.1:1", client.SocketOptions{Format: wire.Pickle}); err == nil {
		t.Error("a client of pickles")
	}
}
