package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gateway/bank/journal"
	"gateway/disk/disktest"
)

const smallSteps = 6

// How a process ended.
const (
	closed    = "closed"
	killed    = "killed"
	recovered = "killed after it had recovered from a power cut and written nothing"
)

// smallJournal returns a journal of some segments and two snapshots, whose process has ended.
func smallJournal(t *testing.T, ended string) *story {
	t.Helper()
	for seed := uint64(1); ; seed++ {
		s := newStory(seed)
		s.options.SegmentBytes, s.options.SnapshotEvery, s.options.Rules.CreateAccounts = 1024, 10, true
		if err := errors.Join(s.open(), s.run(smallSteps)); err != nil {
			t.Fatal(err)
		}
		if n := len(segmentsOf(s.disk)); n != 4 || len(s.truth) < 15 {
			continue
		}
		var err error
		switch ended {
		case closed:
			err = s.engine.Close()
		case recovered:
			s.disk.Kill()
			s.disk.Put("mark", make([]byte, len(s.disk.Bytes("mark")))) // as if it had never reached the disk
			err = s.check()
		}
		if err != nil {
			t.Fatal(err)
		}
		s.disk.Kill()
		return s
	}
}

func segmentsOf(disk *disktest.Disk) (names []string) {
	all, _ := disk.List()
	for _, name := range all {
		if strings.HasSuffix(name, ".seg") {
			names = append(names, name)
		}
	}
	return names
}

// outcome opens a copy of the story's journal in which a file was changed. It returns true when the damage was told, in
// which case the disk must be as it was. Otherwise all that is known must be there.
func outcome(s *story, name string, change func([]byte) []byte) (told bool, err error) {
	disk := s.disk.Fork(1)
	disk.Put(name, change(disk.Bytes(name)))
	return outcomeOn(s, disk)
}

func outcomeOn(s *story, disk *disktest.Disk) (told bool, err error) {
	after := s.branch(disk, 1)
	opened := after.open()
	verified := opened
	if s.random.IntN(16) == 0 || opened == nil {
		_, verified = journal.VerifyFS(disk)
	}
	var damage *journal.DamageError
	switch {
	case errors.As(opened, &damage) && errors.Is(verified, journal.ErrDamaged):
		if damage.File == "" || damage.Reason == "" || damage.Seq == 0 {
			return true, fmt.Errorf("the damage is told as %+v", damage)
		}
		if disk.Ops() != 0 {
			return true, errors.New("the damaged journal was changed")
		}
		return true, nil
	case opened != nil || verified != nil:
		return false, fmt.Errorf("open: %w; verify: %w", opened, verified)
	}
	disk.Kill()
	return false, after.check()
}

// both runs f with each number below n, on two goroutines.
func both(n int, f func(int)) {
	var all sync.WaitGroup
	for half := range 2 {
		all.Go(func() {
			for i := half; i < n; i += 2 {
				f(i)
			}
		})
	}
	all.Wait()
}

func flip(bit int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[bit/8] ^= 1 << (bit % 8)
		return b
	}
}

// TestEveryFlippedBitIsFound flips every bit of a small journal. In the segments up to the end of the journal each is told as
// damage. Behind the end, in the mark and in the snapshots there is nothing to lose, and nothing is lost.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, ended := range []string{closed, killed, recovered} {
		s := smallJournal(t, ended)
		end := endOf(t, s)
		names, _ := s.disk.List()
		var flips, told atomic.Int64
		for _, name := range names {
			if ended != closed && strings.HasSuffix(name, ".seg") && name < end.File {
				continue // how the process ended says nothing about what was before its last segment
			}
			both(len(s.disk.Bytes(name))*8, func(bit int) {
				must := strings.HasSuffix(name, ".seg") && (name < end.File || name == end.File && int64(bit/8) < end.Offset)
				if t.Failed() || !must && bit > 160*8 && bit%397 != 0 || bit%thin(16) != 0 {
					return // the snapshots are many times as large as the journal
				}
				damaged, err := outcome(s.branch(s.disk, uint64(bit)), name, flip(bit))
				if err != nil {
					t.Errorf("%s, bit %d, %s: %v", name, bit, ended, err)
				}
				if must && !damaged {
					t.Errorf("%s, bit %d of byte %d, %s: nothing was told", name, bit%8, bit/8, ended)
				}
				flips.Add(1)
				if damaged {
					told.Add(1)
				}
			})
		}
		t.Logf("%s: %d bits flipped, %d told, none lost anything", ended, flips.Load(), told.Load())
	}
}

// endOf returns where the journal ends, by making a tear there.
func endOf(t *testing.T, s *story) journal.Tear {
	t.Helper()
	names := segmentsOf(s.disk)
	for i := len(names) - 1; i >= 0; i-- {
		b := s.disk.Bytes(names[i])
		if strings.Trim(string(b), "\x00") == "" {
			continue // prepared, not in use
		}
		disk := s.disk.Fork(1)
		disk.Put(names[i], append(b, 0xff))
		report, err := journal.VerifyFS(disk)
		if err != nil || report.Torn.Bytes == 0 {
			t.Fatalf("a tear after the end of %s: %+v, %v", names[i], report, err)
		}
		return report.Torn
	}
	t.Fatal("no segment is in use")
	return journal.Tear{}
}

// TestMisplacedBlocksAreFound copies blocks to where they do not belong, brings back what a block was before, swaps, repeats
// and removes whole segments, and cuts files short: what a disk does that loses a write or puts it elsewhere.
func TestMisplacedBlocksAreFound(t *testing.T) {
	s := smallJournal(t, closed)
	earlier := smallJournalBefore(t)
	names := segmentsOf(s.disk)
	random := rand.New(rand.NewPCG(7, 7))
	told := 0
	for range 3000 / thin(1) {
		disk := s.disk.Fork(1)
		to := names[random.IntN(len(names))]
		b := disk.Bytes(to)
		source := disk.Bytes(names[random.IntN(len(names))])
		if random.IntN(3) == 0 {
			source = earlier.Bytes(to)
		}
		const block = 512
		at := random.IntN(len(b)/block+1) * block
		from := at
		if random.IntN(3) > 0 {
			from = random.IntN(len(source)/block+1) * block
		}
		before := string(b)
		if from < len(source) && at < len(b) {
			copy(b[at:min(at+block, len(b))], source[from:])
		}
		disk.Put(to, b)
		damaged, err := outcomeOn(s, disk)
		if err != nil {
			t.Fatalf("%s at %d: %v", to, at, err)
		}
		if changed := string(b) != before; changed && !damaged {
			t.Fatalf("%s: a block from %d over the one at %d was not told", to, from, at)
		}
		if damaged {
			told++
		}
	}
	t.Logf("%d misplaced blocks told", told)
	for i, name := range names {
		mustTell(t, s, name+" is missing", func(d *disktest.Disk) { d.Delete(name) })
		for _, other := range names[:i] {
			mustTell(t, s, name+" and "+other+" are swapped", func(d *disktest.Disk) {
				a, b := d.Bytes(name), d.Bytes(other)
				d.Put(name, b)
				d.Put(other, a)
			})
			mustTell(t, s, name+" is a copy of "+other, func(d *disktest.Disk) { d.Put(name, d.Bytes(other)) })
		}
		for size := range len(strings.TrimRight(string(s.disk.Bytes(name)), "\x00")) {
			if size%13 == 0 {
				mustTell(t, s, fmt.Sprint(name, " is cut at ", size), func(d *disktest.Disk) { d.Put(name, d.Bytes(name)[:size]) })
			}
		}
	}
}

func mustTell(t *testing.T, s *story, what string, change func(*disktest.Disk)) {
	t.Helper()
	disk := s.disk.Fork(1)
	change(disk)
	if damaged, err := outcomeOn(s, disk); err != nil || !damaged {
		t.Errorf("%s: told %v, %v", what, damaged, err)
	}
}

// smallJournalBefore returns the disk of smallJournal as it was at some time before.
func smallJournalBefore(t *testing.T) *disktest.Disk {
	t.Helper()
	s := smallJournal(t, closed)
	again := newStory(s.seed)
	again.options.SegmentBytes, again.options.SnapshotEvery, again.options.Rules.CreateAccounts = 1024, 10, true
	if err := errors.Join(again.open(), again.run(smallSteps-1)); err != nil {
		t.Fatal(err)
	}
	return again.disk
}

// TestATornTailIsToldAndCutOff tears the last batch of a killed process at every byte, with the mark as old as a power cut
// may leave it: what is before the tear is kept, and Verify tells the tear.
func TestATornTailIsToldAndCutOff(t *testing.T) {
	s := newStory(5)
	s.options.SegmentBytes, s.options.SnapshotEvery = 16384, 1000
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	commit(t, s.engine, deposit("a", 1, "1"), deposit("a", 2, "2"))
	mark := s.disk.Bytes("mark")
	name := segmentsOf(s.disk)[0]
	start := len(strings.TrimRight(string(s.disk.Bytes(name)), "\x00"))
	commit(t, s.engine, deposit("a", 3, "3"), deposit("a", 4, "4"), deposit("a", 5, "5"))
	whole := s.disk.Bytes(name)
	end := len(strings.TrimRight(string(whole), "\x00"))
	seen := map[uint64]int{}
	for at := start + 1; at < end; at++ {
		disk := s.disk.Fork(1)
		torn := append([]byte(nil), whole...)
		clear(torn[at:])
		disk.Put(name, torn)
		disk.Put("mark", mark)
		report, err := journal.VerifyFS(disk)
		if err != nil {
			t.Fatalf("torn at %d: %v", at, err)
		}
		o := s.options
		o.FS = disk
		engine, err := journal.Open("", o)
		if err != nil || engine.Seq() != report.Entries {
			t.Fatalf("torn at %d: opened at %d, verified to %d: %v", at, engine.Seq(), report.Entries, err)
		}
		seen[engine.Seq()]++
		closeEngine(t, engine)
		if after, err := journal.VerifyFS(disk); err != nil || after.Torn.Bytes != 0 || after.Entries != report.Entries {
			t.Fatalf("torn at %d: after the recovery %+v, %v", at, after, err)
		}
	}
	if len(seen) != 3 || seen[2] == 0 || seen[3] == 0 || seen[4] == 0 {
		t.Errorf("the tears left %v", seen)
	}
}

// TestABadPlaceBeforeALaterBatchIsDamage spoils the last batch but one with the mark as old as a power cut may leave it.
func TestABadPlaceBeforeALaterBatchIsDamage(t *testing.T) {
	s := newStory(5)
	s.options.SegmentBytes, s.options.SnapshotEvery = 16384, 1000
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	mark := s.disk.Bytes("mark")
	name := segmentsOf(s.disk)[0]
	var ends []int
	for i := range 3 {
		commit(t, s.engine, deposit("a", 1, fmt.Sprint("x", i)), deposit("b", 1, fmt.Sprint("y", i)))
		ends = append(ends, len(strings.TrimRight(string(s.disk.Bytes(name)), "\x00")))
	}
	for bit := 512 * 8; bit < (ends[1])*8; bit++ {
		disk := s.disk.Fork(1)
		disk.Put("mark", mark)
		disk.Put(name, flip(bit)(disk.Bytes(name)))
		if _, err := journal.VerifyFS(disk); !errors.Is(err, journal.ErrDamaged) {
			t.Fatalf("byte %d, ends %v: %v", bit/8, ends, err)
		}
	}
}

// TestATornTurnLeavesNothingBehind finds pieces of a batch that was to begin a segment, without its header. They are told,
// and gone after the next start.
func TestATornTurnLeavesNothingBehind(t *testing.T) {
	s := smallJournal(t, killed)
	last := endOf(t, s).File
	var number int
	fmt.Sscanf(last, "journal-%x.seg", &number)
	next := fmt.Sprintf("journal-%016x.seg", number+1)
	pieces := make([]byte, 1024)
	copy(pieces[700:], "pieces")
	s.disk.Put(next, pieces)
	report, err := journal.VerifyFS(s.disk)
	if err != nil || report.Torn != (journal.Tear{File: next, Bytes: 706}) {
		t.Fatalf("%+v, %v", report, err)
	}
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	if left := strings.Trim(string(s.disk.Bytes(next)), "\x00"); left != "" {
		t.Errorf("%q is left", left)
	}
	s.disk.Put(next, pieces)
	s.disk.Kill()
	torn := append(s.disk.Bytes(last), "more"...)
	s.disk.Put(last, torn)
	if _, err := journal.VerifyFS(s.disk); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("two torn segments: %v", err)
	}
}

// TestHistoriesThatPartedAreNotMixed lets a copy of a journal go on in another way and puts files of one among the other's.
// All checksums hold; only the hashes tell.
func TestHistoriesThatPartedAreNotMixed(t *testing.T) {
	one := smallJournal(t, closed)
	shared := len(segmentsOf(one.disk))
	other := one.branch(one.disk.Fork(2), 2)
	for _, s := range []*story{one, other} {
		s.options.SnapshotEvery = 1000
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		for i := range 30 { // of the same size in both, so that seqs and offsets agree
			op := deposit("a", 1, fmt.Sprint("part-", 10+i))
			if op.Memo = "one"; s == other {
				op.Memo = "two"
			}
			commit(t, s.engine, op)
		}
		closeEngine(t, s.engine)
	}
	names := segmentsOf(one.disk)
	if len(names) != len(segmentsOf(other.disk)) || len(names) < shared+2 {
		t.Fatalf("%d and %d segments, %d shared", len(names), len(segmentsOf(other.disk)), shared)
	}
	mustTell(t, one, "the other's mark", func(d *disktest.Disk) { d.Put("mark", other.disk.Bytes("mark")) })
	for _, name := range names[shared:] {
		mustTell(t, one, "the other's "+name, func(d *disktest.Disk) {
			all, _ := d.List()
			for _, gone := range all {
				if !strings.HasSuffix(gone, ".seg") {
					d.Delete(gone)
				}
			}
			d.Put(name, other.disk.Bytes(name))
		})
	}
}
