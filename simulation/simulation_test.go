package simulation

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// seedsAtOnce is how many seeds go test runs, and a tenth of it under the race detector or with -short; SIMULATION_SEEDS changes
// it, and SIMULATION_FIRST the first of them. SIMULATION_SEED=n runs that one alone and tells all of it.
const seedsAtOnce = 3000

// enoughSeeds is how many make everything happen that is counted.
const enoughSeeds = 300

// stuckAfter is how long a seed may take, in real time, before it is taken for stuck.
const stuckAfter = 60 * time.Second

// TestSimulation runs many worlds, each drawn from a seed of its own, and holds the gateway against its promises.
func TestSimulation(t *testing.T) {
	if seed := setting(t, "SIMULATION_SEED", 0); seed > 0 {
		w, err := play(t, seed)
		t.Logf("%+v\n%s%+v", w.chances, w.trace.last(len(w.trace.lines)), w.figures)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	usual := uint64(seedsAtOnce)
	if raceDetector || testing.Short() {
		usual /= 10
	}
	count, first := setting(t, "SIMULATION_SEEDS", usual), setting(t, "SIMULATION_FIRST", 1)
	began := time.Now()
	total, failures := playAll(t, first, count)
	took := time.Since(began)
	t.Logf("%d seeds from %d, %d failures, %v, %.0f seeds/s\n%+v", count, first, failures, took.Round(time.Millisecond),
		float64(count)/took.Seconds(), total)
	for _, figure := range total.all() {
		if *figure == 0 && count >= enoughSeeds && failures == 0 {
			t.Error("something that is counted has never happened")
		}
	}
}

// setting reads a number from the environment, or takes the usual one.
func setting(t *testing.T, name string, usual uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// mostFailures is how many seeds may fail before the rest are left out.
const mostFailures = 10

// playAll runs count seeds on all processors.
func playAll(t *testing.T, first, count uint64) (total figures, failures int) {
	var next, failed atomic.Uint64
	var mu sync.Mutex // guards total
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			var sum figures
			for n := next.Add(1); n <= count && failed.Load() < mostFailures; n = next.Add(1) {
				seed := first + n - 1
				w, err := play(t, seed)
				if err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v\n%sagain: SIMULATION_SEED=%d go test -run TestSimulation -v ./simulation", seed, err,
						w.trace.last(40), seed)
				}
				sum.add(&w.figures)
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(&sum)
		})
	}
	all.Wait()
	return total, int(failed.Load())
}

// play runs one world in a bubble of its own.
func play(t *testing.T, seed uint64) (w *world, err error) {
	stuck := time.AfterFunc(stuckAfter, func() {
		stacks := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "seed %d is stuck:\n%s", seed, stacks[:runtime.Stack(stacks, true)])
		os.Exit(1)
	})
	defer stuck.Stop()
	defer func() {
		if fault := recover(); fault != nil {
			err = errors.Join(w.broken(), fmt.Errorf("%v", fault))
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed)
		err = w.run()
	})
	return w, err
}

// TestASeedIsOneRun runs seeds twice, beside others: the same happens, in the same order.
func TestASeedIsOneRun(t *testing.T) {
	seeds := uint64(100)
	if raceDetector {
		seeds /= 10
	}
	var traces [2][]trace
	var all sync.WaitGroup
	for again := range traces {
		all.Go(func() {
			for seed := range seeds {
				w, err := play(t, 1_000_000+seed)
				if err != nil {
					t.Errorf("seed %d: %v", 1_000_000+seed, err)
				}
				traces[again] = append(traces[again], w.trace)
			}
		})
	}
	all.Wait()
	for seed := range seeds {
		one, other := &traces[0][seed], &traces[1][seed]
		if one.sum != other.sum {
			at := one.parts(other)
			t.Errorf("seed %d was two runs:\n%s%s", 1_000_000+seed, one.around(at), other.around(at))
		}
	}
}

// add adds up what happened in runs.
func (f *figures) add(g *figures) {
	for i, sum := range f.all() {
		*sum += *g.all()[i]
	}
}

func (f *figures) all() []*int64 {
	return []*int64{
		&f.operations, &f.yields, &f.adopted, &f.checkpoints, &f.starts, &f.refusedStarts, &f.kills, &f.cuts, &f.stops, &f.damages,
		&f.eio, &f.nospace, &f.fills, &f.jumps, &f.drops, &f.redeliveries, &f.deaf, &f.overloaded, &f.relearned,
	}
}
