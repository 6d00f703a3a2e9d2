// Package pickle reads and writes a closed subset of Python pickle as plain values. Nothing a message says is ever
// imported, called or built: a class is a pair of names from a list the caller gave, and a call is one of four shapes
// that are recognised and replaced by the value they stand for.
//
// A message is an instance of an allowed class with scalar attributes, or a dict with string keys whose values are
// scalars or dicts of scalars. [Reader.Decode] takes what any CPython (2.7 and 3, protocols 0 to 5) writes for those;
// [AppendTrue] and [AppendDict] write protocol 2, which all of them read.
//
// Caveats. Old-style Python 2 classes (INST, OBJ) are refused. So is whatever no pickler writes for these values, even
// where CPython would read it: leading zeros, stray escapes, repeated keys, a container named twice through the memo.
// Strings must be valid Unicode without surrogates, Python 2 strings ASCII. Every limit below is checked before anything
// is kept, nothing recurses, and a message is refused at its first byte that cannot belong to a legal one.
package pickle

import (
	"errors"
	"fmt"
)

// The limits of one message. Real messages of the largest legal size stay far below: 1,024 bytes, 59 opcodes, a stack
// of 19 and 21 memo entries were the maxima seen.
const (
	// MaxMessage is the most bytes a message may have, its STOP included.
	MaxMessage = 4096
	// MaxOpcodes is the most opcodes a message may have, its STOP included.
	MaxOpcodes = 256
	// MaxStack is the most values, marks included, that may wait on the stack.
	MaxStack = 64
	// MaxMemo is the number of memo entries; their indexes run from 0 to MaxMemo-1.
	MaxMemo = 96
	// MaxText is the most bytes of one string as decoded (UTF-8), and the most digits of a number written as text.
	MaxText = 1024
	// MaxLong is the most bytes of one binary integer (LONG1, LONG4): what MaxText digits need.
	MaxLong = 425
	// MaxItems is the most items of one dict or attributes of one object.
	MaxItems = 16
	// MaxProtocol is the newest protocol read.
	MaxProtocol = 5
)

// The outcomes of [Reader.Decode] other than a value.
var (
	// ErrIncomplete says that every byte so far is acceptable and that STOP has not come.
	ErrIncomplete = errors.New("pickle: incomplete message")
	// ErrTooLarge says that MaxMessage acceptable bytes have passed without STOP.
	ErrTooLarge = errors.New("pickle: message too large")
	// ErrMalformed says that the bytes can never become a message of the subset, whatever follows.
	ErrMalformed = errors.New("pickle: malformed message")
)

// A fault is why an opcode was refused. Faults are constants: refusing costs nothing until it is told, and no byte of
// the message can get into one.
type fault string

func (f fault) Error() string { return string(f) }

const (
	faultOpcode   fault = "opcode not allowed"
	faultOpcodes  fault = "too many opcodes"
	faultProtocol fault = "protocol not first or not known"
	faultFrame    fault = "frame too long"
	faultStack    fault = "stack too deep"
	faultOperand  fault = "operands missing or of a wrong kind"
	faultMark     fault = "no mark"
	faultMemo     fault = "memo index out of range or not set"
	faultShared   fault = "memo entry is a container"
	faultNumber   fault = "number not canonical or too long"
	faultText     fault = "string too long or badly written"
	faultGlobal   fault = "global not allowed"
	faultCall     fault = "call not allowed"
	faultPlace    fault = "object inside another value"
	faultDepth    fault = "dicts too deep or too many"
	faultItem     fault = "key not a string, value not allowed or item without value"
	faultRepeated fault = "repeated key"
	faultItems    fault = "too many items"
	faultResult   fault = "not exactly one object or dict at the end"
)

// malformed wraps ErrMalformed with the opcode, where it stands, and why it was refused.
func malformed(opcode byte, offset int, why error) error {
	return fmt.Errorf("%w: opcode 0x%02x at byte %d: %w", ErrMalformed, opcode, offset, why)
}
