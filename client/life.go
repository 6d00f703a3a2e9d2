package client

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// life is the time between the making of a Client and its Close.
type life struct {
	ended chan struct{} // closed when it ends

	mu    sync.Mutex // guards all below
	over  bool
	bound map[*context.CancelCauseFunc]struct{} // what must be told
}

func newLife() *life {
	return &life{ended: make(chan struct{}), bound: make(map[*context.CancelCauseFunc]struct{})}
}

// bind returns a context that ends with ctx, or with ErrClosed as its cause when the life ends. The caller calls release
// when it is done.
func (l *life) bind(ctx context.Context) (bound context.Context, release func()) {
	bound, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		cancel(ErrClosed)
	}
	l.bound[&cancel] = struct{}{}
	return bound, func() {
		l.mu.Lock()
		delete(l.bound, &cancel)
		l.mu.Unlock()
		cancel(context.Canceled)
	}
}

// end ends the life. It reports whether it was the first to do so.
func (l *life) end() bool {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return false
	}
	l.over = true
	bound := slices.Collect(maps.Keys(l.bound))
	l.mu.Unlock()
	close(l.ended)
	for _, cancel := range bound {
		(*cancel)(ErrClosed)
	}
	return true
}

// causeOf returns why ctx ended, or err when it has not.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}
