package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gateway/bank"
	"gateway/client"
	"gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fault is what a fake gateway does with an operation, or with a connection.
type fault int

const (
	honest       fault = iota
	dropAtOnce         // close before the ack
	wrongAck           // greet in another tongue
	dropUnread         // read the operation, do not do it, close
	dropDone           // do it, close without a word
	dropInReply        // do it, send half the reply, close
	replyTwice         // do it, send the reply twice
	garbage            // do it, answer with bytes that are no reply
	stranger           // do it, answer with the reply to another operation
	nameless           // do nothing, answer malformed without an id, as a server does that gives a connection up
	overloaded         // do nothing, say so
	unavailable        // do it, say that the outcome is unknown
	forbidden          // do nothing, say so
	silent             // do it, say nothing and keep the connection
	refusedReply       // MQTT: do nothing, PUBACK 0x97 together with the reply
	refusedAlone       // MQTT: do nothing, PUBACK 0x97 and no reply
	ackedOnly          // MQTT: do it, PUBACK, close; the reply waits for the next connection
	replyFirst         // MQTT: do it, reply, then PUBACK
	disconnect         // MQTT: do it, send DISCONNECT and leave it to the client to close
	endless            // sockets: do it, begin a reply that never ends
)

// book is a real bank in memory behind a fake gateway. It checks on the way out that every entry is there once and that
// the sum is zero.
type book struct {
	t      *testing.T
	mu     sync.Mutex // guards the engine
	memory *bank.Memory
}

func newBook(t *testing.T) *book {
	b := &book{t: t, memory: bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if sum := b.memory.Ledger().Sum(); sum != 0 {
			t.Errorf("the book sums to %d", sum)
		}
		seen := make(map[string]bool)
		for _, e := range b.memory.Entries() {
			if e.ID == "" || seen[e.ID] {
				t.Errorf("entry %d: id %q is missing or was there before", e.Seq, e.ID)
			}
			seen[e.ID] = true
		}
	})
	return b
}

func (b *book) do(op bank.Operation) bank.Reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	op.Principal = bank.AnonymousPrincipal
	replies := make([]bank.Reply, 1)
	if err := b.memory.Commit(context.Background(), []bank.Operation{op}, replies); err != nil {
		b.t.Error(err)
	}
	return replies[0]
}

func (b *book) balance(account bank.Account) bank.Amount {
	b.mu.Lock()
	defer b.mu.Unlock()
	balance, _ := b.memory.Ledger().Balance(account)
	return balance
}

func (b *book) entries() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.memory.Entries())
}

// fake is a gateway whose connections go wrong by plan.
type fake struct {
	*book
	codec   wire.Codec
	session bool
	// plan says what goes wrong with operation op of connection conn, both counted from 0. Faults before the ack are those
	// of op -1.
	plan func(conn, op int) fault
	// heard is told of every operation that was read, before it is answered; nil: nobody.
	heard func(op bank.Operation)
	// kept is told of every operation that was done in silence; nil: nobody.
	kept func()

	mu    sync.Mutex // guards conns
	conns []net.Conn
	serve func(f *fake, conn net.Conn, n int)
}

// start serves on a loopback port until the test ends.
func (f *fake) start() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.accept(l)
	return l.Addr().String()
}

func (f *fake) accept(l net.Listener) {
	if f.plan == nil {
		f.plan = func(int, int) fault { return honest }
	}
	if f.serve == nil {
		f.serve = (*fake).serveSocket
	}
	var running sync.WaitGroup
	running.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, conn)
			f.mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				f.serve(f, conn, n)
			})
		}
	})
	f.t.Cleanup(func() {
		l.Close()
		f.cut()
		running.Wait()
	})
}

// cut closes every connection.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		conn.Close()
	}
	f.conns = nil
}

// connections returns how many there were since the last cut.
func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

func (f *fake) serveSocket(conn net.Conn, n int) {
	switch f.plan(n, -1) {
	case dropAtOnce:
		return
	case wrongAck:
		conn.Write([]byte("\x15\x03\x01\x00\x02"))
		return
	}
	conn.Write(f.codec.Ack())
	var buffer []byte
	for i := 0; ; i++ {
		op, rest, err := f.readOperation(conn, buffer)
		if err != nil {
			return
		}
		buffer = rest
		if f.heard != nil {
			f.heard(op)
		}
		what := f.plan(n, i)
		if !f.answer(conn, op, what) || !f.session && what != silent {
			return
		}
	}
}

// answer does what the fault says and reports whether the connection goes on.
func (f *fake) answer(conn net.Conn, op bank.Operation, what fault) bool {
	switch what {
	case dropUnread:
		return false
	case nameless:
		reply := bank.Refusal(&bank.Operation{}, bank.Malformed)
		conn.Write(f.codec.AppendReply(nil, &reply))
		return false
	case overloaded, forbidden:
		reply := bank.Refusal(&op, bank.Overloaded)
		if what == forbidden {
			reply.Code = bank.Forbidden
		}
		conn.Write(f.codec.AppendReply(nil, &reply))
		return true
	}
	reply := f.do(op)
	switch what {
	case stranger:
		reply.ID = "another"
	case unavailable:
		reply = bank.Refusal(&op, bank.Unavailable)
	}
	bytes := f.codec.AppendReply(nil, &reply)
	switch what {
	case dropDone:
		return false
	case dropInReply:
		conn.Write(bytes[:len(bytes)/2])
		return false
	case replyTwice:
		bytes = append(bytes, bytes...)
	case garbage:
		bytes = []byte("\x01\x02\x03\x04")
	case endless:
		return f.neverEnd(conn)
	case silent:
		if f.kept != nil {
			f.kept()
		}
		return true
	}
	_, err := conn.Write(bytes)
	return err == nil
}

// neverEnd writes a reply until the client has had enough, which must be soon.
func (f *fake) neverEnd(conn net.Conn) bool {
	const tooMuch = 32 << 20 // bytes; more than sockets buffer
	space := []byte("{" + strings.Repeat(" ", 64<<10))
	if f.codec.Format() == wire.Msgpack {
		space = append([]byte{0x81, 0xa3, 'm', 's', 'g', 0xdb, 0x7f, 0xff, 0xff, 0xff}, space...)
	}
	for written := 0; written < tooMuch; {
		n, err := conn.Write(space)
		if err != nil {
			return false
		}
		written += n
		space = space[len(space)-64<<10:]
	}
	f.t.Error("the client reads a reply without end")
	return false
}

// readOperation reads one operation; buffer holds what was read behind the one before.
func (f *fake) readOperation(conn net.Conn, buffer []byte) (op bank.Operation, rest []byte, err error) {
	for {
		buffer = buffer[f.codec.Space(buffer):]
		if len(buffer) > 0 {
			n, err := f.codec.Decode(buffer, &op)
			if err == nil {
				return op, buffer[n:], nil
			}
			if !errors.Is(err, wire.ErrIncomplete) {
				f.t.Errorf("the client sent what is no operation: %v", err)
				return op, nil, err
			}
		}
		chunk := make([]byte, 4096)
		n, err := conn.Read(chunk)
		if err != nil {
			return op, nil, err
		}
		buffer = append(buffer, chunk[:n]...)
	}
}

// first is a plan: the first connections have these faults at their first operation, or before it; later ones none.
func first(faults ...fault) func(conn, op int) fault {
	return func(conn, op int) fault {
		if conn >= len(faults) || op > 0 {
			return honest
		}
		return faults[conn]
	}
}

// deposit is an operation that shows in the book if it is done twice.
func deposit(account string) client.Operation {
	return client.Operation{Kind: bank.KindDeposit, Account: account, Amount: "1.00"}
}

// within returns a context that ends when the test has taken too long.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// mustDo fails the test unless op is done.
func mustDo(t *testing.T, c *client.Client, op client.Operation) client.Reply {
	t.Helper()
	reply, err := c.Do(within(t), op)
	if err != nil || !reply.Done() {
		t.Fatalf("%s: %+v, %v", op.Kind, reply, err)
	}
	return reply
}
