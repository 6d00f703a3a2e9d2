package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"gateway/bank"
)

// chances are what a run draws first: which kinds of things happen in it, and how often.
type chances struct {
	create        bool
	segment       int64
	snapshotEvery int
	beside        bool // the engine writes snapshots and prepares segments beside the traffic, as it does in the gateway
	ahead         int64
	investment    bank.Investment
	accounts      int
	ids           int // how many ids a principal chooses from, besides new ones
	steps         int
	batch         int
	devices       int
	callers       int

	// Out of a thousand, each time that it could be.
	eio, nospace  int // that an operation on a disk fails
	lastSync      int // that a sync of a batch fails, after which the bank does nothing more
	sticky        int // that all after it fail too
	fill, free    int // that a disk has little space left, or all of it again
	kill, cut     int // that the process ends so
	stop          int
	jump          int // of the clock
	loss          int // of a link
	checkpoint    int
	damage        int // at each start: that copies of the disks are damaged
	refused       int // of operations: that they cannot be
	near          int // that an amount is near the greatest
	status, again int // that a caller asks for an answer once more
	lateAcks      int // that a device keeps its acknowledgement of a reply for later
	cleanStart    int
	impatient     int           // that a device of MQTT 3 delivers again on the same connection
	pause         int           // that time that passes is long
	longest       time.Duration // of that
	weightDisk    int           // how willingly the disks work, against all else
	weightNet     int           // the same of the network
	weightRead    int           // the same of devices that read
	weightTold    int           // the same of what waits to be told
	weightDump    int           // the same of a checkpoint that waits to begin
	weightFailed  int           // the same of a process that ends because it has failed
	window        int           // how many replies a device of MQTT 5 takes before it acknowledges them; 0: it does not say
	weightRecord  int           // the same of a record that waits for the sessions' log
	most          int           // operations of a device that are under way
	favoured      int           // out of a thousand operations of devices, those of QoS favourite; the others are of any
	favourite     byte
	brief         int  // that a device of MQTT 5 connects so that its session ends with the connection
	goodbye       int  // that it says so when it leaves
	deaf          int  // that a device gives its subscription up
	expire        bool // sessions of MQTT 5 do, soon
	relearn       int  // that a device speaks another version of MQTT when it connects again

	// What the MQTT door is told to allow; 0: its own.
	inFlight, waiting, waitingAll int
}

// draw draws a run. Each kind of thing is there in some of them.
func (w *world) draw() {
	r := w.random
	c := &w.chances
	*c = chances{
		create: r.IntN(6) > 0, segment: pick[int64](r, 1024, 2048, 4096, 16384), snapshotEvery: pick(r, 3, 8, 30, 1000),
		ahead: pick[int64](r, 512, 1024, 4096, 16384), accounts: 1 + r.IntN(5), ids: 1 + r.IntN(8), steps: 60 + r.IntN(240),
		callers: r.IntN(4), batch: pick(r, 0, 0, 1, 3), eio: some(r, 4, 1, 12), nospace: some(r, 5, 1, 12),
		fill: some(r, 6, 1, 10), free: 100, sticky: some(r, 2, 500, 1000),
		kill: some(r, 2, 1, 12), cut: some(r, 2, 1, 14), stop: some(r, 3, 1, 8), jump: some(r, 3, 5, 30), loss: some(r, 2, 2, 40),
		checkpoint: some(r, 3, 5, 60), damage: some(r, 5, 300, 1000), refused: some(r, 2, 20, 200), near: some(r, 4, 50, 500),
		status: some(r, 2, 50, 300), again: some(r, 2, 50, 300), lateAcks: some(r, 2, 100, 800), cleanStart: some(r, 4, 50, 300),
		impatient: some(r, 4, 20, 100), pause: some(r, 3, 20, 200), weightDisk: 1 + r.IntN(30), weightNet: 1 + r.IntN(20),
	}
	c.beside, c.relearn = r.IntN(2) == 0, some(r, 4, 50, 300)
	c.brief, c.goodbye = some(r, 4, 50, 300), some(r, 4, 5, 40)
	c.expire = r.IntN(4) == 0
	c.deaf, c.inFlight = some(r, 4, 20, 150), some(r, 3, 1, 4)
	if c.inFlight > 0 {
		c.waiting, c.waitingAll = some(r, 2, 1, 3), some(r, 3, 1, 8)
	}
	if r.IntN(4) > 0 {
		c.devices = 1 + r.IntN(3)
	}
	if c.devices == 0 && c.callers == 0 {
		c.callers = 2
	}
	c.weightRead, c.weightTold, c.weightDump, c.weightFailed = c.weightNet, c.weightDisk, c.weightDisk, 50
	c.window, c.most, c.weightRecord, c.longest = some(r, 4, 1, 3), 7, 200, 90*time.Second
	if r.IntN(4) == 0 {
		c.investment = bank.Investment{
			Enabled: true, FirstAfter: pick(r, 50*time.Millisecond, time.Second), Every: pick(r, 300*time.Millisecond, time.Minute),
			Hold: pick(r, 0, 40*time.Millisecond), Rate: pick(r, "0.10", "0.005", "1"),
		}
	}
	switch r.IntN(12) {
	case 0:
		w.drawLinks()
	case 1:
		w.drawReleases()
	case 2, 3:
		w.drawCheckpoints()
	}
}

// calm takes from a run all that happens to devices and disks, but for the loss of links and of processes.
func (c *chances) calm() {
	c.investment, c.eio, c.nospace, c.fill, c.jump, c.damage, c.refused = bank.Investment{}, 0, 0, 0, 0, 0, 0
	c.brief, c.goodbye, c.expire, c.deaf, c.cleanStart, c.stop = 0, 0, false, 0, 0, 0
	c.inFlight, c.waiting, c.waitingAll = 0, 0, 0
}

// drawLinks makes of a run one in which little happens but that links are lost, with much on them that nobody has read, and that
// devices come back and deliver again.
func (w *world) drawLinks() {
	r, c := w.random, &w.chances
	c.calm()
	c.callers, c.devices, c.steps = 0, 1, 400+r.IntN(600)
	c.kill, c.cut, c.pause = 0, 0, 0
	c.loss, c.impatient, c.lateAcks = 5+r.IntN(30), some(r, 2, 20, 100), r.IntN(500)
	c.weightNet, c.weightRead, c.window, c.most = 20, 1+r.IntN(10), r.IntN(4), pick(r, 7, 50)
	c.favourite, c.favoured = 1, 900
}

// drawReleases makes of a run one with operations of QoS 2 whose release comes again while the log is slow to keep it, and with
// processes that end then.
func (w *world) drawReleases() {
	r, c := w.random, &w.chances
	c.calm()
	c.callers, c.devices, c.steps = 0, 1, 200+r.IntN(200)
	c.kill, c.cut, c.loss, c.pause = 1+r.IntN(4), r.IntN(3), r.IntN(30), 0
	c.impatient, c.checkpoint = 100+r.IntN(200), 0
	c.weightNet, c.weightRead, c.weightRecord = 20, 20, 5+r.IntN(20)
	c.favourite, c.favoured = 2, 900
}

// drawCheckpoints makes of a run one with checkpoints of the sessions beside answers that are not told yet: of a process that is
// killed then, or of a bank that fails at a sync in a process that lives on for a while.
func (w *world) drawCheckpoints() {
	r, c := w.random, &w.chances
	c.calm()
	c.callers, c.devices, c.steps = 0, 1+r.IntN(2), 200+r.IntN(300)
	c.kill, c.cut, c.loss, c.pause, c.longest, c.checkpoint = 8, 0, 0, 600, time.Second, 300
	c.weightDisk, c.weightNet, c.weightRead, c.weightRecord = 20, 20, pick(r, 1, 5, 20), 1000
	c.weightTold, c.weightDump = 1, 20
	if r.IntN(3) > 0 {
		c.kill, c.lastSync, c.weightFailed = r.IntN(3), 100+r.IntN(200), 5
		c.weightTold, c.weightDump = pick(r, 3, 20), pick(r, 1, 20)
	}
	c.favourite, c.favoured = pick[byte](r, 1, 2), 900
}

// some draws a number that is 0 but in one of so many runs.
func some(r *rand.Rand, odds, least, most int) int {
	if r.IntN(odds) > 0 {
		return 0
	}
	return least + r.IntN(most-least+1)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// chance is true so many times out of a thousand.
func (w *world) chance(perMille int) bool { return perMille > 0 && w.random.IntN(1000) < perMille }

// principals are who asks.
var principals = []string{bank.AnonymousPrincipal, "ana", "bia"}

// account draws one of few, so that operations meet.
func (w *world) account() bank.Account {
	return bank.Account('a' + rune(w.random.IntN(w.chances.accounts)))
}

// operation draws what a principal asks, with an id or without.
func (w *world) operation(principal string) bank.Operation {
	r := w.random
	op := bank.Operation{Principal: principal, Account: w.account()}
	switch r.IntN(12) {
	case 0, 1:
		op.Kind = bank.KindBalance
	case 2, 3, 4, 5:
		op.Kind = bank.KindDeposit
	case 6, 7:
		op.Kind = bank.KindWithdraw
	case 8, 9, 10:
		op.Kind, op.To = bank.KindTransfer, w.account()
	default:
		op.Kind = bank.KindOpen
	}
	if op.Kind.Moves() {
		op.Amount = bank.Amount(1 + r.IntN(300))
		if w.chance(w.chances.near) {
			op.Amount = bank.MaxAmount - bank.Amount(r.IntN(300))
		}
	}
	switch r.IntN(8) {
	case 0, 1:
	case 2, 3:
		op.ID = fmt.Sprint(r.IntN(w.chances.ids)) // which may stand for something else, or be another principal's
	default:
		w.ids++
		op.ID = fmt.Sprint("id-", w.ids)
	}
	if w.chance(w.chances.refused) {
		w.spoil(&op)
	}
	return op
}

// spoil makes of an operation one that cannot be.
func (w *world) spoil(op *bank.Operation) {
	switch w.random.IntN(4) {
	case 0:
		op.Account = pick(w.random, bank.CashAccount, "", "é", bank.YieldAccount)
	case 1:
		op.Kind, op.To, op.Amount = bank.KindTransfer, bank.CashAccount, 1
	case 2, 3:
		op.Kind, op.Amount, op.To = bank.KindDeposit, pick[bank.Amount](w.random, 0, bank.MaxAmount+1, 1<<62), ""
	default:
		op.ID = "no\x01id"
	}
}

// period draws how long time passes.
func (w *world) period() time.Duration {
	if w.ending {
		return 20 * time.Millisecond
	}
	if w.chance(w.chances.pause) {
		return min(pick(w.random, time.Second, 3*time.Second, 90*time.Second), w.chances.longest)
	}
	return pick(w.random, time.Millisecond, 5*time.Millisecond, 25*time.Millisecond, 120*time.Millisecond, 400*time.Millisecond)
}
