package bank_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gateway/bank"
)

// verdicts is an authority that answers by principal, and notes whom it was asked about.
type verdicts struct {
	codes map[string]bank.Code
	asked []bank.Operation
}

func (v *verdicts) Authorize(op bank.Operation) bank.Code {
	v.asked = append(v.asked, op)
	return v.codes[op.Principal]
}

func TestTheAuthorityIsAskedBeforeAnythingElse(t *testing.T) {
	authority := &verdicts{codes: map[string]bank.Code{
		"stranger": bank.Unauthorized, "narrow": bank.Forbidden, "hasty": bank.Overloaded,
	}}
	engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
	b := bank.New(engine, bank.Options{Authority: authority})
	stop := start(b)
	defer stop()
	for principal, want := range map[string]error{
		"stranger": bank.ErrUnauthorized, "narrow": bank.ErrForbidden, "hasty": bank.ErrOverloaded, "p": nil,
	} {
		for _, op := range []bank.Operation{
			{Kind: bank.KindDeposit, Account: "ana", Amount: 5},
			{Kind: bank.KindDeposit, Account: "@cash", Amount: -5, ID: "\x00"}, // wrong in every field
			{Kind: bank.KindStatus},
			{Kind: bank.KindBalance, Account: "ana"},
		} {
			op.Principal = principal
			reply, err := b.Do(context.Background(), op)
			if !errors.Is(err, want) || bank.CodeOf(err) != authority.codes[principal] {
				t.Errorf("%s asks %v of %q: %v, %v; want %v", principal, op.Kind, op.Account, reply.Code, err, want)
			}
		}
	}
	if len(authority.asked) != 16 {
		t.Errorf("asked %d times", len(authority.asked))
	}
	reply, err := b.Do(context.Background(), bank.Operation{Kind: bank.KindBalance, Principal: "p", Account: "ana"})
	if err != nil || reply.Balance != 5 || reply.Seq != 1 {
		t.Errorf("the refused left a trace: %+v, %v", reply, err)
	}
}

func TestTheAuthorityIsNotAskedAboutWhatIsNoOperationOrTheHouses(t *testing.T) {
	authority := &verdicts{codes: map[string]bank.Code{"p": bank.Forbidden, bank.HousePrincipal: bank.Forbidden}}
	b := bank.New(bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), bank.Options{Authority: authority})
	stop := start(b)
	defer stop()
	for _, c := range []struct {
		op   bank.Operation
		want bank.Code
	}{
		{bank.Operation{Principal: "p"}, bank.UnknownOperation},
		{bank.Operation{Kind: bank.KindBalance, Principal: "p", Memo: fmt.Sprintf("%0200d", 1)}, bank.Malformed},
		{bank.Operation{Kind: bank.KindBalance, Principal: bank.HousePrincipal, Account: "ana"}, bank.OK},
	} {
		if reply, err := b.Do(context.Background(), c.op); err != nil || reply.Code != c.want {
			t.Errorf("%v: %v, %v; want %v", c.op.Kind, reply.Code, err, c.want)
		}
	}
	if len(authority.asked) != 0 {
		t.Errorf("asked about %+v", authority.asked)
	}
}
