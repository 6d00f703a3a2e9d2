package bank

import (
	"encoding/binary"
	"fmt"
	"time"
)

// AppendShard appends part i of the book to dst in a form that [Ledger.LoadShard] reads: the accounts with their balances
// and the ids with their references, each preceded by its count.
func (l *Ledger) AppendShard(dst []byte, i int) []byte {
	s := &l.shards[i]
	dst = binary.AppendUvarint(dst, uint64(s.accounts.used))
	for _, slot := range s.accounts.slots {
		if slot.row != nil {
			dst = appendText(dst, string(slot.row.account))
			dst = binary.AppendVarint(dst, int64(slot.row.balance))
		}
	}
	dst = binary.AppendUvarint(dst, uint64(s.ids.used))
	for _, slot := range s.ids.slots {
		if slot.fingerprint != 0 {
			dst = binary.LittleEndian.AppendUint64(dst, slot.fingerprint)
			dst = binary.LittleEndian.AppendUint64(dst, slot.ref)
		}
	}
	return dst
}

// LoadShard sets part i of the book to what [Ledger.AppendShard] wrote when asOf was the last entry. Parts may have been
// written at different entries: [Ledger.Post] passes over what a part already holds. Errors wrap [ErrEntry].
func (l *Ledger) LoadShard(i int, asOf uint64, b []byte) error {
	r := entryReader{rest: b}
	loaded := shard{asOf: asOf}
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		return fmt.Errorf("%w: a part of the book is cut short", ErrEntry)
	}
	loaded.accounts.reserve(int(n))
	rows := make([]accountRow, n) // one allocation for all
	for k := range rows {
		row := &rows[k]
		row.account, row.balance = Account(r.text(maxAccount)), Amount(r.varint())
		fingerprint := l.accountFingerprint(row.account)
		if r.bad || row.account == "" || fingerprint>>(64-shardBits) != uint64(i) {
			return fmt.Errorf("%w: an account in the wrong part of the book", ErrEntry)
		}
		if loaded.accounts.find(fingerprint, row.account) != nil {
			return fmt.Errorf("%w: an account that is twice in a part of the book", ErrEntry)
		}
		loaded.accounts.put(accountSlot{fingerprint, row})
	}
	n = r.uvarint()
	if r.bad || n > uint64(len(r.rest)) || uint64(len(r.rest)) != n*16 {
		return fmt.Errorf("%w: the ids of a part of the book are cut short", ErrEntry)
	}
	loaded.ids.reserve(int(n))
	for at := 0; at < len(r.rest); at += 16 {
		slot := idSlot{binary.LittleEndian.Uint64(r.rest[at:]), binary.LittleEndian.Uint64(r.rest[at+8:])}
		if slot.fingerprint>>(64-shardBits) != uint64(i) || slot.fingerprint == 0 {
			return fmt.Errorf("%w: an id in the wrong part of the book", ErrEntry)
		}
		loaded.ids.put(slot)
	}
	l.shards[i] = loaded
	l.loaded = max(l.loaded, asOf)
	l.recent, l.foreseen = [2]*accountRow{}, foreseen{}
	return nil
}

// Resume makes seq, of the time at, the entry after which [Ledger.Post] goes on: the oldest that any loaded part was
// written at. It is called after the parts are loaded and before the first Post.
func (l *Ledger) Resume(seq uint64, at time.Time) {
	l.seq, l.time = seq, at
}
