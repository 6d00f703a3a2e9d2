package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gateway/bank"
	"gateway/transport/mqtt"
)

// house is a bank with an MQTT door.
type house struct {
	t       testing.TB
	address string
	web     string // of the WebSocket listener
	server  *mqtt.Server
	engine  *heldEngine
	banco   *bank.Banco
	log     *syncedBuffer
	faulty  bool          // the log may tell of faults
	checks  chan struct{} // told when a checkpoint has asked the bank
	stop    func() error  // ends Serve and returns what it returned
}

// heldEngine is a bank in memory whose sync takes as long as a test wants.
type heldEngine struct {
	*bank.Memory
	mu      sync.Mutex
	held    chan struct{} // nil: not held
	commits int
	durable atomic.Int64 // entries
	entered chan int     // sizes of batches, when someone listens
	untold  func()       // called when a batch is durable and nobody was told, when it is not nil
	lost    atomic.Bool  // a batch is written, and nobody knows
}

// errLost is what a heldEngine fails with when it is lost.
var errLost = errors.New("the sync has failed")

func (e *heldEngine) Commit(ctx context.Context, ops []bank.Operation, replies []bank.Reply) error {
	e.mu.Lock()
	held := e.held
	e.commits++
	e.mu.Unlock()
	select {
	case e.entered <- len(ops):
	default:
	}
	if held != nil {
		<-held
	}
	err := e.Memory.Commit(ctx, ops, replies)
	e.durable.Store(int64(len(e.Memory.Entries())))
	e.mu.Lock()
	untold := e.untold
	e.mu.Unlock()
	if untold != nil {
		untold()
	}

	if e.lost.Load() {
		return errLost
	}
	return err
}

// hold makes every sync wait until release is called.
func (e *heldEngine) hold() (release func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	held := make(chan struct{})
	e.held = held
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.held != nil {
			e.held = nil
			close(held)
		}
	}
}

// pause makes every batch wait, once it is durable, until it may be told of. It calls durable then.
func (e *heldEngine) pause(durable func()) (tell func()) {
	told := make(chan struct{})
	set := func(untold func()) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.untold = untold
	}
	set(func() {
		durable()
		<-told
	})
	return func() {
		set(nil)
		close(told)
	}
}

func (e *heldEngine) syncs() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.commits
}

type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// build starts a house. When the test ends it must stop, with its book at zero and no goroutine left.
func build(t testing.TB, change func(*mqtt.Options), more ...mqtt.Listener) *house {
	t.Helper()
	return buildOn(t, newEngine(), change, more...)
}

func newEngine() *heldEngine {
	return &heldEngine{Memory: bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), entered: make(chan int, 1)}
}

// buildOn starts a house on an engine that another may have had before.
func buildOn(t testing.TB, engine *heldEngine, change func(*mqtt.Options), more ...mqtt.Listener) *house {
	t.Helper()
	before := runtime.NumGoroutine()
	plain, web := listen(t), listen(t)
	h := open(t, engine, change, append(more, mqtt.Listener{Net: plain}, mqtt.Listener{
		Net: web, WebSocket: true, Origins: []string{"https://bank.example"},
	})...)
	h.address, h.web = plain.Addr().String(), web.Addr().String()
	t.Cleanup(func() { h.close(before) })
	return h
}

// open starts a house with these doors only, which somebody must close.
func open(t testing.TB, engine *heldEngine, change func(*mqtt.Options), doors ...mqtt.Listener) *house {
	t.Helper()
	h := &house{t: t, log: new(syncedBuffer), engine: engine, checks: make(chan struct{}, 1)}
	h.banco = bank.New(h.engine, bank.Options{})
	options := mqtt.Options{
		Decimals: 2, Anonymous: true, Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&options)
	}
	server, err := mqtt.New(askedBank{h}, options)
	if err != nil {
		t.Fatal(err)
	}
	h.server = server
	h.stop = h.run(doors)
	return h
}

// askedBank tells when it has been asked what a checkpoint asks.
type askedBank struct{ *house }

func (b askedBank) Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	err := b.banco.Submit(ctx, op, done)
	if op.Principal == bank.HousePrincipal {
		select {
		case b.checks <- struct{}{}:
		default:
		}
	}
	return err
}

// awaitFailure waits until the bank has failed and all that it had has been answered.
func (h *house) awaitFailure() {
	h.t.Helper()
	for deadline := time.Now().Add(patience); h.banco.Ready() == nil; runtime.Gosched() {
		if time.Now().After(deadline) {
			h.t.Fatal("the bank has not failed")
		}
	}
}

func (h *house) run(listeners []mqtt.Listener) (stop func() error) {
	banking, stopBank := context.WithCancel(context.Background())
	serving, stopServer := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.banco.Run(banking); err != nil && !errors.Is(err, errLost) {
			h.t.Errorf("bank: %v", err)
		}
	})
	served := make(chan error, 1)
	running.Go(func() { served <- h.server.Serve(serving, listeners) })
	return sync.OnceValue(func() error {
		stopServer()
		err := <-served
		stopBank()
		running.Wait()
		return err
	})
}

func (h *house) close(before int) {
	h.engine.mu.Lock()
	held := h.engine.held
	h.engine.held = nil
	h.engine.mu.Unlock()
	if held != nil {
		close(held)
	}
	if err := h.stop(); err != nil {
		h.t.Errorf("serve: %v", err)
	}
	sum := bank.Amount(0)
	for _, e := range h.engine.Entries() {
		for _, p := range e.Postings {
			sum += p.Amount
		}
	}
	if sum != 0 {
		h.t.Errorf("the book sums to %d", sum)
	}
	if !h.faulty && strings.Contains(h.log.String(), "level=ERROR") {
		h.t.Errorf("log: %s", h.log)
	}
	for _, never := range []string{"secret", `op\":`, `"op":`, `account\":`} { // passwords and payloads of these tests
		if strings.Contains(h.log.String(), never) {
			h.t.Errorf("the log tells of %s: %s", never, h.log)
		}
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			h.t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// entries returns how many operations the bank has written down. Nothing may be under way.
func (h *house) entries() int { return len(h.engine.Entries()) }

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
