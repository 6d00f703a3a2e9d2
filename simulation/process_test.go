package simulation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
	"gateway/statelog"
	"gateway/transport/mqtt"
)

// process is one life of the gateway: what cmd/gateway opens, starts and stops, in the same order.
type process struct {
	w      *world
	engine *journal.Engine
	log    *statelog.Log // nil: the run has no devices
	shelf  *shelf
	banco  *bank.Banco
	server *mqtt.Server
	door   *door
	found  []found // what the journal had at the start

	running                   sync.WaitGroup
	opening                   chan struct{} // closed when open has returned
	committed, served, ended  chan struct{}
	closeDoors, stopCommitter context.CancelFunc

	// The driver looks at these when all is at rest.
	phase      phase
	openErr    error
	commitErr  error
	endErr     error
	committing bool // the engine has a batch
	broken     bool // the engine has failed
	dead       bool // nobody hears anything of it any more
}

type phase uint8

const (
	opening phase = iota
	serving
	stopping
	over
)

// found is an entry that a start has read, and its hash.
type found struct {
	entry bank.Entry
	hash  [32]byte
}

// start begins a process. It opens beside the driver, at whose gates it stands like everything else.
func (w *world) start() {
	p := &process{
		w: w, opening: make(chan struct{}), committed: make(chan struct{}), served: make(chan struct{}),
		ended: make(chan struct{}),
	}
	w.process = p
	w.starts++
	w.rested = false
	go func() {
		defer close(p.opening)
		if p.openErr = p.open(); p.openErr != nil {
			p.openErr = errors.Join(p.openErr, p.closeStorage())
		}
	}()
}

// watch makes a disk stand at the gate before everything that changes it.
func (w *world) watch(d *disktest.Disk, where string) {
	d.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Read {
			return nil
		}
		return w.gate.pass(point{where, op})
	}
}

// keys draws what the gateway draws for itself.
type keys struct{ random *rand.Rand }

func (k keys) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(k.random.Uint32())
	}
	return len(b), nil
}

func (w *world) journalOptions() journal.Options {
	return journal.Options{
		FS: w.journal, Inline: !w.chances.beside, Rules: bank.Rules{CreateAccounts: w.chances.create}, Decimals: 2, Now: w.now,
		SegmentBytes: w.chances.segment, SnapshotEvery: w.chances.snapshotEvery,
		Random: keys{rand.New(rand.NewPCG(w.seed, uint64(10+2*w.starts)))},
	}
}

// open opens the storage, recovers what was kept, and makes the bank and the door.
func (p *process) open() error {
	w := p.w
	engine, err := journal.Open("", w.journalOptions())
	if err != nil {
		return err
	}
	p.engine, w.owner = engine, engine.ID()
	if p.found, err = history(engine); err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	p.banco = bank.New(&seam{engine, p}, bank.Options{
		Batch: w.chances.batch, Investment: w.chances.investment, Now: w.now,
	})
	if len(w.devices) == 0 {
		return nil
	}
	options := statelog.Options{AheadBytes: w.chances.ahead, Random: keys{rand.New(rand.NewPCG(w.seed, uint64(11+2*w.starts)))}}
	recovery := mqtt.NewRecovery()
	if p.log, err = statelog.Open(w.sessions, engine.ID(), options, recovery.Record); err != nil {
		return err
	}
	if recovery.Seq() > engine.Seq() {
		return fmt.Errorf("the sessions know of entry %d, the journal of %d", recovery.Seq(), engine.Seq())
	}
	if recovery.Began() {
		if err := engine.Entries(recovery.Seq(), recovery.Entry); err != nil {
			return err
		}
	}
	p.shelf, p.door = &shelf{w: w, log: p.log}, newDoor()
	p.server, err = mqtt.New(teller{p}, mqtt.Options{
		Decimals: 2, Anonymous: true, Access: everybody{},
		InFlight: w.chances.inFlight, Waiting: w.chances.waiting, WaitingAll: w.chances.waitingAll,
		Keeping: &mqtt.Keeping{Store: p.shelf, Recovery: recovery, Seq: engine.Seq},
	})
	return err
}

// everybody is an Access that believes what it is told.
type everybody struct{}

func (everybody) Login(_ context.Context, _ netip.Addr, user string, _ []byte) (string, error) {
	return user, nil
}
func (everybody) Certified(*x509.Certificate) (string, bool) { return "", false }
func (everybody) MayUse(string, string) bool                 { return true }
func (everybody) Beginnings(string) []string                 { return nil }

// errRead ends a reading of the history.
var errRead = errors.New("simulation: that is all")

// history reads all that is durable in a journal.
func history(engine *journal.Engine) ([]found, error) {
	var all []found
	last := engine.Seq()
	if last == 0 {
		return nil, nil
	}
	err := engine.Follow(context.Background(), 0, func(e *bank.Entry, hash [32]byte) error {
		copied := *e
		copied.Postings = append([]bank.Posting(nil), e.Postings...)
		all = append(all, found{copied, hash})
		if e.Seq == last {
			return errRead
		}
		return nil
	})
	if !errors.Is(err, errRead) {
		return nil, err
	}
	return all, nil
}

// serve starts the committer and then the door.
func (p *process) serve() {
	p.phase = serving
	committer, stopCommitter := context.WithCancel(context.Background())
	doors, closeDoors := context.WithCancel(context.Background())
	p.stopCommitter, p.closeDoors = stopCommitter, closeDoors
	p.running.Go(func() {
		defer close(p.committed)
		p.commitErr = p.banco.Run(committer)
	})
	p.running.Go(func() {
		defer close(p.served)
		if p.server != nil {
			// The error is that the door failed to accept, which this one never does.
			_ = p.server.Serve(doors, []mqtt.Listener{{Net: p.door}})
		}
	})
}

// failed reports whether the process has to end, as cmd/gateway's watch does.
func (p *process) failed() bool {
	return p.commitErr != nil || p.log != nil && p.log.Err() != nil
}

// settleTimeout is how long cmd/gateway waits for its doors in a stop before it lets the committer finish.
const settleTimeout = 2 * time.Second

// stop ends the process as a signal does, or a failure. It waits for the doors however long a disk takes: cmd/gateway does not,
// and what it leaves behind then is what a kill leaves.
func (p *process) stop() {
	p.w.trace.add(line{what: "stop"})
	p.phase = stopping
	go func() {
		defer close(p.ended)
		p.closeDoors()
		await(p.served, settleTimeout)
		p.stopCommitter()
		<-p.committed
		<-p.served
		p.endErr = errors.Join(p.commitErr, p.closeStorage())
	}()
}

func await(done chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// closeStorage closes the sessions and then the engine.
func (p *process) closeStorage() error {
	var err error
	if p.log != nil {
		if p.shelf != nil {
			_ = p.w.gate.pass(point{where: atClose}) // who was killed closes all the same
		}
		err = p.log.Close()
	}
	if p.engine != nil {
		err = errors.Join(err, p.engine.Close())
	}
	return err
}

// kill ends the process at once. With cut the power fails.
func (w *world) kill(cut bool) {
	p := w.process
	p.dead = true
	if cut {
		w.journal.Cut(w.random)
		w.sessions.Cut(w.random)
	} else {
		w.journal.Kill()
		w.sessions.Kill()
	}
	for _, d := range w.devices {
		d.lose()
	}
	for _, wire := range w.wires {
		wire.link.end()
	}
	w.wires = nil
	w.gate.end(errKilled)
	if p.shelf != nil {
		p.shelf.die()
	}
	switch p.phase {
	case opening:
		if <-p.opening; p.openErr == nil {
			_ = p.closeStorage() // which is dead
		}
	case serving:
		p.stop()
		<-p.ended
	case stopping:
		<-p.ended
	}
	p.running.Wait()
	w.gate.end(nil)
	w.process = nil
	w.book.interrupted()
}

// seam is the engine as the bank has it, with the driver and the book between the two.
type seam struct {
	*journal.Engine
	p *process
}

// Commit implements bank.Engine.
func (s *seam) Commit(ctx context.Context, ops []bank.Operation, replies []bank.Reply) error {
	w := s.p.w
	s.p.committing = true
	defer func() { s.p.committing = false }()
	if err := w.gate.pass(point{where: atCommit}); err != nil {
		return err
	}
	w.book.begins(ops)
	before := w.journal.Ops()
	err := s.Engine.Commit(ctx, ops, replies)
	if err != nil {
		s.p.broken = true
		return err
	}
	w.book.committed(ops, replies)
	w.checkDurable()
	w.checkRefusedChangesNothing(replies, w.journal.Ops()-before)
	return nil
}

// teller is the bank as the MQTT door has it: every answer stands at the gate before the door is told, and so does an operation that
// may have waited at the door.
type teller struct{ p *process }

// Submit implements mqtt.Bank.
func (t teller) Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	w := t.p.w
	if w.chances.inFlight > 0 { // it may have waited for the answer after which the committer takes what has come
		_ = w.gate.pass(point{where: atSubmit})
	}
	return t.p.submit(ctx, op, func(reply bank.Reply, err error) {
		_ = w.gate.pass(point{where: atAnswer}) // the end of the process changes nothing here
		done(reply, err)
	})
}

// submit counts what was accepted, and that each is answered once.
func (p *process) submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	w, answered := p.w, 0
	err := p.banco.Submit(ctx, op, func(reply bank.Reply, err error) {
		w.gate.follow()
		if answered++; answered > 1 {
			w.fail("I11: an operation was answered twice: %+v", op)
		}
		w.unanswered.Add(-1)
		switch {
		case err == nil:
			w.book.handed(&op, reply)
		case !p.dead:
			w.book.refuses(&op)
		}
		done(reply, err)
	})
	if err != nil {
		w.book.refuses(&op)
		return err
	}
	w.unanswered.Add(1)
	w.book.accepted(&op)
	return nil
}
