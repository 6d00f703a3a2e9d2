package socket_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gateway/bank"
	"gateway/gate"
	"gateway/transport/socket"
	"gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup says how start serves. Its zero value is a JSON listener of one operation per connection on a free port of loopback,
// for anonymous, before a bank in memory.
type setup struct {
	engine  bank.Engine
	bank    socket.Bank // instead of one before engine
	codec   wire.Codec
	net     net.Listener
	session bool
	nobody  bool // no principal
	allow   []netip.Prefix
	options socket.Options

	tls       *tls.Config
	certified func(*x509.Certificate) (string, bool)
}

// served is a running server.
type served struct {
	address string
	memory  *bank.Memory // nil when setup named an engine or a bank
	gate    *gate.Gate
	seen    *observer // nil when setup named one
	server  *socket.Server
	stop    func() // ends Serve and waits for it
}

// clock is the time of every entry, so that replies are the same in every run.
func clock() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC) }

// start serves until the test ends, and then checks that every place was given back and that the book sums to zero.
func start(t testing.TB, o setup) *served {
	t.Helper()
	s := &served{}
	if o.codec == nil {
		o.codec = wire.NewCodec(wire.JSON, 2)
	}
	if o.bank == nil {
		if o.engine == nil {
			s.memory = bank.NewMemory(bank.Rules{CreateAccounts: true}, clock)
			o.engine = s.memory
			t.Cleanup(func() { sumsToZero(t, s.memory) })
		}
		o.bank = runBank(t, o.engine)
	}
	if o.net == nil {
		o.net = listen(t)
	}
	if o.options.Gate == nil {
		o.options.Gate = gate.New(gate.Limits{})
	}
	s.gate = o.options.Gate
	t.Cleanup(func() {
		if n := s.gate.Open(); n != 0 {
			t.Errorf("%d places at the gate were not given back", n)
		}
	})
	if o.options.Observer == nil {
		s.seen = &observer{}
		o.options.Observer = s.seen
	}
	if _, measured := t.(*testing.B); o.options.Logger == nil && !measured {
		o.options.Logger = discreet(t)
	}
	s.address = o.net.Addr().String()
	l := socket.Listener{
		Net: o.net, Codec: o.codec, Session: o.session, AllowFrom: o.allow, Principal: bank.AnonymousPrincipal,
		TLS: o.tls, Certified: o.certified,
	}
	if o.nobody {
		l.Principal = ""
	}
	s.server = socket.New(o.bank, o.options)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.server.Serve(ctx, l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(s.stop)
	if h, ok := o.bank.(*held); ok {
		t.Cleanup(func() { h.answer(h.waiting()) }) // so that a test that failed can stop
	}
	return s
}

// discreet returns a logger of everything, which at the end must not tell what clients of these tests send.
func discreet(t testing.TB) *slog.Logger {
	var told lockedBuffer
	t.Cleanup(func() {
		for _, never := range []string{`op\":`, `"op":`, `account\":`, "id_pessoa", "dominio"} {
			if strings.Contains(told.String(), never) {
				t.Errorf("the log tells of %s: %s", never, told.String())
			}
		}
	})
	return slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lockedBuffer is a buffer that many may write.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// runBank runs a bank before engine until the test ends.
func runBank(t testing.TB, engine bank.Engine) *bank.Banco {
	banco := bank.New(engine, bank.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := banco.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := engine.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return banco
}

func sumsToZero(t testing.TB, m *bank.Memory) {
	sum := bank.Amount(0)
	for _, e := range m.Entries() {
		for _, p := range e.Postings {
			sum += p.Amount
		}
	}
	if sum != 0 {
		t.Errorf("the book sums to %d", sum)
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := socket.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// observer remembers what it is told.
type observer struct {
	mu       sync.Mutex // guards all below
	answers  []string   // kind and code
	opened   int
	closed   int
	rejected []string
	limited  []string
}

func (o *observer) Operation(kind bank.Kind, code bank.Code, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = append(o.answers, kind.String()+" "+code.String())
	if took < 0 || took > time.Hour {
		o.answers = append(o.answers, "took "+took.String())
	}
}

func (o *observer) Connection(opened bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if opened {
		o.opened++
	} else {
		o.closed++
	}
}

func (o *observer) Rejected(reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rejected = append(o.rejected, reason)
}

func (o *observer) Limited(limit string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limited = append(o.limited, limit)
}

// held is a bank that takes operations and answers when told to.
type held struct {
	took     chan struct{} // one token for every operation
	mu       sync.Mutex    // guards all below
	ops      []bank.Operation
	done     []func(bank.Reply, error)
	answered int
}

func newHeld() *held { return &held{took: make(chan struct{}, 1<<16)} }

func (h *held) Submit(_ context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	h.done = append(h.done, done)
	h.took <- struct{}{}
	return nil
}

// accepted returns how many operations were accepted.
func (h *held) accepted() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// answer does the next n operations: the reply to number i, from 1, has seq i.
func (h *held) answer(n int) {
	h.mu.Lock()
	first := h.answered
	h.answered += n
	done, ops := h.done[first:h.answered], h.ops[first:h.answered]
	h.mu.Unlock()
	for i, d := range done {
		r := bank.Refusal(&ops[i], bank.OK)
		r.Seq, r.Time = uint64(first+i+1), clock()
		d(r, nil)
	}
}

// answerBackwards does all that was accepted, the last first, so that a session has nothing to send until all is there.
func (h *held) answerBackwards() {
	h.mu.Lock()
	done, ops := h.done[h.answered:], h.ops[h.answered:]
	h.answered = len(h.ops)
	h.mu.Unlock()
	for i := len(ops) - 1; i >= 0; i-- {
		done[i](bank.Refusal(&ops[i], bank.OK), nil)
	}
}

// waiting returns how many operations are accepted and not answered.
func (h *held) waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops) - h.answered
}

// refusing is a bank that accepts nothing.
type refusing struct{ err error }

func (r refusing) Submit(context.Context, bank.Operation, func(bank.Reply, error)) error {
	return r.err
}

// peer is a client's end of a connection.
type peer struct {
	net.Conn
	t testing.TB
}

// patience bounds every test's wait for the server, so that a fault fails rather than hangs.
const patience = 20 * time.Second

// dial connects and reads the ack of a JSON listener.
func dial(t testing.TB, address string) *peer {
	t.Helper()
	p := connect(t, address)
	p.expect("true\n")
	return p
}

func connect(t testing.TB, address string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &peer{conn, t}
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, text); err != nil {
		p.t.Fatalf("send %.60q: %v", text, err)
	}
}

// expect reads as many bytes as want has.
func (p *peer) expect(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(p.Conn, got); err != nil || string(got) != want {
		p.t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

// ask reads the ack of a JSON listener and sends one message.
func (p *peer) ask(text string) {
	p.t.Helper()
	p.expect("true\n")
	p.send(text)
}

// rest reads to the end, which must be a clean one, and closes.
func (p *peer) rest() string {
	p.t.Helper()
	defer p.Close()
	got, err := io.ReadAll(p.Conn)
	if err != nil {
		p.t.Fatalf("after %q: %v", got, err)
	}
	return string(got)
}

// half ends what the client sends.
func (p *peer) half() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}

// reset ends the connection as a crashed peer's system does.
func (p *peer) reset() {
	p.Conn.(*net.TCPConn).SetLinger(0)
	p.Conn.Close()
}

// pipes is a listener of connections in memory, for the tests whose clock is synctest's.
type pipes struct {
	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
	once   sync.Once
	from   net.Addr
}

func newPipes() *pipes {
	return &pipes{
		conns: make(chan net.Conn), errs: make(chan error), closed: make(chan struct{}),
		from: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000},
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	}
}

func (l *pipes) Close() error {
	err := errors.New("closed before")
	l.once.Do(func() {
		close(l.closed)
		err = nil
	})
	return err
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9999} }

// dial returns the client's end of a new connection. Nothing is buffered between the ends.
func (l *pipes) dial(t testing.TB) *peer {
	client, server := net.Pipe()
	l.conns <- from{server, l.from}
	t.Cleanup(func() { client.Close() })
	return &peer{client, t}
}

// from is a connection of a given peer.
type from struct {
	net.Conn
	address net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.address }

// The operations of most tests, and their replies.
const (
	deposit = `{"op":"deposit","account":"ana","amount":20}`
	balance = `{"op":"balance","account":"ana"}`
	done20  = `{"status":true,"msg":20,"code":"ok","balance":"20.00","seq":1,"time":"2026-01-02T03:04:05.678901Z"}` + "\n"
)
