package access_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gateway/access"
)

// TestX1NetworksTakeTurns has a crowd of one network before a single one of another.
func TestX1NetworksTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := access.NewSlots(1, 100)
		var mu sync.Mutex
		var order []string
		var all sync.WaitGroup
		ask := func(from netip.Addr, name string) {
			all.Go(func() {
				if err := s.Enter(context.Background(), from); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				<-time.After(time.Second)
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				s.Leave()
			})
			synctest.Wait()
		}
		for i := range 50 {
			ask(here, fmt.Sprint("crowd ", i))
		}
		ask(there, "single 0")
		ask(there, "single 1")
		all.Wait()
		want := []string{"crowd 0", "crowd 1", "single 0", "crowd 2", "single 1", "crowd 3"}
		if !slices.Equal(order[:6], want) || len(order) != 52 || order[51] != "crowd 49" {
			t.Errorf("%v", order)
		}
		if !s.Idle(1, 100) {
			t.Error("something is left of them")
		}
	})
}

func TestSlotsHaveRoomForSoManyAndForgetWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := access.NewSlots(2, 3)
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		for range 2 {
			if err := s.Enter(ctx, here); err != nil {
				t.Fatal(err)
			}
		}
		var left atomic.Int32
		for i := range 3 {
			from := here
			if i == 2 {
				from = there
			}
			all.Go(func() {
				if err := s.Enter(ctx, from); errors.Is(err, access.ErrBusy) {
					left.Add(1)
				}
			})
			synctest.Wait()
		}
		if err := s.Enter(context.Background(), there); !errors.Is(err, access.ErrBusy) {
			t.Errorf("a fourth may wait: %v", err)
		}
		cancel()
		all.Wait()
		s.Leave()
		s.Leave()
		if left.Load() != 3 || !s.Idle(2, 3) {
			t.Errorf("%d left; idle: %v", left.Load(), s.Idle(2, 3))
		}
	})
}
