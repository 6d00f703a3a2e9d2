package journal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

const (
	firstSegment = "journal-0000000000000001.seg"
	headerBytes  = 512
)

// TestAnEntryThatCannotBeIsDamageThoughItsHashHolds forges journals whose second entry breaks the book or has another form, and
// whose checksums and hashes are right. Whoever reads one names the place.
func TestAnEntryThatCannotBeIsDamageThoughItsHashHolds(t *testing.T) {
	good := bank.Entry{Seq: 1, Time: time.Unix(1, 0), Kind: bank.KindDeposit, Account: "ana", Amount: 5, Balance: 5, HasBalance: true,
		Postings: []bank.Posting{{Account: "@cash", Amount: -5}, {Account: "ana", Amount: 5}}}
	first := good.AppendCanonical(nil)
	for name, forge := range map[string]func(e *bank.Entry) []byte{
		"as it should be": func(e *bank.Entry) []byte { return nil },
		"money from nowhere": func(e *bank.Entry) []byte {
			e.Postings = e.Postings[1:]
			return nil
		},
		"a debt": func(e *bank.Entry) []byte {
			e.Postings = []bank.Posting{{Account: "@cash", Amount: 6}, {Account: "ana", Amount: -6}}
			return nil
		},
		"a byte more":        func(e *bank.Entry) []byte { return append(e.AppendCanonical(nil), 0) },
		"a kind that is not": func(e *bank.Entry) []byte { e.Kind = 9; return nil },
	} {
		second := good
		second.Seq, second.Balance = 2, 10
		canonical := forge(&second)
		if canonical == nil {
			canonical = second.AppendCanonical(nil)
		}
		disk := disktest.New(1)
		disk.Put(firstSegment, journal.Forge(1, first, canonical))
		o := options()
		o.FS = disk
		engine, opened := journal.Open("", o)
		_, verified := journal.VerifyFS(disk)
		if name == "as it should be" {
			if err := errors.Join(opened, verified); err != nil || engine.Seq() != 2 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, err := range []error{opened, verified} {
			var damage *journal.DamageError
			want := int64(headerBytes + 16 + len(first))
			if !errors.As(err, &damage) || damage.File != firstSegment || damage.Offset != want || damage.Seq != 2 || damage.Reason == "" {
				t.Errorf("%s: %v; want entry 2 at byte %d", name, err, want)
			}
		}
	}
}

// opening is an entry that opens an account, with a note of so many bytes.
func opening(seq uint64, note int) []byte {
	e := bank.Entry{Seq: seq, Time: time.Unix(1, 0), Kind: bank.KindOpen, Account: bank.Account(fmt.Sprint("a", seq)), HasBalance: true}
	e.Origin.Delivery = strings.Repeat("d", note)
	return e.AppendCanonical(nil)
}

// TestEachHashIsOfAllBefore computes the hashes of entries of many lengths as PROTOCOL.md has them.
func TestEachHashIsOfAllBefore(t *testing.T) {
	var entries [][]byte
	for note := range 60 {
		entries = append(entries, opening(uint64(len(entries)+1), 200+note)) // around 256 bytes in all
	}
	entries = append(entries, opening(61, 1000), opening(62, 0))
	disk := disktest.New(1)
	disk.Put(firstSegment, journal.Forge(1, entries...))
	var last [32]byte
	report, err := journal.DumpFS(disk, func(e *bank.Entry, hash [32]byte) error {
		last = sha256.Sum256(append(last[:], entries[e.Seq-1]...))
		if hash != last {
			return fmt.Errorf("of entry %d: %x, want %x", e.Seq, hash, last)
		}
		return nil
	})
	if err != nil || report.Hash != last || report.Entries != 62 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestAnEntryThatDoesNotFollowIsDamage leaves one out, and links one to another than the one before it.
func TestAnEntryThatDoesNotFollowIsDamage(t *testing.T) {
	at := headerBytes + 16 + len(opening(1, 0))
	linked := journal.Forge(1, opening(1, 0), opening(2, 0), opening(3, 0))
	journal.Relink(linked, at)
	for name, segment := range map[string][]byte{
		"one is left out": journal.Forge(1, opening(1, 0), opening(3, 0)), "one comes again": journal.Forge(1, opening(1, 0), opening(1, 0)),
		"linked to another": linked,
	} {
		disk := disktest.New(1)
		disk.Put(firstSegment, segment)
		_, err := journal.VerifyFS(disk)
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.Offset != int64(at) || damage.Seq != 2 || !strings.Contains(damage.Reason, "does not follow") {
			t.Errorf("%s: %v; want entry 2 at byte %d", name, err, at)
		}
	}
}

// TestEachJournalIsItsOwn makes two, whose ids and keys are all different and not zero.
func TestEachJournalIsItsOwn(t *testing.T) {
	seen := map[string]bool{string(make([]byte, 16)): true}
	for range 2 {
		disk := disktest.New(1)
		o := options()
		o.FS, o.Inline = disk, true
		engine := open(t, "", o)
		header := disk.Bytes(firstSegment)
		for _, secret := range [][]byte{header[16:32], header[32:48]} {
			if seen[string(secret)] {
				t.Errorf("%x is not its own", secret)
			}
			seen[string(secret)] = true
		}
		if id := engine.ID(); string(id[:]) != string(header[16:32]) {
			t.Errorf("it says that it is %x, and is %x", id, header[16:32])
		}
		closeEngine(t, engine)
	}
}

// TestAnotherHistoryThanWasDurableIsDamage has a mark of a history that went on in another way.
func TestAnotherHistoryThanWasDurableIsDamage(t *testing.T) {
	s := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = s, true, 1_000_000
	commit(t, open(t, "", o), deposit("a", 1, ""))
	s.Kill()
	other := s.Fork(1)
	for amount, disk := range []*disktest.Disk{s, other} {
		o.FS = disk
		engine := open(t, "", o)
		commit(t, engine, deposit("a", bank.Amount(1+amount), ""))
		commit(t, engine, deposit("a", 1, ""))
		disk.Kill()
	}
	s.Put("mark", other.Bytes("mark"))
	_, err := journal.VerifyFS(s)
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.Seq != 3 || !strings.Contains(damage.Reason, "another entry 3 than") {
		t.Errorf("%v", err)
	}
}

// TestAnotherFirstEntryThanWasDurableIsDamage, of which there is no smaller seq to name.
func TestAnotherFirstEntryThanWasDurableIsDamage(t *testing.T) {
	s := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = s, true, 1_000_000
	open(t, "", o)
	s.Kill()
	other := s.Fork(1)
	for amount, disk := range []*disktest.Disk{s, other} {
		o.FS = disk
		commit(t, open(t, "", o), deposit("a", bank.Amount(1+amount), ""))
		disk.Kill()
	}
	s.Put("mark", other.Bytes("mark"))
	_, err := journal.VerifyFS(s)
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.Seq != 1 || !strings.Contains(damage.Reason, "another entry 1 than") {
		t.Errorf("%v", err)
	}
}

// TestAJournalThatBeginsLaterIsDamage has a first segment that says it begins with the second entry.
func TestAJournalThatBeginsLaterIsDamage(t *testing.T) {
	e := bank.Entry{Seq: 2, Time: time.Unix(1, 0), Kind: bank.KindOpen, Account: "ana"}
	disk := disktest.New(1)
	disk.Put(firstSegment, journal.Forge(2, e.AppendCanonical(nil)))
	mustBeDamaged(t, disk, firstSegment)
	if _, err := journal.VerifyFS(disk); err == nil || !strings.Contains(err.Error(), "does not begin with the first entry") {
		t.Errorf("%v", err)
	}
}

// mustBeDamaged makes sure that whoever reads a journal names the file.
func mustBeDamaged(t *testing.T, disk *disktest.Disk, file string) {
	t.Helper()
	o := options()
	o.FS = disk
	_, opened := journal.Open("", o)
	_, verified := journal.VerifyFS(disk)
	for _, err := range []error{opened, verified} {
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.File != file || damage.Reason == "" || !strings.Contains(err.Error(), damage.Reason) {
			t.Errorf("%v; want damage in %s", err, file)
		}
	}
}

// TestADirectoryThatHadAJournalIsNotTakenForNew removes all segments and leaves a mark, or a snapshot.
func TestADirectoryThatHadAJournalIsNotTakenForNew(t *testing.T) {
	s := smallJournal(t, closed)
	names, _ := s.disk.List()
	for _, left := range names {
		if strings.HasSuffix(left, ".seg") {
			continue
		}
		disk := s.disk.Fork(1)
		for _, name := range names {
			if name != left {
				disk.Delete(name)
			}
		}
		mustBeDamaged(t, disk, firstSegment)
		var damage *journal.DamageError
		if _, err := journal.VerifyFS(disk); !errors.As(err, &damage) || damage.Seq != 1 || !strings.Contains(damage.Reason, left) {
			t.Errorf("%v; want entry 1, and %s", err, left)
		}
	}
}

func TestAnotherJournalsMarkIsDamage(t *testing.T) {
	other := smallJournalBefore(t)
	s := disktest.New(1)
	o := options()
	o.FS = s
	closeEngine(t, open(t, "", o))
	s.Put("mark", other.Bytes("mark"))
	mustBeDamaged(t, s, "mark")
}

// TestASnapshotThatCannotBeIsPassedOver changes the newest snapshot and makes its checksums hold again. The book that is served is
// that of the entries, whatever the snapshot says.
func TestASnapshotThatCannotBeIsPassedOver(t *testing.T) {
	s := smallJournal(t, closed)
	names, _ := s.disk.List()
	newest := names[len(names)-1]
	segment, end := s.disk.Bytes(firstSegment), endOf(t, s)
	changes := map[string]func(b []byte) []byte{
		"as it was":                    func(b []byte) []byte { return b },
		"another journal's":            func(b []byte) []byte { b[16]++; return b },
		"another number of parts":      func(b []byte) []byte { binary.LittleEndian.PutUint32(b[12:], bank.Shards-1); return b },
		"another version":              func(b []byte) []byte { b[8]++; return b },
		"a byte less":                  func(b []byte) []byte { return b[:len(b)-1] },
		"a byte more":                  func(b []byte) []byte { return append(b, 0) },
		"a byte more that it tells of": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[152:], uint64(len(b)+1)); return append(b, 0) },
		"nothing but a header":         func(b []byte) []byte { binary.LittleEndian.PutUint64(b[152:], headerBytes); return b[:headerBytes] },
		"it ends within a header": func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b[152:], headerBytes+10)
			return b[:headerBytes+10]
		},
		"another part's number":      func(b []byte) []byte { b[headerBytes+4]++; return b },
		"a part longer than all":     func(b []byte) []byte { b[headerBytes+15]++; return b },
		"a part of later":            func(b []byte) []byte { b[headerBytes+18]++; return b },
		"a part of earlier":          func(b []byte) []byte { copy(b[headerBytes+16:], make([]byte, 8)); return b },
		"an entry's id in its place": func(b []byte) []byte { b[headerBytes+24]++; return b },
		"a balance of one more":      oneMore,
	}
	for name, change := range changes {
		var log bytes.Buffer
		after := s.branch(s.disk.Fork(1), 1)
		b := change(s.disk.Bytes(newest))
		journal.Reseal(segment, b)
		after.disk.Put(newest, b)
		after.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if err := after.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a balance of one more" && !strings.Contains(log.String(), fmt.Sprintf("%s at byte %d, entry %d", end.File, end.Offset, len(s.truth))) {
			t.Errorf("the log does not tell where the sum is wrong:\n%s", log.String())
		}
		if told := strings.Contains(log.String(), "passed over") && strings.Contains(log.String(), newest); told != (name != "as it was") {
			t.Errorf("%s: the log tells %v:\n%s", name, told, log.String())
		}
	}
}

// oneMore gives the first account of a snapshot a minor unit.
func oneMore(b []byte) []byte {
	for at := headerBytes; ; {
		content := at + 24
		if b[content] > 0 { // accounts
			b[content+2+int(b[content+1])] += 2 // a zigzag
			return b
		}
		at = content + int(binary.LittleEndian.Uint64(b[at+8:]))
	}
}
