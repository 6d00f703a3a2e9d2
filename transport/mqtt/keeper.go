package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"gateway/bank"
)

// Store keeps records, in order, until a checkpoint replaces them. A [statelog.Log] is one.
type Store interface {
	// Append keeps record, which it copies. With done, it calls that once, never from within Append, when the record and all
	// before it are durable, or with the reason why they are not: one that wraps [ErrNoSpace] when it may be tried again.
	// With nil, the record is kept before long, without a sync of its own. Append does not block.
	Append(record []byte, done func(error))
	// Checkpoint replaces all records by those that write emits and those that are appended meanwhile, which come after
	// them. When it fails, or the process does, the old ones are kept.
	Checkpoint(write func(emit func(record []byte) error) error) error
	// Size returns how many bytes have been appended since the last checkpoint.
	Size() int64
}

// ErrNoSpace says that a record was not kept for want of space, and that others may be.
var ErrNoSpace = errors.New("mqtt: no space for the state of sessions")

// Keeping is what makes sessions survive the process. All its fields are needed.
type Keeping struct {
	Store Store
	// Recovery has read what the Store had, and the journal's entries behind that.
	Recovery *Recovery
	// Seq returns the seq of the journal's last durable entry. Any goroutine may call it.
	Seq func() uint64
}

// keeper writes down what a restart must know and no entry says. What a client waits for is written at once; acknowledgements
// of replies are gathered, because a reply may come twice.
type keeper struct {
	server *Server
	store  Store
	seq    func() uint64
	gap    atomic.Bool // a record was not kept for want of space; the next checkpoint makes up for it

	checking sync.Mutex // held by check; guards the next two
	start    uint64     // the entry up to which the last checkpoint has everything
	stuck    bool       // the last checkpoint could not be made

	mu      sync.Mutex // guards all below; nothing is called while it is held
	touched []*session
	parked  []func() // to be called when a checkpoint has been made
}

func newKeeper(s *Server, k *Keeping) *keeper {
	return &keeper{server: s, store: k.Store, seq: k.Seq}
}

// recover makes the sessions what they were, and that a checkpoint: so a session is never taken for one that had its
// incarnation in a store that is gone, because entries before the checkpoint are not looked at.
func (k *keeper) recover(r *Recovery) error {
	began := r.Began()
	k.start = r.seq
	r.restore(k.server)
	seq := k.seq()
	err := k.store.Checkpoint(func(emit func([]byte) error) error { return k.dump(seq, emit) })
	switch {
	case err == nil:
		k.start = seq
	case began && errors.Is(err, ErrNoSpace):
		k.gap.Store(true) // what was kept is kept
	default:
		return err
	}
	return nil
}

// append keeps a record. It may be called with a session's lock held.
func (r *registry) append(record []byte, done func(error)) {
	if done == nil {
		r.keeper.store.Append(record, nil)
		return
	}
	r.keeper.store.Append(record, func(err error) {
		done(err) // before the next checkpoint, which is to find what this leaves to it
		if errors.Is(err, ErrNoSpace) {
			r.keeper.gap.Store(true)
		}
	})
}

// insist keeps a record and calls then once it is durable, however long there is no space. When the store has failed for
// good, then is never called.
func (r *registry) insist(record []byte, then func()) {
	r.append(record, func(err error) {
		switch k := r.keeper; {
		case err == nil:
			then()
		case errors.Is(err, ErrNoSpace):
			k.mu.Lock()
			k.parked = append(k.parked, then)
			k.mu.Unlock()
		}
	})
}

// touch remembers that s has acknowledged replies. It is called with the session's lock held.
func (r *registry) touch(s *session) {
	k := r.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.touched = append(k.touched, s)
}

// record writes down what the sessions have acknowledged.
func (k *keeper) record() {
	k.mu.Lock()
	touched := k.touched
	k.touched = nil
	k.mu.Unlock()
	for _, s := range touched {
		s.mu.Lock()
		s.touched = false
		if s.keptLocked() {
			k.store.Append(appendNumbered(nil, recordAcked, s, s.ackedLocked()), nil)
		}
		s.mu.Unlock()
	}
}

// run records acknowledgements and makes checkpoints until ctx ends, and both once more then.
func (k *keeper) run(ctx context.Context) {
	checking := make(chan struct{}, 1) // holds a token while a checkpoint is being made
	var running sync.WaitGroup
	defer func() {
		running.Wait()
		k.record()
		k.check(context.WithoutCancel(ctx), 0)
	}()
	acks := time.NewTicker(recordEvery)
	defer acks.Stop()
	checks := time.NewTicker(checkEvery)
	defer checks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-acks.C:
			k.record()
		case <-checks.C:
			select {
			case checking <- struct{}{}:
				running.Go(func() {
					k.check(ctx, checkpointEntries)
					<-checking
				})
			default:
			}
		}
	}
}

// check makes a checkpoint when there is reason to: more than so many entries or many bytes since the last, or a gap.
func (k *keeper) check(ctx context.Context, entries uint64) {
	k.checking.Lock()
	defer k.checking.Unlock()
	seq := k.seq()
	if seq-k.start <= entries && k.store.Size() < checkpointBytes && !k.gap.Load() {
		return
	}
	if !k.settle(ctx) {
		return
	}
	k.gap.Store(false) // first: who is parked from now on, and not found below, asks for another checkpoint
	k.mu.Lock()
	parked := k.parked
	k.parked = nil
	k.mu.Unlock()
	ends := k.server.sessions.pendingEnds()
	err := k.store.Checkpoint(func(emit func([]byte) error) error { return k.dump(seq, emit) })
	if err != nil && !k.stuck {
		k.server.options.Logger.Warn("no checkpoint of the sessions; trying again", "err", err)
	}
	if k.stuck = err != nil; k.stuck {
		k.gap.Store(true)
		k.mu.Lock()
		k.parked = append(parked, k.parked...)
		k.mu.Unlock()
		return
	}
	k.start = seq
	k.server.sessions.forgive(ends)
	for _, then := range parked {
		then()
	}
}

// settle returns true when all entries that were durable before have been answered to their sessions: answers come in the
// order of their entries, and it asks for one more. A bank that fails may have said of an entry that nobody knows about it.
func (k *keeper) settle(ctx context.Context) bool {
	answered := make(chan error, 1)
	op := bank.Operation{Kind: bank.KindStatus, Principal: bank.HousePrincipal, ID: "checkpoint"}
	if k.server.bank.Submit(ctx, op, func(_ bank.Reply, err error) { answered <- err }) != nil {
		return false
	}
	return <-answered == nil
}

// dump emits the state of all sessions that are kept.
func (k *keeper) dump(seq uint64, emit func([]byte) error) error {
	r := k.server.sessions
	r.mu.Lock()
	sessions := make([]*session, 0, len(r.sessions))
	for _, s := range r.sessions {
		if s.incarnation != 0 {
			sessions = append(sessions, s)
		}
	}
	start := binary.AppendUvarint(binary.AppendUvarint([]byte{recordStart}, seq), r.incarnation)
	r.mu.Unlock()
	if err := emit(start); err != nil {
		return err
	}
	for _, s := range sessions {
		for _, record := range s.dump() {
			if err := emit(record); err != nil {
				return err
			}
		}
	}
	return nil
}
