package statelog_test

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/disk/disktest"
	"gateway/statelog"
)

// leave makes a disk have so many bytes left.
func leave(d *disktest.Disk, bytes int64) {
	free, total, _ := d.Space()
	d.Limit(total - free + bytes)
}

// emits is a checkpoint of so many records of 64 KiB, which counts how often it was asked for.
func emits(records int, asked *int) func(func([]byte) error) error {
	return func(emit func([]byte) error) error {
		*asked++
		for range records {
			if err := emit(make([]byte, 64<<10)); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestACheckpointThatDoesNotFitTakesNoSpace, however often it is tried, and is not measured every time. When there is space, or it
// has become smaller, it is made.
func TestACheckpointThatDoesNotFitTakesNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := disktest.New(1)
		log := open(t, disk)
		leave(disk, 2<<20)
		left, _, _ := disk.Space()
		asked := 0
		for second := range 300 {
			if err := log.Checkpoint(emits(48, &asked)); !errors.Is(err, statelog.ErrNoSpace) {
				t.Fatalf("second %d: %v", second, err)
			}
			<-time.After(time.Second)
		}
		if now, _, _ := disk.Space(); now != left {
			t.Errorf("%d bytes were left, and now %d", left, now)
		}
		if asked > 11 {
			t.Errorf("measured %d times in five minutes", asked)
		}
		leave(disk, 1<<30)
		if err := log.Checkpoint(emits(48, &asked)); err != nil {
			t.Errorf("with space again: %v", err)
		}
		leave(disk, 2<<20)
		if err := log.Checkpoint(emits(48, &asked)); !errors.Is(err, statelog.ErrNoSpace) {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		if err := log.Checkpoint(emits(1, &asked)); err != nil {
			t.Errorf("a smaller one: %v", err)
		}
		closeLog(t, log)
	})
}

// TestACheckpointLeavesTheReserve to the journal, but for a small one, without which no start can be.
func TestACheckpointLeavesTheReserve(t *testing.T) {
	for _, test := range []struct {
		records, left int
		fits          bool
	}{{40, 4 << 20, true}, {40, 3 << 20, false}, {0, 8 << 10, true}} {
		disk := disktest.New(1)
		log := open(t, disk)
		ballast, err := disk.Create("ballast")
		if err == nil {
			err = ballast.Truncate(16 << 20) // of whose disk a sixteenth is a mebibyte
		}
		if err != nil {
			t.Fatal(err)
		}
		leave(disk, int64(test.left))
		asked := 0
		if err := log.Checkpoint(emits(test.records, &asked)); err == nil != test.fits || !test.fits && !errors.Is(err, statelog.ErrNoSpace) {
			t.Errorf("%d records with %d bytes left: %v", test.records, test.left, err)
		}
		closeLog(t, log)
	}
}

// TestACheckpointThatFindsLessSpaceThanThereSeemsIsNotTriedAtOnce: where a quota is less than the disk has, each begins a log of which
// something stays.
func TestACheckpointThatFindsLessSpaceThanThereSeemsIsNotTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := disktest.New(1)
		log := open(t, disk)
		disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Write && op.Bytes >= 256<<10 {
				return syscall.EDQUOT
			}
			return nil
		}
		before, _, _ := disk.Space()
		asked := 0
		for range 300 {
			if err := log.Checkpoint(emits(48, &asked)); !errors.Is(err, statelog.ErrNoSpace) {
				t.Fatal(err)
			}
			<-time.After(time.Second)
		}
		if after, _, _ := disk.Space(); before-after > 300<<10 {
			t.Errorf("they have taken %d bytes", before-after)
		}
		disk.Before = nil
		<-time.After(time.Minute)
		if err := log.Checkpoint(emits(48, &asked)); err != nil {
			t.Error(err)
		}
		closeLog(t, log)
	})
}
