package bank

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Options are the choices of a [Banco]; the zero value works.
type Options struct {
	// Queue bounds the operations that were accepted and are not yet in a batch. Default: DefaultQueue.
	Queue int
	// Batch bounds the operations of one Commit. Default: DefaultBatch.
	Batch int
	// Patience bounds how long Submit waits for room in the queue, besides the investment's hold. Default: DefaultPatience.
	Patience   time.Duration
	Investment Investment
	// Authority is asked whether a principal may do what it asks. Default: everyone may do everything.
	Authority Authority
	Observer  Observer
	Now       func() time.Time
}

// The defaults of [Options].
const (
	DefaultQueue    = 65536
	DefaultBatch    = 8192
	DefaultPatience = time.Second
)

// Banco is the front door of the bank: it orders operations, gives them to the [Engine] in batches and answers them.
//
// While one Commit runs, operations gather; the next batch is whatever has arrived. After a batch of many the committer waits
// for those whom it has answered, for a millisecond at most: see company.go.
type Banco struct {
	engine  Engine
	options Options

	wake     chan struct{} // holds a token when the queue may be as long as awaited
	lateness lateness      // the committer's

	mu      sync.Mutex // guards all below; nothing is called while it is held
	queue   queue
	awaited int           // the committer is woken when the queue is that long
	room    chan struct{} // closed and replaced when the queue was emptied and someone waits for that
	waiters int
	refusal error // why Submit refuses; nil while open
}

// queue holds accepted operations; ops[i] is answered by done[i].
type queue struct {
	ops  []Operation
	done []func(Reply, error)
}

// New returns a Banco that takes operations at once and answers them once Run is called. The caller closes the engine,
// after Run has returned.
func New(engine Engine, options Options) *Banco {
	if options.Queue <= 0 {
		options.Queue = DefaultQueue
	}
	if options.Batch <= 0 {
		options.Batch = DefaultBatch
	}
	if options.Patience <= 0 {
		options.Patience = DefaultPatience
	}
	if options.Observer == nil {
		options.Observer = silent{}
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Banco{
		engine: engine, options: options,
		wake: make(chan struct{}, 1), awaited: 1, room: make(chan struct{}),
	}
}

// Submit hands op to the committer. If it returns an error, op was not accepted and done is never called: [ErrOverloaded]
// when the queue stayed full, [ErrUnauthorized], [ErrForbidden] or again [ErrOverloaded] as the Authority has it, [ErrClosed]
// when the bank is stopping or has failed, or ctx's error; [CodeOf] tells what to answer. Otherwise done is called exactly
// once, in the order operations were accepted, once the outcome is durable or known to have failed, or a millisecond later at most
// (see company.go). Its Reply is always fit to be sent: with an error it is [Unavailable]. done must not block.
//
// Submit blocks only while the queue is full. Any goroutine may call it.
func (b *Banco) Submit(ctx context.Context, op Operation, done func(Reply, error)) error {
	if err := b.authorize(&op); err != nil {
		return err
	}
	b.mu.Lock()
	for b.refusal == nil && len(b.queue.ops) >= b.options.Queue {
		if err := b.waitLocked(ctx); err != nil {
			b.mu.Unlock()
			return err
		}
	}
	if b.refusal != nil {
		err := b.refusal
		b.mu.Unlock()
		return err
	}
	b.queue.ops = append(b.queue.ops, op)
	b.queue.done = append(b.queue.done, done)
	awaited := len(b.queue.ops) == b.awaited
	b.mu.Unlock()
	if awaited {
		b.signal()
	}
	return nil
}

// waitLocked gives the lock up until the queue may have room. It holds the lock again when it returns.
func (b *Banco) waitLocked(ctx context.Context) error {
	room := b.room
	b.waiters++
	b.mu.Unlock()
	patience := time.NewTimer(b.options.Patience + b.options.Investment.Hold)
	defer patience.Stop()
	var err error
	select {
	case <-room:
	case <-patience.C:
		err = ErrOverloaded
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	b.waiters--
	return err
}

func (b *Banco) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Do submits op and waits for its reply. An error means that there is none: op was not accepted, or its outcome is unknown
// because ctx ended or the engine failed.
func (b *Banco) Do(ctx context.Context, op Operation) (Reply, error) {
	type answer struct {
		reply Reply
		err   error
	}
	answered := make(chan answer, 1)
	if err := b.Submit(ctx, op, func(r Reply, err error) { answered <- answer{r, err} }); err != nil {
		return Reply{}, err
	}
	select {
	case a := <-answered:
		return a.reply, a.err
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
}

// Ready returns nil while operations are accepted, or why they are not.
func (b *Banco) Ready() error {
	b.mu.Lock()
	err := b.refusal
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if r, ok := b.engine.(Readier); ok {
		return r.Ready()
	}
	return nil
}

// Run is the committer. It returns nil when ctx ends, after every accepted operation is answered; or the engine's error,
// after everything that waited is answered [Unavailable]. Only one Run may be called, once.
func (b *Banco) Run(ctx context.Context) error {
	periods := newPeriods(b.options.Investment, b.options.Now())
	defer periods.timer.Stop()
	var batch queue
	replies := make([]Reply, b.options.Batch)
	for {
		select {
		case <-b.wake:
			b.gather(len(batch.ops))
			batch = b.take(batch)
			if err := b.commitAll(ctx, batch, replies); err != nil {
				return err
			}
		case <-periods.timer.C:
			if err := b.yield(ctx, periods, replies); err != nil {
				return err
			}
		case <-ctx.Done():
			b.refuse(ErrClosed)
			return b.commitAll(ctx, b.take(batch), replies)
		}
	}
}

// waiting returns how many operations are in the queue.
func (b *Banco) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue.ops)
}

// refuse makes Submit refuse with err from now on; the first refusal stays. Who waits for room hears of it from the take that
// follows.
func (b *Banco) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal == nil {
		b.refusal = err
	}
}

// take swaps the queue for the empty one that spent becomes.
func (b *Banco) take(spent queue) queue {
	clear(spent.ops)
	clear(spent.done)
	spent.ops, spent.done = spent.ops[:0], spent.done[:0]
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.queue
	b.queue = spent
	if b.waiters > 0 {
		close(b.room)
		b.room = make(chan struct{})
	}
	return taken
}

// commitAll commits what was taken in batches of at most options.Batch and answers it. When the engine fails, everything
// that is left, and everything that still waits, is answered Unavailable.
func (b *Banco) commitAll(ctx context.Context, taken queue, replies []Reply) error {
	for len(taken.ops) > 0 {
		n := min(len(taken.ops), b.options.Batch)
		batch := queue{taken.ops[:n], taken.done[:n]}
		taken.ops, taken.done = taken.ops[n:], taken.done[n:]
		err := b.commit(ctx, batch, replies[:n], len(taken.ops) > 0)
		if err == nil {
			continue
		}
		err = fmt.Errorf("commit %d operations: %w", n, err)
		b.refuse(fmt.Errorf("%w: %w", ErrClosed, err))
		answerUnavailable(taken, err)
		answerUnavailable(b.take(queue{}), err)
		return err
	}
	return nil
}

// commit answers one batch; more of what was taken may follow. Its error means that the engine has failed for good.
func (b *Banco) commit(ctx context.Context, batch queue, replies []Reply, more bool) error {
	clear(replies)
	began := b.options.Now()
	err := b.engine.Commit(context.WithoutCancel(ctx), batch.ops, replies)
	took := b.options.Now().Sub(began)
	if err != nil {
		answerUnavailable(batch, err)
		if errors.Is(err, ErrUnavailable) {
			return nil
		}
		return err
	}
	waiting, first := b.waiting(), len(batch.done)
	if !more {
		first -= b.lateness.of(first, waiting)
	}
	answer(batch.done[:first], replies)
	if first < len(batch.done) {
		b.meet(ctx, first+waiting, took)
		answer(batch.done[first:], replies[first:])
	}
	b.options.Observer.Batch(len(batch.ops), waiting, took)
	return nil
}

func answer(done []func(Reply, error), replies []Reply) {
	for i, done := range done {
		done(replies[i], nil)
	}
}

func answerUnavailable(q queue, err error) {
	for i, done := range q.done {
		done(Refusal(&q.ops[i], Unavailable), err)
	}
}

// yield holds operations, which wait in the queue, and then credits the yield of the period. Stopping ends the hold, and
// the yield waits for the next start.
func (b *Banco) yield(ctx context.Context, periods *periods, replies []Reply) error {
	op := periods.operation(b.options.Now())
	hold := time.NewTimer(b.options.Investment.Hold)
	defer hold.Stop()
	select {
	case <-hold.C:
	case <-ctx.Done():
		return nil
	}
	batch := queue{[]Operation{op}, []func(Reply, error){func(reply Reply, err error) {
		b.options.Observer.Yield(op.ID, reply, err)
	}}}
	return b.commitAll(ctx, batch, replies)
}
