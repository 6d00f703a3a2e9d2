package statelog_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"gateway/disk/disktest"
	"gateway/statelog"
)

// faulty plays the history of a seed on a disk whose operation k fails, and all after it when forever is set. It returns the
// story as it was when it ended, whether an operation has failed, and why the story ended early.
func faulty(seed uint64, k int, forever bool, fault error) (s *story, failed bool, err error) {
	s = newStory(seed)
	s.disk.Before = func(op disktest.Op) error {
		if op.Kind != disktest.Read && (op.Index == k || forever && op.Index > k) {
			failed = true
			return fmt.Errorf("%v: %w", op, fault)
		}
		return nil
	}
	err = s.open()
	if err == nil {
		err = s.run(12)
	}
	if err == nil {
		err = s.log.Close()
	}
	return s, failed, err
}

const faultHistories = 12

// TestNothingIsKeptAfterAFailedOperation fails every operation of some histories, once and for ever. The log stops for good
// and touches the disk no more, and tells nobody that a record is durable. A restart finds everything that was durable: at
// once, after a power cut, and after a power cut that follows a restart which read what the disk did not have.
func TestNothingIsKeptAfterAFailedOperation(t *testing.T) {
	count := 0
	for seed := range uint64(faultHistories) {
		for k := 0; ; k++ {
			s, failed, err := faulty(seed, k, k%2 == 0, syscall.EIO)
			if s.disk.Ops() <= k {
				break // the history has no operation k
			}
			if !failed {
				continue // it was one of a process that was killed
			}
			count++
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
			if err := errors.Join(mustBeDead(s), restarts(s)); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d operations failed", count)
	}
	t.Logf("%d operations failed", count)
}

func mustClose(t *testing.T, s *story) {
	t.Helper()
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}
}

// mustBeDead makes sure that a log that failed does nothing more, and says why.
func mustBeDead(s *story) error {
	if s.log == nil {
		return nil // none is open
	}
	s.disk.Before = nil
	if err := s.log.Err(); err == nil {
		return nil // it was closed, and the one after it did not open
	} else if !errors.Is(err, statelog.ErrFailed) || !errors.Is(err, syscall.EIO) {
		return fmt.Errorf("after the failure Err is %w", err)
	}
	select {
	case <-s.log.Failed():
	default:
		return errors.New("after the failure Failed is open")
	}
	before := s.disk.Ops()
	if err := s.append(); !errors.Is(err, statelog.ErrFailed) {
		return fmt.Errorf("after the failure a done was called with %w", err)
	}
	err := s.log.Checkpoint(func(func([]byte) error) error { return errors.New("write was called") })
	if !errors.Is(err, statelog.ErrFailed) {
		return fmt.Errorf("after the failure Checkpoint returned %w", err)
	}
	s.log.Close()
	if after := s.disk.Ops(); after != before {
		return fmt.Errorf("after the failure there were %d more operations", after-before)
	}
	return nil
}

// restarts opens the log that a failure left, in three ways.
func restarts(s *story) error {
	s.disk.Before = nil
	atOnce := s.branch(s.disk.Fork(1), 1)
	atOnce.failed = nil
	if err := atOnce.check(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	atOnce.disk.Cut(atOnce.random)
	if err := atOnce.check(); err != nil {
		return fmt.Errorf("restart, power cut: %w", err)
	}
	cut := s.branch(s.disk.Fork(2), 2)
	cut.failed = nil
	cut.disk.Cut(cut.random)
	if err := cut.check(); err != nil {
		return fmt.Errorf("power cut: %w", err)
	}
	return nil
}

// TestWantOfSpaceIsNoFailure fails every operation of some histories for want of space, once. What was not kept is told and
// does not come back, and the log goes on: but for the one place where a name may be there or not, and for a start.
func TestWantOfSpaceIsNoFailure(t *testing.T) {
	count, final := 0, 0
	for seed := range uint64(faultHistories) {
		for k := 0; ; k++ {
			s, failed, err := faulty(seed, k, false, syscall.ENOSPC)
			if s.disk.Ops() <= k {
				break
			}
			if !failed {
				continue
			}
			count++
			if s.log != nil {
				s.log.Close()
			}
			if errors.Is(err, statelog.ErrFailed) {
				final++
			}
			if err := restarts(s); err != nil {
				t.Fatalf("seed %d, operation %d: %v, after %v", seed, k, err, s.failed)
			}
		}
	}
	t.Logf("%d operations failed, %d of them for good", count, final)
	if final*10 > count {
		t.Errorf("%d of %d operations failed for good", final, count)
	}
}

// TestAFullDisk fills the disk up and gives it space again, some times over, with power cuts between: what was refused is not
// there, what was kept is, and when there is space a checkpoint makes good for all.
func TestAFullDisk(t *testing.T) {
	for seed := range uint64(20) {
		s := newStory(seed)
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		for round := range 4 {
			free, total, _ := s.disk.Space()
			s.disk.Limit(total - free + int64(s.random.IntN(6000)))
			for refused := 0; refused < 3; {
				before := len(s.written)
				if err := s.append(); err != nil {
					t.Fatalf("seed %d, round %d: %v", seed, round, err)
				}
				for _, w := range s.written[before:] {
					if w.err != nil {
						refused++
					}
				}
			}
			if err := s.checkpoint(); err != nil {
				t.Fatalf("seed %d, round %d, a checkpoint without space: %v", seed, round, err)
			}
			if round%2 == 1 {
				s.end()
				s.disk.Cut(s.random)
				if err := s.open(); err != nil {
					t.Fatalf("seed %d, round %d: %v", seed, round, err)
				}
			}
			s.disk.Limit(1 << 30)
			before := s.whole
			for s.whole == before {
				if err := s.checkpoint(); err != nil {
					t.Fatalf("seed %d, round %d: %v", seed, round, err)
				}
			}
		}
		mustClose(t, s)
		if err := s.check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestWhatIsLostIsTold loses records whose owner did not want to be told, for want of space and for their size: nothing is
// kept behind them until an owner was.
func TestWhatIsLostIsTold(t *testing.T) {
	disk := disktest.New(1)
	log := open(t, disk)
	full := true
	disk.Before = func(op disktest.Op) error {
		if full && op.Kind == disktest.Write {
			return syscall.ENOSPC
		}
		return nil
	}
	log.Append([]byte("lost"), nil)
	awaitRefusal(t, log)
	full = false
	log.Append([]byte("behind"), nil)
	awaitRefusal(t, log)
	if err := await(log, "told"); !errors.Is(err, statelog.ErrNoSpace) {
		t.Errorf("the first that waits is told %v", err)
	}
	if err := await(log, "kept"); err != nil {
		t.Errorf("the second is told %v", err)
	}
	log.Append(tooLarge, nil)
	awaitRefusal(t, log)
	if err := await(log, "told"); !errors.Is(err, statelog.ErrTooLarge) {
		t.Errorf("after a record that is too large: %v", err)
	}
	full = true
	log.Append(make([]byte, 5000), nil)
	awaitRefusal(t, log)
	full = false
	if err := log.Close(); !errors.Is(err, statelog.ErrNoSpace) {
		t.Errorf("Close is told %v", err)
	}
	if got := contents(t, disk); len(got) != 1 || got[0] != "kept" {
		t.Errorf("kept is %q", got)
	}
}

// TestNothingOfAGroupIsKeptBehindWhatItLost, however much room there is, until somebody was told: whoever waits relies on all that
// was before.
func TestNothingOfAGroupIsKeptBehindWhatItLost(t *testing.T) {
	disk := disktest.New(1)
	log := open(t, disk)
	held, goOn := make(chan struct{}), make(chan struct{})
	log.Append(tooLarge, func(error) { close(held); <-goOn })
	<-held
	var told []error
	done := func(err error) { told = append(told, err) }
	log.Append([]byte("before"), done)
	log.Append(tooLarge, nil)
	log.Append([]byte("behind"), nil)
	log.Append([]byte("told"), done)
	log.Append([]byte("kept"), done)
	close(goOn)
	closeLog(t, log)
	if len(told) != 3 || told[0] != nil || !errors.Is(told[1], statelog.ErrTooLarge) || told[2] != nil {
		t.Errorf("those who wait are told %v", told)
	}
	if got := contents(t, disk); !slices.Equal(got, []string{"before", "kept"}) {
		t.Errorf("kept is %q", got)
	}
}

// TestASyncThatLacksSpaceTakesBackWhatWasWritten since the last that did not, also what was written before its group.
func TestASyncThatLacksSpaceTakesBackWhatWasWritten(t *testing.T) {
	disk := disktest.New(1)
	log := open(t, disk)
	if err := await(log, "first"); err != nil {
		t.Fatal(err)
	}
	full := true
	disk.Before = func(op disktest.Op) error {
		if full && op.Kind == disktest.Sync {
			full = false
			return syscall.ENOSPC
		}
		return nil
	}
	log.Append([]byte("written"), nil)
	if err := await(log, "refused"); !errors.Is(err, statelog.ErrNoSpace) {
		t.Errorf("told %v", err)
	}
	if size, want := log.Size(), int64(16+len("first")); size != want {
		t.Errorf("the size is %d, want %d", size, want)
	}
	if err := await(log, "last"); err != nil {
		t.Errorf("told %v", err)
	}
	closeLog(t, log)
	if got := fmt.Sprint(contents(t, disk)); got != "[first last]" {
		t.Errorf("kept is %s", got)
	}
}
