package access

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"

	"gateway/bank"
)

// Observer is told what was refused. Its methods are called by many goroutines and must be quick.
type Observer interface {
	// Login reports a try to log in. user is what the client says: anything.
	Login(from netip.Addr, user string, outcome Outcome)
	// Refused reports an operation that its principal may not do, or not so often.
	Refused(op bank.Operation, code bank.Code)
}

// Options are the choices of a [Registry]. The zero value lets nobody act without credentials, and as often as it likes.
type Options struct {
	// Anonymous lets [bank.AnonymousPrincipal] do everything. The doors see to it where a client may be that.
	Anonymous bool
	// Rate bounds the operations of each principal, in operations per second; 0 is no limit.
	Rate int
	// Burst is how many it may ask for at once after it was silent. Default: BurstSeconds times Rate.
	Burst    int
	Observer Observer
	Logins   Logins
}

// BurstSeconds is how many seconds' worth of operations may come at once, when Options.Burst does not say.
const BurstSeconds = 2

// allowance is how often a principal may still ask. It outlives a reload.
type allowance = rate.Limiter

// Registry is who there is. Any goroutine may call its methods.
type Registry struct {
	options Options
	known   atomic.Pointer[directory]
	cacheBy [32]byte // the key of the cache's fingerprints
	logins  logins
}

// directory is the principals at one time. It does not change.
type directory struct {
	principals   map[string]*principal
	certificates map[string]*principal // by lower-case DNS name, or URI
	nobody       *secret               // what unknown users are checked against
}

// New returns a registry of users. Their names, and their certificates, are each one's own.
func New(users []User, o Options) (*Registry, error) {
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Burst <= 0 {
		o.Burst = BurstSeconds * o.Rate
	}
	r := &Registry{options: o}
	r.logins.init(o.Logins)
	rand.Read(r.cacheBy[:]) // never fails: it ends the process instead
	r.known.Store(&directory{})
	_, err := r.Replace(users)
	return r, err
}

// Replace makes users the ones there are, at once and for all doors. It returns those who lost something by it: who are gone,
// who may do less, and whose credentials are others. After an error nothing has changed. One Replace may run at a time.
func (r *Registry) Replace(users []User) (lost map[string]bool, err error) {
	before := r.known.Load()
	now := &directory{principals: make(map[string]*principal), certificates: make(map[string]*principal)}
	if r.options.Anonymous {
		now.principals[bank.AnonymousPrincipal] = r.anonymous(before)
	}
	for _, u := range users {
		if err := r.add(now, u, before.principals[u.Name]); err != nil {
			return nil, err
		}
	}
	now.nobody = now.dummy(users)
	lost = map[string]bool{}
	for name, old := range before.principals {
		if p := now.principals[name]; p == nil || !p.within(old) {
			lost[name] = true
		}
	}
	r.known.Store(now)
	return lost, nil
}

// anonymous returns the principal of everyone without credentials.
func (r *Registry) anonymous(before *directory) *principal {
	if p := before.principals[bank.AnonymousPrincipal]; p != nil {
		return p
	}
	p := &principal{User: User{Name: bank.AnonymousPrincipal}, everything: true, allowance: r.allowance()}
	for kind := bank.KindBalance; kind <= bank.KindStatus; kind++ {
		p.operations |= 1 << kind
	}
	return p
}

func (r *Registry) allowance() *allowance {
	if r.options.Rate <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.options.Rate), r.options.Burst)
}

// add makes u one of the principals; before is who had its name.
func (r *Registry) add(d *directory, u User, before *principal) error {
	p, err := newPrincipal(u)
	if err != nil {
		return fmt.Errorf("user %q: %w", u.Name, err)
	}
	if d.principals[u.Name] != nil || u.Name == "" || u.Name == bank.AnonymousPrincipal {
		return fmt.Errorf("access: %q cannot be one user's name", u.Name)
	}
	d.principals[u.Name] = p
	if p.allowance = r.allowance(); before != nil {
		p.allowance, p.right = before.allowance, before.right
	}
	if u.Certificate == "" {
		return nil
	}
	name := canonicalSAN(u.Certificate)
	if d.certificates[name] != nil {
		return fmt.Errorf("access: the certificate of user %q is another's", u.Name)
	}
	d.certificates[name] = p
	return nil
}

// dummy returns what the passwords of unknown users are checked against: as dear as the check of the first user that has one.
func (d *directory) dummy(users []User) *secret {
	for _, u := range users {
		if s := d.principals[u.Name].secret; s != nil {
			return s.dummy()
		}
	}
	usual := secret{memory: argonMemory, passes: argonPasses, threads: argonThreads}
	return usual.dummy()
}

// Authorize implements [bank.Authority].
func (r *Registry) Authorize(op bank.Operation) bank.Code {
	p := r.known.Load().principals[op.Principal]
	code := bank.OK
	switch {
	case p == nil:
		code = bank.Unauthorized
	case !p.may(&op):
		code = bank.Forbidden
	case p.allowance != nil && !p.allowance.Allow():
		code = bank.Overloaded
	}
	if code != bank.OK {
		r.options.Observer.Refused(op, code)
	}
	return code
}

// Certified returns the principal of a certificate that has been verified: the user whom one of its DNS names or URIs names.
// A certificate that names nobody, or two, is nobody's. The common name does not count.
func (r *Registry) Certified(certificate *x509.Certificate) (name string, ok bool) {
	d := r.known.Load()
	found := ""
	claim := func(san string) bool {
		p := d.certificates[canonicalSAN(san)]
		if p == nil || p.Name == found {
			return true
		}
		unclaimed := found == ""
		found = p.Name
		return unclaimed
	}
	for _, dns := range certificate.DNSNames {
		if !claim(dns) {
			return "", false
		}
	}
	for _, uri := range certificate.URIs {
		if !claim(uri.String()) {
			return "", false
		}
	}
	return found, found != ""
}

// canonicalSAN returns the form in which names of certificates are compared: DNS names are the same in either case, URIs are
// compared byte by byte.
func canonicalSAN(san string) string {
	if strings.Contains(san, ":") {
		return san
	}
	return strings.ToLower(san)
}

// Auditor reports whether a principal is an auditor.
func (r *Registry) Auditor(principal string) bool {
	p := r.known.Load().principals[principal]
	return p != nil && p.Auditor
}

// MayUse reports whether a principal may use an MQTT client id: a user those that its patterns name, and whoever is anonymous
// those that are not set apart for a user.
func (r *Registry) MayUse(principal, clientID string) bool {
	d := r.known.Load()
	p := d.principals[principal]
	if p == nil {
		return false
	}
	if principal != bank.AnonymousPrincipal {
		return p.uses(clientID)
	}
	for _, user := range d.principals {
		for _, pattern := range user.ClientIDs {
			if pattern != All && covers(pattern, clientID) {
				return false
			}
		}
	}
	return true
}

// Beginnings returns with what the client ids begin of which a user may use every one, in the order of the settings. Whoever is
// anonymous has none that are his own.
func (r *Registry) Beginnings(principal string) (all []string) {
	p := r.known.Load().principals[principal]
	if p == nil || principal == bank.AnonymousPrincipal {
		return nil
	}
	for _, pattern := range p.ClientIDs {
		if beginning, open := strings.CutSuffix(pattern, All); open {
			all = append(all, beginning)
		}
	}
	return all
}

// silent observes nothing.
type silent struct{}

func (silent) Login(netip.Addr, string, Outcome) {}
func (silent) Refused(bank.Operation, bank.Code) {}
