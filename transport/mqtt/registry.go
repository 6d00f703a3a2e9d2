package mqtt

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"gateway/bank"
)

var (
	errSessions = errors.New("mqtt: as many sessions as there may be")
	errOwner    = errors.New("mqtt: the client id has a session of another principal")
	errGone     = errors.New("mqtt: the connection ended while it waited for its session")
)

// limits are those of limits.go, which tests make smaller.
type limits struct {
	sessions   int
	waiting    int // replies of one session
	waitingAll int64
	drain      time.Duration
}

// registry has the sessions by client id.
type registry struct {
	limits   limits
	observer Observer
	now      func() time.Time
	waiting  atomic.Int64 // replies that are owed

	mu       sync.Mutex // guards sessions and their expires; taken before a session's lock
	sessions map[string]*session
}

// claim is what a CONNECT asks for.
type claim struct {
	id        string
	principal string
	own       string
	clean     bool
	persists  bool
}

// attach gives c the session that it claims, a new one or a stored one (present). A connection that has it is ended first:
// attach waits for that, so that a client id has one connection at any time, and whoever comes last stays.
func (r *registry) attach(c *conn, want claim) (s *session, present bool, err error) {
	for {
		s, rival, present, err := r.take(c, want)
		if err != nil || s != nil {
			return s, present, err
		}
		rival.disconnect(takenOver)
		select {
		case <-rival.detached:
		case <-c.ctx.Done():
			return nil, false, errGone
		}
	}
}

// take attaches c, or returns the rival that must go first.
func (r *registry) take(c *conn, want claim) (s *session, rival *conn, present bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s = r.sessions[want.id]
	if s != nil && s.principal != want.principal {
		return nil, nil, false, errOwner
	}
	if s != nil {
		if rival = s.connection(); rival != nil {
			return nil, rival, false, nil
		}
		if want.clean || r.expiredLocked(s) {
			r.forgetLocked(s)
			s = nil
		}
	}
	present = s != nil
	if s == nil {
		if len(r.sessions) >= r.limits.sessions {
			r.sweepLocked()
		}
		if len(r.sessions) >= r.limits.sessions {
			return nil, nil, false, errSessions
		}
		s = &session{id: want.id, principal: want.principal, own: want.own, registry: r}
		r.sessions[want.id] = s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attachLocked(c, want.persists)
	return s, nil, present, nil
}

func (s *session) connection() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// detach takes s from its connection, which has ended, and keeps it for expiry; zero forgets it.
func (r *registry) detach(s *session, expiry time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	s.persists = expiry > 0
	s.detachLocked()
	s.mu.Unlock()
	s.expires = r.now().Add(expiry)
	if expiry <= 0 {
		delete(r.sessions, s.id)
	}
}

func (r *registry) expiredLocked(s *session) bool { return !r.now().Before(s.expires) }

// forgetLocked throws away a session that no connection has. What the bank still answers for it finds nobody.
func (r *registry) forgetLocked(s *session) {
	delete(r.sessions, s.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.persists = false
	s.detachLocked()
}

// sweep throws away the sessions that have expired.
func (r *registry) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked()
}

func (r *registry) sweepLocked() {
	for _, s := range r.sessions {
		if s.connection() == nil && r.expiredLocked(s) {
			r.forgetLocked(s)
		}
	}
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// reserve counts one more owed reply, or returns false.
func (r *registry) reserve() bool {
	if r.waiting.Add(1) > r.limits.waitingAll {
		r.waiting.Add(-1)
		return false
	}
	return true
}

func (r *registry) release() { r.waiting.Add(-1) }

func (r *registry) observe(reply *bank.Reply, began time.Time) {
	r.observer.Operation(reply.Kind, reply.Code, time.Since(began))
}
