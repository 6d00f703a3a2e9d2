package bank

import (
	"context"
	"errors"
)

// An Engine judges batches of operations by a [Ledger] and makes the outcome durable.
//
// Only one Commit runs at a time. Commit judges ops in order and sets replies[i] for ops[i]; the two slices have the same
// length and belong to the caller again when it returns. After nil, every reply is durable. After an error that wraps
// [ErrUnavailable], none of the batch happened and the Engine may be used again. After any other error the Engine must be
// closed: memory may be ahead of disk. ctx ends the wait of an engine that waits for others; it never undoes a batch.
//
// An Engine that can write no more for a while, for want of space, say, returns nil and answers [Unavailable] to the
// operations that would write; balances go on.
type Engine interface {
	Commit(ctx context.Context, ops []Operation, replies []Reply) error
	Close() error
}

// Readier is an [Engine] that can tell why it takes no operations that write.
type Readier interface {
	// Ready returns nil, or why operations would be refused now. Any goroutine may call it.
	Ready() error
}

var (
	// ErrUnavailable says that a batch did not happen.
	ErrUnavailable = errors.New("bank: unavailable")
	// ErrClosed says that the bank takes no more operations.
	ErrClosed = errors.New("bank: closed")
	// ErrOverloaded says that the queue had no room for as long as an operation may wait, or that the principal asks more
	// than its rate.
	ErrOverloaded = errors.New("bank: overloaded")
	// ErrUnauthorized says that the principal is not known.
	ErrUnauthorized = errors.New("bank: unauthorized")
	// ErrForbidden says that the principal may not do this.
	ErrForbidden = errors.New("bank: forbidden")
)
