package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gateway/bank"
	"gateway/disk"
)

// Options are the choices of an [Engine]. Rules and Decimals are the bank's; the rest may be left at zero.
type Options struct {
	Rules    bank.Rules
	Decimals int // kept in the journal, which is only opened with the same
	// Now gives the time of entries. Default: time.Now.
	Now      func() time.Time
	Logger   *slog.Logger
	Observer Observer
	// FS is the directory to use in place of the one that Open names.
	FS disk.FS
	// SegmentBytes is how large a segment grows. Default: DefaultSegmentBytes.
	SegmentBytes int64
	// SnapshotEvery is how many entries there are between two snapshots, at least; there are more when a snapshot is large,
	// so that snapshots add at most half to what the journal writes. Default: DefaultSnapshotEvery.
	SnapshotEvery int
	// Inline does within Commit what goroutines do beside it otherwise, at the same points of every run, so that a run can
	// be repeated exactly. It is meant for simulations: Commit takes longer.
	Inline bool
	// Random is where the id and the key of a new journal are drawn from. Default: [crypto/rand.Reader]. It is meant for
	// simulations: whoever knows the key can make ids that collide, and memos that look like frames.
	Random io.Reader
}

// The defaults of [Options].
const (
	DefaultSegmentBytes  = 64 << 20
	DefaultSnapshotEvery = 1_000_000
	// LeastSegmentBytes is the least that Options.SegmentBytes may be.
	LeastSegmentBytes = 2 * sector
)

// Observer is told what an [Engine] does. Its methods must be quick and must not call the Engine. Synced is called by the
// committer, Snapshot by another goroutine.
type Observer interface {
	// Synced reports a batch: how many entries and bytes it had, and how long the write and the sync took.
	Synced(entries, bytes int, took time.Duration)
	// Snapshot reports a snapshot that holds the entries up to seq, or why there is none.
	Snapshot(seq uint64, took time.Duration, err error)
}

type silent struct{}

func (silent) Synced(int, int, time.Duration)        {}
func (silent) Snapshot(uint64, time.Duration, error) {}

// Engine is a [bank.Engine] and a [bank.Readier]: it keeps the book in memory and its history in the files of a directory.
// Open returns one.
type Engine struct {
	fsys     disk.FS
	options  Options
	log      *slog.Logger
	lock     io.Closer
	identity identity
	found    *survey // what Open found; nil from the first Commit on

	// book is held while a batch is judged, and while a part of the book is copied for a snapshot. It is not held during
	// the sync of a batch. Only when a segment ends within a batch is there a sync under it.
	book   lock
	ledger *bank.Ledger
	writer writer // the committer's, but for writer.end, which changes under book only
	entry  bank.Entry

	past      history
	marks     markFile
	ahead     *preparer
	snapshots *snapshots

	waypoints waypoints     // of those who follow
	seq       atomic.Uint64 // of the last durable entry
	stalled   atomic.Bool   // an operation was refused because no segment could be prepared

	state    sync.Mutex // guards all below
	progress *sync.Cond // tells that they changed, or seq
	durable  position   // after the last durable entry
	failure  error      // why nothing is done any more
	closed   bool
}

// lock is a mutex whose holder may wait for the disk. Who waits for it blocks as on a channel, which testing/synctest can tell
// from running.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// Lock waits until nobody has the lock, and takes it.
func (l lock) Lock() { l <- struct{}{} }

// Unlock gives it back.
func (l lock) Unlock() { <-l }

var _ bank.Engine = (*Engine)(nil)
var _ bank.Readier = (*Engine)(nil)

// Commit implements [bank.Engine]. After a write or a sync has failed, this and every later Commit returns an error that
// wraps [ErrFailed], and nothing is tried again. While the disk has less than its reserve left, operations that would write
// are answered [bank.Unavailable].
func (e *Engine) Commit(_ context.Context, ops []bank.Operation, replies []bank.Reply) error {
	if err := e.stopped(); err != nil {
		return err
	}
	e.found = nil
	low := e.low()
	e.book.Lock()
	err := e.judge(ops, replies, low)
	e.book.Unlock()
	if err != nil {
		return e.fail(err)
	}
	gathered := len(e.writer.buf)
	if err := e.writer.flush(); err != nil {
		return e.fail(err)
	}
	if gathered > 0 {
		e.advance()
		e.snapshots.committed()
	}
	return e.stopped()
}

// judge decides and posts ops in order. The entries gather in the writer.
func (e *Engine) judge(ops []bank.Operation, replies []bank.Reply, low bool) error {
	now := e.options.Now()
	for i := range ops {
		if i%bank.Foresight == 0 {
			e.ledger.Foresee(ops[i:])
		}
		op, reply := &ops[i], &replies[i]
		write, err := e.ledger.Decide(op, now, &e.entry, reply)
		if err != nil {
			return err
		}
		if !write {
			continue
		}
		if low {
			*reply = noSpaceReply(op)
			continue
		}
		ref, err := e.writer.add(&e.entry)
		if errors.Is(err, ErrNoSpace) {
			e.stalled.Store(true)
			*reply = noSpaceReply(op)
			continue
		}
		if err != nil {
			return err
		}
		if err := e.ledger.Post(&e.entry, ref); err != nil {
			return err
		}
		if e.stalled.Load() {
			e.stalled.Store(false)
		}
	}
	return nil
}

func noSpaceReply(op *bank.Operation) bank.Reply {
	reply := bank.Refusal(op, bank.Unavailable)
	reply.Detail = "the disk is nearly full; try again when there is space"
	return reply
}

// advance tells that all entries so far are durable.
func (e *Engine) advance() {
	e.state.Lock()
	defer e.state.Unlock()
	e.durable = e.writer.end
	e.seq.Store(e.durable.seq)
	e.progress.Broadcast()
}

// ID returns what tells this journal from all others. It never changes.
func (e *Engine) ID() [16]byte { return e.identity.id }

// Seq returns the seq of the last durable entry. Any goroutine may call it.
func (e *Engine) Seq() uint64 { return e.seq.Load() }

// Ready implements [bank.Readier]: an error wraps [ErrFailed], [bank.ErrClosed] or [ErrNoSpace].
func (e *Engine) Ready() error {
	if err := e.stopped(); err != nil {
		return err
	}
	if e.low() || e.stalled.Load() && e.ahead.starved() {
		return ErrNoSpace
	}
	return nil
}

// low reports whether the disk has less than its reserve left. When the disk does not say, it has not.
func (e *Engine) low() bool {
	above, _, err := spare(e.fsys)
	return err == nil && above < 0
}

// fail stops the engine for good and returns the reason, which is the first there was.
func (e *Engine) fail(err error) error {
	e.state.Lock()
	defer e.state.Unlock()
	if e.failure == nil {
		e.failure = err
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, bank.ErrBroken) {
			e.failure = fmt.Errorf("%w: %w", ErrFailed, err)
		}
		e.progress.Broadcast()
	}
	return e.failure
}

// stopped returns why the engine does nothing any more, or nil.
func (e *Engine) stopped() error {
	e.state.Lock()
	defer e.state.Unlock()
	if e.failure == nil && e.closed {
		return bank.ErrClosed
	}
	return e.failure
}

// Close writes a last snapshot, gives back the space that was prepared, and lets another process have the directory. Nothing
// may run when it is called. The journal is as durable without it; what Close adds is a fast start. It is safe to call it
// twice.
func (e *Engine) Close() error {
	e.state.Lock()
	closed := e.closed
	e.closed = true
	e.progress.Broadcast()
	e.state.Unlock()
	if closed {
		return nil
	}
	err := e.snapshots.close()
	unused := e.ahead.close()
	if err == nil && e.healthy() {
		err = e.settle(unused)
	}
	if unused != nil {
		unused.file.Close()
	}
	e.past.close()
	e.writer.file.Close()
	e.marks.file.Close()
	if unlock := e.lock.Close(); err == nil {
		err = unlock
	}
	if err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// healthy reports whether nothing has failed.
func (e *Engine) healthy() bool {
	e.state.Lock()
	defer e.state.Unlock()
	return e.failure == nil
}

// settle leaves the files at their least and makes the mark durable.
func (e *Engine) settle(unused *prepared) error {
	if err := e.writer.file.Truncate(e.writer.end.offset); err != nil {
		return err
	}
	if err := e.writer.file.Sync(); err != nil {
		return err
	}
	if unused != nil {
		if err := e.fsys.Remove(segmentName(unused.number)); err != nil {
			return err
		}
		if err := e.fsys.SyncDir(); err != nil {
			return err
		}
	}
	return e.marks.file.Sync()
}
