package mqtt_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
)

type counting struct {
	bank.Engine
	n, ops int
	spent  time.Duration
}

func (c *counting) Commit(ctx context.Context, ops []bank.Operation, replies []bank.Reply) error {
	c.n++
	c.ops += len(ops)
	began := time.Now()
	defer func() { c.spent += time.Since(began) }()
	return c.Engine.Commit(ctx, ops, replies)
}

func TestZZ(t *testing.T) {
	defer journal.AddProcessors()()
	for _, n := range []int{50, 500} {
		e := &counting{Engine: durable(t)}
		addr := ours(t, e)
		var ls []*loader
		for i := range n {
			ls = append(ls, newLoader(t, addr, fmt.Sprint("c", i), 1))
		}
		run := func() {
			e.n, e.ops, e.spent = 0, 0, 0
			var before, after syscall.Rusage
			syscall.Getrusage(0, &before)
			began := time.Now()
			var wg sync.WaitGroup
			for _, l := range ls {
				wg.Go(func() { l.run(began.Add(2 * time.Second)) })
			}
			wg.Wait()
			took := time.Since(began)
			syscall.Getrusage(0, &after)
			cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
			sys := time.Duration(after.Stime.Nano() - before.Stime.Nano())
			fmt.Printf("%d clients: %.0f ops/s, %.0f commits/s, %.1f ops each, commit %v mean, in commit %.0f%%, cpu %.2f (sys %.2f), cs %d/s inv %d/s\n", n, float64(e.ops)/took.Seconds(), float64(e.n)/took.Seconds(), float64(e.ops)/float64(e.n), e.spent/time.Duration(e.n), 100*e.spent.Seconds()/took.Seconds(), cpu.Seconds()/took.Seconds(), sys.Seconds()/took.Seconds(), int64(float64(after.Nvcsw-before.Nvcsw)/took.Seconds()), int64(float64(after.Nivcsw-before.Nivcsw)/took.Seconds()))
		}
		run()
		run()
	}
}
