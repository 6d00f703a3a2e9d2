package simulation

import (
	"fmt"
	"strings"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
)

// checkReply is half of I6: each reply is what the rules say at its place in the one order that all operations have.
func (w *world) checkReply(op *bank.Operation, got, want bank.Reply) {
	if got.Time.IsZero() != (got.Seq == 0) {
		w.fail("I6: %v %q: time %v with seq %d", op.Kind, op.ID, got.Time, got.Seq)
	}
	if got.Time = (time.Time{}); got != want {
		w.fail("I6: %+v\nwas answered %+v,\nthe rules say %+v", *op, got, want)
	}
}

// checkOrder is the other half of I6, in time that is linear in what was told: if somebody was told an entry before this was
// asked, this one's entry is a later one, and a balance has seen that one.
func (b *book) checkOrder(a *asked, got *bank.Reply) {
	switch {
	case got.Code != bank.OK || got.Duplicate:
	case a.op.Kind == bank.KindBalance && got.Seq < a.floor:
		b.w.fail("I6: m%d has seen entry %d only; %d was told before it was asked", a.tag, got.Seq, a.floor)
	case a.entry != 0 && a.entry <= a.floor:
		b.w.fail("I6: m%d is entry %d; %d was told before it was asked", a.tag, a.entry, a.floor)
	}
}

// checkDurable is what I1 and I6 stand on: once the engine has answered, a power cut leaves every segment as it is, whatever
// it does to the rest.
func (w *world) checkDurable() {
	names, err := w.journal.List()
	if err != nil {
		w.fail("list the journal: %v", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".seg") && !w.journal.Certain(name) {
			w.fail("I1: a batch was answered, and a power cut could change %s", name)
		}
	}
}

// checkRefusedChangesNothing is I8: a batch of which nothing is recorded leaves the journal's disk alone. Who works on it beside the
// traffic waits at the gate meanwhile.
func (w *world) checkRefusedChangesNothing(replies []bank.Reply, operations int) {
	for i := range replies {
		if replies[i].Recorded || replies[i].Code == bank.Unavailable { // which may have looked for space
			return
		}
	}
	if operations > 0 {
		w.fail("I8: nothing was recorded, and there were %d operations on the journal's disk", operations)
	}
}

// checkChain is I7: what a start has found follows entry from entry, and is the history that every start before it has
// found. The hashes were computed from the bytes on the disk, and are computed here once more.
func (b *book) checkChain(all []found) error {
	var chain banktest.Chain
	for i := range all {
		if want := chain.Next(&all[i].entry); all[i].hash != want {
			return fmt.Errorf("I7: the hash of entry %d is %x, and by its bytes and the hash before it %x", i+1, all[i].hash, want)
		}
	}
	for i, hash := range b.hashes {
		if all[i].hash != hash {
			return fmt.Errorf("I7: entry %d has another hash than it had: there are two histories", i+1)
		}
	}
	return nil
}

// checkEntries is I2 to I5: seqs are dense; money comes from somewhere; no customer owes and nothing wraps; an id is
// decided once, and so is what was asked, by whatever way and however often; and who asked was told nothing later before.
func (b *book) checkEntries(all []found) error {
	balances, ids, tags := map[bank.Account]bank.Amount{}, map[[2]string]uint64{}, map[string]uint64{}
	total := bank.Amount(0)
	for i := range all {
		e := &all[i].entry
		if e.Seq != uint64(i)+1 {
			return fmt.Errorf("I5: entry %d stands in the place of entry %d", e.Seq, i+1)
		}
		for _, p := range e.Postings {
			balances[p.Account] += p.Amount
			total += p.Amount
			if balance := balances[p.Account]; !p.Account.House() && (balance < 0 || balance > bank.MaxAmount) {
				return fmt.Errorf("I4: entry %d leaves %s at %d", e.Seq, p.Account, balance)
			}
		}
		if total != 0 {
			return fmt.Errorf("I3: after entry %d the book sums to %d", e.Seq, total)
		}
		if id := [2]string{e.Principal, e.ID}; e.ID != "" {
			if first := ids[id]; first != 0 {
				return fmt.Errorf("I2: %q of %s was decided by entry %d and by entry %d", e.ID, e.Principal, first, e.Seq)
			}
			ids[id] = e.Seq
		}
		if e.Kind == bank.KindYield {
			if err := b.w.checkPeriod(e); err != nil {
				return err
			}
			continue
		}
		if first := tags[e.Memo]; first != 0 {
			return fmt.Errorf("I2: %s was done by entry %d and by entry %d", e.Memo, first, e.Seq)
		}
		tags[e.Memo] = e.Seq
		if a := b.find(e.Memo); a == nil || a.accepted == 0 {
			return fmt.Errorf("I2: the bank never took what entry %d does: %+v", e.Seq, *e)
		} else if e.Seq <= a.floor {
			return fmt.Errorf("I6: %s is entry %d; %d was told before it was asked", e.Memo, e.Seq, a.floor)
		}
	}
	return nil
}

// checkPeriod is I2 for yields: each is for a period that the clock has been in, so that, its id being decided once, no
// period is paid twice.
func (w *world) checkPeriod(e *bank.Entry) error {
	var period int64
	if _, err := fmt.Sscanf(e.ID, "yield-%d", &period); err != nil {
		return fmt.Errorf("I2: the yield of entry %d is for %q", e.Seq, e.ID)
	}
	habit := &w.chances.investment
	first := w.earliest.UnixNano() / int64(habit.Every)
	last := w.latest.Add(habit.FirstAfter+habit.Every).UnixNano()/int64(habit.Every) + 1
	if period < first || period > last {
		return fmt.Errorf("I2: entry %d pays period %d; the clock was in %d to %d", e.Seq, period, first, last)
	}
	return nil
}
