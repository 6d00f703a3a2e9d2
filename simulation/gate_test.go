package simulation

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"gateway/disk/disktest"
)

// errKilled is what everything gets that a process begins after its end.
var errKilled = errors.New("simulation: the process is dead")

// gate is where a process stands still until the driver lets it go on.
type gate struct {
	mu      sync.Mutex // guards all below
	waiting []*waiter
	ended   error // what everybody gets at once, or nil
	open    bool  // nobody waits
}

// waiter is a goroutine that stands at a gate.
type waiter struct {
	at     point
	resume chan error
}

// point is what a waiter is about to do.
type point struct {
	where string
	op    disktest.Op // on a disk
}

// The points besides those of the disks.
const (
	atJournal    = "journal"    // an operation on the journal's disk
	atSessions   = "sessions"   // one on the disk of the sessions' log
	atCommit     = "commit"     // the engine is given a batch
	atSubmit     = "submit"     // the MQTT door has an operation for the bank
	atAnswer     = "answer"     // the MQTT door is told a reply of the bank's
	atKept       = "kept"       // it is told that a record is durable
	atCheckpoint = "checkpoint" // a checkpoint begins, when all that was appended before is handed over
	atClose      = "close"      // the log is closed, in the same manner
)

func (p point) compare(q point) int {
	return cmp.Or(
		cmp.Compare(p.where, q.where), cmp.Compare(p.op.Kind, q.op.Kind), cmp.Compare(p.op.File, q.op.File),
		cmp.Compare(p.op.Offset, q.op.Offset),
	)
}

// pass waits until the driver lets the caller go on, and returns what that says.
func (g *gate) pass(at point) error {
	g.mu.Lock()
	if g.ended != nil || g.open {
		defer g.mu.Unlock()
		return g.ended
	}
	w := &waiter{at, make(chan error, 1)}
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	return <-w.resume
}

// follow makes what the driver did before its last choice happen before what its caller does, for the race detector: of a caller whom
// nothing but a timer has woken, synctest knows that the driver waits, and the detector does not.
func (g *gate) follow() {
	g.mu.Lock()
	defer g.mu.Unlock()
}

// held returns who waits, in an order that does not depend on who came first. Everything must be at rest.
func (g *gate) held() []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortStableFunc(g.waiting, func(a, b *waiter) int { return a.at.compare(b.at) })
	return g.waiting
}

// release lets one go on.
func (g *gate) release(w *waiter, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	g.waiting = slices.Delete(g.waiting, i, i+1)
	w.resume <- err
}

// end lets everybody go on with err, those who wait and those who come; nil makes them wait again.
func (g *gate) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = err
	if err == nil {
		return
	}
	for _, w := range g.waiting {
		w.resume <- err
	}
	g.waiting = nil
}

// lift lets everybody pass.
func (g *gate) lift() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
}
