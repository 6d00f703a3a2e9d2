package journal_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
)

// TestAnAnswerThatRottedIsNeverTold asks for the answers of a segment whose bytes have changed since, or are gone, while the
// engine serves: a short entry, and one longer than what is read at first. It is not answered: the engine stops and names the place.
func TestAnAnswerThatRottedIsNeverTold(t *testing.T) {
	long := deposit("a", 1, "long")
	long.Memo, long.Origin.Delivery = strings.Repeat("m", 140), strings.Repeat("d", 1024)
	asked := 0
	for at := headerBytes; at < 2*headerBytes; at += 7 {
		for name, rot := range map[string]func(b []byte) []byte{
			"a flipped bit": func(b []byte) []byte { b[at] ^= 0x10; return b },
			"cut off":       func(b []byte) []byte { return b[:at] },
			"zeros":         func(b []byte) []byte { clear(b[at:]); return b },
		} {
			d := disktest.New(1)
			o := options()
			o.FS, o.Inline, o.SnapshotEvery = d, true, 1_000_000
			engine := open(t, "", o)
			first := commit(t, engine, deposit("a", 1, "short"), long)
			for engine.Seq() < 100 {
				commit(t, engine, deposit("a", 1, fmt.Sprint(engine.Seq())), deposit("a", 1, ""))
			}
			d.Put(firstSegment, rot(d.Bytes(firstSegment)))
			asked += mustNotBeTold(t, fmt.Sprint(name, " at ", at), engine, first, long)
			d.Kill()
		}
	}
	if asked < 100 {
		t.Errorf("only %d answers were refused", asked)
	}
}

// mustNotBeTold asks for both answers and makes sure that each is as it was, or that the engine has stopped. It returns how many
// were refused.
func mustNotBeTold(t *testing.T, what string, engine *journal.Engine, first []bank.Reply, long bank.Operation) (refused int) {
	t.Helper()
	for i, op := range []bank.Operation{deposit("a", 1, "short"), long} {
		replies, err := bankCommit(engine, op)
		want := first[i]
		want.Duplicate, want.Recorded = true, false
		if err == nil && replies[0] != want {
			t.Fatalf("%s: answered %+v, want %+v", what, replies[0], want)
		}
		if err == nil {
			continue
		}
		refused++
		var damage *journal.DamageError
		if errors.Is(err, journal.ErrFailed) || !errors.As(err, &damage) || damage.File != firstSegment || refused == 1 && damage.Seq > uint64(i)+1 {
			t.Fatalf("%s: %v", what, err)
		}
		if ready := engine.Ready(); !errors.Is(ready, journal.ErrDamaged) {
			t.Fatalf("%s: it is ready after that: %v", what, ready)
		}
	}
	return refused
}

// rotten returns an engine on a disk of many segments, whose first one holds two entries with an id: a short one, and one longer than
// what is read at first; and where each begins.
func rotten(t *testing.T, fsys disk.FS) (engine *journal.Engine, ops []bank.Operation, begin [3]int64) {
	t.Helper()
	long := deposit("a", 1, "long")
	long.Memo, long.Origin.Delivery = strings.Repeat("m", 140), strings.Repeat("d", 1024)
	ops = []bank.Operation{deposit("a", 1, "short"), long}
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = fsys, true, 1_000_000
	engine = open(t, "", o)
	commit(t, engine, ops...)
	for engine.Seq() < 100 {
		commit(t, engine, deposit("a", 1, fmt.Sprint(engine.Seq())), deposit("a", 1, ""))
	}
	frames, err := journal.Frames(fsys, firstSegment)
	if err != nil {
		t.Fatal(err)
	}
	begin = [3]int64{headerBytes, int64(headerBytes + len(frames[0])), int64(headerBytes + len(frames[0]) + len(frames[1]))}
	return engine, ops, begin
}

// TestWhatIsLeftOfAnEntryIsNamed cuts the file within the second entry: its place is told, and its seq when that is left.
func TestWhatIsLeftOfAnEntryIsNamed(t *testing.T) {
	for left, seq := range map[int64]uint64{0: 0, 8: 0, 15: 0, 16: 0, 17: 0, 18: 2, 400: 2, 511: 2, 512: 2, 513: 2, 1100: 2} {
		d := disktest.New(1)
		engine, ops, begin := rotten(t, d)
		d.Put(firstSegment, d.Bytes(firstSegment)[:begin[1]+left])
		_, err := bankCommit(engine, ops[1])
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.File != firstSegment || damage.Offset != begin[1] || damage.Seq != seq {
			t.Errorf("%d bytes are left: %v; want entry %d at byte %d", left, err, seq, begin[1])
		}
		d.Kill()
	}
}

// TestAnEntryThatIsNoneAnyMoreIsNamed though its checksum holds.
func TestAnEntryThatIsNoneAnyMoreIsNamed(t *testing.T) {
	d := disktest.New(1)
	engine, ops, begin := rotten(t, d)
	frames, err := journal.Frames(d, firstSegment)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := journal.EntryOf(frames[0])
	e.Kind = 9
	frames[0] = journal.WithEntry(frames[0], &e)
	content, err := journal.Rewrite(d, firstSegment, frames, true)
	if err != nil {
		t.Fatal(err)
	}
	d.Put(firstSegment, content)
	_, err = bankCommit(engine, ops[0])
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.File != firstSegment || damage.Offset != begin[0] || damage.Seq != 1 || damage.Reason == "" {
		t.Errorf("%v; want entry 1 at byte %d", err, begin[0])
	}
	d.Kill()
}

// TestADiskThatCannotBeReadIsNoDamage fails each of the reads of a long answer.
func TestADiskThatCannotBeReadIsNoDamage(t *testing.T) {
	for failing := range 2 {
		d := disktest.New(1)
		engine, ops, _ := rotten(t, d)
		reads := 0
		d.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read {
				if reads++; reads == failing+1 {
					return syscall.EIO
				}
			}
			return nil
		}
		_, err := bankCommit(engine, ops[1])
		if !errors.Is(err, syscall.EIO) || !errors.Is(err, journal.ErrFailed) || errors.Is(err, journal.ErrDamaged) || reads != failing+1 {
			t.Errorf("read %d of %d: %v", failing, reads, err)
		}
		d.Kill()
	}
}

// eager is a disk that tells the end of a file together with its last bytes, as package io allows.
type eager struct{ disk.FS }

func (d eager) Open(name string) (disk.File, error) { return d.file(d.FS.Open(name)) }
func (d eager) Edit(name string) (disk.File, error) { return d.file(d.FS.Edit(name)) }

func (d eager) file(file disk.File, err error) (disk.File, error) { return eagerFile{file}, err }

type eagerFile struct{ disk.File }

func (f eagerFile) ReadAt(b []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(b, offset)
	if size, _ := f.Size(); err == nil && offset+int64(n) == size {
		err = io.EOF
	}
	return n, err
}

// TestTheEndOfAFileIsNoDamage when it is told together with the last bytes, by the marks, by a long answer, by all that is read.
func TestTheEndOfAFileIsNoDamage(t *testing.T) {
	d := disktest.New(1)
	engine, ops, begin := rotten(t, eager{d})
	d.Put(firstSegment, d.Bytes(firstSegment)[:begin[2]])
	if replies := commit(t, engine, ops...); !replies[0].Duplicate || !replies[1].Duplicate {
		t.Errorf("%+v", replies)
	}
	d.Kill()
	s := smallJournal(t, killed)
	s.disk.Put("mark", s.disk.Bytes("mark")[:4096+92])
	s.options.FS = eager{s.disk}
	if err := look(s, s.options.FS); err != nil {
		t.Error(err)
	}
}
