package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gateway/disk/disktest"
)

// crashPoints is how many power cuts TestPowerCutAtEveryOperation draws, at least; JOURNAL_POINTS changes it.
const crashPoints = 100_000

// thin returns by what the long tests divide their work: by so much under the race detector, which makes them as much slower,
// and by four times so much with -short, which is for whoever runs them a thousand times.
func thin(by int) int {
	switch {
	case testing.Short():
		return 4 * by
	case raceDetector:
		return by
	}
	return 1
}

// TestPowerCutAtEveryOperation plays random histories and cuts the power before every operation on the disk: during a batch,
// in the turn of a segment, in a snapshot, while the journal is opened or closed; and of some cuts, again during the recovery
// and in what comes after it, up to four deep. After each nothing that was answered is lost or changed, nothing is there in
// part, and a repeated operation gets its first answer.
//
// JOURNAL_SEED=n plays the history of that seed alone.
func TestPowerCutAtEveryOperation(t *testing.T) {
	// The stacks of nested cuts are all different. The memory profiler would keep each, and look at all of them at every collection.
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 0
	began := time.Now()
	points := int64(crashPoints / thin(20))
	if text := os.Getenv("JOURNAL_POINTS"); text != "" {
		var err error
		if points, err = strconv.ParseInt(text, 10, 64); err != nil || points < 1 {
			t.Fatalf("JOURNAL_POINTS=%q is not a number of power cuts", text)
		}
	}
	var count, histories atomic.Int64
	play := func(seed uint64) bool {
		c := &cutter{t: t, count: &count}
		histories.Add(1)
		if err := c.history(seed); err != nil {
			t.Errorf("%v\nagain: JOURNAL_SEED=%d go test -run %s ./bank/journal", err, seed, t.Name())
			return false
		}
		return true
	}
	if text := os.Getenv("JOURNAL_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		play(seed)
		return
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for count.Load() < points && play(rand.Uint64()) {
			}
		})
	}
	all.Wait()
	if done := count.Load(); done < points && !t.Failed() {
		t.Errorf("void: %d power cuts of %d", done, points)
	}
	t.Logf("%d power cuts in %d histories, %v", count.Load(), histories.Load(), time.Since(began).Round(time.Millisecond))
}

// cutter plays a history and every power cut in it.
type cutter struct {
	t     *testing.T
	count *atomic.Int64
	err   error // of the first cut that went wrong
}

const deepest = 4 // power cuts after one another

func (c *cutter) history(seed uint64) error {
	s := newStory(seed)
	c.watch(s, 1)
	if err := s.open(); err != nil {
		return err
	}
	if err := s.run(6 + s.random.IntN(20)); err != nil {
		return err
	}
	if err := s.engine.Close(); err != nil {
		return err
	}
	if c.err != nil {
		return c.err
	}
	s.disk.Before = nil
	return s.check()
}

// watch cuts the power before every operation of s.
func (c *cutter) watch(s *story, depth int) {
	s.disk.Before = func(op disktest.Op) error {
		if c.err != nil || op.Kind == disktest.Read {
			return nil
		}
		seed := s.random.Uint64()
		c.count.Add(1)
		if err := c.cut(s, seed, depth); err != nil && c.err == nil {
			c.err = fmt.Errorf("power cut %d, before %v: %w", depth, op, err)
		}
		return nil
	}
}

func (c *cutter) cut(s *story, seed uint64, depth int) error {
	disk := s.disk.Fork(seed)
	after := s.branch(disk, seed)
	disk.Cut(after.random)
	if deeper := depth < deepest && after.random.IntN(40) == 0; !deeper {
		return after.check()
	}
	c.watch(after, depth+1)
	if err := after.check(); err != nil {
		return err
	}
	if err := after.run(1 + after.random.IntN(3)); err != nil {
		return err
	}
	disk.Before = nil
	disk.Kill()
	return after.check()
}

// TestSegmentsThatHoldNothingGoInOrder opens a journal with two of them and cuts the power before every operation: the one
// in front must not be gone while the one behind is there. Seed 12668278255130249571 found it.
func TestSegmentsThatHoldNothingGoInOrder(t *testing.T) {
	s := smallJournal(t, killed)
	next := len(segmentsOf(s.disk))
	for i := range 2 {
		s.disk.Put(fmt.Sprintf("journal-%016x.seg", next+1+i), make([]byte, 1024))
	}
	for seed := range uint64(100 / thin(1)) {
		cut := s.branch(s.disk.Fork(seed), seed)
		c := &cutter{t: t, count: new(atomic.Int64)}
		c.watch(cut, deepest)
		if err := cut.check(); err != nil {
			t.Fatal(err)
		}
		if c.err != nil {
			t.Fatal(c.err)
		}
	}
}

// TestANameIsDurableBeforeItIsServed kills a process before every operation of a recovery. The next start may find nothing to
// repair, and yet the segment's new name may not be durable: what is answered then must survive a power cut. Seed 2367 of
// package simulation found it.
func TestANameIsDurableBeforeItIsServed(t *testing.T) {
	for k := 0; ; k++ {
		s := newStory(5)
		s.options.SegmentBytes, s.options.SnapshotEvery = 16384, 1000
		if err := errors.Join(s.open(), s.commit()); err != nil {
			t.Fatal(err)
		}
		s.disk.Kill()
		if tornTail(t, s); !killedInRecovery(s, k) {
			break
		}
		if err := errors.Join(s.check(), s.commit()); err != nil {
			t.Fatalf("killed before operation %d of a recovery: %v", k, err)
		}
		for seed := range uint64(20) {
			after := s.branch(s.disk.Fork(seed), seed)
			after.disk.Cut(after.random)
			if err := after.check(); err != nil {
				t.Fatalf("killed before operation %d of a recovery, then a power cut, seed %d: %v", k, seed, err)
			}
		}
	}
}

// tornTail leaves some bytes behind the end of the journal, as a batch that was never answered does.
func tornTail(t *testing.T, s *story) {
	end := endOf(t, s)
	file, err := s.disk.Edit(end.File)
	if err == nil {
		_, err = file.WriteAt([]byte("torn"), end.Offset)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// killedInRecovery opens the journal and kills the process before operation k. It returns false when there are fewer.
func killedInRecovery(s *story, k int) bool {
	first := s.disk.Ops()
	s.disk.Before = func(op disktest.Op) error {
		if op.Kind != disktest.Read && op.Index >= first+k {
			return disktest.ErrDead
		}
		return nil
	}
	err := s.open()
	s.disk.Before = nil
	s.disk.Kill()
	return err != nil
}

// TestASnapshotThatHasItsNameIsWhole cuts the power before every operation of some histories: no start then passes a snapshot
// over, which would cost it the reading of all that the snapshot holds.
func TestASnapshotThatHasItsNameIsWhole(t *testing.T) {
	cuts, passed := 0, &passedOver{}
	for seed := range faultHistories() {
		s := newStory(seed)
		s.options.SnapshotEvery = 3
		s.disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read {
				return nil
			}
			after := s.branch(s.disk.Fork(uint64(cuts)), uint64(cuts))
			after.disk.Cut(after.random)
			after.options.Logger = slog.New(passed)
			if err := after.open(); err != nil || passed.snapshots > 0 {
				t.Fatalf("seed %d, %v: %d snapshots passed over, %v", seed, op, passed.snapshots, err)
			}
			cuts++
			return nil
		}
		if err := errors.Join(s.open(), s.run(12), s.engine.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if cuts < 100 {
		t.Errorf("only %d power cuts", cuts)
	}
}

// passedOver counts the lines of a log that tell of a snapshot.
type passedOver struct {
	slog.Handler
	snapshots int
}

func (p *passedOver) Enabled(context.Context, slog.Level) bool { return true }

func (p *passedOver) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "snapshot") {
		p.snapshots++
	}
	return nil
}
