package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
	"gateway/client"
)

// testimony is what clients asked and were told, in order of asking, by the clock of this process.
type testimony struct {
	began time.Time

	mu   sync.Mutex // guards told
	told []banktest.Told
}

func newTestimony() *testimony { return &testimony{began: time.Now()} }

// ask notes that an operation is about to be sent, and returns its place.
func (y *testimony) ask(who string, asked client.Operation) (int, error) {
	op, err := bankOperation(asked)
	if err != nil {
		return 0, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.told = append(y.told, banktest.Told{Client: who, Op: op, Called: time.Since(y.began)})
	return len(y.told) - 1, nil
}

// answer notes what was told. An answer that leaves open what became of the operation is none.
func (y *testimony) answer(place int, told client.Reply) error {
	returned := time.Since(y.began)
	reply, err := bankReply(told)
	if err != nil {
		return err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	t := &y.told[place]
	t.Answered, t.Returned, t.Reply = reply.Code != bank.Overloaded && reply.Code != bank.Unavailable, returned, reply
	return nil
}

// all returns what there is now.
func (y *testimony) all() []banktest.Told { return y.since(0) }

// since returns what there is from a place on.
func (y *testimony) since(place int) []banktest.Told {
	y.mu.Lock()
	defer y.mu.Unlock()
	return slices.Clone(y.told[place:])
}

func (y *testimony) count() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.told)
}

// decimals are those of the gateways that are tortured.
const decimals = 2

// bankOperation is what a gateway makes of an operation of an anonymous client.
func bankOperation(op client.Operation) (bank.Operation, error) {
	made := bank.Operation{
		Kind: op.Kind, Principal: bank.AnonymousPrincipal, Account: bank.Account(op.Account), To: bank.Account(op.To), ID: op.ID, Memo: op.Memo,
	}
	if !op.Kind.Moves() {
		return made, nil
	}
	amount, err := bank.ParseAmount(op.Amount, decimals)
	if err != nil {
		return made, fmt.Errorf("amount %q: %w", op.Amount, err)
	}
	made.Amount = amount
	return made, nil
}

// bankReply is the reply as the bank made it, as far as a client is told.
func bankReply(told client.Reply) (bank.Reply, error) {
	reply := bank.Reply{Code: told.Code, ID: told.ID, Seq: told.Seq, Time: told.Time, Duplicate: told.Duplicate}
	if told.Balance == "" {
		return reply, nil
	}
	balance, err := bank.ParseBalance(told.Balance, decimals)
	if err != nil {
		return reply, fmt.Errorf("balance %q: %w", told.Balance, err)
	}
	reply.Balance, reply.HasBalance = balance, true
	return reply, nil
}
