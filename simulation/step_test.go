package simulation

import (
	"strings"
	"syscall"
	"testing/synctest"
	"time"

	"gateway/disk/disktest"
)

// choice is something that could happen next.
type choice struct {
	weight int
	kind   kindOfStep
	which  int
}

type kindOfStep uint8

const (
	stepRelease kindOfStep = iota
	stepArrive
	stepReceive
	stepSever
	stepDevice
	stepCaller
	stepRecord
	stepCheckpoint
	stepTime
	stepStart
	stepStop
)

// step lets one thing happen.
func (w *world) step() {
	if !w.ending && w.strike() {
		return
	}
	w.gather()
	total := 0
	for _, c := range w.choices {
		total += c.weight
	}
	at := w.random.IntN(total)
	for _, c := range w.choices {
		if at -= c.weight; at < 0 {
			w.do(c)
			return
		}
	}
}

// recoveries is how many times as often a process is killed while it recovers, which does not take long.
const recoveries = 3

// strike lets one of the things happen that nobody asks for, if it is time.
func (w *world) strike() bool {
	c, p := &w.chances, w.process
	often := 1
	if p != nil && p.phase == opening {
		often = recoveries
	}
	switch {
	case w.chance(c.jump):
		w.jump()
	case w.chance(c.fill):
		w.fill()
	case p == nil:
		return false
	case w.chance(often * c.kill):
		w.figures.kills++
		w.die(false)
	case w.chance(often * c.cut):
		w.figures.cuts++
		w.die(true)
	case p.phase == serving && w.chance(c.stop):
		w.figures.stops++
		p.stop()
	default:
		return false
	}
	return true
}

func (w *world) could(kind kindOfStep, which, weight int) {
	if weight > 0 {
		w.choices = append(w.choices, choice{weight, kind, which})
	}
}

// gather lists what could happen next, in an order that follows from the run alone.
func (w *world) gather() {
	w.choices = w.choices[:0]
	for i, held := range w.gate.held() {
		weight := w.chances.weightDisk
		switch held.at.where {
		case atCheckpoint, atClose:
			if w.process.shelf.pending() > 0 {
				continue
			}
			weight = w.chances.weightDump
		case atAnswer, atKept:
			weight = w.chances.weightTold
		}
		w.could(stepRelease, i, 10*weight)
	}
	for i, wire := range w.wires {
		if l := wire.link; !l.left {
			w.could(stepArrive, i, min(len(l.outgoing), 1)*10*w.chances.weightNet)
			w.could(stepReceive, i, min(len(l.incoming), 1)*10*w.chances.weightRead)
		} else {
			w.could(stepSever, i, 10)
		}
	}
	switch {
	case !w.mayPass():
	case w.ending:
		w.could(stepTime, 0, 2) // all that waits goes on first
	default:
		w.could(stepTime, 0, 20)
	}
	if w.process == nil {
		w.could(stepStart, 0, 200)
		return
	}
	w.gatherServing(w.process)
}

func (w *world) gatherServing(p *process) {
	if p.shelf != nil && p.shelf.pending() > 0 {
		w.could(stepRecord, 0, w.chances.weightRecord)
	}
	if p.phase != serving {
		return
	}
	if p.failed() {
		w.could(stepStop, 0, w.chances.weightFailed)
	}
	for i, d := range w.devices {
		if !w.ending || d.link == nil || len(d.acks) > 0 {
			w.could(stepDevice, i, 100)
		}
	}
	for i, caller := range w.callers {
		if caller.waits == nil && (!w.ending || len(caller.unknown) > 0) {
			w.could(stepCaller, i, 100)
		}
	}
	if p.shelf != nil && !w.ending {
		w.could(stepCheckpoint, 0, w.chances.checkpoint)
	}
}

// mayPass reports whether time may pass: in a run with yields not while the committer is at work, since a period that falls
// due meanwhile and an operation that has come are picked by the runtime.
func (w *world) mayPass() bool {
	if !w.chances.investment.Enabled {
		return true
	}
	for _, held := range w.gate.held() {
		if at := held.at.where; at == atCommit || at == atAnswer || at == atJournal {
			return false
		}
	}
	return true
}

func (w *world) do(c choice) {
	switch c.kind {
	case stepRelease:
		w.release(w.gate.held()[c.which])
	case stepArrive:
		w.arrive(w.wires[c.which])
	case stepReceive:
		w.receive(w.wires[c.which])
	case stepSever:
		w.trace.add(line{what: "sever", n: int64(w.wires[c.which].link.serial)})
		w.wires[c.which].link.end()
	case stepDevice:
		w.devices[c.which].act()
	case stepCaller:
		w.callers[c.which].act()
	case stepRecord:
		w.trace.add(line{what: "hand over"})
		w.process.shelf.handOver()
	case stepCheckpoint:
		w.process.shelf.want()
	case stepTime:
		w.pass(w.period())
	case stepStart:
		w.begin()
	case stepStop:
		w.process.stop()
	}
}

// release lets one who waits go on, or fails what he was about to do.
func (w *world) release(held *waiter) {
	op := held.at.op
	if op != (disktest.Op{}) { // of two that came at once, which is the first is not the run's to say
		w.released++
		op.Index = w.released
	}
	w.trace.add(line{what: held.at.where, op: op})
	var err error
	if at := held.at.where; at == atJournal || at == atSessions {
		err = w.fault(held.at)
	}
	w.gate.release(held, err)
}

// fault draws whether an operation on a disk fails, and how.
func (w *world) fault(at point) error {
	err := w.failing
	switch {
	case w.ending:
		return nil
	case err != nil:
	case w.chance(w.chances.eio), w.endsBatch(at) && w.chance(w.chances.lastSync):
		err = syscall.EIO
	case w.chance(w.chances.nospace):
		err = syscall.ENOSPC
	default:
		return nil
	}
	if err == syscall.EIO {
		w.figures.eio++
	} else {
		w.figures.nospace++
		w.lacksSpace = true
	}
	if w.chance(w.chances.sticky) {
		w.failing = err
	}
	w.trace.add(line{what: err.Error()})
	return err
}

// endsBatch reports whether an operation is the sync of a batch.
func (w *world) endsBatch(at point) bool {
	p := w.process
	return p != nil && p.committing && at.where == atJournal && at.op.Kind == disktest.Sync && strings.HasSuffix(at.op.File, ".seg")
}

// arrive delivers a packet of a device's, or a part of one.
func (w *world) arrive(wire wired) {
	first := &wire.link.outgoing[0]
	n := len(first.bytes) - first.from
	if !w.ending && n > 1 && w.random.IntN(8) == 0 {
		n = 1 + w.random.IntN(n-1)
	}
	w.trace.add(line{what: "arrive", who: wire.device.id, n: int64(n)})
	if wire.link.arrive(n); first.from == len(first.bytes) && first.bytes[0]>>4 == tPuback {
		wire.link.sent--
	}
}

// receive delivers a packet to a device.
func (w *world) receive(wire wired) {
	p := wire.link.incoming[0]
	wire.link.incoming = wire.link.incoming[1:]
	wire.device.hear(&p)
}

// pass lets time pass: in a run with yields no further than to where a yield is about to be committed, as mayPass has it.
func (w *world) pass(d time.Duration) {
	w.trace.add(line{what: "time", n: int64(d)})
	some := d
	if habit := &w.chances.investment; habit.Enabled {
		some = min(d, habit.Every/4)
	}
	for passed := some; ; passed += some {
		timer := time.NewTimer(some)
		<-timer.C
		if passed >= d {
			return
		}
		if synctest.Wait(); !w.mayPass() {
			return
		}
	}
}

// jump sets the wall clock, but not the timers. While yields are paid it does not set it forward by a period: all that were
// missed would be due at once, beside the operations that wait.
func (w *world) jump() {
	by := pick(w.random, time.Millisecond, time.Second, time.Hour, 365*24*time.Hour)
	if w.random.IntN(2) == 0 {
		by = -by
	}
	if habit := &w.chances.investment; habit.Enabled && w.process != nil && by > habit.Every/2 {
		by = time.Millisecond
	}
	w.figures.jumps++
	w.trace.add(line{what: "jump", n: int64(by)})
	w.offset.Add(int64(by))
}

// die ends the process without a word.
func (w *world) die(cut bool) {
	w.trace.add(line{what: "die", n: int64(len(w.book.facts))})
	recovering := w.process != nil && w.process.phase == opening
	w.kill(cut)
	w.failing = nil
	w.unanswered.Store(0)
	w.torn = cut || w.torn && recovering
}

// begin starts a process, after it may have been seen what happens to damaged disks.
func (w *world) begin() {
	w.trace.add(line{what: "start"})
	if !w.ending && w.chance(w.chances.damage) {
		w.fail1(w.checkDamage())
	}
	w.start()
}

// fill leaves a disk little space, or gives all of it back.
func (w *world) fill() {
	d := pick(w.random, w.journal, w.sessions)
	w.figures.fills++
	if w.random.IntN(2) == 0 {
		w.trace.add(line{what: "free"})
		d.Limit(roomy)
		return
	}
	w.lacksSpace = true
	used := bytesOn(d)
	limit := used + used/10 + int64(w.random.IntN(64<<10))
	w.trace.add(line{what: "fill", n: limit})
	d.Limit(limit)
}

// roomy is more than any run needs, in bytes.
const roomy = 1 << 40

func bytesOn(d *disktest.Disk) int64 {
	free, total, _ := d.Space() // which does not fail here
	return total - free
}
