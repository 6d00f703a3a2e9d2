package bank_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gateway/bank"
)

// sliceHistory is a history of entries by index.
type sliceHistory []bank.Entry

func (h *sliceHistory) Entry(ref uint64, e *bank.Entry) error {
	*e = (*h)[ref]
	return nil
}

// TestPartsCopiedAtDifferentEntriesMakeTheBook copies each part of a book at some entry of a random history, loads the
// parts into an empty book and replays from the oldest: the two books must be the same.
func TestPartsCopiedAtDifferentEntriesMakeTheBook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var history sliceHistory
		key := [16]byte{1, 2, 3}
		live := bank.NewLedger(bank.Rules{CreateAccounts: true}, key, &history)
		began := rapid.IntRange(0, 20).Draw(t, "first part after")
		stride := rapid.IntRange(1, 200).Draw(t, "parts after each entry")
		parts := make([][]byte, bank.Shards)
		stamps := make([]uint64, bank.Shards)
		var startSeq uint64
		var startTime time.Time
		next := 0
		for n := 0; n < began || next < bank.Shards; n++ {
			if n == began {
				startSeq, startTime = live.Seq(), live.Time()
			}
			for end := min(next+stride, bank.Shards); n >= began && next < end; next++ {
				parts[next], stamps[next] = live.AppendShard(nil, next), live.Seq()
			}
			act(t, live, &history, fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")))
		}
		loaded := bank.NewLedger(bank.Rules{CreateAccounts: true}, key, &history)
		for i := range parts {
			if err := loaded.LoadShard(i, stamps[i], parts[i]); err != nil {
				t.Fatal(err)
			}
			if len(parts[i]) > 2 && loaded.LoadShard((i+1)%bank.Shards, stamps[i], parts[i]) == nil {
				t.Fatalf("part %d was loaded as part %d", i, i+1)
			}
			if loaded.LoadShard(i, stamps[i], parts[i][:len(parts[i])-1]) == nil {
				t.Fatalf("part %d was loaded though it is cut short", i)
			}
		}
		loaded.Resume(startSeq, startTime)
		for ref := startSeq; ref < uint64(len(history)); ref++ {
			if err := loaded.Post(&history[ref], ref); err != nil {
				t.Fatal(err)
			}
		}
		sameBook(t, live, loaded, &history)
	})
}

// act decides and posts one deposit or yield.
func act(t *rapid.T, l *bank.Ledger, history *sliceHistory, id string) {
	op := bank.Operation{Kind: bank.KindDeposit, Principal: "p", ID: id, Account: bank.Account("a" + id), Amount: 100}
	if rapid.IntRange(0, 9).Draw(t, "yield") == 0 {
		op = bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: id, Memo: "0.10"}
	}
	var e bank.Entry
	var r bank.Reply
	write, err := l.Decide(&op, time.Unix(int64(len(*history)), 0), &e, &r)
	if err != nil {
		t.Fatal(err)
	}
	if !write {
		return
	}
	if err := l.Post(&e, uint64(len(*history))); err != nil {
		t.Fatal(err)
	}
	*history = append(*history, e)
}

func sameBook(t *rapid.T, a, b *bank.Ledger, history *sliceHistory) {
	balances := map[bank.Account]bank.Amount{}
	a.Each(func(account bank.Account, balance bank.Amount) { balances[account] = balance })
	b.Each(func(account bank.Account, balance bank.Amount) {
		if balances[account] != balance {
			t.Fatalf("%s has %d in one and %d in the other", account, balances[account], balance)
		}
	})
	accountsA, idsA := a.Size()
	accountsB, idsB := b.Size()
	if accountsA != accountsB || idsA != idsB || a.Seq() != b.Seq() || !a.Time().Equal(b.Time()) || b.Sum() != 0 {
		t.Fatalf("%d accounts, %d ids, seq %d; the other %d, %d, %d, sum %d", accountsA, idsA, a.Seq(), accountsB, idsB, b.Seq(), b.Sum())
	}
	for _, e := range *history {
		var again bank.Entry
		var r bank.Reply
		op := bank.Operation{Kind: bank.KindStatus, Principal: e.Principal, ID: e.ID}
		if write, err := b.Decide(&op, time.Time{}, &again, &r); write || err != nil || r.Seq != e.Seq || !r.Duplicate {
			t.Fatalf("id %s of entry %d: %+v, %v", e.ID, e.Seq, r, err)
		}
	}
}

func TestPostRefusesAnEntryThatBreaksTheBook(t *testing.T) {
	good := bank.Entry{Seq: 1, Kind: bank.KindDeposit, Account: "ana", Amount: 5, Postings: []bank.Posting{{Account: "@cash", Amount: -5}, {Account: "ana", Amount: 5}}}
	for name, change := range map[string]func(e *bank.Entry){
		"a gap":                           func(e *bank.Entry) { e.Seq = 2 },
		"a repeated seq":                  func(e *bank.Entry) { e.Seq = 0 },
		"money from nowhere":              func(e *bank.Entry) { e.Postings[1].Amount = 6 },
		"a refusal that moves":            func(e *bank.Entry) { e.Code = bank.Overflow },
		"a refusal that names an account": func(e *bank.Entry) { e.Code, e.Postings = bank.Overflow, []bank.Posting{{Account: "ana"}} },
		"a debt": func(e *bank.Entry) {
			e.Postings = []bank.Posting{{Account: "ana", Amount: -5}, {Account: "@cash", Amount: 5}}
		},
		"more than the ceiling": func(e *bank.Entry) {
			e.Postings = []bank.Posting{{Account: "@cash", Amount: -1 << 53}, {Account: "ana", Amount: 1 << 53}}
		},
		"a sum that wraps around": func(e *bank.Entry) {
			e.Postings = []bank.Posting{{Account: "@cash", Amount: -1 << 63}, {Account: "@yield", Amount: -1 << 63}, {Account: "@cash", Amount: -1}, {Account: "@yield", Amount: 1}}
		},
	} {
		e := good
		e.Postings = append([]bank.Posting(nil), good.Postings...)
		change(&e)
		l := bank.NewLedger(bank.Rules{}, [16]byte{}, &sliceHistory{})
		if err := l.Post(&e, 0); !errors.Is(err, bank.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := bank.NewLedger(bank.Rules{}, [16]byte{}, &sliceHistory{}).Post(&good, 0); err != nil {
		t.Errorf("the good entry: %v", err)
	}
}
