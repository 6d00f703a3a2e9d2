package journal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// story is a history of one journal on a disk that may fail, drawn from a seed, and what must be true of it whatever
// happens: what was acknowledged is there once and unchanged, what is there beyond that belongs to the batch that was under
// way, and nothing is there in part.
type story struct {
	seed    uint64
	random  *rand.Rand
	disk    *disktest.Disk
	options journal.Options
	engine  *journal.Engine
	now     time.Time

	truth    []bank.Entry // known to be durable, in order
	answered []answered
	underWay []bank.Operation // a batch that was not answered yet
	ids      int
}

type answered struct {
	op    bank.Operation
	reply bank.Reply
}

var storyAccounts = []bank.Account{"a", "b", "c", "d", "e"}

func newStory(seed uint64) *story {
	s := &story{seed: seed, random: rand.New(rand.NewPCG(seed, 1)), disk: disktest.New(seed)}
	s.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.options = journal.Options{
		Rules: bank.Rules{CreateAccounts: s.random.IntN(8) > 0}, Decimals: 2, Inline: true, FS: s.disk,
		SegmentBytes: []int64{1024, 2048, 4096, 16384}[s.random.IntN(4)], SnapshotEvery: []int{3, 10, 40, 1000}[s.random.IntN(4)],
		Now: s.clock,
	}
	return s
}

func (s *story) clock() time.Time {
	s.now = s.now.Add(time.Millisecond)
	return s.now
}

// branch returns a story that goes on from here on another disk.
func (s *story) branch(disk *disktest.Disk, seed uint64) *story {
	b := *s
	b.seed, b.random, b.disk, b.engine = seed, rand.New(rand.NewPCG(seed, 2)), disk, nil
	b.truth, b.answered, b.underWay = slices.Clip(s.truth), slices.Clip(s.answered), slices.Clip(s.underWay)
	b.options.FS, b.options.Now = disk, b.clock
	return &b
}

// operation draws one: few accounts and ids, so that they meet, and some that are refused.
func (s *story) operation() bank.Operation {
	account := func() bank.Account { return storyAccounts[s.random.IntN(len(storyAccounts))] }
	op := bank.Operation{Principal: "p", Account: account(), Amount: bank.Amount(1 + s.random.IntN(300))}
	if s.random.IntN(8) == 0 {
		op.Memo = strings.Repeat("m", s.random.IntN(140))
	}
	switch s.random.IntN(12) {
	case 0:
		op.Kind = bank.KindBalance
	case 1, 2, 3, 4:
		op.Kind = bank.KindDeposit
	case 5, 6:
		op.Kind = bank.KindWithdraw
	case 7, 8, 9:
		op.Kind, op.To = bank.KindTransfer, account()
	case 10:
		op.Kind = bank.KindOpen
	default:
		s.ids++
		return bank.Operation{
			Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: fmt.Sprint("yield-", s.ids), Memo: "0.10",
		}
	}
	switch s.random.IntN(10) {
	case 0, 1, 2:
	case 3:
		if len(s.answered) > 0 { // again, with the same content or with other
			again := s.answered[s.random.IntN(len(s.answered))].op
			again.Amount += bank.Amount(s.random.IntN(2))
			return again
		}
	case 4:
		op.ID = fmt.Sprint(s.random.IntN(20))
	default:
		s.ids++
		op.ID = fmt.Sprint("id-", s.ids)
	}
	return op
}

// commit gives the engine one batch and remembers what it answers.
func (s *story) commit() error {
	ops := make([]bank.Operation, 1+s.random.IntN(8))
	for i := range ops {
		ops[i] = s.operation()
	}
	s.underWay = ops
	replies := make([]bank.Reply, len(ops))
	if err := s.engine.Commit(context.Background(), ops, replies); err != nil {
		return err
	}
	s.told(ops, replies)
	return nil
}

// told remembers what a batch was answered.
func (s *story) told(ops []bank.Operation, replies []bank.Reply) {
	for i, reply := range replies {
		s.answered = append(s.answered, answered{ops[i], reply})
		if uint64(len(s.truth)) < reply.Seq && !reply.Duplicate {
			s.truth = append(s.truth, expected(&ops[i], &reply))
		}
	}
	s.underWay = nil
}

// expected is what an entry must be, but for its postings, to be what reply tells.
func expected(op *bank.Operation, reply *bank.Reply) bank.Entry {
	return bank.Entry{
		Seq: reply.Seq, Time: reply.Time, Kind: op.Kind, Code: reply.Code, Principal: op.Principal, ID: op.ID,
		Account: op.Account, To: op.To, Amount: op.Amount, Memo: op.Memo, Balance: reply.Balance, HasBalance: reply.HasBalance,
	}
}

func (s *story) open() error {
	engine, err := journal.Open("", s.options)
	s.engine = engine
	return err
}

// restart closes the engine, or kills it, and opens it again.
func (s *story) restart() error {
	if s.random.IntN(3) == 0 {
		s.disk.Kill()
	} else if err := s.engine.Close(); err != nil {
		return err
	}
	return s.open()
}

// run plays some steps.
func (s *story) run(steps int) error {
	for range steps {
		var err error
		if s.random.IntN(8) == 0 {
			err = s.restart()
		} else {
			err = s.commit()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check holds the disk against what is known, opens the journal on it and holds the engine against what is on the disk. The
// engine stays open, and what was found is the truth from then on.
func (s *story) check() error {
	var found []bank.Entry
	report, err := journal.DumpFS(s.disk, func(e *bank.Entry, _ [32]byte) error {
		found = append(found, *e)
		found[len(found)-1].Postings = slices.Clone(e.Postings)
		return nil
	})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if err := s.compare(found); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	if got := s.engine.Seq(); got != report.Entries {
		return fmt.Errorf("opened at entry %d, verified up to %d", got, report.Entries)
	}
	s.truth = append(s.truth, found[len(s.truth):]...)
	s.underWay = nil
	return s.ask(found)
}

// compare holds the entries on the disk against what was answered, and what is more against the batch under way.
func (s *story) compare(found []bank.Entry) error {
	if len(found) < len(s.truth) {
		return fmt.Errorf("%d entries are left of %d that were durable", len(found), len(s.truth))
	}
	for i := range s.truth {
		got, want := &found[i], &s.truth[i]
		if got.Reply() != want.Reply() || got.Memo != want.Memo || got.Principal != want.Principal ||
			got.Account != want.Account || got.To != want.To {
			return fmt.Errorf("entry %d is\n%+v, was\n%+v", i+1, *got, *want)
		}
	}
	left := s.underWay
	for _, got := range found[len(s.truth):] {
		for len(left) > 0 && !sameContent(&got, &left[0]) {
			left = left[1:]
		}
		if len(left) == 0 {
			return fmt.Errorf("nobody asked for entry %d: %+v", got.Seq, got)
		}
		left = left[1:]
	}
	return nil
}

func sameContent(e *bank.Entry, op *bank.Operation) bool {
	return e.Kind == op.Kind && e.Principal == op.Principal && e.ID == op.ID && e.Account == op.Account && e.To == op.To &&
		e.Amount == op.Amount && e.Memo == op.Memo
}

// ask asks the engine for every balance, and some answers once more. It must write nothing for that.
func (s *story) ask(found []bank.Entry) error {
	before := s.disk.Ops()
	sums, opened := map[bank.Account]bank.Amount{}, map[bank.Account]bool{}
	for i := range found {
		if found[i].Kind == bank.KindOpen && found[i].Code == bank.OK {
			opened[found[i].Account] = true
		}
		for _, p := range found[i].Postings {
			sums[p.Account] += p.Amount
			opened[p.Account] = true
		}
	}
	ops := make([]bank.Operation, 0, 2*len(storyAccounts))
	for _, account := range storyAccounts {
		ops = append(ops, bank.Operation{Kind: bank.KindBalance, Principal: "p", Account: account})
	}
	asked := make([]bank.Reply, 0, len(storyAccounts))
	for i := 0; i < len(storyAccounts) && len(s.answered) > 0; i++ {
		known := s.answered[s.random.IntN(len(s.answered))]
		if known.op.ID != "" && known.reply.Seq > 0 && known.op.Kind != bank.KindBalance {
			ops = append(ops, known.op)
			known.reply.Duplicate, known.reply.Recorded = true, false
			asked = append(asked, known.reply)
		}
	}
	replies := make([]bank.Reply, len(ops))
	if err := s.engine.Commit(context.Background(), ops, replies); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	for i, account := range storyAccounts {
		if open := s.options.Rules.CreateAccounts || opened[account]; open && replies[i].Balance != sums[account] {
			return fmt.Errorf("%s has %d, its entries say %d", account, replies[i].Balance, sums[account])
		}
	}
	for i, want := range asked {
		if got := replies[len(storyAccounts)+i]; got != want {
			return fmt.Errorf("%+v was answered\n%+v, is now\n%+v", ops[len(storyAccounts)+i], want, got)
		}
	}
	if after := s.disk.Ops(); after != before {
		return fmt.Errorf("asking wrote: %d operations", after-before)
	}
	return nil
}
