package banktest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
)

// crowd plays clients, one operation each at a time, before an engine in memory: they ask, the bank decides and they hear of it in
// any order, and now and then one hears nothing and asks for the status.
type crowd struct {
	random  *rand.Rand
	bank    *bank.Memory
	now     time.Duration
	clients []member
	told    []banktest.Told
}

type member struct {
	name    string
	count   int
	at      int // of its Told under way
	waits   bool
	decided bool
}

// playCrowd returns a history as it has to be: every kind of operation, few accounts, refusals, repetitions.
func playCrowd(t *testing.T, seed uint64) ([]bank.Entry, []banktest.Told) {
	t.Helper()
	c := &crowd{random: rand.New(rand.NewPCG(seed, 0)), clients: make([]member, 8)}
	c.bank = bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
	for i := range c.clients {
		c.clients[i].name = fmt.Sprint("c", i)
	}
	for range 4000 {
		c.now += time.Millisecond
		m := &c.clients[c.random.IntN(len(c.clients))]
		switch {
		case !m.waits:
			c.ask(m)
		case !m.decided:
			c.decide(t, m)
		default:
			c.hear(m)
		}
	}
	entries := slices.Clone(c.bank.Entries())
	yielded := slices.ContainsFunc(entries, func(e bank.Entry) bool { return e.Kind == bank.KindYield })
	if len(entries) < 500 || !yielded {
		t.Fatalf("void: %d entries, yields among them: %v", len(entries), yielded)
	}
	return entries, c.told
}

func (c *crowd) ask(m *member) {
	m.count++
	op := bank.Operation{
		Kind: []bank.Kind{bank.KindBalance, bank.KindDeposit, bank.KindWithdraw, bank.KindTransfer}[c.random.IntN(4)], Principal: "p",
		Account: bank.Account("a" + strconv.Itoa(c.random.IntN(3))),
	}
	if op.Kind != bank.KindBalance {
		op.Amount, op.ID, op.Memo = bank.Amount(1+c.random.IntN(300)), m.name+"-"+strconv.Itoa(m.count), "memo"
	}
	if op.Kind == bank.KindTransfer {
		op.To = bank.Account("a" + strconv.Itoa(c.random.IntN(3)))
	}
	if before := m.at; m.count > 1 && c.random.IntN(5) == 0 && c.told[before].Op.ID != "" { // again, or what became of it
		if op = c.told[before].Op; c.random.IntN(2) == 0 {
			op = bank.Operation{Kind: bank.KindStatus, Principal: op.Principal, ID: op.ID}
		}
	}
	m.at, m.waits, m.decided = len(c.told), true, false
	c.told = append(c.told, banktest.Told{Client: m.name, Op: op, Called: c.now})
}

func (c *crowd) decide(t *testing.T, m *member) {
	t.Helper()
	ops := []bank.Operation{c.told[m.at].Op}
	if c.random.IntN(100) == 0 {
		c.commit(t, []bank.Operation{{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: fmt.Sprint("yield-", c.now), Memo: "0.001"}})
	}
	if c.random.IntN(20) > 0 { // else the operation is lost before it comes
		c.told[m.at].Reply = c.commit(t, ops)[0]
		m.decided = true
	}
	if c.random.IntN(10) == 0 {
		m.waits = false // the answer is lost
	}
}

func (c *crowd) commit(t *testing.T, ops []bank.Operation) []bank.Reply {
	t.Helper()
	replies := make([]bank.Reply, len(ops))
	if err := c.bank.Commit(context.Background(), ops, replies); err != nil {
		t.Fatal(err)
	}
	return replies
}

func (c *crowd) hear(m *member) {
	c.told[m.at].Answered, c.told[m.at].Returned = true, c.now
	m.waits = false
}

func TestAHistoryAsItHasToBeHasNoFault(t *testing.T) {
	for seed := range uint64(20) {
		entries, told := playCrowd(t, seed)
		for _, fault := range banktest.CheckHistory(entries, told) {
			t.Errorf("seed %d: %v", seed, fault)
		}
	}
}

// written returns the nth told of a deposit, withdrawal or transfer that was done and whose answer was the first.
func written(told []banktest.Told, n int) *banktest.Told {
	for i := range told {
		if t := &told[i]; t.Answered && t.Op.Kind.Moves() && t.Reply.Code == bank.OK && !t.Reply.Duplicate {
			if n--; n < 0 {
				return t
			}
		}
	}
	panic("no such operation")
}

type (
	journal = []bank.Entry
	clients = []banktest.Told
)

// corruption is one thing that a bank must not do, and the promise by which it is found.
type corruption struct {
	name    string
	promise string
	do      func(entries journal, told clients) (journal, clients)
}

// renumber gives entries the seqs of their places.
func renumber(entries []bank.Entry) []bank.Entry {
	for i := range entries {
		entries[i].Seq = uint64(i) + 1
	}
	return entries
}

func without(told clients, gone func(banktest.Told) bool) clients {
	return slices.DeleteFunc(told, gone)
}

// unheard puts an operation of a9's that nobody heard the answer of in the place of the last entry.
func unheard(entries journal, told clients, op bank.Operation, code bank.Code, postings []bank.Posting) (journal, clients) {
	last := &entries[len(entries)-1]
	told = without(told, func(t banktest.Told) bool { return t.Op.ID == last.ID || t.Reply.Seq == last.Seq })
	op.Principal, op.Account, op.ID = "p", "a9", "lost"
	*last = bank.Entry{Seq: last.Seq, Kind: op.Kind, Code: code, Principal: op.Principal, ID: op.ID, Postings: postings}
	return entries, append(told, banktest.Told{Client: "c9", Op: op})
}

// balanceAfter changes the first balance that was told as of an entry after the hundredth.
func balanceAfter(told clients, change func(*banktest.Told)) clients {
	at := slices.IndexFunc(told, func(t banktest.Told) bool {
		return t.Answered && t.Op.Kind == bank.KindBalance && t.Reply.Seq > 100
	})
	change(&told[at])
	return told
}

var corruptions = []corruption{
	{"an acknowledged entry is lost", banktest.NothingIsLost, func(entries journal, told clients) (journal, clients) {
		at := int(written(told, 40).Reply.Seq)
		return renumber(slices.Delete(entries, at-1, at)), told
	}},
	{"the tail is lost", banktest.NothingIsLost, func(entries journal, told clients) (journal, clients) {
		return entries[:len(entries)-20], told
	}},
	{"a balance of the tail was told, and the tail is lost", banktest.NothingIsLost, func(entries journal, told clients) (journal, clients) {
		balance := banktest.Told{Client: "c9", Op: bank.Operation{Kind: bank.KindBalance, Account: "a1"}, Answered: true}
		balance.Reply.Seq = uint64(len(entries)) + 1
		return entries, append(told, balance)
	}},
	{"an id is forgotten", banktest.NothingIsLost, func(entries journal, told clients) (journal, clients) {
		status := *written(told, 40)
		status.Op = bank.Operation{Kind: bank.KindStatus, Principal: status.Op.Principal, ID: status.Op.ID}
		status.Called, status.Reply = status.Returned+1, bank.Reply{Code: bank.IDNotFound}
		return entries, append(told, status)
	}},
	{"an entry is there twice", banktest.NothingIsTwice, func(entries journal, told clients) (journal, clients) {
		return renumber(append(entries, entries[written(told, 40).Reply.Seq-1])), told
	}},
	{"a repetition is answered as if it were the first", banktest.NothingIsTwice, func(entries journal, told clients) (journal, clients) {
		again := *written(told, 40)
		again.Called, again.Returned = again.Returned+1, again.Returned+2
		return entries, append(told, again)
	}},
	{"a posting is half", banktest.SumIsZero, func(entries journal, told clients) (journal, clients) {
		e := &entries[written(told, 40).Reply.Seq-1]
		e.Postings = slices.Clone(e.Postings)
		e.Postings[1].Amount++
		return entries, told
	}},
	{"an account is overdrawn", banktest.NothingIsOverdrawn, func(entries journal, told clients) (journal, clients) {
		e := &entries[written(told, 40).Reply.Seq-1]
		e.Postings = []bank.Posting{{Account: "a1", Amount: -1 << 40}, {Account: bank.CashAccount, Amount: 1 << 40}}
		return entries, told
	}},
	{"a seq is missing", banktest.SeqIsDense, func(entries journal, told clients) (journal, clients) {
		entries[40].Seq++
		return entries, told
	}},
	{"two entries are out of real-time order", banktest.OrderIsReal, func(entries journal, told clients) (journal, clients) {
		t := written(told, 40)
		t.Called, t.Returned = t.Called+time.Hour, t.Returned+time.Hour
		return entries, without(told, func(t banktest.Told) bool { return t.Op.Kind == bank.KindBalance })
	}},
	{"a balance was told before what is in it was asked", banktest.OrderIsReal, func(entries journal, told clients) (journal, clients) {
		return entries, balanceAfter(told, func(t *banktest.Told) { t.Called, t.Returned = 0, 1 })
	}},
	{"a stale balance is told", banktest.OrderIsReal, func(entries journal, told clients) (journal, clients) {
		return entries, balanceAfter(told, func(t *banktest.Told) {
			t.Called, t.Returned = t.Called+time.Hour, t.Returned+time.Hour
		})
	}},
	{"a reply has another balance", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		written(told, 40).Reply.Balance++
		return entries, told
	}},
	{"a reply has another seq", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		written(told, 40).Reply.Seq++
		return entries, told
	}},
	{"a reply has another code", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		written(told, 40).Reply.Code = bank.InsufficientFunds
		return entries, told
	}},
	{"a status tells another balance than the first answer", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		status := *written(told, 40)
		status.Op = bank.Operation{Kind: bank.KindStatus, Principal: status.Op.Principal, ID: status.Op.ID}
		status.Reply.Duplicate, status.Reply.Balance = true, status.Reply.Balance+1
		return entries, append(told, status)
	}},
	{"an entry moves another amount than was asked", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		e := &entries[written(told, 40).Reply.Seq-1]
		e.Postings = slices.Clone(e.Postings)
		e.Postings[0].Amount--
		e.Postings[1].Amount++
		return entries, told
	}},
	{"where an answer was lost, an entry moves another amount", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		moved := []bank.Posting{{Account: bank.CashAccount, Amount: -6}, {Account: "a9", Amount: 6}}
		return unheard(entries, told, bank.Operation{Kind: bank.KindDeposit, Amount: 5}, bank.OK, moved)
	}},
	{"where an answer was lost, an entry has another code", banktest.AnswersAreTheRules, func(entries journal, told clients) (journal, clients) {
		return unheard(entries, told, bank.Operation{Kind: bank.KindWithdraw, Amount: 5}, bank.Overflow, nil)
	}},
	{"a status is told as if it were a first answer", banktest.NothingIsTwice, func(entries journal, told clients) (journal, clients) {
		status := *written(told, 40)
		status.Op = bank.Operation{Kind: bank.KindStatus, Principal: status.Op.Principal, ID: status.Op.ID}
		return entries, append(told, status)
	}},
	{"two copies on their way at once are both the first", banktest.NothingIsTwice, func(entries journal, told clients) (journal, clients) {
		return entries, append(told, *written(told, 40))
	}},
	{"an entry has another memo", banktest.NothingIsInvented, func(entries journal, told clients) (journal, clients) {
		entries[written(told, 40).Reply.Seq-1].Memo = "rent"
		return entries, told
	}},
	{"the status of what nobody asked for", banktest.NothingIsInvented, func(entries journal, told clients) (journal, clients) {
		status := banktest.Told{Client: "c9", Op: bank.Operation{Kind: bank.KindStatus, Principal: "p", ID: "none"}, Answered: true}
		status.Reply = bank.Reply{Seq: 40, Duplicate: true}
		return entries, append(told, status)
	}},
	{"an entry that nobody asked for", banktest.NothingIsInvented, func(entries journal, told clients) (journal, clients) {
		stranger := bank.Entry{Seq: uint64(len(entries)) + 1, Kind: bank.KindDeposit, Principal: "p", ID: "none"}
		return append(entries, stranger), told
	}},
}

// TestEveryCorruptedHistoryIsFound corrupts a history in each way, by several seeds: the first fault must be of the promise that
// this way breaks.
func TestEveryCorruptedHistoryIsFound(t *testing.T) {
	for _, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(5) {
				faults := banktest.CheckHistory(c.do(playCrowd(t, seed)))
				if !slices.ContainsFunc(faults, func(f banktest.Fault) bool { return f.Promise == c.promise }) {
					t.Errorf("seed %d: found %v, want %s", seed, faults, c.promise)
				}
			}
		})
	}
}
