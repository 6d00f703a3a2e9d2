package bank

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ledger is the book in memory: every account's balance, and where the answers to ids are. Its rules live in
// [Ledger.Decide] and [Ledger.Post] and nowhere else; both are deterministic.
//
// One goroutine owns a Ledger. It is divided into [Shards] parts that can be copied one at a time between batches, which
// is how a snapshot is written beside the traffic.
type Ledger struct {
	rules   Rules
	key     [16]byte
	history History
	shards  [Shards]shard
	seq     uint64
	time    time.Time // of entry seq
	// loaded is the greatest asOf of the parts: only entries up to there may be in a part already.
	loaded uint64
	// recent are the two accounts looked up last, by which Post finds again what Decide has just found.
	recent [2]*accountRow
	oldest int // the index in recent to replace next

	foreseen foreseen
}

// shard is a part of the book. asOf is the seq of the last entry it holds when it was loaded from a snapshot: entries up to
// there are not applied to it again.
type shard struct {
	accounts accountTable
	ids      idTable
	asOf     uint64
}

const (
	shardBits = 10
	// Shards is the number of parts of a Ledger.
	Shards = 1 << shardBits
)

// Rules are the choices that an operator makes about the book.
type Rules struct {
	// CreateAccounts opens an account at its first use. Without it, only KindOpen does.
	CreateAccounts bool
}

// History reads an entry again that was posted with ref. An error stops the bank.
type History interface {
	Entry(ref uint64, e *Entry) error
}

// ErrBroken says that an entry does not follow from the book before it. The journal is damaged, or this program is.
var ErrBroken = errors.New("bank: the entry breaks the book")

// NewLedger returns an empty book. The key scatters the fingerprints of ids; a snapshot can only be loaded into a ledger
// of the same key.
func NewLedger(rules Rules, key [16]byte, history History) *Ledger {
	return &Ledger{rules: rules, key: key, history: history}
}

// Seq returns the seq of the last entry posted, and Time its time.
func (l *Ledger) Seq() uint64 { return l.seq }

// Time returns the time of the last entry posted; zero when there is none.
func (l *Ledger) Time() time.Time { return l.time }

// Balance returns an account's balance and whether it is open.
func (l *Ledger) Balance(account Account) (Amount, bool) {
	if balance := l.find(account); balance != nil {
		return *balance, true
	}
	return 0, false
}

// Each calls f for every account, in no order.
func (l *Ledger) Each(f func(Account, Amount)) {
	for i := range l.shards {
		for _, slot := range l.shards[i].accounts.slots {
			if slot.row != nil {
				f(slot.row.account, slot.row.balance)
			}
		}
	}
}

// Size returns the number of open accounts, house accounts included, and of remembered ids.
func (l *Ledger) Size() (accounts, ids int) {
	for i := range l.shards {
		accounts += l.shards[i].accounts.used
		ids += l.shards[i].ids.used
	}
	return accounts, ids
}

// Sum returns the sum of all accounts, house accounts included. It is zero after every entry.
func (l *Ledger) Sum() Amount {
	var sum Amount
	l.Each(func(_ Account, balance Amount) { sum += balance })
	return sum
}

// Decide judges op at the time now and sets *r to the reply. When it returns true, *e is the entry to append, and the
// reply holds once that entry is durable; the caller must Post it before it decides again. Decide changes nothing in the
// book. An error comes from the history and stops the bank.
func (l *Ledger) Decide(op *Operation, now time.Time, e *Entry, r *Reply) (bool, error) {
	if code := op.Check(); code != OK {
		*r = Refusal(op, code)
		return false, nil
	}
	if op.Kind == KindBalance {
		*r = l.balance(op)
		return false, nil
	}
	if op.ID != "" {
		known, err := l.recall(op, r)
		if known || err != nil {
			return false, err
		}
		if op.Kind == KindStatus {
			*r = Refusal(op, IDNotFound)
			return false, nil
		}
	}
	l.judge(op, e)
	if op.ID == "" && (e.Code != OK || e.Kind == KindOpen && l.open(e.Account)) {
		*r = e.Reply()
		if e.Code == OK {
			r.Seq, r.Time = l.seq, l.time
		}
		return false, nil
	}
	e.Seq, e.Time = l.seq+1, now.UTC().Truncate(time.Microsecond)
	*r = e.Reply()
	r.Recorded = true
	return true, nil
}

func (l *Ledger) balance(op *Operation) Reply {
	balance, open := l.Balance(op.Account)
	if !open && !l.rules.CreateAccounts {
		return Refusal(op, AccountNotFound)
	}
	r := Refusal(op, OK)
	r.Seq, r.Time, r.Balance, r.HasBalance = l.seq, l.time, balance, true
	return r
}

// recall looks op's id up in the history. It reports true when the id is known, with the reply set.
func (l *Ledger) recall(op *Operation, r *Reply) (known bool, err error) {
	fingerprint := l.fingerprint(op.Principal, op.ID)
	l.shards[fingerprint>>(64-shardBits)].ids.find(fingerprint, func(ref uint64) bool {
		var e Entry
		if err = l.history.Entry(ref, &e); err != nil {
			return true
		}
		if e.ID != op.ID || e.Principal != op.Principal {
			return false
		}
		known = true
		if op.Kind == KindStatus || e.answers(op) {
			*r = e.Reply()
			r.Duplicate = true
		} else {
			*r = Refusal(op, IDConflict)
		}
		return true
	})
	if err != nil {
		return false, fmt.Errorf("read the entry of a known id: %w", err)
	}
	return known, nil
}

// judge fills e with the verdict on an operation that passed its checks and whose id is not known.
func (l *Ledger) judge(op *Operation, e *Entry) {
	*e = Entry{
		Kind: op.Kind, Principal: op.Principal, ID: op.ID, Account: op.Account, To: op.To, Amount: op.Amount,
		Memo: op.Memo, Origin: op.Origin, Postings: e.Postings[:0],
	}
	if op.Kind == KindYield {
		e.Code = l.yield(op, e)
		return
	}
	balance, open := l.Balance(op.Account)
	if !l.rules.CreateAccounts && op.Kind != KindOpen && !(open && (op.Kind != KindTransfer || l.open(op.To))) {
		e.Code = AccountNotFound
		return
	}
	e.Balance, e.HasBalance = balance, true
	from, to, moves := e.sides()
	if !moves {
		return
	}
	if e.Code = l.allows(from, to, op.Amount); e.Code != OK {
		return
	}
	e.Postings = append(e.Postings, Posting{from, -op.Amount}, Posting{to, op.Amount})
	if from == op.Account {
		e.Balance -= op.Amount
	}
	if to == op.Account {
		e.Balance += op.Amount
	}
}

// sides returns the accounts that a client's operation moves its amount between, or false.
func (e *Entry) sides() (from, to Account, moves bool) {
	switch e.Kind {
	case KindDeposit:
		return CashAccount, e.Account, true
	case KindWithdraw:
		return e.Account, CashAccount, true
	case KindTransfer:
		return e.Account, e.To, true
	}
	return "", "", false
}

func (l *Ledger) open(account Account) bool {
	_, open := l.Balance(account)
	return open
}

// allows returns OK when amount can leave from and reach to.
func (l *Ledger) allows(from, to Account, amount Amount) Code {
	payer, _ := l.Balance(from)
	left, ok := payer.add(-amount)
	if !from.House() && left < 0 {
		return InsufficientFunds
	}
	payee, _ := l.Balance(to)
	sum, fits := payee.add(amount)
	if from != to && (!ok || !fits || (!to.House() && sum > MaxAmount)) {
		return Overflow
	}
	return OK
}

// yield credits the rate in op.Memo of every positive balance, all of it or nothing.
func (l *Ledger) yield(op *Operation, e *Entry) Code {
	rate, err := ParseRate(op.Memo)
	if err != nil {
		return Malformed
	}
	e.Postings = append(e.Postings, Posting{Account: YieldAccount})
	var total Amount
	fits := true
	l.Each(func(account Account, balance Amount) {
		if account.House() || balance <= 0 {
			return
		}
		share, ok := rate.Of(balance)
		_, credited := balance.add(share)
		sum, added := total.add(share)
		if !ok || !credited || !added || balance+share > MaxAmount {
			fits = false
		}
		total = sum
		if share > 0 {
			e.Postings = append(e.Postings, Posting{account, share})
		}
	})
	debt, _ := l.Balance(YieldAccount)
	if _, ok := debt.add(-total); !ok || !fits {
		e.Postings = e.Postings[:0]
		return Overflow
	}
	if total == 0 {
		e.Postings = e.Postings[:0]
		return OK
	}
	e.Postings[0].Amount = -total
	slices.SortFunc(e.Postings[1:], func(a, b Posting) int { return strings.Compare(string(a.Account), string(b.Account)) })
	return OK
}

// Post applies e, which must be the next entry, and remembers ref as the place to read it again. An error wraps
// [ErrBroken]; the ledger is of no use after it.
func (l *Ledger) Post(e *Entry, ref uint64) error {
	if e.Seq != l.seq+1 {
		return fmt.Errorf("%w: entry %d comes after %d", ErrBroken, e.Seq, l.seq)
	}
	var sum Amount
	for i := range e.Postings {
		sum += e.Postings[i].Amount
	}
	if sum != 0 || (e.Code != OK && len(e.Postings) > 0) {
		return fmt.Errorf("%w: the postings of entry %d sum to %d", ErrBroken, e.Seq, sum)
	}
	for i := range e.Postings {
		if err := l.apply(&e.Postings[i], e.Seq); err != nil {
			return err
		}
	}
	if e.Kind == KindOpen && e.Code == OK {
		if err := l.apply(&Posting{Account: e.Account}, e.Seq); err != nil {
			return err
		}
	}
	if e.ID != "" && e.Code.decided() {
		fingerprint := l.fingerprint(e.Principal, e.ID)
		if s := &l.shards[fingerprint>>(64-shardBits)]; s.asOf < e.Seq {
			s.ids.add(fingerprint, ref)
		}
	}
	l.seq, l.time = e.Seq, e.Time
	return nil
}

func (l *Ledger) apply(p *Posting, seq uint64) error {
	balance := l.find(p.Account)
	if seq <= l.loaded || balance == nil {
		fingerprint := l.accountFingerprint(p.Account)
		if l.shards[fingerprint>>(64-shardBits)].asOf >= seq {
			return nil
		}
		if balance == nil {
			row := &accountRow{account: p.Account}
			l.accountsOf(fingerprint).add(fingerprint, row)
			balance = &row.balance
		}
	}
	sum, ok := balance.add(p.Amount)
	if !ok || (!p.Account.House() && (sum < 0 || sum > MaxAmount)) {
		return fmt.Errorf("%w: entry %d leaves an account outside its bounds", ErrBroken, seq)
	}
	*balance = sum
	return nil
}
