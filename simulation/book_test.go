package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
	"gateway/bank/journal"
)

// book is what a judge knows who saw everything that was asked, committed and told. Whoever runs alone may use it: the driver
// while all is at rest, and the committer while the driver waits.
type book struct {
	w     *world
	model *banktest.Model
	asked []*asked // by tag, which is one more than the index

	// facts are the entries that are durable for certain: the engine has answered them, or a start has found them.
	facts    []fact
	hashes   [][32]byte       // of those that a start has found
	underWay []bank.Operation // a batch that the engine has not answered
	pending  bool             // that batch is with an engine that lives
	seen     uint64           // the greatest seq that anybody was told
	// lastBatch is how many entries the last batch has: of that a power cut may leave no mark.
	lastBatch int
}

// asked is one thing that a client wants. However often it asks, it is done once. Its tag is its memo, so that it is known
// again wherever it turns up.
type asked struct {
	tag       int
	op        bank.Operation
	device    *device      // who asked; nil: a caller
	floor     uint64       // the greatest seq that anybody was told before
	accepted  int          // how often the bank has taken it
	answers   []bank.Reply // that the bank has given
	replies   int          // that the device has heard
	owed      bool         // a reply must come, if it was decided
	confirmed bool         // it was acknowledged with yes, so it is decided
	abandoned bool         // the session in which it came is no more
	refused   bool         // the bank once did not take it, or does not know what became of it
	entry     uint64       // its seq; 0: none is known
	unheard   *link        // on which it was published by a device that was not subscribed; nil: by one that was
	late      bool         // the device was not subscribed at the time: it hears the reply when it delivers the operation again, if ever
}

// fact is an entry that is durable.
type fact struct {
	op    bank.Operation
	reply bank.Reply
}

func newBook(w *world) *book {
	return &book{w: w, model: banktest.NewModel(w.chances.create)}
}

// ask makes op a new thing that is asked, and gives it its tag.
func (b *book) ask(op bank.Operation, d *device) *asked {
	a := &asked{tag: len(b.asked) + 1, device: d, floor: b.seen}
	op.Memo = "m" + strconv.Itoa(a.tag)
	a.op = op
	b.asked = append(b.asked, a)
	return a
}

// find returns what was asked with that memo, or nil.
func (b *book) find(memo string) *asked {
	digits, ok := strings.CutPrefix(memo, "m")
	tag, err := strconv.Atoi(digits)
	if !ok || err != nil || tag < 1 || tag > len(b.asked) {
		return nil
	}
	return b.asked[tag-1]
}

// accepted notes that the bank has taken an operation.
func (b *book) accepted(op *bank.Operation) {
	if a := b.find(op.Memo); a != nil {
		a.accepted++
	}
}

// refuses notes that it has not, or that nobody knows what became of one: it is acknowledged, now or after a restart, and the
// reply says so.
func (b *book) refuses(op *bank.Operation) {
	if a := b.find(op.Memo); a != nil {
		a.refused = true
	}
}

// begins notes that the engine is given a batch.
func (b *book) begins(ops []bank.Operation) {
	b.underWay = append(b.underWay[:0], ops...)
	b.pending = true
}

// interrupted notes that the process is no more.
func (b *book) interrupted() { b.pending = false }

// committed holds a batch that was answered against the model.
func (b *book) committed(ops []bank.Operation, replies []bank.Reply) {
	before := len(b.facts)
	for i := range ops {
		op, got := &ops[i], replies[i]
		a := b.find(op.Memo)
		if a != nil {
			a.answers = append(a.answers, got)
		}
		b.w.figures.operations++
		if got.Code == bank.Unavailable {
			if !b.w.lacksSpace {
				b.w.fail("I11: %v was refused for want of space, and there is some", op)
			}
			continue
		}
		b.w.checkReply(op, got, b.model.Do(*op))
		if got.Recorded {
			b.record(op, got)
		}
	}
	b.underWay, b.pending = b.underWay[:0], false
	if wrote := len(b.facts) - before; wrote > 0 {
		b.lastBatch = wrote
	}
}

// record notes an entry that is durable.
func (b *book) record(op *bank.Operation, reply bank.Reply) {
	b.facts = append(b.facts, fact{*op, reply})
	if a := b.find(op.Memo); a != nil {
		a.entry = reply.Seq
	}
	if op.Kind == bank.KindYield {
		b.w.figures.yields++
	}
}

// adopt holds the history that a start has found against what is known, and takes over what of the batch under way is there:
// from now on nothing of it may be lost. Its entries come in its order, and so it is there up to some entry or not at all.
func (b *book) adopt(all []found) error {
	if len(all) < len(b.facts) {
		return fmt.Errorf("I1: %d entries are left of %d that were acknowledged", len(all), len(b.facts))
	}
	for i := range b.facts {
		if err := b.facts[i].matches(&all[i].entry); err != nil {
			return fmt.Errorf("I1: %w", err)
		}
	}
	if err := b.checkChain(all); err != nil {
		return err
	}
	left := b.underWay
	for i := len(b.facts); i < len(all); i++ {
		e := &all[i].entry
		if left = upTo(left, e); len(left) == 0 {
			return fmt.Errorf("I2: nobody asked for entry %d: %+v", e.Seq, *e)
		}
		want := b.model.Do(left[0])
		adopted := fact{left[0], e.Reply()}
		want.Time, adopted.reply.Recorded = e.Time, true
		if want != adopted.reply {
			return fmt.Errorf("I6: entry %d answers %+v, the rules say %+v", e.Seq, adopted.reply, want)
		}
		if err := adopted.matches(e); err != nil {
			return fmt.Errorf("I2: %w", err)
		}
		if a := b.find(e.Memo); a != nil {
			a.answers = append(a.answers, adopted.reply)
		}
		b.record(&left[0], adopted.reply)
		left = left[1:]
		b.w.figures.adopted++
	}
	b.underWay = nil
	for i := len(b.hashes); i < len(all); i++ {
		b.hashes = append(b.hashes, all[i].hash)
	}
	return b.checkEntries(all)
}

// upTo returns what of a batch is left from the operation on that an entry decides.
func upTo(left []bank.Operation, e *bank.Entry) []bank.Operation {
	for len(left) > 0 && (left[0].Memo != e.Memo || left[0].ID != e.ID) {
		left = left[1:]
	}
	return left
}

// matches holds an entry against what is known of it.
func (f *fact) matches(e *bank.Entry) error {
	want := f.reply
	want.Recorded = false
	if got := e.Reply(); got != want {
		return fmt.Errorf("entry %d answers %+v, it was told as %+v", e.Seq, got, want)
	}
	op := &f.op
	if e.Kind != op.Kind || e.Principal != op.Principal || e.ID != op.ID || e.Account != op.Account || e.To != op.To ||
		e.Amount != op.Amount || e.Memo != op.Memo || e.Origin != op.Origin {
		return fmt.Errorf("entry %d is %+v, %+v was asked", e.Seq, *e, *op)
	}
	return nil
}

// handed holds what the bank hands to a door against what its engine has answered. That it is overloaded the bank says by the
// error of Submit alone: what it has taken it answers.
func (b *book) handed(op *bank.Operation, got bank.Reply) {
	if got.Code == bank.Overloaded {
		b.w.fail("I11: %v %q was taken, and answered %v", op.Kind, op.ID, got.Code)
	}
	if a := b.find(op.Memo); a != nil && !a.answered(got) {
		b.w.fail("I6: the engine has answered m%d %+v, the bank says %+v", a.tag, a.answers, got)
	}
}

// answered reports whether the engine has given that answer.
func (a *asked) answered(got bank.Reply) bool {
	return slices.ContainsFunc(a.answers, func(r bank.Reply) bool {
		r.Recorded, got.Recorded = false, false
		return r == got
	})
}

// told notes that somebody was told a reply, and holds it against what the bank has answered and against real time. Only that it
// cannot write now may be said without the bank.
func (b *book) told(a *asked, got bank.Reply) {
	if !a.answered(got) && got.Code != bank.Unavailable {
		b.w.fail("I6: m%d was answered %+v, and told %+v", a.tag, a.answers, got)
	}
	b.checkOrder(a, &got)
	b.seen = max(b.seen, got.Seq)
}

// decided reports whether the bank has answered, so that an acknowledgement is due.
func (a *asked) decided() bool { return len(a.answers) > 0 }

// recorded returns the first answer that left an entry, or nil.
func (a *asked) recorded() *bank.Reply {
	for i := range a.answers {
		if a.answers[i].Recorded {
			return &a.answers[i]
		}
	}
	return nil
}

// open opens the journal as it lies there, without anybody at the gates.
func (w *world) open() (*journal.Engine, error) {
	return journal.Open("", w.journalOptions())
}

// now is the wall clock of the machine, which jumps; the timers do not.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }
