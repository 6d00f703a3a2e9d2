package journal_test

import (
	"errors"
	"fmt"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// TestEntriesAreToldFromAnyPlace tells a journal of many segments from every entry on, after each kind of end, and reads no
// segment that is before the place.
func TestEntriesAreToldFromAnyPlace(t *testing.T) {
	for _, ended := range []string{closed, killed, recovered} {
		s := smallJournal(t, ended)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		read := map[string]bool{}
		s.disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read {
				read[op.File] = true
			}
			return nil
		}
		segments := segmentsOf(s.disk)
		last := s.engine.Seq()
		fewest := len(segments)
		for after := range last + 2 {
			clear(read)
			seq := after
			err := s.engine.Entries(after, func(e *bank.Entry) error {
				if seq++; e.Seq != seq {
					return fmt.Errorf("entry %d came for %d", e.Seq, seq)
				}
				if truth := s.truth[seq-1]; e.Reply() != truth.Reply() || e.Account != truth.Account {
					return fmt.Errorf("%+v, want %+v", *e, truth)
				}
				return nil
			})
			if err != nil || seq != max(after, last) {
				t.Fatalf("%s, after %d: told to %d, %v", ended, after, seq, err)
			}
			if after < last {
				fewest = min(fewest, len(read))
			}
			if whole := after == 0; whole && len(read) < 4 || after >= last && len(read) > 0 {
				t.Errorf("%s, after %d: read %v", ended, after, read)
			}
		}
		if fewest != 1 {
			t.Errorf("%s: %d segments are read for the last entry", ended, fewest)
		}
		s.disk.Before = nil
		closeEngine(t, s.engine)
	}
}

// TestEntriesEnd: at an error of the visitor, at the first Commit and at Close.
func TestEntriesEnd(t *testing.T) {
	dir := t.TempDir()
	engine := open(t, dir, options())
	none := func(e *bank.Entry) error { return fmt.Errorf("entry %d", e.Seq) }
	if err := engine.Entries(0, none); err != nil {
		t.Errorf("a new journal: %v", err)
	}
	id := engine.ID()
	commit(t, engine, deposit("a", 1, "1"), deposit("a", 2, "2"))
	closeEngine(t, engine)
	engine = open(t, dir, options())
	if engine.ID() != id || id == [16]byte{} {
		t.Errorf("the id was %x and is %x", id, engine.ID())
	}
	enough := errors.New("enough")
	visits := 0
	err := engine.Entries(0, func(*bank.Entry) error { visits++; return enough })
	if err != enough || visits != 1 {
		t.Errorf("after %d visits: %v", visits, err)
	}
	commit(t, engine, bank.Operation{Kind: bank.KindBalance, Account: "a"})
	if err := engine.Entries(0, none); err == nil || err.Error() == "entry 1" {
		t.Errorf("after a commit: %v", err)
	}
	closeEngine(t, engine)
	if err := engine.Entries(0, none); !errors.Is(err, bank.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if other := open(t, t.TempDir(), journal.Options{Decimals: 2}); other.ID() == id {
		t.Error("two journals have one id")
	} else {
		closeEngine(t, other)
	}
}
