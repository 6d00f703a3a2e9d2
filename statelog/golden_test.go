package statelog_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/statelog"
)

// golden is a log that an earlier program of format 1 left: STATELOG_GOLDEN=write writes a new one, which is right only
// together with a new format.
const golden = "testdata/format1"

func writeGolden(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	small, records := smallLog(t, true)
	if err := os.MkdirAll(golden, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range files(small) {
		b := small.Bytes(name)
		if size := len(strings.TrimRight(string(b), "\x00")) + 64; size < len(b) {
			b = b[:size] // of the zeros written ahead a few will do
		}
		if err := os.WriteFile(filepath.Join(golden, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(golden+".txt", []byte(inHex(records)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func inHex(records []string) string {
	var b strings.Builder
	for _, record := range records {
		b.WriteString(hex.EncodeToString([]byte(record)) + "\n")
	}
	return b.String()
}

// goldenDisk is the golden log on a disk in memory.
func goldenDisk(t testing.TB) *disktest.Disk {
	t.Helper()
	fsys := disktest.New(1)
	entries, err := os.ReadDir(golden)
	if err != nil || len(entries) != 3 {
		t.Fatalf("the golden log has %d files, %v", len(entries), err)
	}
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(golden, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fsys.Put(entry.Name(), b)
	}
	return fsys
}

// TestAnEarlierLogIsRead reads the log that an earlier program left, and goes on with it.
func TestAnEarlierLogIsRead(t *testing.T) {
	if os.Getenv("STATELOG_GOLDEN") == "write" {
		writeGolden(t)
	}
	want, err := os.ReadFile(golden + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	fsys := goldenDisk(t)
	before := len(files(fsys))
	if got := inHex(contents(t, fsys)); got != string(want) {
		t.Errorf("the records are\n%s, want\n%s", got, want)
	}
	log := open(t, fsys)
	if err := await(log, "more"); err != nil {
		t.Fatal(err)
	}
	closeLog(t, log)
	if got := inHex(contents(t, fsys)); got != string(want)+"6d6f7265\n" || len(files(fsys)) != before {
		t.Errorf("the records are\n%s", got)
	}
}

// TestAForeignFormatIsRefusedInOneLine gives each file a version that this program does not know.
func TestAForeignFormatIsRefusedInOneLine(t *testing.T) {
	for _, name := range files(goldenDisk(t)) {
		fsys := goldenDisk(t)
		b := fsys.Bytes(name)
		binary.LittleEndian.PutUint32(b[8:], statelog.FormatVersion+1)
		binary.LittleEndian.PutUint32(b[508:], crc32.Checksum(b[:508], crc32.MakeTable(crc32.Castagnoli)))
		fsys.Put(name, b)
		_, err := statelog.Open(fsys, owner, statelog.Options{}, ignore)
		if !errors.Is(err, statelog.ErrFormat) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if fsys.Ops() > 0 {
			t.Errorf("%s was changed", name)
		}
	}
}

// FuzzOpen puts any bytes over a part of a file, or in place of its end. Open never panics; it tells what is wrong, or a log that
// opens keeps what it has replayed: all that there was, or without some of the last records where the newest file was changed.
func FuzzOpen(f *testing.F) {
	names := files(goldenDisk(f))
	for i, name := range names {
		b := goldenDisk(f).Bytes(name)
		f.Add(b, uint16(0), uint8(i), true)
		f.Add(b[512:], uint16(512), uint8(i), true)
		f.Add(b[512:], uint16(512), uint8(i+1), true)
		for at := 0; at < len(b); at += 16 {
			f.Add([]byte{b[at] ^ 1}, uint16(at), uint8(i), false)
			f.Add([]byte{}, uint16(at), uint8(i), true)
		}
	}
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0x0f, 0x80}, uint16(600), uint8(2), true)
	text, err := os.ReadFile(golden + ".txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, which uint8, cut bool) {
		fsys := goldenDisk(t)
		name := names[int(which)%len(names)]
		fsys.Spoil(name, b, int(at), cut)
		replayed, err := openAnyway(fsys)
		if err != nil {
			if !errors.Is(err, statelog.ErrDamaged) && !errors.Is(err, statelog.ErrFormat) && !errors.Is(err, statelog.ErrOwner) {
				t.Fatal(err)
			}
			return
		}
		newest := name == names[len(names)-1]
		if got := inHex(replayed); got != string(text) && !(newest && strings.HasPrefix(string(text), got)) {
			t.Fatalf("%s was changed, and the records are\n%s, they were\n%s", name, got, text)
		}
		if again, err := openAnyway(fsys); err != nil || inHex(again) != inHex(replayed) {
			t.Fatalf("%d records are replayed and then %d, %v", len(replayed), len(again), err)
		}
	})
}

func openAnyway(fsys disk.FS) (replayed []string, err error) {
	log, err := statelog.Open(fsys, owner, statelog.Options{AheadBytes: 512}, func(record []byte) error {
		replayed = append(replayed, string(record))
		return nil
	})
	if err != nil {
		return replayed, err
	}
	return replayed, log.Close()
}
