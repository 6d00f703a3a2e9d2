package client

import (
	"errors"
	"fmt"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// Operation is what a client asks. The bank checks its fields; what it will not take is a refusal, not an error.
type Operation struct {
	// Kind is one of bank.KindBalance to bank.KindStatus.
	Kind bank.Kind
	// Account says whose balance, or who pays. All kinds but a status have one.
	Account string
	// To is the payee of a transfer.
	To string
	// Amount is digits as one writes them, "12.50", in whole units; for a deposit, a withdraw and a transfer.
	Amount string
	// ID names the operation for ever: 1 to 64 printable ASCII characters. For a status it is the id asked about. Empty, an
	// operation that writes gets one.
	ID string
	// Memo is kept with the operation, at most 140 bytes.
	Memo string
	// Receipt asks a status for a proof of the entry that it tells of.
	Receipt bool
}

// Reply is the bank's decision.
type Reply struct {
	// Code is bank.OK when the operation was done, else why it was refused.
	Code bank.Code
	// Msg says in words what to do about a refusal. Of what was done it has the digits of the balance after a balance or a
	// deposit, without needless zeros, and "" after the others, as the legacy bank said it.
	Msg string
	// Balance is that of the account after the operation, with all decimals of the bank, or "" when it was not told.
	Balance string
	// ID is the operation's, given or made.
	ID string
	// Seq and Time are of the entry in the bank's journal; of the last one seen when nothing was written.
	Seq  uint64
	Time time.Time
	// Duplicate says that the bank had decided this id before; the rest is what it answered then. After a repetition it is
	// true although the caller asked once.
	Duplicate bool
	// Receipt is the proof that a status asked for, or "": there is no entry to prove.
	Receipt string
}

// Done reports whether the operation was done.
func (r Reply) Done() bool { return r.Code == bank.OK }

var (
	// ErrUnknown says that an operation was sent and no answer came: it may have happened. See [UnknownError].
	ErrUnknown = errors.New("client: outcome unknown")
	// ErrNotSent says that an operation surely did not happen: it never left, or every copy was turned away unread.
	ErrNotSent = errors.New("client: not sent")
	// ErrRefused says that there is no connection as it is: the gateway will not have the credentials, the client id, the
	// protocol or the certificate, or its own certificate is not to be trusted. Do does not wait for its context to end then.
	// It comes wrapped with [ErrNotSent] or in an [UnknownError].
	ErrRefused = errors.New("client: connection rejected")
	// ErrClosed says that the Client was closed. It comes wrapped with [ErrNotSent] or in an [UnknownError].
	ErrClosed = errors.New("client: closed")
)

// UnknownError is the error of an operation whose outcome is unknown. errors.Is(err, ErrUnknown) is true for it.
type UnknownError struct {
	// Kind is the operation's.
	Kind bank.Kind
	// ID is the id to ask about; "" for a balance, which changes nothing.
	ID string
	// Last is the last answer, when there was one. It settles nothing: the bank was unavailable or overloaded, or it refused
	// a repetition before it looked whether it knew the id, while an earlier copy may have been done.
	Last *Reply
	// Err says why the wait ended.
	Err error
}

// Error names the operation's kind and id.
func (e *UnknownError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("client: no answer to the %s: %v", e.Kind, e.Err)
	}
	return fmt.Sprintf("client: outcome unknown of the %s with id %q: %v", e.Kind, e.ID, e.Err)
}

// Is reports whether target is ErrUnknown.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// Unwrap returns why the wait ended.
func (e *UnknownError) Unwrap() error { return e.Err }

// replyOf is the Reply to an operation with that id.
func replyOf(a *wire.Answer, id string) Reply {
	return Reply{
		Code: a.Code, Msg: a.Msg, Balance: a.Balance, ID: id, Seq: a.Seq, Time: a.Time, Duplicate: a.Duplicate, Receipt: a.Receipt,
	}
}
