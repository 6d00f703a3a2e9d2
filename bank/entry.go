package bank

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Posting is one side of a movement: Amount is added to Account.
type Posting struct {
	Account Account
	Amount  Amount
}

// Entry is what the journal records of one decided operation: who asked what, the postings, which sum to zero, and the
// answer that was given. A refusal has no postings.
type Entry struct {
	Seq       uint64    // its place in the journal, from 1 without gaps
	Time      time.Time // UTC, to the microsecond; a label, the order is Seq's
	Kind      Kind
	Code      Code
	Principal string
	ID        string
	Account   Account
	To        Account
	Amount    Amount // as asked, also when refused
	Memo      string
	// Balance of Account after the operation. HasBalance is false when there is none to tell.
	Balance    Amount
	HasBalance bool
	Origin     Origin
	Postings   []Posting
}

// Reply returns the answer to the operation that e records. It is the same each time.
func (e *Entry) Reply() Reply {
	return Reply{
		Code: e.Code, Kind: e.Kind, ID: e.ID, Seq: e.Seq, Time: e.Time,
		Amount: e.Amount, Balance: e.Balance, HasBalance: e.HasBalance,
	}
}

// answers reports whether e records the operation that op repeats: the same in all that an id stands for.
func (e *Entry) answers(op *Operation) bool {
	return e.Kind == op.Kind && e.Account == op.Account && e.To == op.To && e.Amount == op.Amount && e.Memo == op.Memo
}

// The canonical bytes of an entry. All integers are varints as encoding/binary writes them (signed ones in zigzag); a
// text is its length and its bytes:
//
//	format (1)  seq  time (signed, microseconds since 1970)  kind  code  flags  door  peer  delivery
//	principal  id  account  to  amount  balance (signed)  memo  number of postings
//	each posting: place, account when the place is placeNamed, amount (signed)
//
// An entry has exactly one such form: a reader refuses any other.
const (
	// EntryFormat is the version of the canonical bytes and their first byte.
	EntryFormat = 1

	flagBalance = 1

	placeNamed   = 0 // the account follows
	placeAccount = 1 // the entry's Account
	placeTo      = 2 // the entry's To
	placeCash    = 3
	placeYield   = 4

	maxPeer = 64 // bytes: an address, a zone and a port
)

// ErrEntry says that bytes are not an entry's canonical form.
var ErrEntry = errors.New("bank: not an entry")

// AppendCanonical appends the canonical bytes of e to dst. The caller has made e by [Ledger.Decide] or [ParseEntry].
func (e *Entry) AppendCanonical(dst []byte) []byte {
	dst = append(dst, EntryFormat)
	dst = binary.AppendUvarint(dst, e.Seq)
	dst = binary.AppendVarint(dst, e.Time.UnixMicro())
	flags := byte(0)
	if e.HasBalance {
		flags |= flagBalance
	}
	dst = append(dst, byte(e.Kind), byte(e.Code), flags, byte(e.Origin.Door))
	dst = appendPeer(dst, e.Origin.Peer)
	dst = appendText(dst, e.Origin.Delivery)
	dst = appendText(dst, e.Principal)
	dst = appendText(dst, e.ID)
	dst = appendText(dst, string(e.Account))
	dst = appendText(dst, string(e.To))
	dst = binary.AppendUvarint(dst, uint64(e.Amount))
	dst = binary.AppendVarint(dst, int64(e.Balance))
	dst = appendText(dst, e.Memo)
	dst = binary.AppendUvarint(dst, uint64(len(e.Postings)))
	for i := range e.Postings {
		p := &e.Postings[i]
		place := e.placeOf(p.Account)
		dst = append(dst, place)
		if place == placeNamed {
			dst = appendText(dst, string(p.Account))
		}
		dst = binary.AppendVarint(dst, int64(p.Amount))
	}
	return dst
}

// placeOf returns the shortest way to name account within e, which is the only one allowed.
func (e *Entry) placeOf(account Account) byte {
	switch account {
	case CashAccount:
		return placeCash
	case YieldAccount:
		return placeYield
	case e.Account:
		return placeAccount
	case e.To:
		return placeTo
	}
	return placeNamed
}

func appendText(dst []byte, text string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

func appendPeer(dst []byte, peer netip.AddrPort) []byte {
	if !peer.IsValid() {
		return append(dst, 0)
	}
	at := len(dst)
	dst = append(dst, 0)
	dst, err := peer.AppendBinary(dst)
	if err != nil || len(dst)-at-1 > maxPeer {
		return append(dst[:at], 0) // a zone longer than any interface's name: better no peer than no entry
	}
	dst[at] = byte(len(dst) - at - 1)
	return dst
}

// ParseEntry reads the canonical bytes of one entry into e, reusing e.Postings, and refuses any byte too many, too few or
// other than [Entry.AppendCanonical] writes. It checks the form, not the rules: [Ledger.Post] checks those. Errors wrap
// [ErrEntry].
func ParseEntry(b []byte, e *Entry) error {
	r := entryReader{rest: b}
	if r.byte() != EntryFormat {
		return fmt.Errorf("%w: format %d is not known", ErrEntry, first(b))
	}
	e.Seq = r.uvarint()
	e.Time = time.UnixMicro(r.varint()).UTC()
	e.Kind, e.Code = Kind(r.byte()), Code(r.byte())
	flags := r.byte()
	e.HasBalance = flags&flagBalance != 0
	e.Origin.Door = Door(r.byte())
	e.Origin.Peer = r.peer()
	e.Origin.Delivery = r.text(maxDelivery)
	e.Principal = r.text(maxPrincipal)
	e.ID = r.text(maxID)
	e.Account = Account(r.text(maxAccount))
	e.To = Account(r.text(maxAccount))
	e.Amount = Amount(r.uvarint())
	e.Balance = Amount(r.varint())
	e.Memo = r.text(maxMemo)
	e.Postings = r.postings(e)
	switch {
	case r.bad:
		return fmt.Errorf("%w: cut short or not in canonical form", ErrEntry)
	case len(r.rest) > 0:
		return fmt.Errorf("%w: %d bytes after its end", ErrEntry, len(r.rest))
	case flags > flagBalance || e.Kind.String() == "" || e.Code.String() == "" || e.Origin.Door.String() == "":
		return fmt.Errorf("%w: a kind, code, flag or door that is not known", ErrEntry)
	case e.Amount < 0 || (!e.HasBalance && e.Balance != 0):
		return fmt.Errorf("%w: an amount that cannot be", ErrEntry)
	}
	return nil
}

func first(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return int(b[0])
}

// entryReader takes an entry's fields off its front. After a fault it is bad and gives zero values.
type entryReader struct {
	rest []byte
	bad  bool
}

func (r *entryReader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *entryReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || (n > 1 && r.rest[n-1] == 0) { // the last byte of a shortest form is never zero
		r.bad = true
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *entryReader) varint() int64 {
	zigzag := r.uvarint()
	return int64(zigzag>>1) ^ -int64(zigzag&1)
}

func (r *entryReader) bytes(limit int) []byte {
	n := r.uvarint()
	if n > uint64(limit) || n > uint64(len(r.rest)) {
		r.bad = true
		r.rest = nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *entryReader) text(limit int) string { return string(r.bytes(limit)) }

func (r *entryReader) peer() netip.AddrPort {
	var peer netip.AddrPort
	b := r.bytes(maxPeer)
	if len(b) == 0 {
		return peer
	}
	if peer.UnmarshalBinary(b) != nil || !peer.IsValid() {
		r.bad = true
	}
	return peer
}

// postings reads the list at an entry's end. A named account is a client's: if any bytes could be one, a list that a client has
// forged would lead on over whatever else is in a file.
func (r *entryReader) postings(e *Entry) []Posting {
	n := r.uvarint()
	postings := e.Postings[:0]
	if n > uint64(len(r.rest)) { // each takes two bytes or more
		r.bad = true
		return postings
	}
	for range n {
		var p Posting
		place := r.byte()
		switch place {
		case placeNamed:
			p.Account = Account(r.text(maxAccount))
		case placeAccount:
			p.Account = e.Account
		case placeTo:
			p.Account = e.To
		case placeCash:
			p.Account = CashAccount
		case placeYield:
			p.Account = YieldAccount
		}
		p.Amount = Amount(r.varint())
		if r.bad || p.Account == "" || e.placeOf(p.Account) != place || place == placeNamed && !p.Account.Valid() {
			r.bad = true
			break
		}
		postings = append(postings, p)
	}
	return postings
}
