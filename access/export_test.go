package access

import (
	"context"
	"net/netip"
)

// Slots lets tests queue.
type Slots struct{ slots }

// NewSlots returns slots with room for so many inside and waiting.
func NewSlots(free, room int) *Slots {
	s := new(Slots)
	s.init(free, room)
	return s
}

// Enter is enter.
func (s *Slots) Enter(ctx context.Context, from netip.Addr) error {
	return s.enter(ctx, from)
}

// Leave is leave.
func (s *Slots) Leave() { s.leave() }

// Idle reports whether nobody is in or waits, and nothing is kept of those who were.
func (s *Slots) Idle(free, room int) bool {
	return s.free == free && s.room == room && len(s.waiting) == 0 && len(s.turns) == 0
}
