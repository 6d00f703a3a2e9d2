package wire

import (
	"errors"

	"gateway/bank"
)

// Format is a way of writing messages.
type Format uint8

const (
	// Pickle is what the legacy bank's Python clients speak: pickled objects, answered with pickled dicts.
	Pickle Format = iota + 1
	// Msgpack is the map of PROTOCOL.md as msgpack.
	Msgpack
	// JSON is the map of PROTOCOL.md as JSON.
	JSON
)

// The limits of one message, in bytes.
const (
	// MaxMessage is the most bytes of a message in JSON or msgpack. Servers may set a lower limit of their own.
	MaxMessage = 64 << 10
	// MaxReply is the most bytes of a reply in any format: clients of the legacy bank receive once, with a buffer of
	// that size.
	MaxReply = 2048
	// MaxReceipt is the most bytes of a receipt with which the answer to an id has at most MaxReply.
	MaxReceipt = 1640
)

// ErrIncomplete says that the bytes so far may be the beginning of a message.
var ErrIncomplete = errors.New("wire: incomplete message")

// String returns the format's name in the settings.
func (f Format) String() string {
	switch f {
	case Pickle:
		return "pickle"
	case Msgpack:
		return "msgpack"
	case JSON:
		return "json"
	}
	return ""
}

// ParseFormat returns the format of that name, or false.
func ParseFormat(name string) (Format, bool) {
	for f := Pickle; f <= JSON; f++ {
		if f.String() == name {
			return f, true
		}
	}
	return 0, false
}

// Sniff tells the format of a whole message by its first byte: no msgpack map begins with an ASCII character, and every
// JSON text does.
func Sniff(payload []byte) Format {
	if len(payload) > 0 && payload[0] >= 0x80 {
		return Msgpack
	}
	return JSON
}

// Ack returns the format's true, which a socket says before the client does: PROTOCOL.md, "Sockets".
func (f Format) Ack() []byte {
	switch f {
	case Pickle:
		return pickleAck()
	case Msgpack:
		return []byte{0xc3}
	case JSON:
		return []byte("true\n")
	}
	panic("wire: no such format")
}

// Codec is the bank's side of a format. It is safe for concurrent use.
type Codec interface {
	// Format returns the format.
	Format() Format
	// Ack returns [Format.Ack].
	Ack() []byte
	// MaxMessage returns the most bytes that Decode takes for one operation.
	MaxMessage() int
	// Decode reads one operation from the front of b into *op and returns how many bytes it took. It sets what a client
	// says and clears the rest: who asks and where from is the caller's to add. What stands behind the operation is not
	// looked at.
	//
	// ErrIncomplete asks for more bytes: call again with all of them from the first one. Any other error is a *[Fault]:
	// the bytes are no operation. With n > 0 the message was whole, and another may begin behind it; with n == 0 its end
	// is not known. *op then holds at most the Kind.
	//
	// With a nil error the bank still has to judge: an account, amount or id that is missing or cannot be read is left at
	// a value that [bank.Operation.Check] refuses.
	Decode(b []byte, op *bank.Operation) (n int, err error)
	// AppendReply appends the reply as the format's clients expect it: at most MaxReply bytes, whatever r holds; its
	// receipt comes on top, and is the caller's to bound.
	AppendReply(dst []byte, r *bank.Reply) []byte
	// Space returns how many bytes at the front of b are mere white space between messages.
	Space(b []byte) int
}

// NewCodec returns the codec of a format for a bank that keeps that many decimals. It panics when there is no such format.
func NewCodec(f Format, decimals int) Codec {
	switch f {
	case Pickle:
		return newPickleCodec(decimals)
	case Msgpack, JSON:
		return newMapCodec(f, decimals)
	}
	panic("wire: no such format")
}

// Fault says why bytes are no operation. It is the error of [Codec.Decode] and what the client is told.
type Fault struct {
	// Code is Malformed, TooLarge or UnknownOperation.
	Code bank.Code
	// Detail says what to do about it. It holds nothing of the message.
	Detail string
	// ID is the id of a message that was whole and had one that is valid; a lost message is answered without, and so is one
	// with a repeated field, which may have had two.
	ID string
}

// Error tells code and detail. It is fit for a log.
func (f *Fault) Error() string { return "wire: " + f.Code.String() + ": " + f.Detail }

// Reply returns what the client is told. op is what Decode left; a reply counts as one to its Kind.
func (f *Fault) Reply(op *bank.Operation) bank.Reply {
	return bank.Reply{Code: f.Code, Kind: op.Kind, ID: f.ID, Detail: f.Detail}
}

func malformed(detail string) *Fault { return &Fault{Code: bank.Malformed, Detail: detail} }

func tooLarge() *Fault {
	return &Fault{Code: bank.TooLarge, Detail: "send one operation, which needs a few hundred bytes"}
}
