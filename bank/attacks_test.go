package bank_test

import (
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gateway/bank"
)

// extremes are amounts at the ends of what an amount, and what 64 bits, can be.
func extremes() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64Range(-3, 3), rapid.Int64Range(int64(bank.MaxAmount)-3, int64(bank.MaxAmount)+3), rapid.Int64(),
		rapid.Int64Range(math.MinInt64, math.MinInt64+3), rapid.Int64Range(math.MaxInt64-3, math.MaxInt64),
	)
}

// TestA2OverflowIsRefused moves the greatest amounts there are, and pays yields on them: each is done exactly, or refused with the
// book as it was.
func TestA2OverflowIsRefused(t *testing.T) {
	most := big.NewInt(int64(bank.MaxAmount))
	kinds := []bank.Kind{bank.KindDeposit, bank.KindWithdraw, bank.KindTransfer, bank.KindYield}
	rapid.Check(t, func(t *rapid.T) {
		engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
		want := map[bank.Account]*big.Int{"a": new(big.Int), "b": new(big.Int)}
		for i := range rapid.IntRange(1, 30).Draw(t, "operations") {
			op := bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: fmt.Sprint("yield-", i), Memo: "1"}
			if kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind != bank.KindYield {
				op = bank.Operation{Kind: kind, Account: "a", Amount: bank.Amount(extremes().Draw(t, "amount"))}
				if kind == bank.KindTransfer {
					op.To = "b"
				}
			}
			replies := make([]bank.Reply, 1)
			if err := engine.Commit(t.Context(), []bank.Operation{op}, replies); err != nil {
				t.Fatal(err)
			}
			after := afterwards(&op, want)
			fits := after["a"].Sign() >= 0 && after["a"].Cmp(most) <= 0 && after["b"].Cmp(most) <= 0
			fits = fits && (op.Kind == bank.KindYield || op.Amount > 0 && op.Amount <= bank.MaxAmount)
			if done := replies[0].Code == bank.OK; done != fits {
				t.Fatalf("%v of %d at %v: %v", op.Kind, op.Amount, want, replies[0].Code)
			}
			if fits {
				want = after
			}
			for account, balance := range want {
				if got, _ := engine.Ledger().Balance(account); int64(got) != balance.Int64() {
					t.Fatalf("%s has %d, want %d", account, got, balance)
				}
			}
			if engine.Ledger().Sum() != 0 {
				t.Fatalf("the book sums to %d", engine.Ledger().Sum())
			}
		}
	})
}

// TestA2TheHouseOverflowsToo fills so many accounts that the next deposit would take @cash out of 64 bits, and then credits and
// withdraws yields until the next would take @yield out: both are refused, with the book as it was. I4.
func TestA2TheHouseOverflowsToo(t *testing.T) {
	engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
	ask := func(op bank.Operation) bank.Code {
		t.Helper()
		replies := make([]bank.Reply, 1)
		if err := engine.Commit(t.Context(), []bank.Operation{op}, replies); err != nil {
			t.Fatal(err)
		}
		if sum := engine.Ledger().Sum(); sum != 0 {
			t.Fatalf("after %v of %q the book sums to %d", op.Kind, op.Account, sum)
		}
		return replies[0].Code
	}
	const accounts, half = math.MaxInt64 / int64(bank.MaxAmount), (bank.MaxAmount + 1) / 2
	move := func(kind bank.Kind, account int64, amount bank.Amount) bank.Code {
		return ask(bank.Operation{Kind: kind, Account: bank.Account(fmt.Sprint(account)), Amount: amount})
	}
	for i := range accounts {
		if code := move(bank.KindDeposit, i, bank.MaxAmount); code != bank.OK {
			t.Fatalf("deposit %d: %v", i, code)
		}
	}
	cash, _ := engine.Ledger().Balance(bank.CashAccount)
	if code := move(bank.KindDeposit, accounts, bank.MaxAmount); code != bank.Overflow {
		t.Errorf("one deposit more: %v", code)
	}
	if after, _ := engine.Ledger().Balance(bank.CashAccount); after != cash {
		t.Errorf("%s had %d and has %d", bank.CashAccount, cash, after)
	}
	for round := range 3 {
		for i := range accounts {
			if code := move(bank.KindWithdraw, i, half); code != bank.OK {
				t.Fatalf("withdraw %d: %v", i, code)
			}
		}
		want := bank.OK
		if round == 2 {
			want = bank.Overflow
		}
		op := bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: fmt.Sprint("yield-", round), Memo: "1"}
		if code := ask(op); code != want {
			t.Errorf("yield %d: %v, want %v", round, code, want)
		}
	}
}

// afterwards returns the balances that op would make without any bound.
func afterwards(op *bank.Operation, before map[bank.Account]*big.Int) map[bank.Account]*big.Int {
	a, b, x := new(big.Int).Set(before["a"]), new(big.Int).Set(before["b"]), big.NewInt(int64(op.Amount))
	switch op.Kind {
	case bank.KindYield:
		a.Add(a, a)
		b.Add(b, b)
	case bank.KindDeposit:
		a.Add(a, x)
	default:
		if a.Sub(a, x); op.Kind == bank.KindTransfer {
			b.Add(b, x)
		}
	}
	return map[bank.Account]*big.Int{"a": a, "b": b}
}

// TestA4OddTransfers: to oneself, to and from accounts that nobody opened, and to the house. There are no closed accounts.
func TestA4OddTransfers(t *testing.T) {
	for _, c := range []struct {
		name     string
		create   bool
		from, to bank.Account
		amount   bank.Amount
		code     bank.Code
		postings int
	}{
		{"to oneself, which moves nothing", true, "ana", "ana", 50, bank.OK, 2},
		{"to oneself, more than there is", true, "ana", "ana", 51, bank.InsufficientFunds, 0},
		{"to oneself, from an account that nobody opened", true, "new", "new", 1, bank.InsufficientFunds, 0},
		{"to oneself, from none", false, "new", "new", 1, bank.AccountNotFound, 0},
		{"to an account that nobody opened", true, "ana", "new", 50, bank.OK, 2},
		{"to none", false, "ana", "new", 50, bank.AccountNotFound, 0},
		{"from an account that nobody opened", true, "new", "ana", 1, bank.InsufficientFunds, 0},
		{"from none", false, "new", "ana", 1, bank.AccountNotFound, 0},
		{"to the house", true, "ana", bank.CashAccount, 1, bank.InvalidAccount, 0},
		{"from the house", true, bank.CashAccount, "ana", 1, bank.InvalidAccount, 0},
		{"from and to the house", true, bank.CashAccount, bank.YieldAccount, 1, bank.InvalidAccount, 0},
	} {
		engine := bank.NewMemory(bank.Rules{CreateAccounts: c.create}, time.Now)
		ops := []bank.Operation{
			{Kind: bank.KindOpen, Account: "ana"}, {Kind: bank.KindDeposit, Account: "ana", Amount: 50},
			{Kind: bank.KindTransfer, Account: c.from, To: c.to, Amount: c.amount, ID: "odd"},
		}
		replies := make([]bank.Reply, len(ops))
		if err := engine.Commit(t.Context(), ops, replies); err != nil {
			t.Fatal(err)
		}
		entry, postings := engine.Entries()[len(engine.Entries())-1], 0
		if entry.ID == "odd" {
			postings = len(entry.Postings)
		}
		if replies[2].Code != c.code || postings != c.postings || engine.Ledger().Sum() != 0 {
			t.Errorf("%s: %v with %d postings, want %v with %d", c.name, replies[2].Code, postings, c.code, c.postings)
		}
	}
}
