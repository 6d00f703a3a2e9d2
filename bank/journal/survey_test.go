package journal_test

import (
	"errors"
	"fmt"
	"runtime"
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

// One processor reads every segment, as many do.
func TestOneProcessorReadsAllSegments(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := smallJournal(t, killed)
	report, err := journal.VerifyFS(s.disk)
	if err != nil || report.Segments < 2 || report.Entries != uint64(len(s.truth)) {
		t.Errorf("%+v, %v", report, err)
	}
	d := s.disk.Fork(1)
	b := d.Bytes(firstSegment)
	b[600] ^= 1
	d.Put(firstSegment, b)
	var damage *journal.DamageError
	if _, err := journal.VerifyFS(d); !errors.As(err, &damage) || damage.File != firstSegment {
		t.Errorf("with damage in %s: %v", firstSegment, err)
	}
}

// A start leaves the process as many processors as it had.
func TestAStartLeavesTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	if _, err := journal.VerifyFS(smallJournal(t, killed).disk); err != nil || runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("%v, %d processors of 3", err, runtime.GOMAXPROCS(0))
	}
}

// TestASegmentWithoutAHeaderIsATornTurnOrDamage leaves things in the segments behind the last one in use: pieces of the batch that was to
// begin the first of them are a tear; all else that is no zero is damage, and is named.
func TestASegmentWithoutAHeaderIsATornTurnOrDamage(t *testing.T) {
	s := smallJournal(t, killed)
	s.disk.Delete("mark")
	end := endOf(t, s)
	var number uint64
	fmt.Sscanf(end.File, "journal-%x.seg", &number)
	name := func(n uint64) string { return fmt.Sprintf("journal-%016x.seg", number+n) }
	last := uint64(len(s.truth))
	batch := func(seq uint64) []byte {
		e := bank.Entry{Seq: seq, Time: time.Unix(1, 0), Kind: bank.KindOpen, Account: "z"}
		return journal.Batch(s.disk.Bytes(firstSegment), number+1, &e)
	}
	at := func(offset int, content []byte) []byte {
		b := make([]byte, 1024)
		copy(b[offset:], content)
		return b
	}
	for what, c := range map[string]struct {
		tear   string // behind the last entry
		unused [2][]byte
		torn   journal.Tear
		file   string // that is damaged
		reason string
	}{
		"zeros":                   {unused: [2][]byte{make([]byte, 1024), make([]byte, 1024)}},
		"nothing":                 {unused: [2][]byte{{}, {}}},
		"pieces in the first":     {unused: [2][]byte{at(700, []byte("x")), make([]byte, 1024)}, torn: journal.Tear{File: name(1), Bytes: 701}},
		"the batch that began it": {unused: [2][]byte{at(512, batch(last+1)), {}}, torn: journal.Tear{File: name(1), Bytes: int64(512 + len(strings.TrimRight(string(batch(last+1)), "\x00")))}},
		"a later batch":           {unused: [2][]byte{at(600, batch(last+2)), {}}, file: name(1), reason: "a later batch follows"},
		"a later batch of another segment": {unused: [2][]byte{at(600, journal.Batch(s.disk.Bytes(firstSegment), number+2, &bank.Entry{
			Seq: last + 2, Time: time.Unix(1, 0), Kind: bank.KindOpen, Account: "zz"})), {}}, torn: journal.Tear{File: name(1)}},
		"pieces in the second":         {unused: [2][]byte{make([]byte, 1024), at(0, []byte("x"))}, file: name(2), reason: "the segment before it is not whole"},
		"pieces in both":               {unused: [2][]byte{at(0, []byte("x")), at(0, []byte("x"))}, file: name(2), reason: "the segment before it is not whole"},
		"pieces behind a torn segment": {tear: "x", unused: [2][]byte{at(0, []byte("x")), {}}, file: name(1), reason: "the segment before it is not whole"},
		"zeros behind a torn segment":  {tear: "x", unused: [2][]byte{make([]byte, 1024), {}}, torn: journal.Tear{File: end.File, Offset: end.Offset, Bytes: 1}},
	} {
		d := s.disk.Fork(1)
		b := d.Bytes(end.File)
		copy(b[end.Offset:], c.tear)
		d.Put(end.File, b)
		for i, content := range c.unused {
			d.Put(name(uint64(i+1)), content)
		}
		report, err := journal.VerifyFS(d)
		if c.file == "" {
			if c.torn.File != "" && c.torn.Bytes == 0 {
				c.torn.Bytes = report.Torn.Bytes
			}
			if err != nil || report.Torn != c.torn || report.Entries != last {
				t.Errorf("%s: %+v, %v; want %+v", what, report, err, c.torn)
			}
			continue
		}
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.File != c.file || damage.Seq != last+1 || !strings.Contains(damage.Reason, c.reason) {
			t.Errorf("%s: %v; want entry %d, %q in %s", what, err, last+1, c.reason, c.file)
		}
	}
	s.disk.Put(name(1), at(700, []byte("x")))
	mustNeedEveryLook(t, s.disk)
}

// mustNeedEveryLook fails each look of a journal's verification: each must be told, and no file may stay open.
func mustNeedEveryLook(t *testing.T, d *disktest.Disk) {
	t.Helper()
	for k := int64(0); ; k++ {
		looking := &blind{FS: d, at: k}
		files := &counted{FS: looking}
		_, err := journal.VerifyFS(files)
		if files.open.Load() != 0 {
			t.Errorf("look %d: %d files are open", k, files.open.Load())
		}
		if looking.looks.Load() <= k {
			if err != nil || k < 10 {
				t.Errorf("%d looks, %v", k, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("look %d, %s: %v", k, looking.failed, err)
		}
	}
}

// TestALargeSegmentThatCannotBeReadIsTold: one that is read in many pieces, within a frame and behind the last.
func TestALargeSegmentThatCannotBeReadIsTold(t *testing.T) {
	d := disktest.New(1)
	whole := journal.Forge(1, opening(1, 0), opening(2, 0))
	large := append(slices.Clone(whole), make([]byte, 3<<20)...)
	copy(large[len(large)-100:], "torn")
	d.Put(firstSegment, large)
	mustNeedEveryLook(t, d)
	later := bank.Entry{Seq: 3, Time: time.Unix(1, 0), Kind: bank.KindOpen, Account: "z"}
	later.Origin.Door = bank.DoorSocket
	later.Postings = slices.Repeat([]bank.Posting{{Account: "y", Amount: 1}}, 1<<20)
	for what, damaged := range map[string][]byte{
		"an entry that is none": append(journal.Forge(1, opening(1, 0), opening(2, 3<<20)), make([]byte, 2<<20)...),
		"a later batch":         append(append(journal.Forge(1, opening(1, 0)), "bad"...), journal.Batch(whole, 1, &later)...),
	} {
		d.Put(firstSegment, damaged)
		whole := &blind{FS: d, at: -1}
		if _, err := journal.VerifyFS(whole); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		for k := range whole.looks.Load() - 1 { // but for the last, which asks whether a writer has feigned the damage
			looking := &blind{FS: d, at: k}
			if _, err := journal.VerifyFS(looking); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s, look %d, %s: %v", what, k, looking.failed, err)
			}
		}
	}
}

// TestWhatASnapshotHoldsWasDurable: without a mark it is a snapshot that tells a tail that was lost from one that was torn.
func TestWhatASnapshotHoldsWasDurable(t *testing.T) {
	s := smallJournal(t, closed)
	s.disk.Delete("mark")
	end := endOf(t, s)
	b := s.disk.Bytes(end.File)
	frames, err := journal.Frames(s.disk, end.File)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[end.Offset-int64(len(frames[len(frames)-1])):])
	s.disk.Put(end.File, b)
	mustBeDamaged(t, s.disk, end.File)
	last := uint64(len(s.truth))
	var damage *journal.DamageError
	if _, err := journal.VerifyFS(s.disk); !errors.As(err, &damage) || damage.Seq != last || !strings.Contains(damage.Reason, fmt.Sprint("up to entry ", last)) {
		t.Errorf("%v; want entry %d", err, last)
	}
	names, _ := s.disk.List()
	for _, name := range names {
		if strings.HasPrefix(name, "snapshot-") {
			s.disk.Delete(name)
		}
	}
	if report, err := journal.VerifyFS(s.disk); err != nil || report.Entries != last-1 {
		t.Errorf("without a snapshot: %+v, %v", report, err)
	}
}

// later is a disk on which a file changes before it is opened for the so-manieth time.
type later struct {
	disk.FS
	name    string
	opening int
	change  func()
}

func (l *later) Open(name string) (disk.File, error) {
	if name == l.name {
		if l.opening--; l.opening == 0 {
			l.change()
		}
	}
	return l.FS.Open(name)
}

// TestWhatChangesWhileItIsReadIsTold: between the look at all frames and the reading of their entries.
func TestWhatChangesWhileItIsReadIsTold(t *testing.T) {
	const reading = 3 // after the header and the frames
	s, name := plainJournal(t)
	whole := s.disk.Bytes(name)
	frames, err := journal.Frames(s.disk, name)
	if err != nil {
		t.Fatal(err)
	}
	begin := headerBytes
	for _, frame := range frames[:4] {
		begin += len(frame)
	}
	change := func(content []byte) error {
		s.disk.Put(name, whole)
		_, err := journal.VerifyFS(&later{s.disk, name, reading, func() { s.disk.Put(name, content) }})
		return err
	}
	var damage *journal.DamageError
	for _, content := range [][]byte{flip((begin + 20) * 8)(slices.Clone(whole)), whole[:begin+20]} {
		if err := change(content); !errors.As(err, &damage) || damage.File != name || damage.Offset != int64(begin) || damage.Seq != 5 {
			t.Errorf("%v; want entry 5 at byte %d", err, begin)
		}
	}
	last := len(frames) - 1
	e, _ := journal.EntryOf(frames[last-1])
	e.Memo = strings.Repeat("m", len(frames[last])) // one in the place of two
	frames = append(frames[:last-1], journal.WithEntry(frames[last-1], &e))
	content, err := journal.Rewrite(s.disk, name, frames, true)
	if err != nil || len(content) != len(strings.TrimRight(string(whole), "\x00")) {
		t.Fatalf("%d bytes in the place of %d, %v", len(content), len(whole), err)
	}
	if err := change(content); err == nil || errors.As(err, &damage) && damage.Seq < uint64(last) || !strings.Contains(err.Error(), fmt.Sprint("entry ", last+1)) {
		t.Errorf("%v; want that entry %d is missing", err, last+1)
	}
}

// backward is a disk that lists its files from the last to the first.
type backward struct{ disk.FS }

func (d backward) List() ([]string, error) {
	names, err := d.FS.List()
	slices.Reverse(names)
	return names, err
}

// TestFilesMayBeListedInAnyOrder: the newest snapshot is taken, and the segments follow one another.
func TestFilesMayBeListedInAnyOrder(t *testing.T) {
	s := smallJournal(t, closed)
	report, err := journal.VerifyFS(backward{s.disk})
	if err != nil || report.Entries != uint64(len(s.truth)) || report.Segments != 4 {
		t.Errorf("%+v, %v", report, err)
	}
	names, _ := s.disk.List()
	newest := slices.Max(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "snapshot-") }))
	read := map[string]int{}
	s.disk.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Read && op.Offset > 0 {
			read[op.File]++
		}
		return nil
	}
	s.options.FS = backward{s.disk}
	if err := s.open(); err != nil || read[newest] == 0 {
		t.Errorf("%v; read were %v", err, read)
	}
	for name := range read {
		if strings.HasPrefix(name, "snapshot-") && name != newest {
			t.Errorf("%s was read too", name)
		}
	}
}

// beside is a disk on which a gateway works while its journal is looked at: it counts the surveys, which list the files, and calls
// moved before the mark is looked at again.
type beside struct {
	disk.FS
	surveys, marks int
	listed, moved  func(survey int)
}

func (b *beside) List() ([]string, error) {
	b.surveys++
	names, err := b.FS.List()
	if b.listed != nil {
		b.listed(b.surveys)
	}
	return names, err
}

func (b *beside) Open(name string) (disk.File, error) {
	if name == "mark" {
		if b.marks++; b.marks%2 == 0 && b.moved != nil { // once by each survey, and once after it
			b.moved(b.surveys)
		}
	}
	return b.FS.Open(name)
}

// TestDamageThatAWriterFeignsIsLookedAtAgain, as long as the journal moves on, and a bounded number of times; what stands still is told
// at once.
func TestDamageThatAWriterFeignsIsLookedAtAgain(t *testing.T) {
	const again = 10
	d := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery = d, true, 16<<10, 1_000_000
	engine := open(t, "", o)
	var marks [2][]byte
	for i := range marks {
		commit(t, engine, deposit("a", 1, ""))
		marks[i] = d.Bytes("mark")
	}
	for range 3 {
		commit(t, engine, deposit("a", 1, ""))
	}
	d.Kill()
	whole := d.Bytes(firstSegment)
	frames, err := journal.Frames(d, firstSegment)
	if err != nil {
		t.Fatal(err)
	}
	at := headerBytes + len(frames[0]) + len(frames[1]) + 20
	broken := flip(at * 8)(slices.Clone(whole))
	turn := func(survey int) { d.Put("mark", marks[survey%2]) }
	for what, c := range map[string]struct {
		mark          []byte
		listed, moved func(survey int)
		surveys       int
		damaged       bool
	}{
		"it stands still":            {mark: marks[0], surveys: 1, damaged: true},
		"there is no mark":           {surveys: 1, damaged: true},
		"the mark is gone since":     {mark: marks[0], moved: func(int) { d.Delete("mark") }, surveys: 1, damaged: true},
		"it moves on for ever":       {mark: marks[0], moved: turn, surveys: 1 + again, damaged: true},
		"it has moved on":            {mark: marks[0], moved: func(int) { d.Put("mark", marks[1]); d.Put(firstSegment, whole) }, surveys: 2},
		"the first mark was written": {moved: func(int) { d.Put("mark", marks[0]); d.Put(firstSegment, whole) }, surveys: 2},
		"it is whole in the end": {mark: marks[0], moved: func(survey int) {
			if turn(survey); survey == 4 {
				d.Put(firstSegment, whole)
			}
		}, surveys: 5},
		"a snapshot goes before it is read": {mark: marks[0], listed: func(int) {
			d.Delete("snapshot-0000000000000003")
			d.Put(firstSegment, whole)
		}, surveys: 1},
		"a file goes before it is read": {mark: marks[0], listed: func(survey int) {
			if survey == 1 {
				d.Delete("journal-0000000000000002.seg")
				d.Put(firstSegment, whole)
			}
		}, surveys: 2},
	} {
		d.Put(firstSegment, broken)
		d.Put("journal-0000000000000002.seg", nil)
		d.Put("snapshot-0000000000000003", []byte("none"))
		if d.Delete("mark"); c.mark != nil {
			d.Put("mark", c.mark)
		}
		looked := &beside{FS: d, listed: c.listed, moved: c.moved}
		report, err := journal.VerifyFS(looked)
		if errors.Is(err, journal.ErrDamaged) != c.damaged || !c.damaged && (err != nil || report.Entries != 5) {
			t.Errorf("%s: %+v, %v", what, report, err)
		}
		if looked.surveys != c.surveys {
			t.Errorf("%s: looked at %d times, want %d", what, looked.surveys, c.surveys)
		}
	}
}
