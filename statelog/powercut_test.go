package statelog_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gateway/disk/disktest"
	"gateway/statelog"
)

// cutting is how long TestPowerCutAtEveryOperation draws power cuts; STATELOG_TIME changes it.
const cutting = 5 * time.Second

// TestPowerCutAtEveryOperation plays random histories and cuts the power before every operation on the disk: in a group, in
// the turn of a generation, in a checkpoint and in traffic beside it, while the log is opened or closed; and of some cuts,
// again during the recovery and in what comes after it, up to four deep. After each the log is what story.compare demands.
//
// STATELOG_SEED=n plays the history of that seed alone.
func TestPowerCutAtEveryOperation(t *testing.T) {
	began, limit := time.Now(), cutting
	if text := os.Getenv("STATELOG_TIME"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil || limit <= 0 {
			t.Fatalf("STATELOG_TIME=%q is not a time", text)
		}
	}
	var count, histories atomic.Int64
	play := func(seed uint64) bool {
		c := &cutter{count: &count}
		histories.Add(1)
		if err := c.history(seed); err != nil {
			t.Errorf("%v\nagain: STATELOG_SEED=%d go test -run %s ./statelog", err, seed, t.Name())
			return false
		}
		return true
	}
	if text := os.Getenv("STATELOG_SEED"); text != "" {
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
			for time.Since(began) < limit && play(rand.Uint64()) {
			}
		})
	}
	all.Wait()
	t.Logf("%d power cuts in %d histories, %v", count.Load(), histories.Load(), time.Since(began).Round(time.Millisecond))
}

// cutter plays a history and every power cut in it.
type cutter struct {
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
	if err := s.run(4 + s.random.IntN(16)); err != nil {
		return err
	}
	if err := s.log.Close(); err != nil {
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
	if after.random.IntN(4) > 0 { // or the process is killed, and the power fails while it recovers
		disk.Cut(after.random)
	}
	if deeper := depth < deepest && after.random.IntN(40) == 0; !deeper {
		return after.check()
	}
	c.watch(after, depth+1)
	if err := after.check(); err != nil {
		return err
	}
	if err := after.open(); err != nil {
		return err
	}
	if err := after.run(1 + after.random.IntN(3)); err != nil {
		return err
	}
	after.end()
	return after.check()
}

// TestPowerCutBesideTheTraffic cuts the power while many append and checkpoints are made, so that a cut may meet them between
// any two steps. Its runs cannot be repeated exactly. Owners are told in the order of their records.
func TestPowerCutBesideTheTraffic(t *testing.T) {
	cuts := 0
	for began := time.Now(); cuts < 100 || time.Since(began) < time.Second; {
		b := newBeside(rand.Uint64())
		if err := b.play(); err != nil {
			t.Fatal(err)
		}
		cuts += b.cuts
	}
	t.Logf("%d power cuts", cuts)
}

// beside is a story that many goroutines play. Its mutex makes what is appended and what the story knows of it one.
type beside struct {
	mu sync.Mutex
	*story
	wrong  error
	cuts   int
	latest int // the place of the last record whose owner was told
}

func newBeside(seed uint64) *beside {
	b := &beside{story: newStory(seed)}
	b.crowded = true
	b.disk.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Read {
			return nil
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.wrong != nil {
			return nil
		}
		b.cuts++
		seed := rand.Uint64()
		after := b.branch(b.disk.Fork(seed), seed)
		after.disk.Cut(after.random)
		if err := after.check(); err != nil {
			b.wrong = fmt.Errorf("before %v: %w", op, err)
		}
		return nil
	}
	return b
}

func (b *beside) play() error {
	if err := b.open(); err != nil {
		return err
	}
	log := b.log
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 12 {
				<-b.append(log, i%3 > 0)
			}
		})
	}
	for number := 1; number <= 3; number++ {
		if err := log.Checkpoint(func(emit func([]byte) error) error { return b.emit(number, emit) }); err != nil {
			return err
		}
		b.mu.Lock()
		b.whole = number
		b.mu.Unlock()
	}
	all.Wait()
	if err := log.Close(); err != nil {
		return err
	}
	if b.wrong != nil {
		return b.wrong
	}
	b.disk.Before = nil
	return b.check()
}

// append appends one record and returns what is closed when its owner was told, if it wants to be.
func (b *beside) append(log *statelog.Log, awaited bool) chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	told := make(chan struct{})
	at := len(b.written)
	w := written{id: b.newID(), group: at + 1, awaited: awaited}
	b.written = append(b.written, w)
	if !awaited {
		log.Append(recordOf(w.id), nil)
		close(told)
		return told
	}
	log.Append(recordOf(w.id), func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.written[at].told, b.written[at].err = true, err
		if at < b.latest {
			b.wrong = fmt.Errorf("record %d was told after a later one", at)
		}
		b.latest = at
		close(told)
	})
	return told
}

func (b *beside) emit(number int, emit func([]byte) error) error {
	b.mu.Lock()
	b.emissions[number] = span{0, len(b.written)}
	ids := make([]uint64, 0, len(b.written))
	for _, w := range b.written {
		ids = append(ids, w.id)
	}
	b.mu.Unlock()
	if err := emit(beginning(number)); err != nil {
		return err
	}
	for _, id := range ids {
		if err := emit(recordOf(id)); err != nil {
			return err
		}
	}
	return nil
}
