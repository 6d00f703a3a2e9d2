package statelog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gateway/disk/disktest"
	"gateway/statelog"
)

// smallLog returns a log of a checkpoint and two generations, and all that it replays. Its process was closed, or killed at
// rest: the end is marked.
func smallLog(t testing.TB, closed bool) (*disktest.Disk, []string) {
	t.Helper()
	disk := disktest.New(1)
	log := open(t, disk)
	var want []string
	fill := func(log *statelog.Log, n int) {
		for range n {
			record := string(recordOf(uniform | uint64(len(want)+1)))
			if len(want)%5 == 4 {
				record = record[:20]
			}
			if err := await(log, record); err != nil {
				t.Fatal(err)
			}
			want = append(want, record)
		}
	}
	fill(log, 3)
	for _, refusal := range []error{nil, errChanged} {
		err := log.Checkpoint(func(emit func([]byte) error) error {
			for _, record := range want {
				if err := emit([]byte(record)); err != nil {
					return err
				}
			}
			return refusal
		})
		if !errors.Is(err, refusal) {
			t.Fatal(err)
		}
		fill(log, 9)
	}
	if !closed {
		disk.Kill()
		log.Close()
	} else {
		closeLog(t, log)
	}
	if names := files(disk); len(names) != 3 {
		t.Fatalf("the small log is %v", names)
	}
	return disk, want
}

// errLost says that records are not replayed that were durable.
var errLost = errors.New("records are lost")

func files(disk *disktest.Disk) []string {
	names, _ := disk.List()
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "gen-") })
}

// told opens a log. It returns true when damage was told, in which case the disk must be as it was, and what was replayed a
// part of what there was. Otherwise all of it must have been replayed, and the log must work.
func told(disk *disktest.Disk, want []string) (bool, error) {
	var got []string
	log, err := statelog.Open(disk, owner, statelog.Options{AheadBytes: 4096}, func(record []byte) error {
		got = append(got, string(record))
		return nil
	})
	if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
		return false, fmt.Errorf("replayed are %q", got)
	}
	if err != nil {
		var damage *statelog.DamageError
		if !errors.As(err, &damage) || !errors.Is(err, statelog.ErrDamaged) || damage.File == "" || damage.Reason == "" {
			return true, fmt.Errorf("the damage is told as %w", err)
		}
		if disk.Ops() > 0 {
			return true, errors.New("the damaged log was changed")
		}
		return true, nil
	}
	err = errors.Join(await(log, "goes on"), log.Close())
	if len(got) < len(want) {
		err = errors.Join(err, fmt.Errorf("%w: %d of %d", errLost, len(want)-len(got), len(want)))
	}
	return false, err
}

// TestEveryFlippedBitIsFound flips every bit of a small log. Up to the end of a log each is told as damage, but for the mark
// of the end and what is behind: there is nothing to lose there, and nothing is lost.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, closed := range []bool{true, false} {
		disk, want := smallLog(t, closed)
		for _, name := range files(disk) {
			old := disk.Bytes(name)
			end := len(strings.TrimRight(string(old), "\x00"))
			missed := 0
			for bit := range min(len(old), end+32) * 8 {
				flipped := disk.Fork(1)
				b := slices.Clone(old)
				b[bit/8] ^= 1 << (bit % 8)
				flipped.Put(name, b)
				found, err := told(flipped, want)
				if err != nil {
					t.Fatalf("%s, byte %d, bit %d: %v", name, bit/8, bit%8, err)
				}
				if !found {
					missed++
					if !strings.HasSuffix(name, ".log") || bit/8 < end-16 {
						t.Fatalf("%s, byte %d of %d: not found", name, bit/8, end)
					}
				}
			}
			t.Logf("%s: %d bits, of which %d harm nothing", name, min(len(old), end+32)*8, missed)
		}
	}
}

// TestATornGroupIsCut cuts a log without a mark off at every byte: the records of the last group go, one by one, and no other
// can. A cut that reaches further is told.
func TestATornGroupIsCut(t *testing.T) {
	disk := disktest.New(1)
	log := open(t, disk)
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprint("synced-", i))
		if err := await(log, want[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		want = append(want, fmt.Sprint("written-", i))
		log.Append([]byte(want[3+i]), nil)
	}
	awaitRefusal(t, log)
	disk.Kill()
	log.Close()
	name := files(disk)[0]
	old := []byte(strings.TrimRight(string(disk.Bytes(name)), "\x00"))
	for size := range len(old) {
		cut := disk.Fork(1)
		b := slices.Clone(old)
		b[size] ^= 0x55
		cut.Put(name, b)
		var got []string
		log, err := statelog.Open(cut, owner, statelog.Options{}, func(record []byte) error {
			got = append(got, string(record))
			return nil
		})
		const synced = 512 + 3*(16+len("synced-0"))
		if size < synced {
			if !errors.Is(err, statelog.ErrDamaged) {
				t.Fatalf("byte %d: %v", size, err)
			}
			continue
		}
		if err != nil || len(got) != 3+(size-synced)/(16+len("written-0")) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("byte %d: %v, replayed are %q", size, err, got)
		}
		closeLog(t, log)
		if again := contents(t, cut); !slices.Equal(again, got) {
			t.Fatalf("byte %d: replayed are %q and then %q", size, got, again)
		}
	}
}

// TestMisplacedBlocksAreFound puts every sector in the place of every other, of the same file and of others, and zeros in the
// place of each. What was durable is told to be damaged, or nothing is lost: but for the last sector of all, whose sealed
// frames go with it. What is replayed then is the beginning.
func TestMisplacedBlocksAreFound(t *testing.T) {
	const sector = 512
	disk, want := smallLog(t, true)
	names := append(files(disk), "")
	blocks := func(name string) int { return (len(disk.Bytes(name)) + sector - 1) / sector }
	count := 0
	for _, to := range files(disk) {
		for i := range blocks(to) {
			for _, from := range names {
				for j := range max(blocks(from), 1) {
					block := make([]byte, sector)
					if from != "" {
						copy(block, disk.Bytes(from)[j*sector:])
					}
					b := disk.Bytes(to)
					copy(b[i*sector:], block)
					misplaced := disk.Fork(1)
					misplaced.Put(to, b)
					last := to == "gen-0000000000000003.log" && i == blocks(to)-1
					if _, err := told(misplaced, want); err != nil && !(last && errors.Is(err, errLost)) {
						t.Fatalf("sector %d of %s in the place of %d of %s: %v", j, from, i, to, err)
					}
					count++
				}
			}
		}
	}
	t.Logf("%d blocks", count)
}

// TestMissingPartsAreFound takes away each file and the end of each, lengthens each, and puts each in the place of another.
func TestMissingPartsAreFound(t *testing.T) {
	disk, want := smallLog(t, true)
	for _, name := range files(disk) {
		gone := disk.Fork(1)
		gone.Delete(name)
		last := name == "gen-0000000000000003.log" // what is not there was never begun
		if found, err := told(gone, want); !found && !last {
			t.Errorf("without %s: %v", name, err)
		}
		for size := range disk.Bytes(name) {
			short := disk.Fork(1)
			short.Put(name, disk.Bytes(name)[:size])
			if _, err := told(short, want); err != nil && !(last && size >= 512) { // which may have been torn
				t.Fatalf("%s of %d bytes: %v", name, size, err)
			}
		}
		long := disk.Fork(1)
		long.Put(name, append(disk.Bytes(name), 0))
		checkpoint := strings.HasSuffix(name, ".ckpt")
		if found, err := told(long, want); found != checkpoint || err != nil {
			t.Errorf("%s with a byte more: %v, %v", name, found, err)
		}
		for _, other := range files(disk) {
			swapped := disk.Fork(1)
			swapped.Put(name, disk.Bytes(other))
			if found, err := told(swapped, want); found != (name != other) || err != nil {
				t.Errorf("%s in the place of %s: %v", other, name, err)
			}
		}
	}
}
