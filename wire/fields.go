package wire

import "gateway/bank"

// valueKind says what a value is, in the words that all formats share. The zero kind is no value at all.
type valueKind uint8

const (
	absent  valueKind = iota
	null              // nothing, on purpose
	boolean           // text is "t" or "f"
	text              // valid UTF-8
	number            // text holds its digits: as written, or the shortest decimal form of a binary float
	opaque            // bytes, an extension, or anything else without a meaning here
	mapping
	list
)

func (k valueKind) container() bool { return k == mapping || k == list }

// value is one value of a message before anybody has judged it. Its text is valid until the reader is used again.
type value struct {
	kind valueKind
	text []byte
	size int // items that a msgpack container declares
}

func (v *value) given() bool { return v.kind != absent }

func (v *value) container() container { return container{v.kind, v.size} }

const (
	// longestName bounds, in bytes, the texts that are copied out of a message as account or id: what is longer is
	// neither, and the bank refuses what stands in for it.
	longestName = 64
	// longestNumber bounds, in bytes, the digits worth reading as an amount.
	longestNumber = 32
	// maxMemo is the most bytes of a memo.
	maxMemo = 140
	// noID stands for an id that cannot be one, so that the bank refuses it rather than go on without.
	noID = "\x00"
)

// fields is what a message says under the keys that have a meaning. All formats fill it; operation judges it.
type fields struct {
	op, account, to, amount, id, memo, receipt value
	legacy                                     legacyMap
}

// place implements target.
func (f *fields) place(at place, key []byte) (*value, string) {
	if at == inObject {
		return f.legacy.placeAttribute(key)
	}
	switch string(key) {
	case "op":
		return &f.op, ""
	case "account":
		return &f.account, ""
	case "to":
		return &f.to, ""
	case "amount":
		return &f.amount, ""
	case "id":
		return &f.id, ""
	case "memo":
		return &f.memo, ""
	case "receipt":
		return &f.receipt, ""
	}
	if v := f.legacy.place(key); v != nil {
		return v, ""
	}
	return nil, "an unknown field; send only op, account, to, amount, id, memo and receipt, in small letters"
}

// object implements target.
func (f *fields) object() *value { return &f.legacy.object }

// operation judges what was read and makes the operation of it; it is the one validation of all formats. What is wrong
// with the shape of the message comes first, then an operation that is not known; account, amount and id are left for the
// bank to refuse. Where the reader has found a fault of its own, wrong tells it.
func (f *fields) operation(op *bank.Operation, decimals int, wrong string) *Fault {
	fault := f.fault(op, decimals, wrong)
	if fault == nil {
		return nil
	}
	if id := f.id.short(); wrong != faultRepeated && bank.ValidID(id) {
		fault.ID = id
	}
	*op = bank.Operation{Kind: op.Kind}
	return fault
}

func (f *fields) fault(op *bank.Operation, decimals int, wrong string) *Fault {
	switch {
	case wrong != "":
		return malformed(wrong)
	case f.legacy.given() && f.canonical():
		return malformed("it mixes the canonical and the legacy map; send one of them")
	case f.legacy.given():
		return f.legacy.operation(op, decimals)
	case f.op.kind != text:
		return malformed("op is missing or not a text; name the operation")
	case f.memo.given() && (f.memo.kind != text || len(f.memo.text) > maxMemo):
		return malformed("the memo is not a text of at most 140 bytes; shorten it or leave it out")
	case f.receipt.given() && f.receipt.kind != boolean:
		return malformed("receipt is true or false; send one of them")
	}
	kind, known := bank.ParseKind(f.op.short())
	if !known {
		return unknownOperation()
	}
	op.Kind = kind
	if f.superfluous(kind) {
		return malformed("a field that " + kind.String() + " does not have; leave it out")
	}
	op.Account = f.account.account()
	op.To = f.to.account()
	if kind.Moves() {
		op.Amount = f.amount.amount(decimals)
	}
	op.ID = f.id.identifier()
	op.Memo = string(f.memo.text)
	op.Receipt = f.receipt.isTrue()
	return nil
}

// canonical reports whether the message has a field of the canonical map.
func (f *fields) canonical() bool {
	return f.op.given() || f.account.given() || f.to.given() || f.amount.given() || f.id.given() || f.memo.given() ||
		f.receipt.given()
}

// superfluous reports whether a field of the canonical map has no meaning for an operation of that kind.
func (f *fields) superfluous(kind bank.Kind) bool {
	return f.account.given() && kind == bank.KindStatus ||
		f.to.given() && kind != bank.KindTransfer ||
		f.amount.given() && !kind.Moves() ||
		f.receipt.given() && kind != bank.KindStatus
}

func unknownOperation() *Fault {
	return &Fault{
		Code:   bank.UnknownOperation,
		Detail: "there is no such operation; ask for balance, deposit, withdraw, transfer, open or status",
	}
}

// short returns a text, or "" when it is none or too long to be the name of anything.
func (v *value) short() string {
	if v.kind != text || len(v.text) > longestName {
		return ""
	}
	return string(v.text)
}

// account returns a text as an account, or "", which is none.
func (v *value) account() bank.Account { return bank.Account(v.short()) }

// identifier returns the id, "" when there is none, or noID.
func (v *value) identifier() string {
	if !v.given() {
		return ""
	}
	if id := v.short(); id != "" {
		return id
	}
	return noID
}

// amount returns a number or text as an amount, or 0, which is none. Every amount of every format is judged here: a number
// by its digits, a text by its characters, both by the rule of [bank.ParseAmount].
func (v *value) amount(decimals int) bank.Amount {
	if (v.kind != number && v.kind != text) || len(v.text) > longestNumber {
		return 0
	}
	a, err := bank.ParseAmount(string(v.text), decimals)
	if err != nil {
		return 0
	}
	return a
}
