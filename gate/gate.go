// Package gate bounds the connections of all doors together, so that nobody can shut others out by opening many.
//
// A [Gate] gives a [Place] to each connection that enters, and another to what a connection opens that counts like one. A connection is unknown until it has shown who its client is. When a
// limit is reached, the unknown connection that has waited longest gives way to the new one, beginning with the address that
// has most of them: silent sockets make room for clients that speak, and who floods closes the flood's own. A connection that
// is known is never closed.
//
// Addresses are counted by [Network]: one subscriber has all of an IPv6 /64.
package gate

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Limits are the bounds of a [Gate], in connections. Zero is no bound, but for PerAddress.
type Limits struct {
	Connections int // in all
	// PerAddress bounds the connections of one address. Zero is a tenth of Connections, and no bound on loopback, where one
	// address is everybody.
	PerAddress int
	Unknown    int // whose client is not known yet
}

// The limits as a rejection names them.
const (
	LimitConnections = "connections"
	LimitPerAddress  = "connections_per_address"
	LimitUnknown     = "connections_unknown"
)

const (
	// grace is how long an unknown connection has at least, whoever comes meanwhile: a client on a network takes a few round
	// trips to say who it is. Only an address that alone holds more than half of a limit's places has no such time against
	// others, or its flood would keep everybody out for as long.
	grace = 100 * time.Millisecond
	// share is the part of Connections that one address may have when PerAddress is zero: one in so many.
	share = 10
	// networkBits is the length of an IPv6 network that counts as one address.
	networkBits = 64
)

// Gate counts connections. Any goroutine may use it, and nothing that it does takes longer when there are many.
type Gate struct {
	limits Limits

	mu        sync.Mutex // guards all below, and the places
	open      int
	unknown   int
	addresses map[netip.Addr]*address
	crowds    []*list.List // crowds[n] are the *address with n unknown connections, the one that has had so many longest first
	most      int          // the greatest n of a crowd that is not empty; 0: there is none
}

// address is a network that has connections.
type address struct {
	network netip.Addr
	open    int
	waiting list.List     // of *Place: those that are unknown, in the order they came
	crowd   *list.Element // in crowds[waiting.Len()]; nil: it has none
}

// Place is a connection's, from Enter until Leave.
type Place struct {
	gate    *Gate
	from    *address
	since   time.Time
	hangUp  func(limit string)
	waiting *list.Element // in from.waiting; nil: known, or left
	left    bool
}

// New returns a Gate without connections.
func New(limits Limits) *Gate {
	return &Gate{limits: limits, addresses: make(map[netip.Addr]*address), crowds: []*list.List{nil}}
}

// Network returns what counts as one address: an IPv4 address, or the /64 of an IPv6 one.
func Network(from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	if from.Is4() || !from.IsValid() || from.IsLoopback() {
		return from
	}
	prefix, _ := from.Prefix(networkBits) // an IPv6 address has so many
	return prefix.Addr()
}

// Enter takes a place for a connection from an address, or returns nil and the limit that leaves no room. When the place is
// wanted for another before its client is known, hangUp is called, at most once, with the limit that was reached: it ends the
// connection at once and does not block. Whoever got a place calls Leave at the end, also then.
func (g *Gate) Enter(from netip.Addr, hangUp func(limit string)) (p *Place, full string) {
	return g.enter(from, hangUp, false)
}

// EnterKnown takes a place for what a client opens besides its connection, who is known: nothing but Connections bounds it, and it
// is never wanted for another.
func (g *Gate) EnterKnown(from netip.Addr) (p *Place, full string) { return g.enter(from, nil, true) }

func (g *Gate) enter(from netip.Addr, hangUp func(limit string), known bool) (p *Place, full string) {
	now := time.Now()
	g.mu.Lock()
	away, limit, ok := g.makeRoomLocked(from, now, known)
	if ok {
		p = g.takeLocked(Network(from), now, hangUp)
		if known {
			g.settleLocked(p)
		}
	}
	g.mu.Unlock()
	if away != nil {
		away.hangUp(limit)
	}
	if !ok {
		return nil, limit
	}
	return p, ""
}

// Known says that the client is known: the connection keeps its place. It returns false when the place was given to another
// before; then nothing may be done for the client any more.
func (p *Place) Known() bool {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.settleLocked(p)
	return !p.left
}

// Leave gives the place back. It may be called again.
func (p *Place) Leave() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.leaveLocked(p)
}

// Open returns how many connections there are.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// Unknown returns how many of them are not known yet.
func (g *Gate) Unknown() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.unknown
}

// makeRoomLocked reports whether one more connection may enter. If another had to leave for it, that is away; limit is the one
// that was reached.
func (g *Gate) makeRoomLocked(from netip.Addr, now time.Time, known bool) (away *Place, limit string, ok bool) {
	network := Network(from)
	bound := 0
	switch a := g.addresses[network]; {
	case !known && a != nil && reached(a.open, g.perAddress(from)):
		return nil, LimitPerAddress, false
	case reached(g.open, g.limits.Connections):
		limit, bound = LimitConnections, g.limits.Connections
	case !known && reached(g.unknown, g.limits.Unknown):
		limit, bound = LimitUnknown, g.limits.Unknown
	default:
		return nil, "", true
	}
	if g.most == 0 {
		return nil, limit, false
	}
	crowd := g.crowds[g.most].Front().Value.(*address)
	longest := crowd.waiting.Front().Value.(*Place)
	hogging := 2*g.most > bound && crowd.network != network
	if now.Sub(longest.since) < grace && !hogging {
		return nil, limit, false
	}
	g.leaveLocked(longest)
	return longest, limit, true
}

func reached(n, limit int) bool { return limit > 0 && n >= limit }

// perAddress returns how many connections an address may have; 0: any number.
func (g *Gate) perAddress(from netip.Addr) int {
	if g.limits.PerAddress > 0 || g.limits.Connections == 0 || from.Unmap().IsLoopback() {
		return g.limits.PerAddress
	}
	return max(g.limits.Connections/share, 1)
}

func (g *Gate) takeLocked(network netip.Addr, now time.Time, hangUp func(limit string)) *Place {
	a := g.addresses[network]
	if a == nil {
		a = &address{network: network}
		g.addresses[network] = a
	}
	p := &Place{gate: g, from: a, since: now, hangUp: hangUp}
	p.waiting = a.waiting.PushBack(p)
	a.open++
	g.open++
	g.unknown++
	g.moveLocked(a, a.waiting.Len()-1)
	return p
}

// settleLocked takes p from those that wait.
func (g *Gate) settleLocked(p *Place) {
	if p.waiting == nil {
		return
	}
	p.from.waiting.Remove(p.waiting)
	p.waiting = nil
	g.unknown--
	g.moveLocked(p.from, p.from.waiting.Len()+1)
}

func (g *Gate) leaveLocked(p *Place) {
	if p.left {
		return
	}
	g.settleLocked(p)
	p.left = true
	g.open--
	if p.from.open--; p.from.open == 0 {
		delete(g.addresses, p.from.network)
	}
}

// moveLocked puts a into the crowd where it belongs, now that one more of its connections is unknown than before, or one less.
func (g *Gate) moveLocked(a *address, before int) {
	if before > 0 {
		g.crowds[before].Remove(a.crowd)
		a.crowd = nil
	}
	now := a.waiting.Len()
	if now == len(g.crowds) {
		g.crowds = append(g.crowds, list.New())
	}
	if now > 0 {
		a.crowd = g.crowds[now].PushBack(a)
	}
	if now > g.most || before == g.most && g.crowds[before].Len() == 0 {
		g.most = now
	}
}
