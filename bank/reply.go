package bank

import "time"

// Code says how an operation ended. Codes are in order of precedence: of two reasons to refuse, the smaller is told.
// Their numbers are written into journals and never change meaning.
type Code uint8

const (
	OK                Code = 0  // done
	Malformed         Code = 1  // the bytes are no operation
	TooLarge          Code = 2  // more bytes than a message may have
	UnknownOperation  Code = 3  // there is no such operation
	Unauthorized      Code = 4  // who asks is not known
	Forbidden         Code = 5  // who asks may not do this
	Overloaded        Code = 6  // not accepted now; it left no trace
	InvalidAccount    Code = 7  // an account is missing or is not one
	InvalidAmount     Code = 8  // the amount is missing or is not one
	InvalidID         Code = 9  // the id is missing or is not one
	IDConflict        Code = 10 // the id stands for other content
	IDNotFound        Code = 11 // the id was never decided
	AccountNotFound   Code = 12 // an account is not open
	InsufficientFunds Code = 13 // the payer has less
	Overflow          Code = 14 // a balance would pass the ceiling
	Unavailable       Code = 15 // the bank cannot write now; with an id, ask its status
)

// codeNames is indexed by Code.
var codeNames = [...]string{
	"ok", "malformed", "too_large", "unknown_operation", "unauthorized", "forbidden", "overloaded", "invalid_account",
	"invalid_amount", "invalid_id", "id_conflict", "id_not_found", "account_not_found", "insufficient_funds", "overflow",
	"unavailable",
}

// String returns the code's name on the wire.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return ""
}

// Codes returns every code in order of precedence.
func Codes() []Code {
	codes := make([]Code, len(codeNames))
	for i := range codes {
		codes[i] = Code(i)
	}
	return codes
}

// ParseCode returns the code of that name, or false.
func ParseCode(name string) (Code, bool) {
	for i, known := range codeNames {
		if known == name {
			return Code(i), true
		}
	}
	return 0, false
}

// decided reports whether a code is a verdict on the state of the book, which an id remembers.
func (c Code) decided() bool {
	return c == OK || c == AccountNotFound || c == InsufficientFunds || c == Overflow
}

// Reply is what a client is told.
type Reply struct {
	Code       Code
	Kind       Kind   // of the operation answered; after a status, of the operation that the id stands for
	ID         string // as asked, when it is one
	Seq        uint64 // of the entry; of the last one seen when nothing was written; 0 in a refusal that left none
	Time       time.Time
	Amount     Amount // as asked
	Balance    Amount // of Account after the operation, when HasBalance
	HasBalance bool
	Duplicate  bool   // the id was answered before; the rest is as it was the first time
	Recorded   bool   // this very operation left an entry, which keeps its Origin; nothing a client is told
	Detail     string // what to do about a refusal, when more is known than its code says; never stored
	Receipt    string // the proof that a status asked for; the bank sets none
}

// Refusal returns the reply that refuses op with code and touches nothing.
func Refusal(op *Operation, code Code) Reply {
	r := Reply{Code: code, Kind: op.Kind, Amount: op.Amount}
	if ValidID(op.ID) {
		r.ID = op.ID
	}
	return r
}
