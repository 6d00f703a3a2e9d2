package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
)

// descriptors returns how many files the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("SKIPPED: no /proc tells what files are open: %v", err)
	}
	return len(open)
}

// TestNoFileIsLeftOpen opens, writes over many segments, reads again, follows, verifies and closes a journal, again and again; and
// fails to open it.
func TestNoFileIsLeftOpen(t *testing.T) {
	dir, locked := t.TempDir(), t.TempDir()
	holder := open(t, locked, options())
	before := 0
	for round := range 6 {
		o := options()
		o.SegmentBytes, o.Inline = journal.LeastSegmentBytes, round%2 == 0
		engine := open(t, dir, o)
		for i := range 60 {
			commit(t, engine, deposit("a", 1, fmt.Sprint(round, "-", i)))
		}
		for i := range 60 {
			commit(t, engine, deposit("a", 1, fmt.Sprint(round, "-", i)))
		}
		if h := follow(context.Background(), engine, 0, engine.Seq()); h.err != nil {
			t.Fatal(h.err)
		}
		closeEngine(t, engine)
		o.Decimals++
		if _, err := journal.Open(dir, o); !errors.Is(err, journal.ErrDecimals) {
			t.Errorf("with other decimals: %v", err)
		}
		if _, err := journal.Open(locked, options()); !errors.Is(err, journal.ErrLocked) {
			t.Errorf("where another is: %v", err)
		}
		if _, err := journal.Verify(dir); err != nil {
			t.Error(err)
		}
		if round == 1 {
			before = descriptors(t)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
	closeEngine(t, holder)
}

func TestProcessorsAreAddedAndTakenBack(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	restore := journal.AddProcessors()
	if added := runtime.GOMAXPROCS(0) - before; added != 2 {
		t.Errorf("%d processors were added", added)
	}
	restore()
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("there are %d processors, there were %d", after, before)
	}
}

// listener is an observer that writes down what it hears.
type listener struct {
	mu             sync.Mutex
	batches        int
	entries, bytes int
	snapshots      []uint64
	failures       []error
	failedAt       []uint64
}

func (l *listener) Synced(entries, bytes int, _ time.Duration) {
	l.batches, l.entries, l.bytes = l.batches+1, l.entries+entries, l.bytes+bytes
}

func (l *listener) Snapshot(seq uint64, _ time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failures, l.failedAt = append(l.failures, err), append(l.failedAt, seq)
		return
	}
	l.snapshots = append(l.snapshots, seq)
}

// TestTheObserverHearsWhatIsWritten counts batches, entries and bytes, and the snapshots: every so many entries, at the end, and
// the one that fails.
func TestTheObserverHearsWhatIsWritten(t *testing.T) {
	heard := &listener{}
	disk := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.Observer, o.SegmentBytes, o.SnapshotEvery = disk, true, heard, 1<<20, 10
	engine := open(t, "", o)
	for range 14 {
		commit(t, engine, deposit("a", 1, ""), deposit("b", 1, ""), bank.Operation{Kind: bank.KindBalance, Account: "a"})
	}
	commit(t, engine, bank.Operation{Kind: bank.KindBalance, Account: "a"})
	if heard.batches != 14 || heard.entries != 28 {
		t.Errorf("heard of %d entries in %d batches, want 28 in 14", heard.entries, heard.batches)
	}
	report, err := journal.VerifyFS(disk)
	if err != nil || report.Entries != 28 {
		t.Fatalf("%+v, %v", report, err)
	}
	if written := endOf(t, &story{disk: disk}).Offset - headerBytes; int64(heard.bytes) != written {
		t.Errorf("heard of %d bytes, there are %d", heard.bytes, written)
	}
	disk.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Create {
			return syscall.ENOSPC
		}
		return nil
	}
	for range 5 {
		commit(t, engine, deposit("a", 1, ""), deposit("b", 1, ""))
	}
	disk.Before = nil
	closeEngine(t, engine)
	if got := fmt.Sprint(heard.snapshots); got != "[14 24 38]" || len(heard.failures) != 1 || !errors.Is(heard.failures[0], syscall.ENOSPC) {
		t.Errorf("heard of snapshots %s and failures %v", got, heard.failures)
	}
	names, _ := disk.List()
	kept := slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "snapshot") })
	if want := []string{"snapshot-0000000000000018", "snapshot-0000000000000026"}; !slices.Equal(kept, want) {
		t.Errorf("kept are %v, want %v", kept, want)
	}
}

// TestALargeEntryThatFindsNoSpace pays a yield whose entry is larger than the segment that was prepared for it, when the room for
// the rest is not there, ends halfway or cannot be written.
func TestALargeEntryThatFindsNoSpace(t *testing.T) {
	for name, fault := range map[string]error{"no room": nil, "it ends": syscall.ENOSPC, "it fails": syscall.EIO} {
		disk := disktest.New(3)
		o := options()
		o.FS, o.Inline, o.SnapshotEvery = disk, true, 1_000_000
		engine := open(t, "", o)
		ops := make([]bank.Operation, 4000)
		for i := range ops {
			ops[i] = deposit(bank.Account(fmt.Sprint("acct-", i)), 1000, "")
		}
		commit(t, engine, ops...)
		free, total, _ := disk.Space()
		if fault == nil {
			disk.Limit(total - free + 64<<10) // enough for a segment, and not for the entry
		}
		disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Write && op.Offset >= 4096 && fault != nil {
				return fault
			}
			return nil
		}
		pay := bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: "yield-1", Memo: "0.10"}
		replies, err := bankCommit(engine, pay)
		if name == "it fails" {
			if !errors.Is(err, journal.ErrFailed) || !errors.Is(err, fault) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || replies[0].Code != bank.Unavailable {
			t.Errorf("%s: %v, %v", name, replies[0].Code, err)
		}
		disk.Before = nil
		disk.Limit(1 << 30)
		if reply := commit(t, engine, pay)[0]; reply.Code != bank.OK || reply.Seq != 4001 {
			t.Errorf("%s: with space again %+v", name, reply)
		}
		closeEngine(t, engine)
		if report, err := journal.VerifyFS(disk); err != nil || report.Entries != 4001 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
}

// counted is a disk that knows how many files are open.
type counted struct {
	disk.FS
	open, most, opened atomic.Int64
}

type countedFile struct {
	disk.File
	close func()
}

func (f countedFile) Close() error {
	f.close()
	return f.File.Close()
}

func (c *counted) Create(name string) (disk.File, error) { return c.file(c.FS.Create(name)) }
func (c *counted) Open(name string) (disk.File, error)   { return c.file(c.FS.Open(name)) }
func (c *counted) Edit(name string) (disk.File, error)   { return c.file(c.FS.Edit(name)) }

func (c *counted) file(file disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	c.opened.Add(1)
	c.most.Store(max(c.most.Load(), c.open.Add(1)))
	return countedFile{file, sync.OnceFunc(func() { c.open.Add(-1) })}, nil
}

// TestEveryFileIsClosedWhateverFails fails every operation of some histories, and every look of others. When the journal could not
// be opened, or is closed, no file is open.
func TestEveryFileIsClosedWhateverFails(t *testing.T) {
	failed := 0
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for k := 0; ; k++ {
			s := newStory(3)
			s.options.SegmentBytes, s.options.SnapshotEvery = 1024, 5
			files := &counted{FS: s.disk}
			s.options.FS = files
			s.disk.Before = func(op disktest.Op) error {
				if op.Kind != disktest.Read && op.Index == k {
					return fault
				}
				return nil
			}
			err := whole(s)
			if s.disk.Ops() <= k {
				break
			}
			if failed++; files.open.Load() != 0 {
				t.Errorf("operation %d with %v: %d files are open, %v", k, fault, files.open.Load(), err)
			}
		}
	}
	for k := int64(0); ; k++ {
		s := newStory(3)
		s.options.SegmentBytes, s.options.SnapshotEvery = 1024, 5
		if err := whole(s); err != nil {
			t.Fatal(err)
		}
		looking := &blind{FS: s.disk, at: k}
		files := &counted{FS: looking}
		s.options.FS = files
		err := look(s, files)
		if s.engine != nil {
			s.engine.Close()
		}
		if looking.looks.Load() <= k {
			break
		}
		if failed++; files.open.Load() != 0 {
			t.Errorf("look %d: %d files are open, %v", k, files.open.Load(), err)
		}
	}
	if failed < 100 {
		t.Errorf("only %d times something failed", failed)
	}
}

// whole plays a history from the opening of the journal to its close.
func whole(s *story) error {
	err := s.open()
	if err != nil {
		return err
	}
	return errors.Join(s.run(8), s.engine.Close())
}

// TestFewFilesAreKeptOpen asks for answers of more segments than are kept open: those that were asked for last stay open, and are not
// opened again.
func TestFewFilesAreKeptOpen(t *testing.T) {
	const kept = 16
	files := &counted{FS: disktest.New(1)}
	o := options()
	o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery = files, true, journal.LeastSegmentBytes, 1_000_000
	engine := open(t, "", o)
	of := map[string]bank.Operation{} // an operation of each segment
	var names []string
	for i := 0; len(of) < 2*kept; i++ {
		op := deposit("a", 1, fmt.Sprint("x", i))
		commit(t, engine, op)
		segments, _ := files.List()
		segments = slices.DeleteFunc(segments, func(name string) bool { return !strings.HasSuffix(name, ".seg") })
		if name := slices.Max(segments); of[name].ID == "" {
			of[name], names = op, append(names, name)
		}
	}
	before := files.open.Load()
	ask := func(segment, opened int) {
		t.Helper()
		first := files.opened.Load()
		if reply := commit(t, engine, of[names[segment]])[0]; !reply.Duplicate {
			t.Fatalf("%+v", reply)
		}
		if got := files.opened.Load() - first; got != int64(opened) {
			t.Errorf("for an answer of segment %d %d files were opened", segment, got)
		}
	}
	for segment := range kept {
		ask(segment, 1)
	}
	ask(0, 0)
	ask(kept, 1) // in the place of 1
	ask(0, 0)
	ask(2, 0)
	ask(1, 1) // in the place of 3
	ask(3, 1)
	for range 2 {
		for segment := range 2*kept - 1 {
			commit(t, engine, of[names[segment]])
		}
	}
	if most := files.most.Load() - before; most != kept+1 { // one more while it takes another's place
		t.Errorf("%d files were open", most)
	}
	if left := files.open.Load() - before; left != kept {
		t.Errorf("%d files are open", left)
	}
	closeEngine(t, engine)
	if left := files.open.Load(); left != 0 {
		t.Errorf("%d files are open after Close", left)
	}
}
