package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gateway/wire"
)

// pipeline is the way over one [link] at a time, which it opens when a call asks for one. It is the only place that
// reconnects.
type pipeline struct {
	life    *life
	connect func(ctx context.Context) (*link, error) // opens a link and starts nothing
	turn    chan struct{}                            // held while a link is opened, and by close for ever

	// These belong to the holder of turn.
	failures  int       // since a link last brought an answer
	notBefore time.Time // the next attempt to connect

	mu      sync.Mutex // guards all below
	link    *link      // the newest; may be dead
	trouble error      // why the last attempt to connect failed or the last link died; nil after a success
}

func newPipeline(life *life, connect func(ctx context.Context) (*link, error)) *pipeline {
	return &pipeline{life: life, connect: connect, turn: make(chan struct{}, 1)}
}

func (p *pipeline) forget(*call) {}

func (p *pipeline) carry(ctx context.Context, k *call) (wire.Answer, error) {
	l, err := p.current(ctx)
	if err != nil {
		return wire.Answer{}, err
	}
	return l.carry(ctx, k)
}

// current returns the living link, or opens one. Of all that call it, one dials; the others wait for the outcome.
func (p *pipeline) current(ctx context.Context) (*link, error) {
	if l := p.newest(); l != nil && l.alive() {
		return l, nil
	}
	select {
	case p.turn <- struct{}{}:
	case <-p.life.ended:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, p.troubled(ctx.Err())
	}
	defer func() { <-p.turn }()
	l := p.newest()
	if l != nil && l.alive() {
		return l, nil
	}
	if l != nil {
		p.bury(l)
	}
	if err := p.rest(ctx); err != nil {
		return nil, err
	}
	return p.reconnect(ctx)
}

// bury waits for the end of a dead link and takes its lesson: one that never brought an answer counts as a failure to
// connect.
func (p *pipeline) bury(l *link) {
	l.workers.Wait()
	p.note(nil, l.reason())
	l.mu.Lock()
	useful := l.useful
	l.mu.Unlock()
	if useful {
		p.failures, p.notBefore = 0, time.Time{}
		return
	}
	p.notBefore = time.Now().Add(pauseAfter(p.failures))
	p.failures++
}

// rest waits until the next attempt may be made.
func (p *pipeline) rest(ctx context.Context) error {
	timer := time.NewTimer(time.Until(p.notBefore))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.life.ended:
		return ErrClosed
	case <-ctx.Done():
		return p.troubled(ctx.Err())
	}
}

func (p *pipeline) reconnect(ctx context.Context) (*link, error) {
	bound, release := p.life.bind(ctx)
	defer release()
	l, err := p.connect(bound)
	if err == nil {
		l.start()
		p.note(l, nil)
		return l, nil
	}
	if ended := context.Cause(bound); ended != nil {
		return nil, p.troubled(ended)
	}
	p.note(nil, err)
	p.notBefore = time.Now().Add(pauseAfter(p.failures))
	p.failures++
	return nil, err
}

func (p *pipeline) newest() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link
}

func (p *pipeline) note(l *link, trouble error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link, p.trouble = l, trouble
}

// troubled adds the last trouble to the reason why a wait ended.
func (p *pipeline) troubled(ended error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble == nil {
		return ended
	}
	return fmt.Errorf("%w: %w", ended, p.trouble)
}

// close ends the link and waits for it. Nobody connects after it: the turn stays taken.
func (p *pipeline) close() {
	p.turn <- struct{}{}
	l := p.newest()
	if l == nil {
		return
	}
	l.bye()
	l.workers.Wait()
}
