package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
)

// copyHistories is how many histories TestACopyAtEveryMoment plays.
const copyHistories = 60

// TestACopyAtEveryMoment copies a journal before every operation on its disk, and then cuts the power of both. The copy is a
// journal that holds all that was answered, and nothing that its source has lost.
func TestACopyAtEveryMoment(t *testing.T) {
	copies, leftOut := 0, 0
	for range copyHistories {
		s := newStory(rand.Uint64())
		var wrong error
		s.disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read || wrong != nil {
				return nil
			}
			copies++
			left, err := copyNow(s)
			if leftOut += int(left); err != nil {
				wrong = fmt.Errorf("before %v: %w", op, err)
			}
			return nil
		}
		if err := errors.Join(s.open(), s.run(8)); err != nil {
			t.Fatal(err)
		}
		if wrong != nil {
			t.Fatalf("seed %d: %v", s.seed, wrong)
		}
	}
	t.Logf("%d copies, %d entries left out", copies, leftOut)
	if leftOut == 0 {
		t.Error("void: no copy was made between a write and its sync")
	}
}

// copyNow copies the story's journal as its disk is, and checks the copy.
func copyNow(s *story) (leftOut uint64, err error) {
	seed := s.random.Uint64()
	source, target := s.disk.Fork(seed), disktest.New(seed)
	copied, err := journal.Copy(context.Background(), source, target)
	if errors.Is(err, fs.ErrNotExist) && len(s.answered) == 0 {
		return 0, nil // the journal is being made
	}
	if err != nil {
		return 0, err
	}
	if source.Ops() != 0 {
		return 0, errors.New("the source was changed")
	}
	after := s.branch(target, seed)
	source.Cut(after.random)
	target.Cut(after.random)
	kept, err := hashes(source)
	if err != nil {
		return 0, fmt.Errorf("the source: %w", err)
	}
	found, err := hashes(target)
	if err != nil {
		return 0, fmt.Errorf("the copy: %w", err)
	}
	if len(found) > len(kept) || !slices.Equal(found, kept[:len(found)]) || uint64(len(found)) != copied.Entries {
		return 0, fmt.Errorf("%d entries in the copy, %d copied, %d kept by the source", len(found), copied.Entries, len(kept))
	}
	return copied.LeftOut, after.check()
}

// hashes returns those of all entries of a journal.
func hashes(fsys disk.FS) (all [][32]byte, err error) {
	_, err = journal.DumpFS(fsys, func(_ *bank.Entry, hash [32]byte) error {
		all = append(all, hash)
		return nil
	})
	return all, err
}

// TestACopyIsAsCloseLeavesAJournal copies a journal that is written, and one that is closed: a start has nothing to mend.
func TestACopyIsAsCloseLeavesAJournal(t *testing.T) {
	for _, ended := range []string{closed, killed} {
		s := smallJournal(t, ended)
		target := disktest.New(1)
		if _, err := journal.Copy(t.Context(), s.disk, target); err != nil {
			t.Fatal(err)
		}
		before, err := journal.VerifyFS(target)
		if err != nil || before.Torn.Bytes != 0 {
			t.Fatalf("%+v, %v", before, err)
		}
		names, _ := target.List()
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "snapshot-") }) {
			t.Errorf("no snapshot among %v", names)
		}
		after := s.branch(target, 1)
		target.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Rename && slices.Contains(segmentsOf(target), op.File) {
				t.Errorf("the start has written %s anew", op.File)
			}
			return nil
		}
		if err := after.check(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhatIsNotKnownToBeDurableIsLeftOut copies a journal with the mark as old as a power cut may leave it: what is before a
// later batch was durable, and of the last nobody knows.
func TestWhatIsNotKnownToBeDurableIsLeftOut(t *testing.T) {
	s := newStory(5)
	s.options.SegmentBytes, s.options.SnapshotEvery = 16384, 1000
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	commit(t, s.engine, deposit("a", 1, "1"))
	mark := s.disk.Bytes("mark")
	commit(t, s.engine, deposit("a", 2, "2"), deposit("a", 3, "3"))
	commit(t, s.engine, deposit("a", 4, "4"), deposit("a", 5, "5"), deposit("a", 6, "6"))
	copied, err := journal.Copy(t.Context(), s.disk, disktest.New(1))
	if err != nil || copied.Entries != 6 || copied.LeftOut != 0 {
		t.Errorf("%+v, %v", copied, err)
	}
	s.disk.Put("mark", mark)
	copied, err = journal.Copy(t.Context(), s.disk, disktest.New(1))
	if err != nil || copied.Entries != 3 || copied.LeftOut != 3 {
		t.Errorf("with an old mark: %+v, %v", copied, err)
	}
}

// TestDamageIsNotCopied flips every bit of a small journal up to its end. Nothing is written, and the entry is told.
func TestDamageIsNotCopied(t *testing.T) {
	s := smallJournal(t, closed)
	end := endOf(t, s)
	for _, name := range segmentsOf(s.disk) {
		size := int64(len(s.disk.Bytes(name)))
		if name == end.File {
			size = end.Offset
		}
		both(int(size), func(at int) {
			source, target := s.disk.Fork(1), disktest.New(1)
			source.Put(name, flip(at*8+at%8)(source.Bytes(name)))
			_, err := journal.Copy(t.Context(), source, target)
			_, want := journal.VerifyFS(source)
			if !errors.Is(err, journal.ErrDamaged) || err.Error() != want.Error() || target.Ops() != 0 {
				t.Errorf("%s, byte %d: %v, and %d operations; verify says %v", name, at, err, target.Ops(), want)
			}
		})
	}
}

// TestASnapshotThatIsNotWholeIsNotCopied spoils the newest snapshot: the one before goes along.
func TestASnapshotThatIsNotWholeIsNotCopied(t *testing.T) {
	s := smallJournal(t, closed)
	names, _ := s.disk.List()
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "snapshot-") })
	if len(names) != 2 {
		t.Fatal(names)
	}
	spoiled := s.disk.Bytes(names[1])
	s.disk.Put(names[1], flip(len(spoiled)*4)(spoiled))
	target := disktest.New(1)
	if _, err := journal.Copy(t.Context(), s.disk, target); err != nil {
		t.Fatal(err)
	}
	copied, _ := target.List()
	if slices.Contains(copied, names[1]) || !slices.Contains(copied, names[0]) {
		t.Errorf("%v of %v", copied, names)
	}
	if err := s.branch(target, 1).check(); err != nil {
		t.Error(err)
	}
}

// TestACopyThatFailsSaysSo fails every operation on the target's disk, for want of space too; and a disk that is too small is
// told before anything is written.
func TestACopyThatFailsSaysSo(t *testing.T) {
	s := smallJournal(t, closed)
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for failAt := 0; ; failAt++ {
			target := disktest.New(uint64(failAt))
			met := false
			target.Before = func(op disktest.Op) error {
				if op.Kind == disktest.Read || op.Index != failAt {
					return nil
				}
				met = true
				return fault
			}
			_, err := journal.Copy(t.Context(), s.disk, target)
			if !met {
				if err != nil || failAt < 20 {
					t.Fatalf("%d operations, %v", failAt, err)
				}
				break
			}
			if !errors.Is(err, fault) {
				t.Fatalf("operation %d: %v", failAt, err)
			}
		}
	}
	small := disktest.New(1)
	small.Limit(1024)
	if _, err := journal.Copy(t.Context(), s.disk, small); !errors.Is(err, journal.ErrNoSpace) || small.Ops() != 0 {
		t.Errorf("a disk of a KiB: %v, %d operations", err, small.Ops())
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := journal.Copy(ended, s.disk, disktest.New(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// TestACopyTellsItsBytesAndAsksForSo copies a journal with two snapshots, with one and without: a disk that holds so many blocks, and
// its reserve, is large enough, and one that holds a byte less is refused before anything is written.
func TestACopyTellsItsBytesAndAsksForSo(t *testing.T) {
	s := smallJournal(t, closed)
	for snapshots := 2; snapshots >= 0; snapshots-- {
		target := disktest.New(1)
		source, files := &counted{FS: s.disk}, &counted{FS: target}
		copied, err := journal.Copy(t.Context(), source, files)
		if left := source.open.Load() + files.open.Load(); err != nil || left != 0 {
			t.Fatalf("%v, %d files are open", err, left)
		}
		names, _ := target.List()
		held, needed := int64(0), int64(0)
		for _, name := range names {
			bytes := int64(len(target.Bytes(name)))
			held, needed = held+bytes, needed+(bytes+4095)/4096*4096
		}
		for free := needed; needed-needed/reserveShare < free; {
			needed++
		}
		if copied.Bytes != held || len(target.Bytes("mark")) != 8192 {
			t.Errorf("%d snapshots: %d bytes copied, the copy has %d", snapshots, copied.Bytes, held)
		}
		exact, small := disktest.New(1), disktest.New(1)
		exact.Limit(needed)
		small.Limit(needed - 1)
		if _, err := journal.Copy(t.Context(), s.disk, exact); err != nil {
			t.Errorf("%d snapshots, on a disk of %d bytes: %v", snapshots, needed, err)
		}
		if _, err := journal.Copy(t.Context(), s.disk, small); !errors.Is(err, journal.ErrNoSpace) || small.Ops() != 0 {
			t.Errorf("%d snapshots, on a disk of a byte less: %v, %d operations", snapshots, err, small.Ops())
		}
		for _, name := range names {
			if strings.HasPrefix(name, "snapshot-") {
				s.disk.Delete(name)
			}
		}
	}
}

// TestACopyAsksForSpaceAgainBeforeEachSegment, because others write meanwhile.
func TestACopyAsksForSpaceAgainBeforeEachSegment(t *testing.T) {
	s := smallJournal(t, closed)
	target := disktest.New(1)
	target.Limit(16 << 20)
	target.Before = func(op disktest.Op) error {
		if free, total, _ := target.Space(); op.File == firstSegment && op.Kind == disktest.Create {
			target.Put("others", make([]byte, free-total/reserveShare-4096)) // enough for the first
		}
		return nil
	}
	if _, err := journal.Copy(t.Context(), s.disk, target); !errors.Is(err, journal.ErrNoSpace) {
		t.Error(err)
	}
	if free, total, _ := target.Space(); free < total/reserveShare {
		t.Errorf("%d bytes of %d are left", free, total)
	}
}

// TestACopyThatIsEndedWritesNothingMore ends one while it reads the snapshot.
func TestACopyThatIsEndedWritesNothingMore(t *testing.T) {
	s := smallJournal(t, closed)
	ctx, end := context.WithCancel(t.Context())
	s.disk.Before = func(op disktest.Op) error {
		if strings.HasPrefix(op.File, "snapshot-") && op.Offset > 0 {
			end()
		}
		return nil
	}
	target := disktest.New(1)
	if _, err := journal.Copy(ctx, s.disk, target); !errors.Is(err, context.Canceled) || target.Ops() != 0 {
		t.Errorf("%v, %d operations", err, target.Ops())
	}
}

// TestThereIsNoCopyOfNothing: a directory without a journal has none to copy.
func TestThereIsNoCopyOfNothing(t *testing.T) {
	target := disktest.New(1)
	if _, err := journal.Copy(t.Context(), disktest.New(1), target); !errors.Is(err, fs.ErrNotExist) || target.Ops() != 0 {
		t.Errorf("%v, %d operations", err, target.Ops())
	}
}

// TestTheIDIsReadWithoutALock of a journal that is as it should be, is not there, has rotted, or is of another format.
func TestTheIDIsReadWithoutALock(t *testing.T) {
	disk := disktest.New(1)
	if id, err := journal.ReadID(disk); !errors.Is(err, fs.ErrNotExist) || id != [16]byte{} {
		t.Errorf("before there is one: %x, %v", id, err)
	}
	o := options()
	o.FS, o.Inline = disk, true
	engine := open(t, "", o)
	if id, err := journal.ReadID(disk); id != engine.ID() || err != nil {
		t.Errorf("%x, %v; want %x", id, err, engine.ID())
	}
	whole := disk.Bytes(firstSegment)
	disk.Put(firstSegment, flip(16*8)(slices.Clone(whole)))
	var damage *journal.DamageError
	id, err := journal.ReadID(disk)
	if !errors.As(err, &damage) || damage.File != firstSegment || damage.Seq != 1 || damage.Reason == "" || id != [16]byte{} {
		t.Errorf("with a bit flipped: %x, %v", id, err)
	}
	whole[8]++
	journal.ResealHeader(whole)
	disk.Put(firstSegment, whole)
	if id, err := journal.ReadID(disk); !errors.Is(err, journal.ErrFormat) || !strings.Contains(err.Error(), firstSegment) || id != [16]byte{} {
		t.Errorf("of another version: %x, %v", id, err)
	}
}

// TestCopyBesideAGateway copies a journal again and again while it is written, its segments turn and its snapshots are
// replaced. Each copy holds what was durable when it began.
func TestCopyBesideAGateway(t *testing.T) {
	dir := t.TempDir()
	o := options()
	o.SegmentBytes, o.SnapshotEvery = 32<<10, 100
	engine := open(t, dir, o)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- writeUntil(engine, stop) }()
	source, err := disk.Existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	for began := time.Now(); time.Since(began) < 1500*time.Millisecond; rounds++ {
		target := disktest.New(1)
		before := engine.Seq()
		copied, err := journal.Copy(t.Context(), source, target)
		if err != nil {
			t.Error(err)
			break
		}
		report, err := journal.VerifyFS(target)
		if err != nil || report.Entries != copied.Entries || copied.Entries < before || report.Torn.Bytes > 0 {
			t.Errorf("%d entries before, %d copied, %+v, %v", before, copied.Entries, report, err)
			break
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d copies, %d entries", rounds, engine.Seq())
	closeEngine(t, engine)
}

// writeUntil commits batches until stop is closed.
func writeUntil(engine bank.Engine, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := bankCommit(engine, deposit("a", 1, fmt.Sprint("x", i)), deposit("b", 1, ""), deposit("c", 1, "")); err != nil {
			return err
		}
	}
}
