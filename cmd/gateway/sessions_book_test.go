package main

import (
	"fmt"
	"sort"
	"strings"

	"gateway/bank"
	"gateway/wire"
)

// openBook is the journal as the checks of TestTortureOfSessions read it.
type openBook struct {
	entries  []wire.Entry
	byMemo   map[string][]*wire.Entry
	balances map[bank.Account][]balanceSince
}

type balanceSince struct {
	seq     uint64
	balance bank.Amount
}

func openBookOf(entries []wire.Entry) *openBook {
	b := &openBook{entries: entries, byMemo: map[string][]*wire.Entry{}, balances: map[bank.Account][]balanceSince{}}
	for i := range entries {
		e := &entries[i]
		b.byMemo[e.Memo] = append(b.byMemo[e.Memo], e)
		for _, p := range e.Postings {
			b.balances[p.Account] = append(b.balances[p.Account], balanceSince{e.Seq, b.balance(p.Account, e.Seq) + p.Amount})
		}
	}
	return b
}

// balance returns what an account had after an entry.
func (b *openBook) balance(account bank.Account, seq uint64) bank.Amount {
	since := b.balances[account]
	later := sort.Search(len(since), func(i int) bool { return since[i].seq > seq })
	if later == 0 {
		return 0
	}
	return since[later-1].balance
}

// check joins what the devices were told with the journal, and returns the number of its entries.
func (f *fleet) check() int {
	f.t.Helper()
	b := openBookOf(dumpOf(f.t, f.dir))
	known := 0
	for _, d := range f.devices {
		told, err := d.told(b)
		if err != nil {
			f.t.Errorf("%s: %v", d.name, err)
			continue
		}
		for _, op := range d.operations {
			known += len(b.byMemo[op.name])
			if err := d.checkOne(b, op, told[op.number]); err != nil {
				f.t.Errorf("%s, %s at QoS %d: %v", op.name, op.kind, op.qos, err)
			}
		}
		if err := d.checkOrder(b); err != nil {
			f.t.Errorf("%s: %v", d.name, err)
		}
	}
	if known != len(b.entries) {
		f.t.Errorf("%d entries, of which %d are operations of the fleet", len(b.entries), known)
	}
	return len(b.entries)
}

// told returns the reply of each operation, by number.
func (d *device) told(b *openBook) ([]*deviceReply, error) {
	told := make([]*deviceReply, len(d.operations))
	for _, r := range d.firsts {
		n, err := d.numberOf(b, r)
		if err != nil {
			return nil, fmt.Errorf("reply %s: %w", r.payload, err)
		}
		if told[n] != nil {
			return nil, fmt.Errorf("%s-%d was answered %s, and %s", d.name, n, told[n].payload, r.payload)
		}
		r.number, told[n] = n, r
	}
	return told, nil
}

// numberOf finds the operation that a reply is about.
func (d *device) numberOf(b *openBook, r *deviceReply) (int, error) {
	name := r.key
	var n int
	if text, refused := strings.CutPrefix(name, refusalKey("")); refused {
		amount, err := bank.ParseAmount(text, 2)
		if err != nil {
			return 0, err
		}
		n = int(amount%hopeless) - 1
	} else {
		if name == entryKey(r.told.Seq) && r.told.Seq <= uint64(len(b.entries)) {
			name = b.entries[r.told.Seq-1].Memo
		}
		if _, err := fmt.Sscanf(name, d.name+"-%d", &n); err != nil {
			return 0, fmt.Errorf("%q is none of its operations", name)
		}
	}
	if n < 0 || n >= len(d.operations) {
		return 0, fmt.Errorf("there is no operation %d", n)
	}
	return n, nil
}

// entered reports whether the operation, answered so, leaves an entry.
func (op *deviceOperation) entered(r *deviceReply) bool {
	return op.kind != bank.KindBalance && (r.told.Status || op.hasID)
}

// forgettable reports whether the operation may have been answered without an entry: in a crash before the answer is told the
// decision is forgotten, and when it is delivered again it is a new one, behind operations that came later.
func (op *deviceOperation) forgettable() bool {
	return op.again && (op.kind == bank.KindBalance || op.kind != bank.KindDeposit && !op.hasID)
}

// checkOne compares what a device was told about one operation with the journal.
func (d *device) checkOne(b *openBook, op *deviceOperation, r *deviceReply) error {
	entries := b.byMemo[op.name]
	switch {
	case r == nil:
		return fmt.Errorf("no reply; %d entries", len(entries))
	case r.told.Status != (r.told.Code == bank.OK.String()):
		return fmt.Errorf("answered %s", r.payload)
	case r.again && r.connection == op.connection:
		return fmt.Errorf("on the connection of its PUBLISH the reply %s came for the first time, with DUP", r.payload)
	case r.repeats > 0 && !(op.qos == 1 && op.again):
		return fmt.Errorf("the reply %s came with %d packet ids", r.payload, r.repeats+1)
	case r.told.Seq > 0 && r.told.Balance != b.balance(bank.Account(d.name), r.told.Seq).Format(2):
		return fmt.Errorf("answered %s; the balance was %d", r.payload, b.balance(bank.Account(d.name), r.told.Seq))
	case !op.entered(r):
		if len(entries) != 0 {
			return fmt.Errorf("answered %s; it is in the journal %d times", r.payload, len(entries))
		}
		return nil
	case len(entries) != 1:
		return fmt.Errorf("answered %s; it is in the journal %d times", r.payload, len(entries))
	}
	e := entries[0]
	id := ""
	if op.hasID {
		id = op.name
	}
	if e.Seq != r.told.Seq || e.Code != r.told.Code || e.Kind != op.kind.String() || e.ID != id {
		return fmt.Errorf("answered %s; entry %d is %s %s of id %q", r.payload, e.Seq, e.Kind, e.Code, e.ID)
	}
	if want := d.postings(op, r); fmt.Sprint(e.Postings) != fmt.Sprint(want) {
		return fmt.Errorf("postings %v, want %v", e.Postings, want)
	}
	return nil
}

func (d *device) postings(op *deviceOperation, r *deviceReply) []wire.EntryPosting {
	account := bank.Account(d.name)
	switch {
	case !r.told.Status:
		return []wire.EntryPosting{}
	case op.kind == bank.KindDeposit:
		return moved(bank.CashAccount, account, op.amount)
	case op.kind == bank.KindWithdraw:
		return moved(account, bank.CashAccount, op.amount)
	default:
		return moved(account, bank.Account(op.to), op.amount)
	}
}

// checkOrder checks that replies came first in the order of their entries, and of the operations but for those that may have
// been forgotten.
func (d *device) checkOrder(b *openBook) error {
	until := make([]uint64, len(d.firsts)) // the entry that a reply knows nothing behind
	next := uint64(len(b.entries))
	for i := len(d.firsts) - 1; i >= 0; i-- {
		until[i] = next
		if seq := d.firsts[i].told.Seq; seq > 0 {
			next = seq
		}
	}
	last, seen := -1, uint64(0)
	for i, r := range d.firsts {
		op := d.operations[r.number]
		switch seq := r.told.Seq; {
		case r.number < last && !op.forgettable():
			return fmt.Errorf("the reply %s of operation %d comes after that of operation %d", r.payload, r.number, last)
		case seq == 0 && !b.had(bank.Account(d.name), r.told.Balance, seen, until[i]):
			return fmt.Errorf("answered %s; that was the balance at no time between entries %d and %d", r.payload, seen, until[i])
		case seq > 0 && (seq < seen || op.entered(r) && seq == seen):
			return fmt.Errorf("the reply %s comes after that of entry %d", r.payload, seen)
		case seq > 0:
			seen = seq
		}
		last = max(last, r.number)
	}
	return nil
}

// had reports whether an account had a balance at some time between two entries.
func (b *openBook) had(account bank.Account, balance string, from, to uint64) bool {
	if b.balance(account, from).Format(2) == balance {
		return true
	}
	for _, since := range b.balances[account] {
		if from < since.seq && since.seq <= to && since.balance.Format(2) == balance {
			return true
		}
	}
	return false
}
