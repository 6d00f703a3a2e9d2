package journal_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// TestPowerCutBesideTheTraffic is TestPowerCutAtEveryOperation with segments prepared and snapshots written by goroutines, so
// that a cut may meet both between any two steps of a batch. Its runs cannot be repeated exactly.
func TestPowerCutBesideTheTraffic(t *testing.T) {
	cuts := 0
	for began := time.Now(); cuts < 300 || time.Since(began) < 2*time.Second/time.Duration(thin(1)); {
		s := newStory(rand.Uint64())
		s.options.Inline, s.options.SnapshotEvery, s.options.Now = false, 5, nil
		var mu sync.Mutex // guards the story against the goroutines of its engine
		var wrong error
		s.disk.Before = func(op disktest.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind == disktest.Read || wrong != nil {
				return nil
			}
			seed := rand.Uint64()
			after := s.branch(s.disk.Fork(seed), seed)
			after.options.Inline = true
			after.disk.Cut(after.random)
			if err := after.check(); err != nil {
				wrong = fmt.Errorf("before %v: %w", op, err)
			}
			cuts++
			return nil
		}
		engine := open(t, "", s.options)
		for range 12 {
			if err := s.commitLocked(engine, &mu); err != nil {
				t.Fatal(err)
			}
		}
		closeEngine(t, engine)
		if wrong != nil {
			t.Fatal(wrong)
		}
	}
	t.Logf("%d power cuts", cuts)
}

// commitLocked is commit for a story that others look at meanwhile: it holds mu while it changes the story, and not while
// the engine works.
func (s *story) commitLocked(engine bank.Engine, mu *sync.Mutex) error {
	mu.Lock()
	ops := make([]bank.Operation, 1+s.random.IntN(8))
	for i := range ops {
		ops[i] = s.operation()
	}
	s.underWay = ops
	mu.Unlock()
	replies, err := bankCommit(engine, ops...)
	mu.Lock()
	defer mu.Unlock()
	if err == nil {
		s.told(ops, replies)
	}
	return err
}

// TestVerifyBesideAGateway verifies a journal again and again while it is written. It must never see damage.
func TestVerifyBesideAGateway(t *testing.T) {
	dir := t.TempDir()
	o := options()
	o.SegmentBytes = 32 << 10
	engine := open(t, dir, o)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- writeUntil(engine, stop) }()
	var last journal.Report
	rounds := 0
	for began := time.Now(); time.Since(began) < 1500*time.Millisecond/time.Duration(thin(1)); rounds++ {
		report, err := journal.Verify(dir)
		if err != nil {
			t.Errorf("verify: %v", err)
			break
		}
		if report.Entries < last.Entries {
			t.Errorf("%d entries after %d", report.Entries, last.Entries)
		}
		last = report
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	closeEngine(t, engine)
	t.Logf("%d rounds, %d entries in %d segments", rounds, last.Entries, last.Segments)
}

// TestAnswersAreReadFromManySegments asks for answers all over a history of more segments than are kept open.
func TestAnswersAreReadFromManySegments(t *testing.T) {
	o := options()
	o.SegmentBytes = journal.LeastSegmentBytes
	dir := t.TempDir()
	engine := open(t, dir, o)
	var first []bank.Reply
	const n = 320
	for i := range n {
		first = append(first, commit(t, engine, deposit("a", 1, fmt.Sprint("x", i)))[0])
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 2 {
		for range 400 {
			i := random.IntN(n)
			want := first[i]
			want.Duplicate, want.Recorded = true, false
			if got := commit(t, engine, deposit("a", 1, fmt.Sprint("x", i)))[0]; got != want {
				t.Fatalf("%+v, want %+v", got, want)
			}
		}
		closeEngine(t, engine)
		engine = open(t, dir, o)
	}
	closeEngine(t, engine)
	if report, err := journal.Verify(dir); err != nil || report.Segments < 30 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestASnapshotWaitsForWhatItHolds holds the sync of a batch until a snapshot that has the batch in it is written, and cuts the
// power then: the journal must not end before what a snapshot says was durable.
func TestASnapshotWaitsForWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory(1)
		s.options.Inline, s.options.SnapshotEvery, s.options.SegmentBytes = false, 2, 16384
		begin, synced := make(chan struct{}), make(chan struct{})
		var hold atomic.Bool
		s.disk.Before = func(op disktest.Op) error {
			switch {
			case op.Kind == disktest.Create && strings.HasPrefix(op.File, "snapshot"):
				<-begin
			case op.Kind == disktest.Sync && strings.HasSuffix(op.File, ".seg") && hold.Load():
				<-synced
			}
			return nil
		}
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		ops := []bank.Operation{deposit("a", 1, "1"), deposit("a", 1, "2")}
		s.told(ops, commit(t, s.engine, ops...))
		synctest.Wait() // a segment is prepared; a snapshot is due, and waits
		hold.Store(true)
		s.underWay = []bank.Operation{deposit("a", 1, "3")}
		done := make(chan error)
		go func() {
			done <- s.engine.Commit(t.Context(), s.underWay, make([]bank.Reply, 1))
		}()
		synctest.Wait() // the batch is written
		close(begin)
		synctest.Wait() // the snapshot is written, and waits for the batch
		for seed := range uint64(40) {
			after := s.branch(s.disk.Fork(seed), seed)
			after.options.Inline = true
			after.disk.Cut(after.random)
			if err := after.check(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
				break
			}
		}
		close(synced)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if names, _ := s.disk.List(); !slices.Contains(names, fmt.Sprintf("snapshot-%016x", 3)) {
			t.Errorf("no snapshot of all three entries: %q", names)
		}
		closeEngine(t, s.engine)
	})
}
