package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// forgery is one way to change a journal at its entry i, from 0.
type forgery struct {
	name    string
	change  func(t *testing.T, frames [][]byte, i int) [][]byte
	chained bool   // the links are made right, and there is no mark that would know better
	bad     int    // how many entries behind i+1 the first bad one is
	beyond  bool   // the first bad one may be behind the last
	reason  string // a part of what is told; "" when it differs
}

var forgeries = []forgery{
	{name: "dropped", change: func(_ *testing.T, f [][]byte, i int) [][]byte { return slices.Delete(f, i, i+1) }},
	{name: "repeated", bad: 1, beyond: true, change: func(_ *testing.T, f [][]byte, i int) [][]byte { return slices.Insert(f, i, f[i]) }},
	{name: "swapped with the next, or cut off", change: func(_ *testing.T, f [][]byte, i int) [][]byte {
		if i+1 < len(f) {
			f[i], f[i+1] = f[i+1], f[i]
			return f
		}
		return f[:i]
	}},
	{name: "rewritten without its chain", bad: 1, change: func(t *testing.T, f [][]byte, i int) [][]byte {
		f[i] = rewritten(t, f[i], false)
		return f
	}},
	{name: "inserted before it", bad: 1, change: func(t *testing.T, f [][]byte, i int) [][]byte {
		return slices.Insert(f, i, rewritten(t, f[i], false))
	}},
	{name: "its postings changed, and all hashes made right", chained: true, reason: "the entry breaks the book",
		change: func(t *testing.T, f [][]byte, i int) [][]byte {
			f[i] = rewritten(t, f[i], true)
			return f
		}},
}

// rewritten returns a frame whose entry has another memo, or a posting more than it should.
func rewritten(t *testing.T, frame []byte, unbalanced bool) []byte {
	t.Helper()
	e, err := journal.EntryOf(frame)
	if err != nil {
		t.Fatal(err)
	}
	if e.Memo += "!"; unbalanced {
		e.Postings[1].Amount++
	}
	return journal.WithEntry(frame, &e)
}

// TestTheFirstBadEntryIsNamed changes a journal in every way at every entry, and asks for the first bad seq and why.
func TestTheFirstBadEntryIsNamed(t *testing.T) {
	s, name := plainJournal(t)
	frames, err := journal.Frames(s.disk, name)
	if err != nil || len(frames) != plainEntries {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	for _, f := range forgeries {
		for i := range frames {
			changed := f.change(t, slices.Clone(frames), i)
			content, err := journal.Rewrite(s.disk, name, changed, f.chained)
			if err != nil {
				t.Fatal(err)
			}
			disk := s.disk.Fork(1)
			disk.Put(name, content)
			if f.chained {
				disk.Delete("mark")
			}
			bad := i + 1 + f.bad
			if !f.beyond {
				bad = min(bad, plainEntries) // of which the mark knows
			}
			mustName(t, fmt.Sprintf("entry %d %s", i+1, f.name), disk, bad, f.reason)
		}
	}
	at := 512
	for i, frame := range frames {
		for offset := range frame {
			disk := s.disk.Fork(1)
			disk.Put(name, flip((at+offset)*8+offset%8)(disk.Bytes(name)))
			mustName(t, fmt.Sprintf("entry %d, byte %d", i+1, offset), disk, i+1, "")
		}
		at += len(frame)
	}
}

const plainEntries = 12

// plainJournal returns a closed journal of one segment without a snapshot, in batches of one to three.
func plainJournal(t *testing.T) (*story, string) {
	t.Helper()
	s := newStory(5)
	s.options.SegmentBytes, s.options.SnapshotEvery = 16384, 1000
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < plainEntries; i += 3 {
		commit(t, s.engine, deposit("a", 7, fmt.Sprint("x", i)))
		commit(t, s.engine, deposit("b", 8, fmt.Sprint("y", i)), deposit("c", 9, ""))
	}
	closeEngine(t, s.engine)
	names, _ := s.disk.List()
	for _, name := range names {
		if strings.HasPrefix(name, "snapshot-") {
			s.disk.Delete(name)
		}
	}
	return s, segmentsOf(s.disk)[0]
}

func mustName(t *testing.T, what string, disk *disktest.Disk, seq int, reason string) {
	t.Helper()
	_, err := journal.VerifyFS(disk)
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.Seq != uint64(seq) || !strings.Contains(damage.Reason, reason) || damage.Reason == "" {
		t.Errorf("%s: %v, want entry %d, %q", what, err, seq, reason)
	}
}

// TestAnAnswerThatIsNotTrueIsNamed has a second entry with which the book is whole, and which was never decided. A start serves it: to
// ask each entry what it was asked and told is the auditor's part.
func TestAnAnswerThatIsNotTrueIsNamed(t *testing.T) {
	first := bank.Entry{Seq: 1, Time: time.Unix(1, 0), Kind: bank.KindDeposit, Principal: "p", ID: "x1", Account: "ana", Amount: 5,
		Balance: 5, HasBalance: true, Postings: []bank.Posting{{Account: "@cash", Amount: -5}, {Account: "ana", Amount: 5}}}
	for reason, forge := range map[string]func(e *bank.Entry){
		"":                               func(*bank.Entry) {},
		"a balance of 999, and it is 10": func(e *bank.Entry) { e.Balance = 999 },
		"a balance of 999, and it is 5": func(e *bank.Entry) {
			e.Kind, e.Code, e.Balance, e.Postings = bank.KindWithdraw, bank.InsufficientFunds, 999, nil
		},
		"are not what was asked": func(e *bank.Entry) { e.Amount++ },
		"was decided by entry 1": func(e *bank.Entry) { e.ID = first.ID },
	} {
		second := first
		second.Seq, second.ID, second.Balance = 2, "x2", 10
		forge(&second)
		disk := disktest.New(1)
		disk.Put(firstSegment, journal.Forge(1, first.AppendCanonical(nil), second.AppendCanonical(nil)))
		if reason == "" {
			if report, err := journal.VerifyFS(disk); err != nil || report.Entries != 2 {
				t.Errorf("%+v, %v", report, err)
			}
			continue
		}
		mustName(t, reason, disk, 2, reason)
		files := &counted{FS: disk}
		if _, err := journal.VerifyFS(files); err == nil || files.open.Load() != 0 {
			t.Errorf("%s: %v, %d files are open", reason, err, files.open.Load())
		}
		o := options()
		o.FS = disk
		closeEngine(t, open(t, "", o))
	}
}

// TestAnIDThatCannotBeLookedUpIsNoDamage fails the look that tells whether two entries have one id, or only one fingerprint.
func TestAnIDThatCannotBeLookedUpIsNoDamage(t *testing.T) {
	e := bank.Entry{Seq: 1, Time: time.Unix(1, 0), Kind: bank.KindOpen, Principal: "p", ID: "x", Account: "ana", HasBalance: true}
	first := e.AppendCanonical(nil)
	e.Seq = 2
	disk := disktest.New(1)
	disk.Put(firstSegment, journal.Forge(1, first, e.AppendCanonical(nil)))
	_, err := journal.VerifyFS(&later{disk, firstSegment, 4, func() { disk.Delete(firstSegment) }}) // the header, the frames, the entries
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, journal.ErrDamaged) {
		t.Error(err)
	}
}
