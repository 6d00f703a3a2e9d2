package banktest

import (
	"fmt"
	"math/big"
	"time"

	"gateway/bank"
)

// Told is one operation as its client saw it: when it was sent first, and what it was told, if anything. An operation that
// writes has an id. Copies of it, sent by one client in turn, are one Told; asked again, it is another.
type Told struct {
	Client   string // who asked, for reports
	Op       bank.Operation
	Called   time.Duration // before it was sent, by a clock that all clients share
	Returned time.Duration // after its answer was there
	// Answered says that there was an answer that settles it. To be turned away unread, or to be told that the bank cannot write
	// now, is none.
	Answered bool
	Reply    bank.Reply // of which Code, Seq, Balance, HasBalance and Duplicate are looked at
}

// The promises that [CheckHistory] holds a bank to.
const (
	NothingIsLost      = "I1: what was acknowledged is in the journal"
	NothingIsTwice     = "I2: an id is applied once"
	SumIsZero          = "I3: all accounts sum to zero after each entry"
	NothingIsOverdrawn = "I4: no customer's balance is negative or passes the ceiling"
	SeqIsDense         = "I5: entries are numbered from 1 without a gap"
	OrderIsReal        = "I6: what was answered before another was asked comes before it"
	AnswersAreTheRules = "I6: every answer is what the rules make of the book at its place"
	NothingIsInvented  = "I8: every entry was asked for"
)

// Fault is a promise that a history breaks.
type Fault struct {
	Promise string
	Seq     uint64 // where in the journal; 0 when the place is none
	ID      string
	Why     string
}

// Error tells it in one line.
func (f Fault) Error() string {
	return fmt.Sprintf("seq %d, id %q: %s (%s)", f.Seq, f.ID, f.Why, f.Promise)
}

// maxFaults is after how many faults the check ends: those that follow are of the first ones' making.
const maxFaults = 20

// CheckHistory joins what clients were told with the entries of a journal, and returns every promise that the two break. Of
// the entries only Seq, Kind, Code, Principal, ID, Memo and Postings are looked at, which is what a dump tells; the rest is
// known from who asked. The bank has opened accounts at their first use.
//
// The model judges each entry and each balance at its seq, so that the time it takes grows with their number only, however many
// were under way at once. Told of one id must be the same operation, of one client.
func CheckHistory(entries []bank.Entry, told []Told) []Fault {
	h := &history{
		entries: entries, model: NewModel(true), book: map[bank.Account]bank.Amount{}, asked: map[[2]string]*asked{},
		reads: make([][]*Told, len(entries)+1),
	}
	h.gather(told)
	h.join()
	h.missing(told)
	h.readAt(0)
	for i := range entries {
		if len(h.faults) >= maxFaults {
			break
		}
		h.entry(uint64(i)+1, &entries[i])
		h.readAt(i + 1)
	}
	return h.faults
}

// history is one check.
type history struct {
	entries []bank.Entry
	model   *Model
	book    map[bank.Account]bank.Amount // the sums of the postings
	total   bank.Amount
	asked   map[[2]string]*asked // by principal and id
	reads   [][]*Told            // the balances that were answered, by seq
	latest  time.Duration        // when, of all that the walk has passed, the last was called
	faults  []Fault
}

// asked is all that was told of one id.
type asked struct {
	op       bank.Operation
	called   time.Duration // the first
	returned time.Duration // the first answer
	answers  []*Told       // to the operation and to questions for its status
	first    int           // answers that claim to be no duplicates
	seq      uint64        // of its entry, once there is one
}

func keyOf(principal, id string) [2]string { return [2]string{principal, id} }

func (h *history) fault(promise string, seq uint64, id, format string, args ...any) {
	if len(h.faults) < maxFaults {
		h.faults = append(h.faults, Fault{promise, seq, id, fmt.Sprintf(format, args...)})
	}
}

// gather puts together what was told of each id, and what was read at each seq.
func (h *history) gather(told []Told) {
	for i := range told {
		if t := &told[i]; t.Op.Kind != bank.KindBalance && t.Op.Kind != bank.KindStatus {
			h.write(t)
		}
	}
	for i := range told {
		t := &told[i]
		switch {
		case !t.Answered:
		case t.Op.Kind == bank.KindStatus:
			h.status(t)
		case t.Op.Kind == bank.KindBalance && t.Reply.Seq > uint64(len(h.entries)):
			h.fault(NothingIsLost, t.Reply.Seq, "", "%s was told a balance as of an entry that is not there", t.Client)
		case t.Op.Kind == bank.KindBalance:
			h.reads[t.Reply.Seq] = append(h.reads[t.Reply.Seq], t)
		}
	}
}

func (h *history) write(t *Told) {
	key := keyOf(t.Op.Principal, t.Op.ID)
	a := h.asked[key]
	if a == nil {
		a = &asked{op: t.Op, called: t.Called}
		h.asked[key] = a
	}
	a.called = min(a.called, t.Called)
	if t.Answered {
		a.answer(t)
		if !t.Reply.Duplicate {
			a.first++
		}
	}
}

func (a *asked) answer(t *Told) {
	if len(a.answers) == 0 || t.Returned < a.returned {
		a.returned = t.Returned
	}
	a.answers = append(a.answers, t)
}

// status takes what was told about an id: the answer to it, or that it was never decided, which cannot be once it was answered.
func (h *history) status(t *Told) {
	a := h.asked[keyOf(t.Op.Principal, t.Op.ID)]
	switch {
	case a == nil && t.Reply.Code == bank.IDNotFound:
	case a == nil:
		h.fault(NothingIsInvented, t.Reply.Seq, t.Op.ID, "%s was told the status of what nobody asked for", t.Client)
	case t.Reply.Code != bank.IDNotFound:
		a.answer(t)
	case len(a.answers) > 0 && a.returned < t.Called:
		h.fault(NothingIsLost, 0, t.Op.ID, "%s was told that the id is not known, after its answer", t.Client)
	}
}

// join finds for every entry what asked for it.
func (h *history) join() {
	for i := range h.entries {
		e, seq := &h.entries[i], uint64(i)+1
		if e.Seq != seq {
			h.fault(SeqIsDense, seq, e.ID, "the entry says %d", e.Seq)
		}
		a := h.asked[keyOf(e.Principal, e.ID)]
		switch {
		case e.Principal == bank.HousePrincipal:
		case a == nil:
			h.fault(NothingIsInvented, seq, e.ID, "nobody asked for it")
		case a.seq != 0:
			h.fault(NothingIsTwice, seq, e.ID, "entry %d has this id too", a.seq)
		case e.Kind != a.op.Kind || e.Memo != a.op.Memo:
			h.fault(NothingIsInvented, seq, e.ID, "asked for was a %s with memo %q, not a %s with %q", a.op.Kind, a.op.Memo, e.Kind, e.Memo)
		default:
			a.seq = seq
		}
	}
}

// entry judges the entry in place seq as the rules do, and compares every answer to what it records.
func (h *history) entry(seq uint64, e *bank.Entry) {
	h.post(seq, e)
	a := h.asked[keyOf(e.Principal, e.ID)]
	op := bank.Operation{Kind: e.Kind, Principal: e.Principal, ID: e.ID, Memo: e.Memo} // all that there is of a yield
	switch {
	case a != nil && a.seq == seq:
		op = a.op
	case e.Principal != bank.HousePrincipal:
		h.adopt(seq, e)
		return
	}
	h.model.seq = seq - 1
	want := h.model.Do(op)
	if e.Code != want.Code {
		h.fault(AnswersAreTheRules, seq, e.ID, "the entry says %s, the rules %s", e.Code, want.Code)
	}
	h.compareBook(seq, e, &op)
	if a != nil {
		h.answersOf(a, &want)
		h.inOrder(seq, a)
	}
	h.adopt(seq, e)
}

// post adds the postings up.
func (h *history) post(seq uint64, e *bank.Entry) {
	var sum bank.Amount
	for _, p := range e.Postings {
		sum += p.Amount
		h.book[p.Account] += p.Amount
		if balance := h.book[p.Account]; !p.Account.House() && (balance < 0 || balance > bank.MaxAmount) {
			h.fault(NothingIsOverdrawn, seq, e.ID, "%s has %d", p.Account, balance)
		}
	}
	if h.total += sum; sum != 0 || h.total != 0 {
		h.fault(SumIsZero, seq, e.ID, "it sums to %d, and the book to %d", sum, h.total)
		h.total = 0
	}
}

// compareBook compares the accounts that the entry or its operation names with the model's.
func (h *history) compareBook(seq uint64, e *bank.Entry, op *bank.Operation) {
	check := func(account bank.Account) {
		if account != "" && h.model.balance(account).Int64() != int64(h.book[account]) {
			h.fault(AnswersAreTheRules, seq, e.ID, "it leaves %s at %d, the rules at %d", account, h.book[account], h.model.balance(account))
		}
	}
	check(op.Account)
	if op.To != op.Account {
		check(op.To)
	}
	for _, p := range e.Postings {
		if p.Account != op.Account && p.Account != op.To {
			check(p.Account)
		}
	}
}

// adopt lets the model go on from the journal, so that one fault is not told again with every entry after it.
func (h *history) adopt(seq uint64, e *bank.Entry) {
	h.model.seq = seq
	for _, p := range e.Postings {
		if h.model.balance(p.Account).Int64() != int64(h.book[p.Account]) {
			h.model.balances[p.Account] = big.NewInt(int64(h.book[p.Account]))
		}
	}
}

// answersOf compares every answer with what the rules say.
func (h *history) answersOf(a *asked, want *bank.Reply) {
	for _, t := range a.answers {
		h.answer(t, want)
		again := t.Op.Kind == bank.KindStatus || a.returned < t.Called
		if again && !t.Reply.Duplicate {
			h.fault(NothingIsTwice, want.Seq, a.op.ID, "%s was told so as if it were the first time, after an answer", t.Client)
		}
	}
	if a.first > 1 {
		h.fault(NothingIsTwice, want.Seq, a.op.ID, "%d answers say that they are the first", a.first)
	}
}

func (h *history) answer(t *Told, want *bank.Reply) {
	got := bank.Reply{Code: t.Reply.Code, Seq: t.Reply.Seq, Balance: t.Reply.Balance, HasBalance: t.Reply.HasBalance}
	if right := (bank.Reply{Code: want.Code, Seq: want.Seq, Balance: want.Balance, HasBalance: want.HasBalance}); got != right {
		h.fault(AnswersAreTheRules, want.Seq, t.Op.ID, "%s was told %s, seq %d, balance %d of %s; it is %s, seq %d, balance %d", t.Client,
			got.Code, got.Seq, got.Balance, t.Op.Account, right.Code, right.Seq, right.Balance)
	}
}

// inOrder checks that nothing before seq was called only after a was answered.
func (h *history) inOrder(seq uint64, a *asked) {
	if len(a.answers) > 0 && a.returned < h.latest {
		h.fault(OrderIsReal, seq, a.op.ID, "answered %v before something that comes before it was asked", h.latest-a.returned)
	}
	h.latest = max(h.latest, a.called)
}

// readAt checks the balances that were read after entry seq and before the next.
func (h *history) readAt(seq int) {
	last := h.latest
	for _, t := range h.reads[seq] {
		want := h.model.Do(t.Op)
		h.answer(t, &want)
		if t.Returned < h.latest {
			h.fault(OrderIsReal, uint64(seq), "", "%s was told a balance %v before something in it was asked", t.Client, h.latest-t.Returned)
		}
		last = max(last, t.Called)
	}
	h.latest = last
}

// missing looks for answers that no entry stands behind.
func (h *history) missing(told []Told) {
	for i := range told {
		t := &told[i]
		if !t.Answered || t.Op.Kind == bank.KindBalance || t.Reply.Code == bank.IDNotFound {
			continue
		}
		a := h.asked[keyOf(t.Op.Principal, t.Op.ID)]
		if a == nil || a.seq != 0 {
			continue
		}
		if refusal := a.op.Check(); refusal == bank.OK || refusal != t.Reply.Code {
			h.fault(NothingIsLost, t.Reply.Seq, t.Op.ID, "%s was told %s, and there is no entry", t.Client, t.Reply.Code)
		}
	}
}
