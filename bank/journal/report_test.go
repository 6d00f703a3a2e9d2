package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// TestTheReportTellsOfTheWholeJournal, of a directory that is as it should be and of one that is not; who hears the entries can end
// it.
func TestTheReportTellsOfTheWholeJournal(t *testing.T) {
	dir := t.TempDir()
	segment := journal.Forge(1, opening(1, 0), opening(2, 0), opening(3, 0))
	file := filepath.Join(dir, firstSegment)
	if err := os.WriteFile(file, segment, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := journal.Verify(dir)
	if err != nil || report.Entries != 3 || report.Accounts != 3 || report.IDs != 0 || !report.Time.Equal(time.Unix(1, 0)) ||
		report.Decimals != 2 || report.Segments != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	enough := errors.New("enough")
	heard := 0
	if _, err := journal.Dump(dir, func(*bank.Entry, [32]byte) error { heard++; return enough }); err != enough || heard != 1 {
		t.Errorf("after %d entries: %v", heard, err)
	}
	segment[headerBytes+20] ^= 1
	if err := os.WriteFile(file, segment, 0o600); err != nil {
		t.Fatal(err)
	}
	_, dumped := journal.Dump(dir, func(*bank.Entry, [32]byte) error { return nil })
	_, verified := journal.Verify(dir)
	if !errors.Is(dumped, journal.ErrDamaged) || !errors.Is(verified, journal.ErrDamaged) {
		t.Errorf("dump: %v; verify: %v", dumped, verified)
	}
}

// TestMarksTakeTurns: each is written into the older slot, so that a torn one leaves the one before.
func TestMarksTakeTurns(t *testing.T) {
	disk := disktest.New(1)
	o := options()
	o.FS, o.Inline = disk, true
	engine := open(t, "", o)
	var places []int64
	disk.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Write && op.File == "mark" {
			places = append(places, op.Offset)
		}
		return nil
	}
	for range 4 {
		commit(t, engine, deposit("a", 1, ""))
	}
	if size := len(disk.Bytes("mark")); size != 8192 {
		t.Errorf("the file of the marks has %d bytes", size)
	}
	for i := range places[1:] {
		if before, now := places[i], places[i+1]; before == now || before+now != 4096 {
			t.Errorf("marks were written at %v", places)
		}
	}
}

// TestTheFirstBatchOfAProcessBeginsOne: what was torn before it would have been cut off, so what is wrong there is damage, whether
// there is a mark or not.
func TestTheFirstBatchOfAProcessBeginsOne(t *testing.T) {
	disk := disktest.New(1)
	o := options()
	o.FS, o.Inline = disk, true
	for range 2 {
		commit(t, open(t, "", o), deposit("a", 1, ""))
		disk.Kill()
	}
	disk.Delete("mark")
	b := disk.Bytes(firstSegment)
	b[headerBytes+20] ^= 1
	disk.Put(firstSegment, b)
	mustBeDamaged(t, disk, firstSegment)
}
