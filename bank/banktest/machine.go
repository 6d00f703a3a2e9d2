package banktest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gateway/bank"
)

// runMachine draws histories: batches of random operations with few accounts, ids and principals, so that they meet, and
// now and then a restart. Every reply must be the model's. At the end the entries are replayed into the model's balances.
func runMachine(t *testing.T, h Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "banktest")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		create := rapid.Bool().Draw(rt, "create accounts")
		clock := &stepClock{epoch}
		rules := bank.Rules{CreateAccounts: create}
		engine := h.Open(t, dir, rules, clock.step)
		model := NewModel(create)
		operation := rapid.Custom(drawOperation)
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			ops := rapid.SliceOfN(operation, 1, 20).Draw(rt, "ops")
			replies := make([]bank.Reply, len(ops))
			if err := engine.Commit(context.Background(), ops, replies); err != nil {
				rt.Fatalf("commit: %v", err)
			}
			for i := range ops {
				compare(rt, &ops[i], replies[i], model.Do(ops[i]))
			}
			if h.Durable && rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				if err := engine.Close(); err != nil {
					rt.Fatalf("close: %v", err)
				}
				engine = h.Open(t, dir, rules, clock.step)
			}
		}
		replay(rt, model, closeAndCheck(t, h, dir, engine))
	})
}

func compare(rt *rapid.T, op *bank.Operation, got, want bank.Reply) {
	if (got.Time.IsZero()) != (got.Seq == 0) {
		rt.Fatalf("%s %q: time %v with seq %d", op.Kind, op.ID, got.Time, got.Seq)
	}
	got.Time = time.Time{}
	if got != want {
		rt.Fatalf("%+v\nanswered %+v\n    want %+v", *op, got, want)
	}
}

// replay adds the postings up and compares the sums with the model's balances.
func replay(rt *rapid.T, m *Model, entries []bank.Entry) {
	if uint64(len(entries)) != m.seq {
		rt.Fatalf("%d entries, want %d", len(entries), m.seq)
	}
	sums := map[bank.Account]bank.Amount{}
	for i := range entries {
		for _, p := range entries[i].Postings {
			sums[p.Account] += p.Amount
		}
	}
	for account, balance := range m.balances {
		if int64(sums[account]) != balance.Int64() {
			rt.Fatalf("the entries leave %s at %d, want %d", account, sums[account], balance)
		}
	}
}

func drawOperation(t *rapid.T) bank.Operation {
	kind := bank.Kind(rapid.IntRange(int(bank.KindBalance), int(bank.KindYield)).Draw(t, "kind"))
	account := rapid.SampledFrom([]bank.Account{"ana", "bia", "c", "d:4", "", "@cash", "é"})
	op := bank.Operation{
		Kind:      kind,
		Principal: rapid.SampledFrom([]string{"anonymous", "p"}).Draw(t, "principal"),
		ID:        rapid.SampledFrom([]string{"", "", "", "1", "2", "3", "\x00"}).Draw(t, "id"),
		Memo:      rapid.SampledFrom([]string{"", "", "rent"}).Draw(t, "memo"),
	}
	if kind == bank.KindYield {
		return bank.Operation{
			Kind: kind, Principal: bank.HousePrincipal,
			ID:   fmt.Sprint("yield-", rapid.IntRange(1, 9).Draw(t, "period")),
			Memo: rapid.SampledFrom([]string{"0.10", "0.005", "1", "10"}).Draw(t, "rate"),
		}
	}
	if kind != bank.KindStatus {
		op.Account = account.Draw(t, "account")
	}
	if kind == bank.KindTransfer {
		op.To = account.Draw(t, "to")
	}
	if kind.Moves() {
		op.Amount = bank.Amount(rapid.OneOf(
			rapid.Int64Range(1, 500),
			rapid.Int64Range(int64(bank.MaxAmount)-300, int64(bank.MaxAmount)+1),
			rapid.SampledFrom([]int64{0, -1, -9223372036854775808, 9223372036854775807}),
		).Draw(t, "amount"))
	}
	return op
}
