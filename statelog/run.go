package statelog

import (
	"errors"
	"fmt"

	"gateway/disk"
)

// run writes what gathers until the log is closed and nothing is left.
func (l *Log) run() {
	for groups := l.take(); groups != nil; groups = l.take() {
		for i, g := range groups {
			l.process(g, i == len(groups)-1)
		}
		l.keepBuffer(groups[len(groups)-1])
	}
}

// take waits until something has gathered and returns it, or nil at the end.
func (l *Log) take() []*group {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.idleLocked() && !l.closing {
		l.changed.Wait()
	}
	if l.idleLocked() {
		l.ended = true
		return nil
	}
	taken := l.groups
	open := l.spare
	if open == nil {
		open = &group{}
	}
	l.groups, l.spare, l.bytes = []*group{open}, nil, 0
	return taken
}

func (l *Log) idleLocked() bool { return len(l.groups) == 1 && l.groups[0].empty() }

func (l *Log) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idleLocked()
}

// keepBuffer empties a group for the next use.
func (l *Log) keepBuffer(g *group) {
	if cap(g.frames) > keptBuffer {
		return
	}
	clear(g.calls)
	*g = group{frames: g.frames[:0], calls: g.calls[:0]}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = g
}

// process begins the generation of a group, if it begins one, writes it, and tells those who wait.
func (l *Log) process(g *group, last bool) {
	if g.turn != nil {
		g.turn.begun <- l.attempt(func() error { return l.writer.turnTo(g.turn) })
	}
	err := l.keep(g)
	if err == nil && g.awaited && last && l.idle() {
		err = l.attempt(l.writer.mark)
	}
	for _, c := range g.calls {
		if c.refused != nil {
			c.done(c.refused)
		} else {
			c.done(err)
		}
	}
}

// keep makes a group part of the log, all of it or nothing. Behind records that are lost nothing is kept until somebody was
// told: an owner who relies on a record must be able to rely on those before it.
func (l *Log) keep(g *group) error {
	w := &l.writer
	err := w.lost
	if err == nil {
		err = l.attempt(func() error { return w.write(g.frames, g.awaited) })
	}
	switch {
	case g.awaited: // who waits is told
		w.lost = g.lost
	case w.lost != nil:
	case err != nil && len(g.frames) > 0:
		w.lost = err
	default:
		w.lost = g.lost
	}
	return err
}

// attempt changes the log unless it has failed. When there is no space for the change, all that is not durable is taken back;
// any other failure is for good, and so is one to take back and one that leaves a name in doubt.
func (l *Log) attempt(change func() error) error {
	if err := l.Err(); err != nil {
		return err
	}
	err := change()
	if err == nil {
		return nil
	}
	if !disk.LacksSpace(err) || errors.Is(err, errUnsure) {
		return l.fail(err)
	}
	err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	if l.writer.end != l.writer.durable {
		l.writer.lost = err
	}
	if worse := l.writer.rewind(); worse != nil {
		return l.fail(fmt.Errorf("take back what the disk had no space for: %w", worse))
	}
	return err
}
