package journal_test

import (
	"errors"
	"testing"

	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// FuzzSegment puts any bytes over a part of a segment, with the mark and without. Verify and Open never panic; they agree
// whether the journal is damaged, and one that opens keeps what it has.
func FuzzSegment(f *testing.F) {
	base, names := fuzzBase(f)
	for _, name := range names {
		f.Add(base.Bytes(name), uint16(0), false)
		f.Add(base.Bytes(name)[512:], uint16(512), true)
	}
	f.Add([]byte{0, 0, 0, 0, 255, 255, 255, 255}, uint16(600), true)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, marked bool) {
		disk := base.Fork(1)
		name := names[int(at)%len(names)]
		old := disk.Bytes(name)
		from := min(int(at), len(old))
		disk.Put(name, append(old[:from:from], b...))
		if !marked {
			disk.Delete("mark")
			for _, other := range []string{"snapshot-0000000000000009", "snapshot-0000000000000011"} {
				disk.Delete(other)
			}
		}
		openAnyway(t, disk)
	})
}

// FuzzSnapshot puts any bytes over a part of the newest snapshot. It is passed over, or is as good as it was: the journal
// opens whole either way, unless the bytes name what was never durable.
func FuzzSnapshot(f *testing.F) {
	base, _ := fuzzBase(f)
	const name = "snapshot-0000000000000011"
	f.Add(base.Bytes(name)[512:1000], uint16(512))
	f.Add([]byte("gwsnaps\n"), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		disk := base.Fork(1)
		old := disk.Bytes(name)
		from := min(int(at), len(old))
		disk.Put(name, append(old[:from:from], b...))
		openAnyway(t, disk)
	})
}

// fuzzBase is the golden journal on a disk in memory.
func fuzzBase(f *testing.F) (*disktest.Disk, []string) {
	f.Helper()
	disk := disktest.New(1)
	for name, b := range goldenFiles(f) {
		disk.Put(name, b)
	}
	names := segmentsOf(disk)
	if len(names) < 2 {
		f.Fatal("there is no golden journal")
	}
	return disk, names
}

func openAnyway(t *testing.T, disk *disktest.Disk) {
	t.Helper()
	report, verified := journal.VerifyFS(disk)
	o := goldenOptions()
	o.FS = disk
	engine, err := journal.Open("", o)
	if told(err) != told(verified) {
		t.Fatalf("open: %v; verify: %v", err, verified)
	}
	if err != nil {
		return
	}
	if engine.Seq() != report.Entries {
		t.Fatalf("opened at %d, verified to %d", engine.Seq(), report.Entries)
	}
	closeEngine(t, engine)
}

// told reports whether an error tells what is wrong with a journal; any other error must not be.
func told(err error) bool {
	return errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrFormat) || errors.Is(err, journal.ErrDecimals)
}
