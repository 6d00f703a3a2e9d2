package socket

import (
	"context"
	"log/slog"
	"time"
)

const (
	firstPause = 5 * time.Millisecond // after a failure to accept; doubles while it goes on failing
	longPause  = time.Second
	// logEvery is how often the accept loop logs one kind of event, at most.
	logEvery = time.Minute
)

// failures paces an accept loop while it cannot accept, for want of file descriptors, say: the loop neither spins nor ends.
type failures struct {
	logger *slog.Logger
	log    seldom
	pause  time.Duration
}

// wait pauses after the failure err, or until ctx ends.
func (f *failures) wait(ctx context.Context, err error) {
	f.pause = min(max(2*f.pause, firstPause), longPause)
	if f.log.now("failure") {
		f.logger.Warn("cannot accept connections", "err", err)
	}
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// end says that accepting works.
func (f *failures) end() { f.pause = 0 }

// seldom lets one event of a kind through in logEvery.
type seldom map[string]time.Time

func (s seldom) now(kind string) bool {
	now := time.Now()
	if last, known := s[kind]; known && now.Sub(last) < logEvery {
		return false
	}
	s[kind] = now
	return true
}
