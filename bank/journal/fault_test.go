package journal_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// faulty plays the history of a seed on a disk whose operation k fails, and all after it when forever is set. It returns the
// story as it was when something failed, and what failed.
func faulty(seed uint64, k int, forever bool, fault error) (*story, error) {
	s := newStory(seed)
	s.disk.Before = func(op disktest.Op) error {
		if op.Kind != disktest.Read && (op.Index == k || forever && op.Index > k) {
			return fmt.Errorf("%v: %w", op, fault)
		}
		return nil
	}
	err := s.open()
	if err == nil {
		err = s.run(12)
	}
	if err == nil {
		err = s.engine.Close()
	}
	return s, err
}

// faultHistories is how many histories the tests play with each operation failing.
func faultHistories() uint64 {
	return uint64(max(12/thin(4), 2))
}

// TestNothingIsAcknowledgedAfterAFailedOperation fails every operation of some histories, once and for ever. The engine stops
// for good and touches the disk no more. A restart finds everything that was answered: at once, after a power cut, and after
// a power cut that follows a restart which read what the disk did not have.
func TestNothingIsAcknowledgedAfterAFailedOperation(t *testing.T) {
	failed := 0
	for seed := range faultHistories() {
		for k := 0; ; k++ {
			s, err := faulty(seed, k, k%2 == 0, syscall.EIO)
			if s.disk.Ops() <= k {
				break // the history has no operation k
			}
			failed++
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
			if err := mustBeDead(s); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
			if err := restarts(s); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
		}
	}
	if failed < 100 {
		t.Errorf("only %d operations failed", failed)
	}
	t.Logf("%d operations failed", failed)
}

// mustBeDead makes sure that an engine that failed does nothing more.
func mustBeDead(s *story) error {
	if s.engine == nil || errors.Is(s.engine.Ready(), bank.ErrClosed) {
		return nil // it did not open, or failed in Close
	}
	if err := s.engine.Ready(); !errors.Is(err, journal.ErrFailed) {
		return fmt.Errorf("after the failure it is ready: %v", err)
	}
	s.disk.Before = nil
	before := s.disk.Ops()
	if _, err := bankCommit(s.engine, deposit("a", 1, "")); !errors.Is(err, journal.ErrFailed) {
		return fmt.Errorf("after the failure Commit returned %v", err)
	}
	if err := s.engine.Close(); err != nil {
		return err
	}
	if after := s.disk.Ops(); after != before {
		return fmt.Errorf("after the failure there were %d more operations", after-before)
	}
	return nil
}

// restarts opens the journal that a failure left, in three ways.
func restarts(s *story) error {
	s.disk.Before = nil
	atOnce := s.branch(s.disk.Fork(1), 1)
	if err := atOnce.check(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	atOnce.disk.Cut(atOnce.random)
	if err := atOnce.check(); err != nil {
		return fmt.Errorf("restart, power cut: %w", err)
	}
	cut := s.branch(s.disk.Fork(2), 2)
	cut.disk.Cut(cut.random)
	if err := cut.check(); err != nil {
		return fmt.Errorf("power cut: %w", err)
	}
	if err := cut.run(3); err != nil {
		return fmt.Errorf("what comes after: %w", err)
	}
	return nil
}

// TestNoSpaceIsNoFailureBesideTheTraffic fails operations for want of space. Whatever the engine makes of it, nothing that
// was answered is lost.
func TestNoSpaceIsNoFailureBesideTheTraffic(t *testing.T) {
	for seed := range faultHistories() {
		for k := 0; ; k++ {
			s, err := faulty(seed, k, k%2 == 0, syscall.ENOSPC)
			if s.disk.Ops() <= k {
				break
			}
			if err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
			if err := restarts(s); err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, k, err)
			}
		}
	}
}
