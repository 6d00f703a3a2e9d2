package statelog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/statelog"
)

// copyTime is how long TestACopyAtEveryMoment plays histories, and TestCopyBesideTheLog copies.
const copyTime = time.Second

// TestACopyAtEveryMoment copies a log before every operation on its disk, and cuts the power of the copy. It is a log that holds
// all that was durable.
func TestACopyAtEveryMoment(t *testing.T) {
	copies := 0
	for began := time.Now(); time.Since(began) < copyTime; {
		s := newStory(rand.Uint64())
		var wrong error
		s.disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read || wrong != nil {
				return nil
			}
			copies++
			if err := copyNow(s); err != nil {
				wrong = fmt.Errorf("before %v: %w", op, err)
			}
			return nil
		}
		if err := errors.Join(s.open(), s.run(8)); err != nil {
			t.Fatal(err)
		}
		s.end()
		if wrong != nil {
			t.Fatalf("seed %d: %v", s.seed, wrong)
		}
	}
	t.Logf("%d copies", copies)
}

func copyNow(s *story) error {
	seed := s.random.Uint64()
	source, target := s.disk.Fork(seed), disktest.New(seed)
	bytes, err := statelog.Copy(context.Background(), source, target, owner)
	if err != nil {
		return err
	}
	if source.Ops() != 0 {
		return errors.New("the source was changed")
	}
	after := s.branch(target, seed)
	target.Cut(after.random)
	var found int64
	for _, name := range files(target) {
		found += int64(len(target.Bytes(name)))
	}
	if found != bytes {
		return fmt.Errorf("%d bytes of %d are left", found, bytes)
	}
	return after.check()
}

// TestCopyBesideTheLog copies a log again and again while records are appended and checkpoints replace its files. Each copy
// holds what was durable when it began, without a gap.
func TestCopyBesideTheLog(t *testing.T) {
	source, err := disk.Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log, err := statelog.Open(source, owner, statelog.Options{AheadBytes: 512}, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var appended, durable atomic.Uint64
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := uint64(1); !isClosed(stop); n++ {
			appended.Store(n)
			told := make(chan error, 1)
			log.Append(numbered('r', n), func(err error) { told <- err })
			if err := <-told; err != nil {
				t.Error(err)
				return
			}
			durable.Store(n)
		}
	})
	writing.Go(func() {
		for !isClosed(stop) {
			err := log.Checkpoint(func(emit func([]byte) error) error { return emit(numbered('c', appended.Load())) })
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	copies := 0
	for began := time.Now(); time.Since(began) < copyTime && !t.Failed(); copies++ {
		before, target := durable.Load(), disktest.New(1)
		if _, err := statelog.Copy(t.Context(), source, target, owner); err != nil {
			t.Error(err)
		}
		if last, err := lastNumber(target); err != nil || last < before {
			t.Errorf("%d were durable, the copy has %d: %v", before, last, err)
		}
	}
	close(stop)
	writing.Wait()
	closeLog(t, log)
	t.Logf("%d copies, %d records", copies, durable.Load())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// numbered is record n, or a checkpoint of all up to it.
func numbered(kind byte, n uint64) []byte { return binary.LittleEndian.AppendUint64([]byte{kind}, n) }

// lastNumber reads a log of numbered records, which must be without a gap.
func lastNumber(fsys disk.FS) (last uint64, err error) {
	err = statelog.Read(fsys, owner, func(record []byte) error {
		n := binary.LittleEndian.Uint64(record[1:])
		if record[0] == 'r' && n > last+1 {
			return fmt.Errorf("record %d follows %d", n, last)
		}
		last = max(last, n)
		return nil
	})
	return last, err
}

// TestACopyThatFailsSaysSo fails every operation on the target's disk.
func TestACopyThatFailsSaysSo(t *testing.T) {
	source, _ := smallLog(t, false)
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for failAt := 0; ; failAt++ {
			target, met := disktest.New(1), false
			target.Before = func(op disktest.Op) error {
				if op.Kind == disktest.Read || op.Index != failAt {
					return nil
				}
				met = true
				return fault
			}
			_, err := statelog.Copy(t.Context(), source, target, owner)
			if !met && err == nil && failAt > 6 {
				break
			}
			if !errors.Is(err, fault) {
				t.Fatalf("operation %d: %v", failAt, err)
			}
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := statelog.Copy(ended, source, disktest.New(1), owner); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// TestDamageIsNotCopied flips bits of a small log that is marked at its end: what Read tells, Copy tells, and what it does not
// tell loses nothing.
func TestDamageIsNotCopied(t *testing.T) {
	source, want := smallLog(t, true)
	told := 0
	for _, name := range files(source) {
		for at := range source.Bytes(name) {
			spoiled, target := source.Fork(1), disktest.New(1)
			content := spoiled.Bytes(name)
			content[at] ^= 1 << (at % 8)
			spoiled.Put(name, content)
			_, err := statelog.Copy(t.Context(), spoiled, target, owner)
			read := statelog.Read(spoiled, owner, func([]byte) error { return nil })
			if read != nil {
				told++
				if err == nil || strings.TrimPrefix(err.Error(), "copy") != strings.TrimPrefix(read.Error(), "read") {
					t.Errorf("%s, byte %d: copy says %v, read %v", name, at, err, read)
				}
				continue
			}
			var found []string
			again := statelog.Read(target, owner, func(record []byte) error {
				found = append(found, string(record))
				return nil
			})
			if err != nil || again != nil || len(found) < len(want)-1 {
				t.Errorf("%s, byte %d: %d of %d records, %v, %v", name, at, len(found), len(want), err, again)
			}
		}
	}
	if told == 0 {
		t.Error("nothing was told")
	}
}

// TestNothingIsCopiedOfNothing copies a directory without a log, and one of another owner.
func TestNothingIsCopiedOfNothing(t *testing.T) {
	target := disktest.New(1)
	if bytes, err := statelog.Copy(t.Context(), disktest.New(1), target, owner); err != nil || bytes != 0 || len(files(target)) > 0 {
		t.Errorf("%d bytes, %v", bytes, err)
	}
	if err := statelog.Read(target, owner, func([]byte) error { return errLost }); err != nil {
		t.Error(err)
	}
	source, _ := smallLog(t, true)
	if _, err := statelog.Copy(t.Context(), source, disktest.New(1), [16]byte{9}); !errors.Is(err, statelog.ErrOwner) {
		t.Errorf("another owner's: %v", err)
	}
}
