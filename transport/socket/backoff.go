package socket

import (
	"context"
	"time"
)

const (
	firstPause = 5 * time.Millisecond // after a failure to accept; doubles while it goes on failing
	longPause  = time.Second
)

// failures paces an accept loop while it cannot accept, for want of file descriptors, say: the loop neither spins nor ends.
type failures struct {
	pause time.Duration
}

// wait pauses after a failure, or until ctx ends.
func (f *failures) wait(ctx context.Context) {
	f.pause = min(max(2*f.pause, firstPause), longPause)
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// end says that accepting works.
func (f *failures) end() { f.pause = 0 }
