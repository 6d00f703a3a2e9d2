package bank_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gateway/bank"
)

// audited plays operations on an empty book and audits each entry, which change may have changed before it is posted. It returns what
// the audit says of the last.
func audited(t *testing.T, change func(e *bank.Entry), ops ...bank.Operation) error {
	t.Helper()
	var entries pastEntries
	l := bank.NewLedger(bank.Rules{CreateAccounts: true}, [16]byte{1}, &entries)
	var err error
	for i := range ops {
		var e bank.Entry
		var reply bank.Reply
		write, failed := l.Decide(&ops[i], time.Unix(int64(i), 0), &e, &reply)
		if failed != nil || !write {
			t.Fatalf("operation %d: %+v, %v", i, reply, failed)
		}
		if i == len(ops)-1 {
			change(&e)
		}
		entries = append(entries, e)
		ref := uint64(len(entries) - 1)
		if err := l.Post(&e, ref); err != nil {
			t.Fatal(err)
		}
		if err = l.Audit(&e, ref); err != nil && i < len(ops)-1 {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	return err
}

// pastEntries is a history whose references are indexes.
type pastEntries []bank.Entry

var errForgotten = errors.New("forgotten")

func (p *pastEntries) Entry(ref uint64, e *bank.Entry) error {
	if *e = (*p)[ref]; e.Memo == "forgotten" {
		return errForgotten
	}
	return nil
}

func operationOf(kind bank.Kind, id string, amount bank.Amount) bank.Operation {
	op := bank.Operation{Kind: kind, Principal: "p", Account: "ana", Amount: amount, ID: id}
	switch kind {
	case bank.KindTransfer:
		op.To = "bia"
	case bank.KindYield:
		op = bank.Operation{Kind: kind, Principal: bank.HousePrincipal, ID: id, Memo: "0.10"}
	}
	return op
}

// TestAnAuditFindsWhatWasNeverDecided changes the last entry of a history, so that the book could still be posted.
func TestAnAuditFindsWhatWasNeverDecided(t *testing.T) {
	before := []bank.Operation{operationOf(bank.KindDeposit, "d", 50), operationOf(bank.KindTransfer, "t", 20)}
	deposit, withdrawal := operationOf(bank.KindDeposit, "x", 5), operationOf(bank.KindWithdraw, "x", 5)
	transfer, refusal := operationOf(bank.KindTransfer, "x", 5), operationOf(bank.KindWithdraw, "x", 500)
	opening, yield := operationOf(bank.KindOpen, "x", 0), operationOf(bank.KindYield, "x", 0)
	toOneself := transfer
	toOneself.To = "ana"
	moved := func(postings ...bank.Posting) func(*bank.Entry) {
		return func(e *bank.Entry) { e.Postings, e.HasBalance = postings, e.Kind != bank.KindYield }
	}
	for name, c := range map[string]struct {
		op     bank.Operation
		change func(e *bank.Entry)
	}{
		"a balance told of a deposit":         {deposit, func(e *bank.Entry) { e.Balance++ }},
		"a balance told of a refusal":         {refusal, func(e *bank.Entry) { e.Balance = 999 }},
		"a balance told of an opening":        {opening, func(e *bank.Entry) { e.Balance-- }},
		"a balance kept back":                 {withdrawal, func(e *bank.Entry) { e.Balance, e.HasBalance = 0, false }},
		"a balance told where there is none":  {yield, func(e *bank.Entry) { e.HasBalance = true }},
		"a balance told where is no account":  {refusal, func(e *bank.Entry) { e.Code = bank.AccountNotFound }},
		"more than was asked":                 {deposit, moved(bank.Posting{"@cash", -6}, bank.Posting{"ana", 6})},
		"another's money":                     {withdrawal, moved(bank.Posting{"bia", -5}, bank.Posting{"@cash", 5})},
		"to somebody else":                    {transfer, moved(bank.Posting{"ana", -5}, bank.Posting{"eve", 5})},
		"the wrong way round":                 {transfer, moved(bank.Posting{"bia", -5}, bank.Posting{"ana", 5})},
		"in the other order":                  {transfer, moved(bank.Posting{"bia", 5}, bank.Posting{"ana", -5})},
		"nothing":                             {deposit, moved()},
		"three postings":                      {transfer, moved(bank.Posting{"ana", -5}, bank.Posting{"bia", 5}, bank.Posting{"eve", 0})},
		"money at an opening":                 {opening, moved(bank.Posting{"@cash", -5}, bank.Posting{"ana", 5})},
		"a yield that cash pays":              {yield, moved(bank.Posting{"@cash", -3}, bank.Posting{"ana", 3})},
		"a yield that takes":                  {yield, moved(bank.Posting{"@yield", 5}, bank.Posting{"ana", -5})},
		"a yield of one that pays":            {yield, moved(bank.Posting{"@yield", -1}, bank.Posting{"ana", -1}, bank.Posting{"bia", 2})},
		"a yield of nothing":                  {yield, moved(bank.Posting{"@yield", 0})},
		"a share of nothing":                  {yield, moved(bank.Posting{"@yield", -3}, bank.Posting{"ana", 3}, bank.Posting{"bia", 0})},
		"a yield to the house":                {yield, moved(bank.Posting{"@yield", -5}, bank.Posting{"@cash", 5})},
		"two shares of one":                   {yield, moved(bank.Posting{"@yield", -5}, bank.Posting{"ana", 3}, bank.Posting{"ana", 2})},
		"shares in no order":                  {yield, moved(bank.Posting{"@yield", -5}, bank.Posting{"bia", 2}, bank.Posting{"ana", 3})},
		"a kind that writes nothing":          {opening, func(e *bank.Entry) { e.Kind = bank.KindBalance }},
		"another kind that writes nothing":    {opening, func(e *bank.Entry) { e.Kind = bank.KindStatus }},
		"a code that writes nothing":          {refusal, func(e *bank.Entry) { e.Code = bank.Malformed }},
		"a yield's code that writes nothing":  {yield, func(e *bank.Entry) { e.Code, e.Postings = bank.IDConflict, nil }},
		"an id that was decided":              {deposit, func(e *bank.Entry) { e.ID = "d" }},
		"an id whose entry cannot be read":    {deposit, func(e *bank.Entry) { e.ID = "lost" }},
		"to oneself, and the balance is more": {toOneself, func(e *bank.Entry) { e.Balance += 5 }},
	} {
		lost := deposit
		lost.ID, lost.Memo = "lost", "forgotten"
		ops := append(append([]bank.Operation{lost}, before...), c.op)
		if err := audited(t, func(*bank.Entry) {}, ops...); err != nil {
			t.Errorf("before %s: %v", name, err)
		}
		want := bank.ErrBroken
		if name == "an id whose entry cannot be read" {
			want = errForgotten
		}
		if err := audited(t, c.change, ops...); !errors.Is(err, want) {
			t.Errorf("%s: %v; want %v", name, err, want)
		}
	}
}

// TestAnAuditTakesWhatWasDecided of every kind, for every reason.
func TestAnAuditTakesWhatWasDecided(t *testing.T) {
	most := operationOf(bank.KindDeposit, "", bank.MaxAmount)
	ops := []bank.Operation{
		operationOf(bank.KindYield, "nothing", 0),
		{Kind: bank.KindDeposit, Principal: "p", Account: "least", Amount: 10}, operationOf(bank.KindYield, "y1", 0), // a share of one
		most, operationOf(bank.KindDeposit, "too much", 1), operationOf(bank.KindYield, "too much", 0),
		operationOf(bank.KindTransfer, "t", 1000), operationOf(bank.KindWithdraw, "w", bank.MaxAmount/2), operationOf(bank.KindYield, "y", 0),
		operationOf(bank.KindWithdraw, "too little", bank.MaxAmount), operationOf(bank.KindOpen, "o", 0),
		{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: "malformed", Memo: "no rate"},
		{Kind: bank.KindOpen, Principal: "p", Account: "new", ID: "new"}, {Kind: bank.KindDeposit, Principal: "q", Account: "ana", Amount: 1, ID: "t"},
		{Kind: bank.KindTransfer, Principal: "p", Account: "ana", To: "ana", Amount: 1, ID: "to oneself"},
	}
	for n := range ops {
		if err := audited(t, func(*bank.Entry) {}, ops[:n+1]...); err != nil {
			t.Errorf("operation %d: %v", n, err)
		}
	}
	var entries pastEntries
	l := bank.NewLedger(bank.Rules{}, [16]byte{}, &entries) // opens no account by itself
	for i, id := range []string{"a", "b"} {
		var e bank.Entry
		var reply bank.Reply
		op := operationOf(bank.KindTransfer, id, 1)
		if _, err := l.Decide(&op, time.Unix(0, 0), &e, &reply); err != nil || e.Code != bank.AccountNotFound {
			t.Fatalf("%+v, %v", e, err)
		}
		if err := errors.Join(l.Post(&e, uint64(i)), l.Audit(&e, uint64(i))); err != nil {
			t.Error(fmt.Errorf("%s: %w", id, err))
		}
	}
}
