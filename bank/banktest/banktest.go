// Package banktest is the suite that every [bank.Engine] passes: scenarios that read like bank statements, and a state
// machine that compares random histories with a naive model of the rules.
//
// [Run] checks after every history that entries are dense, that each sums to zero, and that so does the book.
//
// [CheckHistory] is for a bank that runs: it joins what many clients were told, and when, with the journal that is left.
package banktest

import (
	"context"
	"testing"
	"time"

	"gateway/bank"
)

// Harness opens the engine under test.
type Harness struct {
	// Open returns an engine on the directory, empty or as an earlier engine on it was left by Close. now gives the time
	// of entries.
	Open func(t testing.TB, dir string, rules bank.Rules, now func() time.Time) bank.Engine
	// Entries returns the whole history of a directory, or of the engine last opened on it, after its Close.
	Entries func(t testing.TB, dir string) []bank.Entry
	// Durable says that an engine opened on a used directory goes on where the last one ended.
	Durable bool
}

// Run runs the whole suite against the engine.
func Run(t *testing.T, h Harness) {
	t.Run("scenarios", func(t *testing.T) { runScenarios(t, h) })
	t.Run("a random history is judged as the model judges it", func(t *testing.T) { runMachine(t, h) })
	t.Run("an id is answered across batches and within one", func(t *testing.T) { runOneBatch(t, h) })
}

// epoch is where the clock of every run starts; it steps by a second at each look.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

type stepClock struct{ now time.Time }

func (c *stepClock) step() time.Time {
	c.now = c.now.Add(time.Second)
	return c.now
}

// commit gives the engine one batch.
func commit(t testing.TB, engine bank.Engine, ops ...bank.Operation) []bank.Reply {
	t.Helper()
	replies := make([]bank.Reply, len(ops))
	if err := engine.Commit(context.Background(), ops, replies); err != nil {
		t.Fatalf("commit: %v", err)
	}
	return replies
}

func runOneBatch(t *testing.T, h Harness) {
	clock := &stepClock{epoch}
	dir := t.TempDir()
	engine := h.Open(t, dir, bank.Rules{CreateAccounts: true}, clock.step)
	deposit := bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: "ana", Amount: 500, ID: "d1", Memo: "é"}
	other := deposit
	other.Principal = "q"
	status := bank.Operation{Kind: bank.KindStatus, Principal: "p", ID: "d1"}
	replies := commit(t, engine, deposit, deposit, other, status)
	first := replies[0]
	if first.Code != bank.OK || first.Duplicate || first.Balance != 500 || first.Seq != 1 || first.Time.IsZero() {
		t.Errorf("the deposit was answered %+v", first)
	}
	again := first
	again.Duplicate, again.Recorded = true, false
	for _, i := range []int{1, 3} {
		if replies[i] != again {
			t.Errorf("reply %d is %+v, want the first answer %+v", i, replies[i], again)
		}
	}
	if replies[2].Balance != 1000 || replies[2].Duplicate {
		t.Errorf("the other principal's id was answered %+v", replies[2])
	}
	if later := commit(t, engine, deposit)[0]; later != again {
		t.Errorf("a batch later the answer is %+v, want %+v", later, again)
	}
	closeAndCheck(t, h, dir, engine)
}

// closeAndCheck closes the engine and checks what every history must hold. It returns the entries.
func closeAndCheck(t testing.TB, h Harness, dir string, engine bank.Engine) []bank.Entry {
	t.Helper()
	if err := engine.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	entries := h.Entries(t, dir)
	book := map[bank.Account]bank.Amount{}
	for i, e := range entries {
		if e.Seq != uint64(i)+1 {
			t.Fatalf("entry %d has seq %d", i+1, e.Seq)
		}
		var sum, total bank.Amount
		for _, p := range e.Postings {
			if p.Account == "" || p.Amount == 0 {
				t.Fatalf("entry %d moves %d to %q", e.Seq, p.Amount, p.Account)
			}
			sum += p.Amount
			book[p.Account] += p.Amount
		}
		for account, balance := range book {
			total += balance
			if balance < 0 && !account.House() {
				t.Fatalf("entry %d leaves %s at %d", e.Seq, account, balance)
			}
		}
		if sum != 0 || total != 0 {
			t.Fatalf("entry %d sums to %d and the book to %d", e.Seq, sum, total)
		}
	}
	return entries
}
