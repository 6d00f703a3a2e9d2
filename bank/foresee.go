package bank

// Foresight is how many operations [Ledger.Foresee] looks at.
const Foresight = 16

// foreseen holds what Foresee has found for the operations that come next, in their order: the fingerprints of ids, and
// rows that are probably those of the accounts. It holds ids and rows with their names, so that nothing is ever taken for
// another's.
type foreseen struct {
	ids     [Foresight]foreseenID
	next    int // in ids, the one that was asked for last
	rows    [2 * Foresight]*accountRow
	nextRow int
	touched uint64 // keeps the compiler from leaving the looks out
}

type foreseenID struct {
	principal, id string
	fingerprint   uint64
}

// Foresee tells the ledger what it will decide next: it looks at the first Foresight of ops. It changes nothing but speed:
// the book is too large for any cache, and touching the places of many ids and accounts at once costs as long as one
// alone.
func (l *Ledger) Foresee(ops []Operation) {
	ops = ops[:min(len(ops), Foresight)]
	l.foreseeIDs(ops)
	l.foreseeAccounts(ops)
}

func (l *Ledger) foreseeIDs(ops []Operation) {
	f := &l.foreseen
	f.next = 0
	n := 0
	for i := range ops {
		op := &ops[i]
		if op.ID == "" || len(op.ID) > maxID || len(op.Principal) > maxPrincipal {
			continue
		}
		f.ids[n] = foreseenID{op.Principal, op.ID, fingerprintOf(&l.key, op.Principal, op.ID)}
		n++
	}
	touched := f.touched
	for i := range f.ids[:n] { // a loop of its own, so short that the processor waits for all places at once
		fingerprint := f.ids[i].fingerprint
		if t := &l.shards[fingerprint>>(64-shardBits)].ids; len(t.slots) > 0 {
			touched ^= t.slots[t.home(fingerprint)].fingerprint
		}
	}
	f.touched = touched
}

// foreseeAccounts goes from fingerprints to slots to rows to names, in a loop each, for the same reason.
func (l *Ledger) foreseeAccounts(ops []Operation) {
	f := &l.foreseen
	f.nextRow = 0
	var fingerprints [2 * Foresight]uint64
	n := 0
	for i := range ops {
		for _, account := range [2]Account{ops[i].Account, ops[i].To} {
			if account != "" && len(account) <= maxAccount {
				fingerprints[n] = l.accountFingerprint(account)
				n++
			}
		}
	}
	touched := f.touched
	for _, fingerprint := range fingerprints[:n] {
		if t := l.accountsOf(fingerprint); len(t.slots) > 0 {
			touched ^= t.slots[t.home(fingerprint)].fingerprint
		}
	}
	for i, fingerprint := range fingerprints[:n] {
		f.rows[i] = l.accountsOf(fingerprint).candidate(fingerprint)
	}
	for _, row := range f.rows[:n] {
		if row != nil {
			touched ^= uint64(row.balance)
		}
	}
	for _, row := range f.rows[:n] {
		if row != nil && row.account != "" {
			touched ^= uint64(row.account[0])
		}
	}
	clear(f.rows[n:])
	f.touched = touched
}

// fingerprint is fingerprintOf, which it need not compute for what was foreseen: Decide asks in order, and Post asks once
// more for what Decide asked.
func (l *Ledger) fingerprint(principal, id string) uint64 {
	f := &l.foreseen
	for ahead := range 2 {
		if i := f.next + ahead; i < Foresight && f.ids[i].id == id && f.ids[i].principal == principal {
			f.next = i
			return f.ids[i].fingerprint
		}
	}
	return fingerprintOf(&l.key, principal, id)
}

// find returns where the account's balance is, or nil: it is not open. Decide asks for the accounts of an operation in order,
// and Post asks for the same again.
func (l *Ledger) find(account Account) *Amount {
	for i := range l.recent {
		if r := l.recent[i]; r != nil && r.account == account {
			return &r.balance
		}
	}
	row := l.foreseenRow(account)
	if row == nil {
		fingerprint := l.accountFingerprint(account)
		row = l.accountsOf(fingerprint).find(fingerprint, account)
	}
	if row == nil {
		return nil
	}
	l.recent[l.oldest] = row
	l.oldest ^= 1
	return &row.balance
}

func (l *Ledger) foreseenRow(account Account) *accountRow {
	f := &l.foreseen
	for i := f.nextRow; i < min(f.nextRow+4, len(f.rows)); i++ {
		if row := f.rows[i]; row != nil && row.account == account {
			f.nextRow = i + 1
			return row
		}
	}
	return nil
}
