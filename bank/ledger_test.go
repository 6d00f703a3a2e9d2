package bank_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gateway/bank"
)

// crafted returns a book with these balances, whether operations could have led to them or not; @rest has what is missing.
func crafted(t *testing.T, balances map[bank.Account]bank.Amount) *bank.Ledger {
	t.Helper()
	e := bank.Entry{Seq: 1, Kind: bank.KindDeposit}
	var sum bank.Amount
	for account, balance := range balances {
		e.Postings = append(e.Postings, bank.Posting{Account: account, Amount: balance})
		sum += balance
	}
	e.Postings = append(e.Postings, bank.Posting{Account: "@rest", Amount: -sum})
	l := bank.NewLedger(bank.Rules{}, [16]byte{7}, &sliceHistory{})
	if err := l.Post(&e, 0); err != nil {
		t.Fatal(err)
	}
	return l
}

// accountPart is a part of a book that has one account, and what follows instead of no ids.
func accountPart(account bank.Account, balance bank.Amount, ids []byte) []byte {
	b := binary.AppendUvarint([]byte{1}, uint64(len(account)))
	b = binary.AppendVarint(append(b, account...), int64(balance))
	if ids == nil {
		ids = []byte{0}
	}
	return append(b, ids...)
}

// loadAnywhere loads the part where it belongs, which the key decides.
func loadAnywhere(t *testing.T, l *bank.Ledger, part []byte) {
	t.Helper()
	for i := range bank.Shards {
		if l.LoadShard(i, 0, part) == nil {
			return
		}
	}
	t.Fatalf("%x belongs nowhere", part)
}

// decide judges op, and posts what it wrote.
func decide(t *testing.T, l *bank.Ledger, op bank.Operation) (bank.Reply, bank.Entry) {
	t.Helper()
	var e bank.Entry
	var r bank.Reply
	write, err := l.Decide(&op, time.Unix(1, 0), &e, &r)
	if err == nil && write {
		err = l.Post(&e, 0)
	}
	if err != nil {
		t.Fatalf("%s: %v", op.Kind, err)
	}
	return r, e
}

func yield(id, rate string) bank.Operation {
	return bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: id, Memo: rate}
}

func TestABookTellsItsSize(t *testing.T) {
	engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, func() time.Time { return time.Unix(9, 123456789).Local() })
	for _, id := range []string{"", "1", "1", "2"} {
		commitOne(t, engine, bank.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: 5, ID: id})
	}
	l := engine.Ledger()
	if accounts, ids := l.Size(); accounts != 2 || ids != 2 {
		t.Errorf("%d accounts and %d ids, want 2 and 2", accounts, ids)
	}
	if want := time.Unix(9, 123456000).UTC(); l.Time() != want || engine.Entries()[0].Time != want {
		t.Errorf("the last entry is of %v, the first of %v, want %v", l.Time(), engine.Entries()[0].Time, want)
	}
	broken := bank.NewLedger(bank.Rules{}, [16]byte{7}, &sliceHistory{})
	loadAnywhere(t, broken, accountPart("ana", 7, nil))
	if sum := broken.Sum(); sum != 7 {
		t.Errorf("a book of 7 sums to %d", sum)
	}
}

// TestTheHousesAccountsOverflowAsWell moves money that a client may have and the house's account cannot take.
func TestTheHousesAccountsOverflowAsWell(t *testing.T) {
	for _, c := range []struct {
		cash   bank.Amount
		kind   bank.Kind
		amount bank.Amount
		want   bank.Code
	}{
		{math.MinInt64 + 10, bank.KindDeposit, 10, bank.OK},
		{math.MinInt64 + 10, bank.KindDeposit, 11, bank.Overflow},
		{math.MaxInt64 - 10, bank.KindWithdraw, 10, bank.OK},
		{math.MaxInt64 - 10, bank.KindWithdraw, 11, bank.Overflow},
	} {
		l := crafted(t, map[bank.Account]bank.Amount{"@cash": c.cash, "ana": 100})
		if r, _ := decide(t, l, bank.Operation{Kind: c.kind, Account: "ana", Amount: c.amount}); r.Code != c.want {
			t.Errorf("%s of %d with %d in cash: %s, want %s", c.kind, c.amount, c.cash, r.Code, c.want)
		}
	}
}

func TestAYieldIsAllOrNothing(t *testing.T) {
	half := (bank.MaxAmount - 1) / 2
	many := map[bank.Account]bank.Amount{}
	for i := range 2048 { // their yields sum to one more than an amount can be
		many[bank.Account(fmt.Sprint("a", i))] = 1 << 52
	}
	for name, c := range map[string]struct {
		rate     string
		balances map[bank.Account]bank.Amount
		want     bank.Code
	}{
		"up to the ceiling":      {"1", map[bank.Account]bank.Amount{"ana": half}, bank.OK},
		"to the very ceiling":    {"6360", map[bank.Account]bank.Amount{"ana": bank.MaxAmount / 6361}, bank.OK},
		"one above it":           {"6360", map[bank.Account]bank.Amount{"ana": bank.MaxAmount/6361 + 1, "bia": 3}, bank.Overflow},
		"above the ceiling":      {"1", map[bank.Account]bank.Amount{"ana": half + 1, "bia": 3}, bank.Overflow},
		"more than 64 bits":      {"999999999999", map[bank.Account]bank.Amount{"ana": bank.MaxAmount, "bia": 3}, bank.Overflow},
		"all the house can owe":  {"1", map[bank.Account]bank.Amount{"ana": 5, "@yield": math.MinInt64 + 5}, bank.OK},
		"more than it can owe":   {"1", map[bank.Account]bank.Amount{"ana": 5, "@yield": math.MinInt64 + 4}, bank.Overflow},
		"a sum of more than all": {"1", many, bank.Overflow},
		"nothing to credit":      {"0.10", map[bank.Account]bank.Amount{"ana": 4, "@cash": 1000}, bank.OK},
		"no rate":                {"x", map[bank.Account]bank.Amount{"ana": 5}, bank.Malformed},
	} {
		l := crafted(t, c.balances)
		r, e := decide(t, l, yield("yield-1", c.rate))
		if r.Code != c.want || c.want != bank.OK && len(e.Postings) != 0 {
			t.Errorf("%s: %s with %d postings, want %s", name, r.Code, len(e.Postings), c.want)
		}
		if c.rate == "0.10" && len(e.Postings) != 0 {
			t.Errorf("%s: %v", name, e.Postings)
		}
	}
}

// TestAYieldsPostingsAreInOrder makes the entry the same whatever order the book is in; the house's own gold earns nothing.
func TestAYieldsPostingsAreInOrder(t *testing.T) {
	balances := map[bank.Account]bank.Amount{"@cash": 500, "empty": 0, "half": 5, "least": 6}
	for i := range 50 {
		balances[bank.Account(fmt.Sprint("a", i))] = 100
	}
	l := crafted(t, balances)
	r, e := decide(t, l, yield("yield-1", "0.10"))
	if r.Code != bank.OK || len(e.Postings) != 52 || e.Postings[0] != (bank.Posting{Account: bank.YieldAccount, Amount: -501}) {
		t.Fatalf("%s: %v", r.Code, e.Postings)
	}
	if !slices.IsSortedFunc(e.Postings[1:], func(a, b bank.Posting) int { return strings.Compare(string(a.Account), string(b.Account)) }) {
		t.Errorf("out of order: %v", e.Postings)
	}
}

func TestASingleMinorUnitEarns(t *testing.T) {
	_, e := decide(t, crafted(t, map[bank.Account]bank.Amount{"ana": 1}), yield("yield-1", "1"))
	if want := []bank.Posting{{Account: bank.YieldAccount, Amount: -1}, {Account: "ana", Amount: 1}}; !slices.Equal(e.Postings, want) {
		t.Errorf("the postings are %v", e.Postings)
	}
}

// TestWhatLeavesNoEntryTellsTheLast opens an account again, and is refused, without an id.
func TestWhatLeavesNoEntryTellsTheLast(t *testing.T) {
	l := crafted(t, map[bank.Account]bank.Amount{"ana": 1})
	for n, op := range []bank.Operation{
		{Kind: bank.KindOpen, Account: "bia"}, {Kind: bank.KindOpen, Account: "bia"}, {Kind: bank.KindOpen, Account: "ana"},
		{Kind: bank.KindWithdraw, Account: "bia", Amount: 1},
	} {
		r, _ := decide(t, l, op)
		seq, at := uint64(2), time.Unix(1, 0).UTC()
		if op.Kind == bank.KindWithdraw {
			seq, at = 0, time.Time{}
		}
		if r.Seq != seq || !r.Time.Equal(at) || r.Recorded != (n == 0) || l.Seq() != 2 {
			t.Errorf("operation %d: %+v, the book is at %d", n, r, l.Seq())
		}
	}
}

// TestARefusalForTheStateOfTheBookIsRemembered asks with ids for what overflows, and again when it would not.
func TestARefusalForTheStateOfTheBookIsRemembered(t *testing.T) {
	engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
	most := bank.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: bank.MaxAmount}
	commitOne(t, engine, most)
	more := bank.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: 1, ID: "1"}
	first := commitOne(t, engine, more)
	commitOne(t, engine, bank.Operation{Kind: bank.KindWithdraw, Account: "ana", Amount: 5})
	again := commitOne(t, engine, more)
	if first.Duplicate = true; first.Code != bank.Overflow || again.Code != bank.Overflow || !again.Duplicate || again.Seq != first.Seq {
		t.Errorf("answered %+v, then %+v", first, again)
	}
}

// TestAMalformedYieldIsNotRemembered: its id is free for one that can be read.
func TestAMalformedYieldIsNotRemembered(t *testing.T) {
	l := crafted(t, map[bank.Account]bank.Amount{"ana": 100})
	for _, rate := range []string{"x", "0.10"} {
		if r, _ := decide(t, l, yield("yield-1", rate)); r.Duplicate || (r.Code == bank.OK) != (rate != "x") {
			t.Errorf("at %s: %+v", rate, r)
		}
	}
}

// lost is a history that cannot be read.
type lost struct{ error }

func (l lost) Entry(uint64, *bank.Entry) error { return l.error }

func TestAHistoryThatCannotBeReadStopsTheBank(t *testing.T) {
	gone := errors.New("gone")
	l := bank.NewLedger(bank.Rules{CreateAccounts: true}, [16]byte{}, lost{gone})
	op := bank.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: 5, ID: "1"}
	decide(t, l, op)
	var e bank.Entry
	var r bank.Reply
	if write, err := l.Decide(&op, time.Time{}, &e, &r); write || !errors.Is(err, gone) {
		t.Errorf("decided %v, %v", write, err)
	}
}

// TestAForeseenHistoryIsTheSame plays random histories on two books, of which one is told what comes, or something else.
func TestAForeseenHistoryIsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	name := func() bank.Account {
		return bank.Account([]string{"ana", "bia", "c", "d", "", strings.Repeat("x", 64), strings.Repeat("x", 65), "é"}[random.IntN(8)])
	}
	for range 200 {
		rules := bank.Rules{CreateAccounts: random.IntN(2) == 0}
		var past, foreseenPast sliceHistory
		blind, seeing := bank.NewLedger(rules, [16]byte{1}, &past), bank.NewLedger(rules, [16]byte{2}, &foreseenPast)
		for range 10 {
			ops := make([]bank.Operation, 1+random.IntN(40))
			for i := range ops {
				ops[i] = bank.Operation{
					Kind: bank.Kind(1 + random.IntN(6)), Principal: strings.Repeat("p", random.IntN(66)), Account: name(), To: name(), Amount: bank.Amount(random.IntN(9)),
					ID: []string{"", "1", "2", strings.Repeat("i", 64), strings.Repeat("i", 65)}[random.IntN(5)],
				}
			}
			for i := range ops {
				if i%bank.Foresight == 0 || random.IntN(20) == 0 {
					seeing.Foresee(ops[random.IntN(i+1):])
				}
				want, got := decideIn(t, blind, &past, ops[i]), decideIn(t, seeing, &foreseenPast, ops[i])
				if got != want {
					t.Fatalf("%+v\nis answered %+v\nand else    %+v", ops[i], got, want)
				}
			}
		}
	}
}

// decideIn is decide for a history that is asked again.
func decideIn(t *testing.T, l *bank.Ledger, history *sliceHistory, op bank.Operation) bank.Reply {
	t.Helper()
	r, e := bank.Reply{}, bank.Entry{}
	write, err := l.Decide(&op, time.Unix(int64(len(*history)), 0), &e, &r)
	if err == nil && write {
		err = l.Post(&e, uint64(len(*history)))
		*history = append(*history, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAPartOfABookThatCannotBeIsRefused(t *testing.T) {
	l := bank.NewLedger(bank.Rules{}, [16]byte{7}, &sliceHistory{})
	longest := bank.Account(strings.Repeat("a", 64))
	loadAnywhere(t, l, accountPart(longest, 5, nil))
	if balance, open := l.Balance(longest); balance != 5 || !open {
		t.Errorf("the longest name has %d, %v", balance, open)
	}
	id := func(fingerprint uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte{0, 1}, fingerprint), 1)
	}
	if err := l.LoadShard(0, 0, id(1)); err != nil {
		t.Errorf("the least id there can be: %v", err)
	}
	ana := accountPart("ana", 5, []byte{})[1:]
	for name, part := range map[string][]byte{
		"more accounts than bytes":  {9, 1, 'a'},
		"an account twice":          slices.Concat([]byte{2}, ana, ana, []byte{0}),
		"a name that is too long":   accountPart(longest+"a", 5, nil),
		"a name that is empty":      accountPart("", 5, nil),
		"an id that cannot be":      id(0),
		"ids without their bytes":   accountPart("ana", 5, []byte{1}),
		"bytes behind the last one": accountPart("ana", 5, []byte{0, 0}),
	} {
		for i := range bank.Shards {
			if err := l.LoadShard(i, 0, part); !errors.Is(err, bank.ErrEntry) {
				t.Errorf("%s, as part %d: %v", name, i, err)
				break
			}
		}
	}
}

// TestAPartTakesThePlaceOfWhatWasLookedUp loads a part over one that an account was found in.
func TestAPartTakesThePlaceOfWhatWasLookedUp(t *testing.T) {
	l := bank.NewLedger(bank.Rules{}, [16]byte{7}, &sliceHistory{})
	for want := bank.Amount(6); want < 9; want++ {
		l.Balance("ana")
		l.Foresee([]bank.Operation{{Kind: bank.KindBalance, Account: "ana"}})
		loadAnywhere(t, l, accountPart("ana", want, nil))
		if got, _ := l.Balance("ana"); got != want {
			t.Errorf("ana has %d, want %d", got, want)
		}
	}
}
