package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// largeBook returns the disk of a journal that was closed, whose book is so large that its snapshot counts, and the options to open it
// with. Its entries have one size, but for their memos.
func largeBook(t *testing.T) (*disktest.Disk, journal.Options) {
	t.Helper()
	d := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery = d, true, 1<<20, 1_000_000
	o.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	engine := open(t, "", o)
	ops := make([]bank.Operation, 1000)
	for range 75 {
		for i := range ops {
			ops[i] = deposit("a", 1000, fmt.Sprint(engine.Seq(), "-", i))
		}
		commit(t, engine, ops...)
	}
	closeEngine(t, engine)
	return d, o
}

// newestSnapshot returns the name of the newest snapshot, how long it is and the entry at which it began.
func newestSnapshot(d *disktest.Disk) (name string, size int64, start uint64) {
	names, _ := d.List()
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "snapshot-") })
	if len(names) == 0 {
		return "", 0, 0
	}
	name = slices.Max(names)
	b := d.Bytes(name)
	return name, int64(len(b)), binary.LittleEndian.Uint64(b[48:])
}

// TestSnapshotsAddAtMostHalfToWhatIsWritten holds when one is due to the byte: when twice as much was written as the last one is larger
// than what is too little to count. So it is after a start, and after a snapshot. None is written at once.
func TestSnapshotsAddAtMostHalfToWhatIsWritten(t *testing.T) {
	const share, free = 2, 1 << 20
	d, o := largeBook(t)
	heard := &listener{}
	o.SnapshotEvery, o.Observer = 10, heard
	engine := open(t, "", o)
	write := func(n, memo int) (took int) {
		before := heard.bytes
		ops := make([]bank.Operation, n)
		for i := range ops {
			ops[i] = deposit("a", 1, fmt.Sprintf("%07d-%03d", engine.Seq(), i))
			ops[i].Memo = strings.Repeat("m", memo)
		}
		commit(t, engine, ops...)
		return heard.bytes - before
	}
	d.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Write && op.File == "snapshot.tmp" && op.Bytes > 1<<20+64<<10 {
			t.Errorf("a sync waits for %v", op)
		}
		return nil
	}
	counted := 0                        // bytes when the last one was due
	for _, early := range []int{0, 1} { // bytes by which a batch ends before the next is due
		last, size, _ := newestSnapshot(d)
		if size <= free+50<<10 {
			t.Fatalf("the snapshot has only %d bytes", size)
		}
		due := counted + int(share*(size-free))
		one := write(1, 0)
		for due-early-heard.bytes >= 101*one {
			write(100, 0)
		}
		for due-early-heard.bytes >= 2*one {
			write(1, 0)
		}
		write(1, due-early-heard.bytes-one)
		if heard.bytes != due-early {
			t.Fatalf("%d bytes are written, meant were %d", heard.bytes, due-early)
		}
		if early > 0 {
			write(1, 0)
		}
		want := engine.Seq()
		counted = heard.bytes
		write(1, 0)
		write(1, 0) // a snapshot takes three commits
		if now, _, start := newestSnapshot(d); now == last || start != want {
			t.Fatalf("%s began at entry %d, want %d; the one before is %s", now, start, want, last)
		}
	}
	closeEngine(t, engine)
}

// TestASnapshotAsksForSpace: for a quarter more than the last one took, above the reserve; without it there is none, the log says so,
// and the bank goes on.
func TestASnapshotAsksForSpace(t *testing.T) {
	for _, lacking := range []int64{0, 1} {
		var log bytes.Buffer
		d := disktest.New(1)
		heard := &listener{}
		o := options()
		o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery, o.Observer = d, true, 1<<20, 1, heard
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		engine := open(t, "", o)
		for len(heard.snapshots) == 0 {
			commit(t, engine, deposit("a", 1, ""))
		}
		_, size, _ := newestSnapshot(d)
		const limit = 64 << 20
		d.Limit(limit)
		free, _, _ := d.Space()
		d.Put("others", make([]byte, free-limit/reserveShare-size*5/4+lacking))
		for range 3 { // commits that it takes
			commit(t, engine, deposit("a", 1, ""))
		}
		if told := strings.Contains(log.String(), "no space for a snapshot"); told != (lacking > 0) || len(heard.failures) > 0 != (lacking > 0) {
			t.Errorf("%d bytes are lacking: %d snapshots, %v\n%s", lacking, len(heard.snapshots), heard.failures, log.String())
		}
		for i, err := range heard.failures {
			if seq := heard.failedAt[i]; !errors.Is(err, journal.ErrNoSpace) || seq != engine.Seq()-2+uint64(i) {
				t.Errorf("at entry %d of %d: %v", seq, engine.Seq(), err)
			}
		}
		d.Delete("others")
		closeEngine(t, engine)
	}
}

// TestASnapshotLeavesTheReserve: the first of a journal, and one of a book that has grown since the last, find out while they are
// written that they are larger than what there is. They are given up, and the bank goes on; with space there is another.
func TestASnapshotLeavesTheReserve(t *testing.T) {
	d := disktest.New(1)
	heard := &listener{}
	o := options()
	o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery, o.Observer = d, true, 1<<20, 400, heard
	engine := open(t, "", o)
	write := func(n int) {
		t.Helper()
		ops := make([]bank.Operation, n)
		for i := range ops {
			ops[i] = deposit(bank.Account(fmt.Sprint("a", engine.Seq(), "-", i)), 1, "")
		}
		for _, reply := range commit(t, engine, ops...) {
			if reply.Code != bank.OK {
				t.Fatalf("%+v", reply)
			}
		}
	}
	const limit = 64 << 20
	d.Limit(limit)
	for _, first := range []bool{true, false} {
		wanted := len(heard.snapshots) + 1
		_, above, _ := newestSnapshot(d)
		if above = above * 5 / 4; first {
			above = 4096
		}
		free, _, _ := d.Space()
		d.Put("others", make([]byte, free-limit/reserveShare-above))
		failed := len(heard.failures)
		write(2000)
		for range 3 { // commits that a snapshot takes
			write(1)
		}
		left, _, _ := d.Space()
		if names, _ := d.List(); left < limit/reserveShare || slices.Contains(names, "snapshot.tmp") || len(heard.failures) == failed ||
			!errors.Is(heard.failures[failed], syscall.ENOSPC) {
			t.Errorf("%d bytes were left, and now %d; %v; there are %v", above, left-limit/reserveShare, heard.failures, names)
		}
		d.Delete("others")
		for write(400); len(heard.snapshots) < wanted; {
			write(1)
		}
	}
	closeEngine(t, engine)
}

// TestADraftTakesNoSpace: of a snapshot for which there was none nothing is left, and what could not be removed is told.
func TestADraftTakesNoSpace(t *testing.T) {
	for _, kind := range []disktest.Kind{disktest.Write, disktest.Sync} {
		d := disktest.New(1)
		heard := &listener{}
		o := options()
		o.FS, o.Inline, o.SnapshotEvery, o.Observer = d, true, 1, heard
		d.Before = func(op disktest.Op) error {
			if op.File == "snapshot.tmp" && op.Kind == kind {
				return syscall.ENOSPC
			}
			return nil
		}
		engine := open(t, "", o)
		for len(heard.failures) == 0 {
			commit(t, engine, deposit("a", 1, ""))
		}
		names, _ := d.List()
		if err := heard.failures[0]; !errors.Is(err, syscall.ENOSPC) || slices.Contains(names, "snapshot.tmp") {
			t.Errorf("%v: %v, there are %v", kind, err, names)
		}
		d.Before = nil
		closeEngine(t, engine)
	}
}

// TestASnapshotIsDueAfterSoManyEntries, counted from the last one, which may be of the process before.
func TestASnapshotIsDueAfterSoManyEntries(t *testing.T) {
	d := disktest.New(1)
	heard := &listener{}
	o := options()
	o.FS, o.Inline, o.SnapshotEvery, o.Observer = d, true, 10, heard
	for range 2 {
		engine := open(t, "", o)
		for range 7 {
			commit(t, engine, deposit("a", 1, ""))
		}
		closeEngine(t, engine)
	}
	engine := open(t, "", o)
	for range 13 {
		commit(t, engine, deposit("a", 1, ""))
	}
	if got := fmt.Sprint(heard.snapshots); got != "[7 14 26]" { // begun at entry 24, and three commits long
		t.Errorf("there are snapshots of %s", got)
	}
	if _, _, start := newestSnapshot(d); start != 24 {
		t.Errorf("the last began at entry %d", start)
	}
	closeEngine(t, engine)
}

// TestCloseLeavesASnapshotOfAllThereIs, if there is anything.
func TestCloseLeavesASnapshotOfAllThereIs(t *testing.T) {
	d := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = d, true, 1_000_000
	closeEngine(t, open(t, "", o))
	if name, _, _ := newestSnapshot(d); name != "" {
		t.Errorf("of a new journal there is %s", name)
	}
	for seq := range uint64(3) {
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, ""))
		closeEngine(t, engine)
		if name, _, start := newestSnapshot(d); start != seq+1 {
			t.Errorf("of %d entries there is %q", seq+1, name)
		}
	}
}

// TestTwoSnapshotsAreKept: the newest and the one before that is known to be whole. All others go.
func TestTwoSnapshotsAreKept(t *testing.T) {
	d := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = d, true, 1_000_000
	for seq := range 3 {
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, ""))
		for i := range 3 {
			d.Put(fmt.Sprintf("snapshot-%016x", 100+i), []byte("none"))
		}
		closeEngine(t, engine)
		names, _ := d.List()
		kept := slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "snapshot") })
		want := []string{fmt.Sprintf("snapshot-%016x", seq), fmt.Sprintf("snapshot-%016x", seq+1)}
		if seq == 0 {
			want = want[1:]
		}
		if !slices.Equal(kept, want) {
			t.Errorf("after %d: kept are %v", seq+1, kept)
		}
	}
	engine := open(t, "", o)
	commit(t, engine, deposit("a", 1, ""))
	d.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Remove {
			return syscall.EIO
		}
		return nil
	}
	if err := engine.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("one that cannot be removed: %v", err)
	}
}

// TestASnapshotOfABatchThatFailedIsNone: it waits for the entries that it holds to be durable. When they never are, it gets no name, and
// whoever waits for its end does not wait for ever.
func TestASnapshotOfABatchThatFailedIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New(1)
		heard := &listener{}
		o := options()
		o.FS, o.SnapshotEvery, o.Observer = d, 2, heard
		begin, fail := make(chan struct{}), make(chan struct{})
		holding := false
		d.Before = func(op disktest.Op) error {
			switch {
			case op.Kind == disktest.Create && strings.HasPrefix(op.File, "snapshot"):
				<-begin
			case op.Kind == disktest.Sync && op.File == firstSegment && holding:
				<-fail
				return syscall.EIO
			}
			return nil
		}
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, "1"), deposit("a", 1, "2"))
		synctest.Wait() // a snapshot is due, and waits
		holding = true
		done := make(chan error)
		go func() {
			_, err := bankCommit(engine, deposit("a", 1, "3"))
			done <- err
		}()
		synctest.Wait() // the batch is written
		close(begin)
		synctest.Wait() // the snapshot has it, and waits for it
		close(fail)
		if err := <-done; !errors.Is(err, journal.ErrFailed) {
			t.Errorf("commit: %v", err)
		}
		closeEngine(t, engine)
		if name, _, _ := newestSnapshot(d); name != "" || len(heard.snapshots)+len(heard.failures) > 0 {
			t.Errorf("there is %q, heard of %v, %v", name, heard.snapshots, heard.failures)
		}
	})
}

// TestASnapshotThatCannotBeReadStopsTheStart: that a disk fails says nothing of what is on it. So it is with a copy.
func TestASnapshotThatCannotBeReadStopsTheStart(t *testing.T) {
	small, large := smallJournal(t, closed), &story{}
	large.disk, large.options = largeBook(t)
	for _, s := range []*story{small, large} {
		failed := 0
		for k := int64(0); ; k++ {
			d := s.disk.Fork(1)
			opening, copying := &blind{FS: d, at: k}, &blind{FS: d, at: k}
			_, err := journal.Copy(t.Context(), copying, disktest.New(1))
			if copying.looks.Load() > k && !errors.Is(err, syscall.EIO) {
				t.Errorf("look %d of a copy, %s: %v", k, copying.failed, err)
			}
			o := s.options
			o.FS = opening
			engine, err := journal.Open("", o)
			if opening.looks.Load() <= k {
				break
			}
			if failed++; !errors.Is(err, syscall.EIO) && opening.failed != "space" {
				t.Errorf("look %d, %s: %v", k, opening.failed, err)
			}
			if err == nil {
				d.Kill()
				engine.Close()
			}
		}
		if failed < 10 {
			t.Errorf("only %d looks failed", failed)
		}
	}
}
