package socket

import (
	"context"
	"log/slog"
	"time"
)

const (
	firstPause = 5 * time.Millisecond // after a failure to accept; doubles while it goes on failing
	longPause  = time.Second
	// logEvery bounds how often the accept loop logs one kind of event.
	logEvery = time.Minute
)

// failures paces an accept loop while it cannot accept, for want of file descriptors, say: the loop neither spins nor ends.
type failures struct {
	logger *slog.Logger
	log    seldom
	pause  time.Duration
	count  int
}

// wait pauses after the failure err, or until ctx ends.
func (f *failures) wait(ctx context.Context, err error) {
	f.count++
	f.pause = min(max(2*f.pause, firstPause), longPause)
	if f.log.now() {
		f.logger.Warn("cannot accept connections", "err", err, "failures", f.count)
	}
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// end says that accepting works.
func (f *failures) end() {
	f.pause = 0
	f.count = 0
}

// seldom lets one event of logEvery through.
type seldom struct{ last time.Time }

func (s *seldom) now() bool {
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < logEvery {
		return false
	}
	s.last = now
	return true
}
