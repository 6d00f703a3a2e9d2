package mqtt

import "time"

// moving is a deadline that every packet puts off. To do so goes through the runtime's timers, twice for an operation; so it is set
// later than asked, by a part, and set again only when less is left of it than asked.
type moving struct{ last time.Time }

const movingPart = 16 // of the time asked

// move makes sure that at least d is left, and at most a part more.
func (m *moving) move(d time.Duration, set func(time.Time) error) error {
	now := time.Now()
	if m.last.Sub(now) >= d {
		return nil
	}
	m.last = now.Add(d + d/movingPart)
	return set(m.last)
}
