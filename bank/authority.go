package bank

import (
	"errors"
	"fmt"
)

// Authority knows what each principal may do. It is asked before anything else is looked at: a Banco without one lets every
// principal do everything.
type Authority interface {
	// Authorize returns OK, [Unauthorized], [Forbidden], or [Overloaded] for a principal that asks more than its rate. Any
	// goroutine may call it; it must be quick. op is passed by value, since a pointer would move every operation to the heap.
	Authorize(op Operation) Code
}

// authorize asks the authority about a client's operation. What is no operation is not its to judge: the ledger refuses that
// with a code that comes first.
func (b *Banco) authorize(op *Operation) error {
	if b.options.Authority == nil || op.Principal == HousePrincipal {
		return nil
	}
	if code := op.Check(); code == Malformed || code == UnknownOperation {
		return nil
	}
	switch code := b.options.Authority.Authorize(*op); code {
	case OK:
		return nil
	case Unauthorized:
		return ErrUnauthorized
	case Forbidden:
		return ErrForbidden
	case Overloaded:
		return ErrOverloaded
	default:
		panic(fmt.Sprintf("bank: an authority may not answer %v", code))
	}
}

// CodeOf returns the code that refuses an operation for which Submit returned err.
func CodeOf(err error) Code {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrUnauthorized):
		return Unauthorized
	case errors.Is(err, ErrForbidden):
		return Forbidden
	case errors.Is(err, ErrOverloaded):
		return Overloaded
	}
	return Unavailable // the bank is closed, or the one who asked has gone
}
