package access

import (
	"context"
	"net/netip"
	"sync"
)

// slots lets a few in at once. The others wait, in order within their network; networks take turns, so that one with a crowd
// keeps another waiting for no longer than one of its own takes.
type slots struct {
	mu      sync.Mutex // guards all below
	free    int
	room    int // for more to wait
	waiting map[netip.Addr][]chan struct{}
	turns   []netip.Addr // those with someone waiting, the next one first
}

func (s *slots) init(free, room int) {
	s.free, s.room, s.waiting = free, room, make(map[netip.Addr][]chan struct{})
}

// enter returns nil when it is the caller's turn, who then calls leave; or [ErrBusy].
func (s *slots) enter(ctx context.Context, from netip.Addr) error {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	if s.room == 0 {
		s.mu.Unlock()
		return ErrBusy
	}
	s.room--
	called := make(chan struct{})
	if len(s.waiting[from]) == 0 {
		s.turns = append(s.turns, from)
	}
	s.waiting[from] = append(s.waiting[from], called)
	s.mu.Unlock()
	select {
	case <-called:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-called: // at the same time
		s.leaveLocked()
	default:
		s.forgetLocked(from, called)
	}
	return ErrBusy
}

// leave lets the next one in.
func (s *slots) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked()
}

func (s *slots) leaveLocked() {
	if len(s.turns) == 0 {
		s.free++
		return
	}
	from := s.turns[0]
	s.turns = s.turns[1:]
	line := s.waiting[from]
	close(line[0])
	s.room++
	if line = line[1:]; len(line) == 0 {
		delete(s.waiting, from)
		return
	}
	s.waiting[from] = line
	s.turns = append(s.turns, from)
}

// forgetLocked removes one who waits no more.
func (s *slots) forgetLocked(from netip.Addr, called chan struct{}) {
	s.room++
	line := s.waiting[from]
	for i := range line {
		if line[i] == called {
			line = append(line[:i], line[i+1:]...)
			break
		}
	}
	if len(line) > 0 {
		s.waiting[from] = line
		return
	}
	delete(s.waiting, from)
	for i := range s.turns {
		if s.turns[i] == from {
			s.turns = append(s.turns[:i], s.turns[i+1:]...)
			return
		}
	}
}
