package seldom_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gateway/seldom"
)

// wantPass fails unless an event of key passes as told; held is -1 when it must not.
func wantPass(t *testing.T, e *seldom.Events[string], key string, held int) {
	t.Helper()
	got, ok := e.Pass(key)
	if ok != (held >= 0) || ok && got != held {
		t.Errorf("%s at %v: %d held back, %v; want %d", key, time.Now().Format("05.000"), got, ok, held)
	}
}

// wait lets time go by in a synctest bubble.
func wait(d time.Duration) { <-time.After(d) }

func TestOneEventPassesPerPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := seldom.New[string](time.Minute, 2)
		wantPass(t, e, "a", 0)
		wantPass(t, e, "a", -1)
		wantPass(t, e, "b", 0) // each key for itself
		wait(time.Minute - 1)
		wantPass(t, e, "a", -1)
		wait(1)
		wantPass(t, e, "a", 2)
		wantPass(t, e, "b", 0)
		wait(time.Minute)
		wantPass(t, e, "a", 0) // what was told is not told again
	})
}

func TestTheOldestKeyIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := seldom.New[string](time.Minute, 2)
		wantPass(t, e, "a", 0)
		wait(time.Second)
		wantPass(t, e, "b", 0)
		wait(time.Minute)
		wantPass(t, e, "a", 0) // now b is the oldest
		wantPass(t, e, "c", 0)
		wantPass(t, e, "a", -1)
		wantPass(t, e, "c", -1)
		wantPass(t, e, "b", 0)
	})
}

func TestNoEventIsLostAmongManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, goroutines = 1000, 8
		e := seldom.New[string](time.Minute, 2)
		var passed atomic.Int64
		var running sync.WaitGroup
		for range goroutines {
			running.Go(func() {
				for range each {
					if _, ok := e.Pass("a"); ok {
						passed.Add(1)
					}
				}
			})
		}
		running.Wait()
		wait(time.Minute)
		if held, _ := e.Pass("a"); passed.Load() != 1 || held != each*goroutines-1 {
			t.Errorf("%d passed and %d were held back", passed.Load(), held)
		}
	})
}
