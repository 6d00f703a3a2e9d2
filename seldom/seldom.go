// Package seldom keeps a log readable while somebody floods it: of the events of one key it lets one through per period, and
// tells with the next how many it held back.
//
// An [Events] remembers a bounded number of keys. When they are more, the one whose last event is longest past is forgotten,
// with what was held back of it, and its next event passes.
package seldom

import (
	"container/list"
	"sync"
	"time"
)

// Events are the keys whose last event is remembered. Any goroutine may use it.
type Events[K comparable] struct {
	period time.Duration
	keys   int

	mu    sync.Mutex // guards all below
	last  map[K]*list.Element
	order list.List // of *event[K], the one that passed longest ago first
}

// event is the last one of its key that passed.
type event[K comparable] struct {
	key  K
	at   time.Time
	held int // since then
}

// New returns an Events that lets one event of a key through per period and remembers as many keys.
func New[K comparable](period time.Duration, keys int) *Events[K] {
	return &Events[K]{period: period, keys: keys, last: make(map[K]*list.Element)}
}

// Pass reports whether an event of key, now, is one to tell of, and then how many were held back since the last.
func (e *Events[K]) Pass(key K) (held int, ok bool) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if known := e.last[key]; known != nil {
		last := known.Value.(*event[K])
		if now.Sub(last.at) < e.period {
			last.held++
			return 0, false
		}
		held, last.held, last.at = last.held, 0, now
		e.order.MoveToBack(known)
		return held, true
	}
	if len(e.last) >= e.keys {
		oldest := e.order.Front()
		delete(e.last, e.order.Remove(oldest).(*event[K]).key)
	}
	e.last[key] = e.order.PushBack(&event[K]{key: key, at: now})
	return 0, true
}
