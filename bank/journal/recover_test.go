package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// TestTheMarkLeavesNoDoubt opens a journal again and again, with a batch in between or none, and ends the process by a kill or,
// after the recovery, by a power cut. What was durable then is known to be: a flipped bit in its last entry is damage, not a tear.
func TestTheMarkLeavesNoDoubt(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		disk := disktest.New(seed)
		o := options()
		o.FS, o.Inline, o.SnapshotEvery = disk, true, 1_000_000
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, ""))
		for range 1 + random.IntN(4) {
			disk.Kill()
			if random.IntN(3) == 0 {
				disk.Delete("mark")
			}
			engine = open(t, "", o)
			if random.IntN(2) == 0 {
				disk.Cut(random) // the recovery has made all that was there durable, and said so
				engine = open(t, "", o)
			}
			if random.IntN(2) == 0 {
				commit(t, engine, deposit("a", 1, ""), deposit("b", 1, ""))
			}
		}
		disk.Kill()
		if seed%2 == 0 { // the recovery is the last that happened before the power failed
			disk.Delete("mark")
			open(t, "", o)
			disk.Cut(random)
		}
		b := disk.Bytes(firstSegment)
		end := len(strings.TrimRight(string(b), "\x00"))
		b[end-1] ^= 0x40
		disk.Put(firstSegment, b)
		mustBeDamaged(t, disk, firstSegment)
	}
}

// TestWhatIsNotFinishedIsRemoved leaves drafts in the directory.
func TestWhatIsNotFinishedIsRemoved(t *testing.T) {
	s := smallJournal(t, killed)
	before := len(segmentsOf(s.disk))
	s.disk.Put("snapshot.tmp", []byte("x"))
	s.disk.Put(fmt.Sprintf("journal-%016x.seg.tmp", before+1), make([]byte, 700))
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	names, _ := s.disk.List()
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".tmp") }) {
		t.Errorf("left are %v", names)
	}
}

// TestRoomThatIsNotThereIsNotKept opens a journal on a disk that says it has space and has none: it opens with what it has, and
// writes when there is space.
func TestRoomThatIsNotThereIsNotKept(t *testing.T) {
	disk := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SegmentBytes = disk, true, 1<<20
	engine := open(t, "", o)
	commit(t, engine, deposit("a", 5, "1"))
	closeEngine(t, engine)
	size := len(disk.Bytes(firstSegment))
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Write && strings.HasSuffix(op.File, ".seg") {
				return fault
			}
			return nil
		}
		engine, err := journal.Open("", o)
		if fault == syscall.EIO {
			if !errors.Is(err, fault) {
				t.Errorf("open with %v: %v", fault, err)
			}
			continue
		}
		if err != nil || len(disk.Bytes(firstSegment)) != size {
			t.Fatalf("open with %v: %v; the segment has %d bytes, had %d", fault, err, len(disk.Bytes(firstSegment)), size)
		}
		disk.Before = nil
		if reply := commit(t, engine, deposit("a", 1, ""))[0]; reply.Code != bank.OK || reply.Balance != 6 {
			t.Errorf("with space again: %+v", reply)
		}
		if names := segmentsOf(disk); len(names) != 2 || len(disk.Bytes(firstSegment)) != size {
			t.Errorf("an entry was written where there is no room: %v", names)
		}
		closeEngine(t, engine)
		size = len(disk.Bytes(firstSegment))
	}
}

// TestRoomIsMadeUnlessSpaceIsShort opens a journal on a disk that has exactly the space above its reserve, and on one that has a byte
// less.
func TestRoomIsMadeUnlessSpaceIsShort(t *testing.T) {
	const segment, limit = 64 << 10, 1 << 20
	for _, lacking := range []int{0, 1} {
		disk := disktest.New(1)
		o := options()
		o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery = disk, true, segment, 1_000_000
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 5, "1"))
		closeEngine(t, engine)
		size := len(disk.Bytes(firstSegment))
		disk.Limit(limit)
		free, _, _ := disk.Space()
		disk.Put("others", make([]byte, int(free)-limit/reserveShare-(segment-size)+lacking))
		open(t, "", o)
		want := segment
		if lacking > 0 {
			want = size
		}
		if got := len(disk.Bytes(firstSegment)); got != want {
			t.Errorf("%d bytes are lacking: the segment has %d, had %d", lacking, got, size)
		}
		disk.Kill()
	}
}

// TestWhatARecoveryCannotRemoveItTells fails each operation of a start that has drafts and empty segments to remove.
func TestWhatARecoveryCannotRemoveItTells(t *testing.T) {
	s := smallJournal(t, killed)
	next := len(segmentsOf(s.disk)) + 1
	for i := range 2 {
		s.disk.Put(fmt.Sprintf("journal-%016x.seg", next+i), make([]byte, 1024))
	}
	s.disk.Put("snapshot.tmp", []byte("x"))
	for k := 0; ; k++ {
		after := s.branch(s.disk.Fork(1), 1)
		after.disk.Before = func(op disktest.Op) error {
			if op.Kind != disktest.Read && op.Index == k {
				return syscall.EIO
			}
			return nil
		}
		err := after.open()
		if after.disk.Ops() <= k {
			if err != nil || k < 7 {
				t.Errorf("%d operations, %v", k, err)
			}
			break
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d: %v", k, err)
		}
	}
}

// TestNoDirectoryIsNoJournal: the working directory is nobody's choice.
func TestNoDirectoryIsNoJournal(t *testing.T) {
	if _, err := journal.Open("", options()); err == nil {
		t.Error("there is a journal in the working directory now")
	}
}

// TestDamageIsToldWithItsPlace flips every byte of the entry in the middle of three batches, and of the last, of which nothing
// says that it was durable.
func TestDamageIsToldWithItsPlace(t *testing.T) {
	var entries [3][]byte
	for i := range entries {
		e := bank.Entry{Seq: uint64(i + 1), Time: time.Unix(1, 0), Kind: bank.KindOpen, Account: bank.Account(fmt.Sprint("a", i)), HasBalance: true}
		entries[i] = e.AppendCanonical(nil)
	}
	whole := journal.Forge(1, entries[:]...)
	second := headerBytes + 16 + len(entries[0])
	third := second + 16 + len(entries[1])
	for at := second; at < len(whole); at++ {
		disk := disktest.New(1)
		b := slices.Clone(whole)
		b[at] ^= 0x20
		disk.Put(firstSegment, b)
		report, err := journal.VerifyFS(disk)
		if at >= third {
			used := len(strings.TrimRight(string(b), "\x00"))
			want := journal.Tear{File: firstSegment, Offset: int64(third), Bytes: int64(used - third)}
			if err != nil || report.Torn != want || report.Entries != 2 {
				t.Fatalf("byte %d: %+v, %v; want %+v", at, report, err, want)
			}
			continue
		}
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.File != firstSegment || damage.Offset != int64(second) || damage.Seq != 2 ||
			!strings.Contains(damage.Reason, "later batch") {
			t.Fatalf("byte %d: %v; want entry 2 at byte %d", at, err, second)
		}
	}
}

// TestEachKindOfDamageHasItsReason breaks the files themselves.
func TestEachKindOfDamageHasItsReason(t *testing.T) {
	s := smallJournal(t, closed)
	names := segmentsOf(s.disk)
	stranger := smallJournalBefore(t)
	disk := disktest.New(2)
	o := options()
	o.FS = disk
	closeEngine(t, open(t, "", o))
	foreign := append(disk.Bytes(firstSegment)[:headerBytes:headerBytes], stranger.Bytes(names[1])[headerBytes:]...)
	for _, c := range []struct {
		change func(d *disktest.Disk)
		file   string
		reason string
	}{
		{func(d *disktest.Disk) { d.Delete(names[0]) }, names[0], "missing"},
		{func(d *disktest.Disk) { d.Delete(names[1]) }, names[1], "missing"},
		{func(d *disktest.Disk) { d.Put(names[0], make([]byte, headerBytes)) }, names[0], ""},
		{func(d *disktest.Disk) { d.Put(names[1], make([]byte, headerBytes)) }, names[1], "the next segment's is"},
		{func(d *disktest.Disk) { d.Put(names[1], d.Bytes(names[2])) }, names[1], "segment 3 under another's name"},
		{func(d *disktest.Disk) { d.Put(names[0], d.Bytes(names[1])) }, names[0], "segment 2 under another's name"},
		{func(d *disktest.Disk) { d.Put(names[0], foreign[:headerBytes]) }, names[1], "another journal"},
	} {
		broken := s.disk.Fork(1)
		c.change(broken)
		_, err := journal.VerifyFS(broken)
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.File != c.file || !strings.Contains(damage.Reason, c.reason) || damage.Reason == "" {
			t.Errorf("%v; want %q in %s", err, c.reason, c.file)
			continue
		}
		first := binary.LittleEndian.Uint64(s.disk.Bytes(c.file)[56:])
		if c.reason == "another journal" {
			first = 1 // the one before it is not whole
		}
		if damage.Seq != first {
			t.Errorf("%v; want entry %d", err, first)
		}
	}
}

// TestTheLogTellsWhatAStartDid recovers a journal in many states, and looks for each line that an operator may have to know of.
func TestTheLogTellsWhatAStartDid(t *testing.T) {
	const torn, unmarked, inPlace = "torn tail is cut off", "there was no mark", "no space to write the tail"
	written := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SegmentBytes = written, true, 64<<10
	commit(t, open(t, "", o), deposit("a", 1, ""))
	written.Kill()
	end := len(strings.TrimRight(string(written.Bytes(firstSegment)), "\x00"))
	for name, c := range map[string]struct {
		change func(d *disktest.Disk)
		want   string
	}{
		"as it was": {func(*disktest.Disk) {}, ""},
		"a tear": {func(d *disktest.Disk) {
			b := d.Bytes(firstSegment)
			b[end+30] = 1
			d.Put(firstSegment, b)
		}, torn},
		"a tear of a byte": {func(d *disktest.Disk) {
			b := d.Bytes(firstSegment)
			b[end] = 1
			d.Put(firstSegment, b)
		}, torn},
		"no mark": {func(d *disktest.Disk) { d.Delete("mark") }, unmarked},
		"no space": {func(d *disktest.Disk) {
			b := d.Bytes(firstSegment)[:end+40]
			b[end+30] = 1
			d.Put(firstSegment, b)
			d.Limit(int64(len(b)+len(d.Bytes("mark"))) + 100)
		}, torn + inPlace},
		"nothing": {nil, ""},
	} {
		var log bytes.Buffer
		disk := disktest.New(1)
		if c.change != nil {
			disk = written.Fork(1)
			c.change(disk)
		}
		o.FS, o.Logger = disk, slog.New(slog.NewTextHandler(&log, nil))
		engine := open(t, "", o)
		for _, line := range []string{torn, unmarked, inPlace} {
			if told := strings.Contains(log.String(), line); told != strings.Contains(c.want, line) {
				t.Errorf("%s: told of %q: %v\n%s", name, line, told, log.String())
			}
		}
		if !strings.Contains(log.String(), fmt.Sprint("entries=", engine.Seq())) {
			t.Errorf("%s: the log tells no entries:\n%s", name, log.String())
		}
	}
}

// TestAStartAfterAStopRewritesNothing: the mark says that all is durable, and the last snapshot is taken.
func TestAStartAfterAStopRewritesNothing(t *testing.T) {
	s := smallJournal(t, closed)
	s.disk.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Rename || op.Kind == disktest.Remove {
			t.Errorf("%v", op)
		}
		return nil
	}
	var log bytes.Buffer
	s.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := s.open(); err != nil || strings.Contains(log.String(), "passed over") {
		t.Fatalf("%v\n%s", err, log.String())
	}
}

// TestTheDefaultsAreTaken opens a journal without choices, and with the least there may be.
func TestTheDefaultsAreTaken(t *testing.T) {
	disk := disktest.New(1)
	engine := open(t, "", journal.Options{FS: disk, Inline: true, Decimals: 2, Rules: bank.Rules{CreateAccounts: true}})
	if size := len(disk.Bytes(firstSegment)); size != 4<<20+headerBytes {
		t.Errorf("the first segment has %d bytes", size)
	}
	commit(t, engine, deposit("a", 1, ""))
	closeEngine(t, engine)
	least := disktest.New(1)
	heard := &listener{}
	engine = open(t, "", journal.Options{
		FS: least, Inline: true, Decimals: 2, SegmentBytes: 1, SnapshotEvery: 1, Observer: heard, Rules: bank.Rules{CreateAccounts: true},
	})
	if size := len(least.Bytes(firstSegment)); size != journal.LeastSegmentBytes {
		t.Errorf("the least segment has %d bytes", size)
	}
	for range 6 {
		commit(t, engine, deposit("a", 1, ""))
	}
	closeEngine(t, engine)
	if len(heard.snapshots) < 2 {
		t.Errorf("snapshots: %v", heard.snapshots)
	}
}
