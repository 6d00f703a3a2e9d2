package bank

import "math/bits"

// accountTable holds the accounts of a part of the book and their balances. Like the table of ids it is open addressing with
// linear probing over fingerprints, so that an account is found with two looks at memory where a Go map takes five, and
// [Ledger.Foresee] can touch many at once.
type accountTable struct {
	slots []accountSlot
	used  int
}

// accountSlot is empty when its row is nil.
type accountSlot struct {
	fingerprint uint64
	row         *accountRow // stays the account's as long as the ledger lives
}

type accountRow struct {
	balance Amount
	account Account
}

// accountFingerprint maps an account to 64 bits. The key keeps a client from choosing accounts that share one.
func (l *Ledger) accountFingerprint(account Account) uint64 {
	var text [maxAccount]byte
	return sipHash(&l.key, text[:copy(text[:], account)])
}

// accountsOf returns the table that an account with that fingerprint is in, or would be.
func (l *Ledger) accountsOf(fingerprint uint64) *accountTable {
	return &l.shards[fingerprint>>(64-shardBits)].accounts
}

func (t *accountTable) home(fingerprint uint64) int {
	high, _ := bits.Mul64(fingerprint<<shardBits, uint64(len(t.slots)))
	return int(high)
}

// find returns the account's row, or nil: it is not open.
func (t *accountTable) find(fingerprint uint64, account Account) *accountRow {
	if len(t.slots) == 0 {
		return nil
	}
	for i := t.home(fingerprint); t.slots[i].row != nil; {
		if t.slots[i].fingerprint == fingerprint && t.slots[i].row.account == account {
			return t.slots[i].row
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return nil
}

// candidate returns the row that find would look at first, or nil. It reads slots and no row.
func (t *accountTable) candidate(fingerprint uint64) *accountRow {
	if len(t.slots) == 0 {
		return nil
	}
	for i := t.home(fingerprint); t.slots[i].row != nil; {
		if t.slots[i].fingerprint == fingerprint {
			return t.slots[i].row
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return nil
}

// add adds the row of an account that is not there.
func (t *accountTable) add(fingerprint uint64, row *accountRow) {
	if t.used+1 > len(t.slots)*5/6 {
		t.resize(grown(len(t.slots), fingerprint))
	}
	t.put(accountSlot{fingerprint, row})
}

func (t *accountTable) put(slot accountSlot) {
	i := t.home(slot.fingerprint)
	for t.slots[i].row != nil {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = slot
	t.used++
}

// reserve makes room for n accounts in all.
func (t *accountTable) reserve(n int) {
	if slots := n*6/5 + 2; n > 0 && slots > len(t.slots) {
		t.resize(slots)
	}
}

func (t *accountTable) resize(slots int) {
	old := t.slots
	t.slots, t.used = make([]accountSlot, slots), 0
	for _, slot := range old {
		if slot.row != nil {
			t.put(slot)
		}
	}
}
