package mqtt

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gateway/bank"
)

var (
	errSessions = errors.New("mqtt: as many sessions as there may be, or as the principal may have")
	errOwner    = errors.New("mqtt: the client id has a session of another principal")
	errGone     = errors.New("mqtt: the connection ended while it waited for its session")
	errStore    = errors.New("mqtt: the session cannot be kept")
)

// limits are those of [Options] and limits.go, which tests make smaller.
type limits struct {
	sessions int
	// perPrincipal bounds the sessions of one; 0 leaves it to sessionsOf.
	perPrincipal int
	waiting      int // replies of one session
	waitingAll   int64
	drain        time.Duration
}

// registry has the sessions by client id.
type registry struct {
	limits   limits
	observer Observer
	now      func() time.Time
	waiting  atomic.Int64 // replies that are owed
	keeper   *keeper      // nil: sessions live in memory

	mu          sync.Mutex // guards all below; taken before a session's lock
	sessions    map[string]*session
	owners      map[string]*owner
	claimants   map[string]*conn // the last of each client id that waits for another to give its session up
	incarnation uint64           // of the session that was kept last
	swept       time.Time        // when expired sessions were thrown away last
	// unended has, by client id, the incarnations of sessions whose end is not on stable storage: a restart would find them.
	unended map[string][]uint64
}

// newRegistry returns a registry without sessions, whose sessions live in memory.
func newRegistry(limits limits, observer Observer, now func() time.Time) *registry {
	return &registry{
		limits: limits, observer: observer, now: now,
		sessions: make(map[string]*session), owners: make(map[string]*owner),
		claimants: make(map[string]*conn), unended: make(map[string][]uint64),
	}
}

// owner is a principal that has sessions. What it has of the waiting replies is counted without a lock.
type owner struct {
	sessions int
	waiting  atomic.Int64
}

// claim is what a CONNECT asks for.
type claim struct {
	id        string
	principal string
	own       string
	clean     bool
	mayUse    func(principal, id string) bool
	unseated  string // a principal who may not use the client id any more: a session of his is in nobody's way
}

// attach gives c the session that it claims, a new one or a stored one (present). A connection that has it is ended first:
// attach waits for that, so that a client id has one connection at any time, and whoever comes last stays: of those that wait
// too. It returns when what must be kept of that is durable.
func (r *registry) attach(c *conn, want claim) (s *session, present bool, err error) {
	defer r.quit(c, want.id)
	for waited := false; ; waited = true {
		got, err := r.take(c, want, waited)
		for err == errOwner && !want.mayUse(got.owner, want.id) { // which is asked without the lock
			want.unseated = got.owner
			got, err = r.take(c, want, waited)
		}
		if err != nil {
			return nil, false, err
		}
		if got.elder != nil {
			got.elder.hangUp()
		}
		if got.rival == nil {
			return r.keep(c, got)
		}
		got.rival.disconnect(takenOver)
		select {
		case <-got.rival.detached:
		case <-c.ctx.Done():
			return nil, false, errGone
		}
	}
}

// outrunLocked ends the waiting for a session, by c or by another, which it returns.
func (r *registry) outrunLocked(c *conn, id string) (elder *conn) {
	if last := r.claimants[id]; last != c {
		elder = last
	}
	delete(r.claimants, id)
	return elder
}

// quit ends the waiting of c, if it still waits.
func (r *registry) quit(c *conn, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimants[id] == c {
		delete(r.claimants, id)
	}
}

// taken is what a claim brought.
type taken struct {
	owner   string // of the session, who stands in the way
	elder   *conn  // has waited until now, in vain
	rival   *conn  // must go first; then nothing has been done
	session *session
	present bool
	before  link       // of a session that is present
	records int        // must be durable before the client is told
	durable chan error // of each
}

// keep waits until what was taken is durable, or gives it back.
func (r *registry) keep(c *conn, got taken) (s *session, present bool, err error) {
	for range got.records {
		err = errors.Join(err, <-got.durable)
	}
	if err == nil {
		return got.session, got.present, nil
	}
	if got.present {
		r.giveBack(got.session, got.before)
	} else {
		r.detach(got.session, 0)
	}
	return nil, false, errors.Join(errStore, err)
}

// take attaches c, or finds the rival that must go first. A connection that waited comes again with waited.
func (r *registry) take(c *conn, want claim, waited bool) (taken, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if waited && r.claimants[want.id] != c {
		return taken{}, errGone // another came later
	}
	unended := r.unended[want.id]
	got := taken{session: r.sessions[want.id], durable: make(chan error, len(unended)+2)}
	durable := func(err error) { got.durable <- err }
	if s := got.session; s != nil {
		if s.principal != want.principal && s.principal != want.unseated {
			return taken{owner: s.principal}, errOwner
		}
		if got.rival = s.connection(); got.rival != nil {
			got.elder = r.outrunLocked(c, want.id)
			r.claimants[want.id] = c
			return got, nil
		}
		got.present = s.principal == want.principal && !want.clean && !r.expiredLocked(s)
	}
	if !got.present {
		if err := r.roomLocked(want, c.expiry > 0); err != nil {
			return taken{}, err // before anything has changed
		}
		if got.session != nil {
			got.records += r.forgetLocked(got.session, durable)
		}
		for _, incarnation := range unended {
			r.endLocked(want.id, incarnation, durable)
			got.records++
		}
		got.session = r.makeLocked(want, c.expiry > 0)
	}
	got.elder = r.outrunLocked(c, want.id)
	s := got.session
	s.mu.Lock()
	defer s.mu.Unlock()
	got.before = s.link
	s.attachLocked(c)
	switch {
	case s.incarnation == 0:
		return got, nil
	case got.present:
		r.append(s.appendLinkLocked(nil), durable)
	default: // after the end of the one before
		r.append(s.appendSessionLocked(nil), durable)
	}
	got.records++
	return got, nil
}

// roomLocked returns why there may be no new session: as many have ended without a record of it as may, or there are as many as may
// be. One in the place of another of its client id and principal is never one too many.
func (r *registry) roomLocked(want claim, persists bool) error {
	unended := len(r.unended[want.id])
	if unended >= maxUnended || persists && unended == 0 && len(r.unended) >= r.limits.sessions {
		return errStore
	}
	if s := r.sessions[want.id]; s != nil && s.principal == want.principal {
		return nil
	}
	if r.fullLocked(want.principal) != "" && r.now().Sub(r.swept) >= sweepAgain {
		r.sweepLocked()
	}
	if limit := r.fullLocked(want.principal); limit != "" {
		r.observer.Limited(limit)
		return errSessions
	}
	return nil
}

// makeLocked makes a new session.
func (r *registry) makeLocked(want claim, persists bool) *session {
	s := &session{id: want.id, principal: want.principal, own: want.own, registry: r}
	if r.keeper != nil && persists {
		r.incarnation++
		s.incarnation = r.incarnation
	}
	r.addLocked(s)
	return s
}

func (r *registry) addLocked(s *session) {
	r.sessions[s.id] = s
	if s.owner = r.owners[s.principal]; s.owner == nil {
		s.owner = new(owner)
		r.owners[s.principal] = s.owner
	}
	s.owner.sessions++
}

// fullLocked returns the limit that leaves no room for one more session of a principal, or "".
func (r *registry) fullLocked(principal string) string {
	owner := r.owners[principal]
	switch {
	case len(r.sessions) >= r.limits.sessions:
		return LimitSessions
	case owner != nil && owner.sessions >= r.limits.sessionsOf(principal):
		return LimitPerPrincipal
	}
	return ""
}

// sessionsOf returns how many sessions a principal may have.
func (l *limits) sessionsOf(principal string) int {
	switch {
	case l.perPrincipal > 0:
		return min(l.perPrincipal, l.sessions)
	case principal == bank.AnonymousPrincipal:
		return l.sessions
	}
	return max(1, l.sessions/ownShare)
}

// waitingOf returns how many replies may wait for a principal: the part of all that it may have of the sessions, and no less than
// for one of them.
func (l *limits) waitingOf(principal string) int64 {
	return max(l.waitingAll*int64(l.sessionsOf(principal))/int64(l.sessions), int64(l.waiting))
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
	if expiry <= 0 {
		r.forgetLocked(s, func(error) {})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link.expiry = expiry
	s.detachLocked(r.now().Add(expiry), true)
	if s.incarnation != 0 {
		r.append(appendNumbered(nil, recordAcked, s, s.ackedLocked()), nil)
		r.append(s.appendLinkLocked(nil), nil)
	}
}

// giveBack undoes that a connection took s, which it found as before tells: a CONNECT that is refused changes nothing.
func (r *registry) giveBack(s *session, before link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detachLocked(before.expires, before.persists)
	s.link.expiry = before.expiry
	if s.incarnation != 0 {
		r.append(s.appendLinkLocked(nil), nil)
	}
}

// expiredLocked reports whether s, which no connection has, is past its time.
func (r *registry) expiredLocked(s *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !r.now().Before(s.link.expires)
}

// forgetLocked throws away a session whose connection, if it had one, has ended. What the bank still answers for it finds
// nobody. Of a session that was kept that is one record, and durable is called once it cannot come back; else it is none.
func (r *registry) forgetLocked(s *session, durable func(error)) (records int) {
	if r.sessions[s.id] == s {
		delete(r.sessions, s.id)
		if s.owner.sessions--; s.owner.sessions == 0 {
			delete(r.owners, s.principal)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detachLocked(time.Time{}, false)
	if s.incarnation == 0 {
		return 0
	}
	r.endLocked(s.id, s.incarnation, durable)
	return 1
}

// endLocked writes down that a session has ended.
func (r *registry) endLocked(id string, incarnation uint64, durable func(error)) {
	if !slices.Contains(r.unended[id], incarnation) {
		r.unended[id] = append(r.unended[id], incarnation)
	}
	r.append(binary.AppendUvarint([]byte{recordEnd}, incarnation), func(err error) {
		if err == nil {
			r.forgive(map[string][]uint64{id: {incarnation}})
		}
		durable(err)
	})
}

// pendingEnds returns the ends that are not kept. A checkpoint that begins now makes up for them: see [registry.forgive].
func (r *registry) pendingEnds() map[string][]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := make(map[string][]uint64, len(r.unended))
	for id, incarnations := range r.unended {
		ends[id] = slices.Clone(incarnations)
	}
	return ends
}

// forgive drops ends that are on stable storage now.
func (r *registry) forgive(ends map[string][]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, incarnations := range ends {
		left := slices.DeleteFunc(r.unended[id], func(incarnation uint64) bool { return slices.Contains(incarnations, incarnation) })
		if r.unended[id] = left; len(left) == 0 {
			delete(r.unended, id)
		}
	}
}

// sweep throws away the sessions that have expired.
func (r *registry) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked()
}

func (r *registry) sweepLocked() {
	r.swept = r.now()
	for _, s := range r.sessions {
		if s.connection() == nil && r.expiredLocked(s) {
			r.forgetLocked(s, func(error) {}) // until that is durable, a power cut may make it one that was connected
		}
	}
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// reserve counts one more owed reply to a session, or returns the limit that leaves no room.
func (r *registry) reserve(s *session) (limit string) {
	switch {
	case r.waiting.Add(1) > r.limits.waitingAll:
		limit = LimitWaitingAll
	case s.owner.waiting.Add(1) <= r.limits.waitingOf(s.principal):
		return ""
	default:
		s.owner.waiting.Add(-1)
		limit = LimitWaitingOwn
	}
	r.waiting.Add(-1)
	return limit
}

func (r *registry) release(s *session) {
	r.waiting.Add(-1)
	s.owner.waiting.Add(-1)
}

func (r *registry) observe(reply *bank.Reply, began time.Time) {
	r.observer.Operation(reply.Kind, reply.Code, time.Since(began))
}
