package journal

import "sync"

const (
	waypointEvery = 4096 // entries from one to the next
	waypointCount = 4096 // that are known: 256 KiB for the last 16 million entries that somebody came by
)

// waypoints are places by which followers came, so that another who begins behind one need not read its segment up to there.
// Any goroutine may use it.
type waypoints struct {
	mu     sync.Mutex // guards all below
	places []position // none, or waypointCount
}

// pass notes a place behind a durable entry, if it is one to be noted.
func (w *waypoints) pass(at position) {
	if at.seq%waypointEvery != 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places == nil {
		w.places = make([]position, waypointCount)
	}
	w.places[at.seq/waypointEvery%waypointCount] = at
}

// before returns the last waypoint at or before the place behind the entry seq, if it is known.
func (w *waypoints) before(seq uint64) (position, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := seq / waypointEvery
	if number == 0 || w.places == nil {
		return position{}, false
	}
	at := w.places[number%waypointCount]
	return at, at.seq == number*waypointEvery
}
