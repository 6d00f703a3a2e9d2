package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gateway/gate"
)

// Logins bounds what logging in may cost. Zero values are replaced by the defaults.
type Logins struct {
	// Checks is how many passwords are checked at once.
	Checks int
	// Waiting is how many more may wait for that.
	Waiting int
	// Remembered is how many pairs of an address and a user the failures are remembered of; the oldest are forgotten.
	Remembered int
}

// The defaults of [Logins].
const (
	DefaultChecks     = 2
	DefaultWaiting    = 4096
	DefaultRemembered = 65536
)

const (
	// freeFailures is how many times in a row an address may fail as a user before it has to wait. Each of them is answered
	// later than the one before.
	freeFailures = 5
	firstHold    = 100 * time.Millisecond // before the first failure is answered; doubles
	firstDelay   = 2 * time.Second        // after the last free failure, until the next try is looked at; doubles
	longestDelay = time.Minute
	// forgiveAfter is how long after the last failure all are forgotten. Success forgets them at once.
	forgiveAfter = 15 * time.Minute
	// addressFailures is how many failures an address has, as whatever users, before it has to wait for one more:
	// addressRefill.
	addressFailures = 60
	addressRefill   = 3 * time.Second
	// knownFor is how long a password that was right is known without a check.
	knownFor = time.Hour
)

// Outcome is how a try to log in ended. It is a metric's label.
type Outcome string

// The outcomes.
const (
	LoggedIn Outcome = "ok"
	Wrong    Outcome = "wrong"   // the user or the password
	Delayed  Outcome = "delayed" // not looked at: too many failures before
	Busy     Outcome = "busy"    // not looked at: too many checks wait
)

var (
	// ErrWrong says that the user or the password is wrong.
	ErrWrong = errors.New("access: the user name or the password is wrong")
	// ErrDelayed says that the try was not looked at, because too many before it were wrong.
	ErrDelayed = errors.New("access: too many failures; try again in a minute")
	// ErrBusy says that the try was not looked at, because too many others wait.
	ErrBusy = errors.New("access: too many logins at once; try again")
)

// logins is what the registry keeps of tries to log in.
type logins struct {
	slots slots

	mu        sync.Mutex // guards all below
	tries     shelf[pair, *try]
	addresses shelf[netip.Addr, *budget]
}

// pair is who tries from where: failures from elsewhere, or as another, are not held against it.
type pair struct {
	from netip.Addr
	user string
}

// try is the failures of a pair in a row.
type try struct {
	turn chan struct{} // holds a token while one of the pair is looked at: more at once would get round the count

	mu       sync.Mutex // guards all below
	failures int
	until    time.Time // before then none is looked at
	last     time.Time // when it failed last
}

// budget is the failures that an address has left.
type budget struct {
	failures float64 // used
	at       time.Time
}

func (l *logins) init(o Logins) {
	if o.Checks <= 0 {
		o.Checks = DefaultChecks
	}
	if o.Waiting <= 0 {
		o.Waiting = DefaultWaiting
	}
	if o.Remembered <= 0 {
		o.Remembered = DefaultRemembered
	}
	l.slots.init(o.Checks, o.Waiting)
	l.tries = newShelf[pair, *try](o.Remembered)
	l.addresses = newShelf[netip.Addr, *budget](o.Remembered)
}

// Login returns the principal that user and password are, or [ErrWrong], [ErrDelayed] or [ErrBusy]. It may take seconds: a
// failure is answered late, and checks wait for one another. The end of ctx ends that with [ErrBusy].
func (r *Registry) Login(ctx context.Context, from netip.Addr, user string, password []byte) (principal string, err error) {
	outcome, err := r.login(ctx, gate.Network(from), user, password)
	r.options.Observer.Login(from, user, outcome)
	if err != nil {
		return "", err
	}
	return user, nil
}

func (r *Registry) login(ctx context.Context, from netip.Addr, user string, password []byte) (Outcome, error) {
	t := r.logins.try(pair{from, bounded(user)})
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return Busy, ErrBusy
	}
	if t.delayed(time.Now()) {
		return Delayed, ErrDelayed
	}
	p, known := r.known.Load().principals[user], false
	if p != nil && p.secret != nil {
		known = p.remembers(r.fingerprint(p, password), time.Now())
	}
	if !known {
		right, err := r.check(ctx, from, p, password)
		switch {
		case errors.Is(err, ErrDelayed):
			t.fail(time.Now()) // or what is remembered could be guessed at without end
			return Delayed, err
		case err != nil:
			return Busy, err
		case !right:
			hold(ctx, t.fail(time.Now()))
			return Wrong, ErrWrong
		}
	}
	// The users may be others by now.
	if now := r.known.Load().principals[user]; now == nil || now.Hash != p.Hash {
		return Wrong, ErrWrong
	}
	t.succeed()
	return LoggedIn, nil
}

// check looks whether password is p's, which is nil when there is no such user. It takes as long then.
func (r *Registry) check(ctx context.Context, from netip.Addr, p *principal, password []byte) (right bool, err error) {
	if !r.logins.spend(from, time.Now()) {
		return false, ErrDelayed
	}
	if err := r.logins.slots.enter(ctx, from); err != nil {
		r.logins.giveBack(from)
		return false, err
	}
	secret := r.known.Load().nobody
	if p != nil && p.secret != nil {
		secret = p.secret
	}
	right = secret.matches(password[:min(len(password), MaxPasswordBytes)]) && len(password) <= MaxPasswordBytes
	r.logins.slots.leave()
	if right = right && p != nil && secret == p.secret; right {
		r.logins.giveBack(from)
		p.remember(r.fingerprint(p, password), time.Now())
	}
	return right, nil
}

// hold waits, but no longer than ctx.
func hold(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// try returns what is remembered of a pair.
func (l *logins) try(who pair) *try {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tries.get(who, func() *try { return &try{turn: make(chan struct{}, 1)} })
}

// delayed reports whether a try now must not be looked at.
func (t *try) delayed(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last) > forgiveAfter {
		t.failures = 0
	}
	return now.Before(t.until)
}

// fail counts a failure and returns how long its answer is to be held.
func (t *try) fail(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = now
	t.failures++
	if t.failures < freeFailures {
		return firstHold << (t.failures - 1)
	}
	t.until = now.Add(min(firstDelay<<min(t.failures-freeFailures, 16), longestDelay))
	return firstHold << (freeFailures - 2)
}

func (t *try) succeed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures, t.until = 0, time.Time{}
}

// spend takes one of the failures that an address has, or reports that there is none left. What succeeds gives it back.
func (l *logins) spend(from netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.addresses.get(from, func() *budget { return new(budget) })
	b.failures = max(0, b.failures-float64(now.Sub(b.at))/float64(addressRefill))
	b.at = now
	if b.failures > addressFailures-1 {
		return false
	}
	b.failures++
	return true
}

func (l *logins) giveBack(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.addresses.get(from, func() *budget { return new(budget) })
	b.failures = max(0, b.failures-1)
}

// recent is a password that was right: a keyed fingerprint of it, and until when it is known.
type recent struct {
	fingerprint [sha256.Size]byte
	until       time.Time
}

// lastRight is the password of a principal that was right last. It is kept in memory only, as a fingerprint under a key that
// dies with the process.
type lastRight = atomic.Pointer[recent]

// fingerprint is of a password and the hash that it goes with, so that a change of either makes another.
func (r *Registry) fingerprint(p *principal, password []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, r.cacheBy[:])
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(p.Hash)))
	mac.Write(size[:])
	mac.Write([]byte(p.Hash))
	mac.Write(password)
	return [sha256.Size]byte(mac.Sum(nil))
}

func (p *principal) remember(fingerprint [sha256.Size]byte, now time.Time) {
	p.right.Store(&recent{fingerprint, now.Add(knownFor)})
}

// remembers reports whether that was right a while ago.
func (p *principal) remembers(fingerprint [sha256.Size]byte, now time.Time) bool {
	last := p.right.Load()
	return last != nil && subtle.ConstantTimeCompare(last.fingerprint[:], fingerprint[:]) == 1 && now.Before(last.until)
}

// bounded returns a user name as it is remembered: what is too long to be one is not kept whole.
func bounded(user string) string {
	const longest = 64 // bytes
	if len(user) > longest {
		sum := sha256.Sum256([]byte(user))
		return string(sum[:])
	}
	return user
}
