package journal_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
	"gateway/bank/journal"
)

// options are those of most tests: small segments, frequent snapshots.
func options() journal.Options {
	return journal.Options{
		Rules: bank.Rules{CreateAccounts: true}, Decimals: 2, SegmentBytes: 4096, SnapshotEvery: 30,
	}
}

func open(t testing.TB, dir string, o journal.Options) *journal.Engine {
	t.Helper()
	engine, err := journal.Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return engine
}

func commit(t testing.TB, engine bank.Engine, ops ...bank.Operation) []bank.Reply {
	t.Helper()
	replies := make([]bank.Reply, len(ops))
	if err := engine.Commit(context.Background(), ops, replies); err != nil {
		t.Fatalf("commit: %v", err)
	}
	return replies
}

func closeEngine(t testing.TB, engine bank.Engine) {
	t.Helper()
	if err := engine.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func deposit(account bank.Account, amount bank.Amount, id string) bank.Operation {
	return bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: account, Amount: amount, ID: id}
}

func TestEngineJudgesAsTheSuiteDemands(t *testing.T) {
	for _, inline := range []bool{false, true} {
		o := options()
		o.Inline = inline
		banktest.Run(t, banktest.Harness{
			Durable: true,
			Open: func(t testing.TB, dir string, rules bank.Rules, now func() time.Time) bank.Engine {
				o := o
				o.Rules, o.Now = rules, now
				return open(t, dir, o)
			},
			Entries: func(t testing.TB, dir string) []bank.Entry { return entries(t, dir) },
		})
	}
}

// entries returns the whole history of a directory, which must be whole.
func entries(t testing.TB, dir string) []bank.Entry {
	t.Helper()
	var all []bank.Entry
	report, err := journal.Dump(dir, func(e *bank.Entry, _ [32]byte) error {
		all = append(all, *e)
		all[len(all)-1].Postings = slices.Clone(e.Postings)
		return nil
	})
	if err != nil || report.Torn.Bytes != 0 {
		t.Fatalf("dump: %v, %d bytes torn", err, report.Torn.Bytes)
	}
	return all
}

func TestTheFirstAnswerSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	engine := open(t, dir, options())
	first := commit(t, engine, deposit("ana", 500, "d1"))[0]
	if first.Code != bank.OK || first.Seq != 1 || engine.Seq() != 1 {
		t.Fatalf("answered %+v, seq %d", first, engine.Seq())
	}
	closeEngine(t, engine)
	closeEngine(t, engine)
	if _, err := bankCommit(engine, deposit("ana", 1, "")); !errors.Is(err, bank.ErrClosed) {
		t.Errorf("after Close, Commit returned %v", err)
	}
	engine = open(t, dir, options())
	first.Duplicate, first.Recorded = true, false
	if again := commit(t, engine, deposit("ana", 500, "d1"))[0]; again != first {
		t.Errorf("answered %+v, want %+v", again, first)
	}
	closeEngine(t, engine)
}

func bankCommit(engine bank.Engine, ops ...bank.Operation) ([]bank.Reply, error) {
	replies := make([]bank.Reply, len(ops))
	return replies, engine.Commit(context.Background(), ops, replies)
}

func TestDecimalsCannotBeChanged(t *testing.T) {
	dir := t.TempDir()
	closeEngine(t, open(t, dir, options()))
	o := options()
	o.Decimals = 3
	if _, err := journal.Open(dir, o); !errors.Is(err, journal.ErrDecimals) {
		t.Errorf("open returned %v", err)
	}
	closeEngine(t, open(t, dir, options()))
}
