package bank

import "fmt"

// Audit holds e, which was posted last and with ref, against what was asked and what was told: it moves what its kind, accounts
// and amount say, or nothing when it is a refusal; the balance that it tells is the book's; and its id was not decided before.
// The book is whole without any of that, so that [Ledger.Post] does not ask: Audit is for who checks a journal that somebody may
// have written. An error wraps [ErrBroken], or is the history's.
func (l *Ledger) Audit(e *Entry, ref uint64) error {
	balance, _ := l.Balance(e.Account)
	switch {
	case !e.leavesEntry():
		return fmt.Errorf("%w: entry %d is of a kind, or has a code, that leaves none", ErrBroken, e.Seq)
	case !e.movesAsAsked():
		return fmt.Errorf("%w: the postings of entry %d are not what was asked", ErrBroken, e.Seq)
	case e.HasBalance != e.tellsBalance():
		return fmt.Errorf("%w: entry %d tells a balance where there is none, or none where there is one", ErrBroken, e.Seq)
	case e.HasBalance && e.Balance != balance:
		return fmt.Errorf("%w: entry %d tells a balance of %d, and it is %d", ErrBroken, e.Seq, e.Balance, balance)
	}
	return l.decidedOnce(e, ref)
}

// leavesEntry reports whether there are entries of e's kind with its code.
func (e *Entry) leavesEntry() bool {
	if e.Kind == KindBalance || e.Kind == KindStatus {
		return false
	}
	return e.Code.decided() || e.Kind == KindYield && e.Code == Malformed
}

func (e *Entry) tellsBalance() bool { return e.Kind != KindYield && e.Code != AccountNotFound }

// movesAsAsked reports whether the postings are what e's kind, accounts and amount say.
func (e *Entry) movesAsAsked() bool {
	from, to, moves := e.sides()
	switch {
	case e.Code != OK:
		return len(e.Postings) == 0
	case e.Kind == KindYield:
		return e.yields()
	case !moves:
		return len(e.Postings) == 0
	}
	return len(e.Postings) == 2 && e.Postings[0] == Posting{from, -e.Amount} && e.Postings[1] == Posting{to, e.Amount}
}

// yields reports whether the postings are a yield's: shares of clients' accounts, in order, and what they cost the house before them.
func (e *Entry) yields() bool {
	if len(e.Postings) == 0 {
		return true
	}
	if e.Postings[0].Account != YieldAccount || e.Postings[0].Amount >= 0 {
		return false
	}
	last := Account("")
	for _, p := range e.Postings[1:] {
		if p.Account.House() || p.Account <= last || p.Amount <= 0 {
			return false
		}
		last = p.Account
	}
	return true
}

// decidedOnce makes sure that no other entry than that at ref is the answer to e's id.
func (l *Ledger) decidedOnce(e *Entry, ref uint64) (err error) {
	if e.ID == "" || !e.Code.decided() {
		return nil
	}
	fingerprint := l.fingerprint(e.Principal, e.ID)
	l.shards[fingerprint>>(64-shardBits)].ids.find(fingerprint, func(other uint64) bool {
		if other == ref {
			return false
		}
		var before Entry
		if err = l.history.Entry(other, &before); err == nil && before.ID == e.ID && before.Principal == e.Principal {
			err = fmt.Errorf("%w: the id of entry %d was decided by entry %d", ErrBroken, e.Seq, before.Seq)
		}
		return err != nil
	})
	return err
}
