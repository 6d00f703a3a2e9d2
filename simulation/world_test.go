package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing/synctest"
	"time"

	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/statelog"
	"gateway/transport/mqtt"
)

// world is one run. All but the process is the driver's; what the process calls into is called while the driver waits.
type world struct {
	seed    uint64
	random  *rand.Rand
	chances chances
	trace   trace
	figures figures
	gate    gate
	book    *book

	journal, sessions *disktest.Disk
	offset            atomic.Int64 // of the wall clock, against that of the timers
	earliest, latest  time.Time    // that the wall clock has shown
	process           *process     // nil: none runs
	starts            int
	devices           []*device
	callers           []*caller
	wires             []wired
	links, ids        int
	released          int          // operations on disks
	unanswered        atomic.Int64 // operations that the bank has taken
	ending            bool         // nothing new is asked, and nothing fails
	failing           error        // what every operation on a disk gets until the process ends, or nil
	lacksSpace        bool         // there was once none
	torn              bool         // the last process that was opened lost its power, or failed
	rested            bool         // it was stopped, and did not fail
	owner             [16]byte     // the journal's id
	choices           []choice

	mu    sync.Mutex // guards wrong
	wrong error      // the first promise that was broken
}

// wired is a link that the gateway has not closed yet.
type wired struct {
	link   *link
	device *device
}

// figures count what happened.
type figures struct {
	operations, yields, adopted, checkpoints           int64
	starts, refusedStarts, kills, cuts, stops, damages int64
	eio, nospace, fills, jumps, drops, redeliveries    int64
	deaf, overloaded, relearned                        int64
}

func newWorld(seed uint64) *world {
	w := &world{seed: seed, random: rand.New(rand.NewPCG(seed, 0)), journal: disktest.New(seed), sessions: disktest.New(seed + 1)}
	w.draw()
	w.book = newBook(w)
	w.watch(w.journal, atJournal)
	w.watch(w.sessions, atSessions)
	for i := range w.chances.devices {
		w.devices = append(w.devices, newDevice(w, i))
	}
	for i := range w.chances.callers {
		w.callers = append(w.callers, &caller{w: w, number: i, principal: pick(w.random, principals...)})
	}
	w.earliest, w.latest = w.now(), w.now()
	return w
}

// fail notes that a promise is broken. The first counts.
func (w *world) fail(format string, values ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format, values...)
	}
}

// broken returns the first promise that was broken, or nil.
func (w *world) broken() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

// run plays the world to its end and returns the promise that was broken, or nil.
func (w *world) run() error {
	for range w.chances.steps {
		if w.rest(); w.wrong != nil {
			break
		}
		w.step()
	}
	if w.wrong == nil {
		w.finish()
	}
	if w.process != nil {
		w.kill(false)
	}
	w.gate.lift()
	if w.wrong == nil {
		w.fail1(w.audit())
	}
	return w.wrong
}

// fail1 notes an error, if it is one.
func (w *world) fail1(err error) {
	if err != nil {
		w.fail("%w", err)
	}
}

// rest lets everything run until all of it waits, and looks at what came of it.
func (w *world) rest() {
	synctest.Wait()
	now := w.now()
	if now.After(w.latest) {
		w.latest = now
	}
	if now.Before(w.earliest) {
		w.earliest = now
	}
	w.watchProcess()
	w.watchWires()
	for _, c := range w.callers {
		c.look()
	}
	synctest.Wait() // for what has begun, or heard of an end, just now
	if p := w.process; p != nil && p.shelf != nil {
		p.shelf.settle()
	}
}

// watchProcess takes the process a stage further.
func (w *world) watchProcess() {
	p := w.process
	if p == nil {
		return
	}
	switch p.phase {
	case opening:
		select {
		case <-p.opening:
		default:
			return
		}
		if p.openErr != nil {
			w.trace.add(line{what: "not opened"})
			w.checkExcused(p.openErr, "the start")
			w.figures.refusedStarts++
			w.torn = true
			w.process, w.failing = nil, nil
			return
		}
		w.trace.add(line{what: "opened", n: int64(len(p.found))})
		w.figures.starts++
		if w.fail1(w.book.adopt(p.found)); w.wrong == nil {
			p.serve()
		}
	case serving:
		if p.failed() {
			w.checkExcused(errors.Join(p.commitErr, p.logErr()), "the process")
		}
	case stopping:
		select {
		case <-p.ended:
		default:
			return
		}
		w.trace.add(line{what: "stopped"})
		w.torn, w.rested = p.endErr != nil, p.endErr == nil
		w.checkExcused(p.endErr, "the stop")
		w.leaveAll()
		if w.process, w.failing = nil, nil; w.unanswered.Swap(0) != 0 {
			w.fail("I11: operations that were accepted have no answer after a stop")
		}
		w.book.interrupted()
	}
}

func (p *process) logErr() error {
	if p.log == nil {
		return nil
	}
	return p.log.Err()
}

// checkExcused makes sure that nothing fails but for what the world did to it.
func (w *world) checkExcused(err error, what string) {
	switch {
	case err == nil:
	case errors.Is(err, syscall.EIO) && w.figures.eio > 0:
	case (disk.LacksSpace(err) || errors.Is(err, journal.ErrNoSpace) || errors.Is(err, statelog.ErrNoSpace) ||
		errors.Is(err, mqtt.ErrNoSpace)) && w.lacksSpace:
	default:
		w.fail("%s failed: %w", what, err)
	}
}

// leaveAll is what devices see of a process that has ended.
func (w *world) leaveAll() {
	for _, d := range w.devices {
		d.lose()
	}
	w.wires = nil
}

// watchWires looks at what the gateway has written, and holds it against what it may say.
func (w *world) watchWires() {
	kept := w.wires[:0]
	for _, wire := range w.wires {
		l, d := wire.link, wire.device
		written, over := l.collect()
		l.reading.rest = append(l.reading.rest, written...)
		for {
			p, ok, err := l.reading.next()
			if err != nil {
				w.fail("%s: %w", d.id, err)
			}
			if !ok {
				break
			}
			w.trace.add(line{what: "write", who: d.id, n: int64(p.kind), m: int64(p.id)})
			if d.link == l {
				w.checkWindow(l, d, &p)
				w.checkSaid(d, &p)
				l.incoming = append(l.incoming, p)
			}
		}
		if over && d.link == l && len(l.incoming) == 0 {
			d.lose()
		}
		if l.left && over && !l.isClosed() {
			l.end()
		}
		if !l.isClosed() || d.link == l {
			kept = append(kept, wire)
		}
	}
	w.wires = kept
}
