package gate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/gate"
)

// guest is a connection that entered.
type guest struct {
	*gate.Place
	ended string // the limit for which it was hung up
}

// enter returns the guest that got a place, and fails unless it is refused for full; "" is that it is not.
func enter(t *testing.T, g *gate.Gate, from, full string) *guest {
	t.Helper()
	v := new(guest)
	var refused string
	v.Place, refused = g.Enter(netip.MustParseAddr(from), func(limit string) { v.ended += limit })
	if refused != full || (v.Place == nil) != (full != "") {
		t.Fatalf("from %s: %q, want %q", from, refused, full)
	}
	return v
}

// wait lets time go by in a synctest bubble.
func wait(d time.Duration) { <-time.After(d) }

// long is more than a connection's time of grace.
const long = time.Second

func wantEnded(t *testing.T, limit string, guests ...*guest) {
	t.Helper()
	for i, v := range guests {
		if v.ended != limit {
			t.Errorf("number %d was hung up for %q, want %q", i, v.ended, limit)
		}
	}
}

func wantCounts(t *testing.T, g *gate.Gate, open, unknown int) {
	t.Helper()
	if g.Open() != open || g.Unknown() != unknown {
		t.Errorf("%d open and %d unknown, want %d and %d", g.Open(), g.Unknown(), open, unknown)
	}
}

func TestConnectionsInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Limits{Connections: 2})
		first, second := enter(t, g, "127.0.0.1", ""), enter(t, g, "10.0.0.1", "")
		if !first.Known() || !second.Known() {
			t.Fatal("not known")
		}
		wait(long)
		enter(t, g, "127.0.0.1", gate.LimitConnections)
		enter(t, g, "10.0.0.2", gate.LimitConnections)
		second.Leave()
		second.Leave() // again
		third := enter(t, g, "10.0.0.2", "")
		enter(t, g, "10.0.0.3", gate.LimitConnections) // within the third's time of grace
		wait(long)
		enter(t, g, "10.0.0.3", "")
		wantEnded(t, gate.LimitConnections, third)
		wantEnded(t, "", first, second)
		wantCounts(t, g, 2, 1)
	})
}

// What a client that is known opens besides counts among the connections, gives way to nobody, and is bounded by them alone.
func TestWhatAKnownClientOpensBesidesCountsAsAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Limits{Connections: 3, PerAddress: 1, Unknown: 1})
		from := netip.MustParseAddr("10.0.0.1")
		first := enter(t, g, "10.0.0.1", "")
		second, full := g.EnterKnown(from)
		if full != "" {
			t.Fatalf("the second place: %q", full)
		}
		wantCounts(t, g, 2, 1)
		if !first.Known() {
			t.Fatal("not known")
		}
		stranger := enter(t, g, "10.0.0.2", "")
		wait(long)
		enter(t, g, "10.0.0.3", "") // the stranger gives way, not the second place
		wantEnded(t, gate.LimitConnections, stranger)
		wantCounts(t, g, 3, 1)
		wait(long)
		if _, full := g.EnterKnown(from); full != "" { // now the other stranger
			t.Fatalf("the third place: %q", full)
		}
		wantCounts(t, g, 3, 0)
		if _, full := g.EnterKnown(from); full != gate.LimitConnections {
			t.Errorf("a fourth of three places: %q", full)
		}
		second.Leave()
		if _, full := g.EnterKnown(from); full != "" {
			t.Errorf("the place that was given back: %q", full)
		}
	})
}

func TestConnectionsOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			limits gate.Limits
			from   string
			others string // as well counted as one
			bound  int    // 0: none
		}{
			{gate.Limits{PerAddress: 3}, "10.0.0.1", "::ffff:10.0.0.1", 3},
			{gate.Limits{PerAddress: 3}, "127.0.0.1", "127.0.0.1", 3},
			{gate.Limits{PerAddress: 3}, "2001:db8::1", "2001:db8::ffff:0:0:1", 3},
			{gate.Limits{PerAddress: 3}, "fe80::1%eth0", "fe80::2%eth1", 3},
			{gate.Limits{Connections: 40}, "10.0.0.1", "10.0.0.1", 4},
			{gate.Limits{Connections: 3}, "10.0.0.1", "10.0.0.1", 1},
			{gate.Limits{Connections: 40}, "127.0.0.1", "127.0.0.1", 0},
			{gate.Limits{Connections: 40}, "::1", "::1", 0},
			{gate.Limits{Connections: 40}, "::ffff:127.0.0.1", "127.0.0.1", 0},
			{gate.Limits{}, "10.0.0.1", "10.0.0.1", 0},
		} {
			g := gate.New(c.limits)
			if c.bound == 0 {
				for range 40 {
					enter(t, g, c.from, "")
				}
				continue
			}
			last := enter(t, g, c.from, "")
			for range c.bound - 1 {
				last = enter(t, g, c.others, "")
			}
			wait(long) // nobody gives way to a neighbour
			enter(t, g, c.from, gate.LimitPerAddress)
			enter(t, g, c.others, gate.LimitPerAddress)
			enter(t, g, "192.0.2.1", "")
			enter(t, g, "2001:db8:0:1::1", "")
			last.Known()
			enter(t, g, c.others, gate.LimitPerAddress)
			last.Leave()
			enter(t, g, c.others, "")
		}
	})
}

func TestTheOneThatWaitedLongestOfTheAddressThatHasMostGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Limits{Unknown: 6})
		one := enter(t, g, "10.0.0.1", "")
		var two, three []*guest
		for range 2 {
			two = append(two, enter(t, g, "10.0.0.2", ""))
		}
		for range 3 {
			three = append(three, enter(t, g, "10.0.0.3", ""))
		}
		enter(t, g, "10.0.0.4", gate.LimitUnknown) // all are too young
		wait(long)
		enter(t, g, "10.0.0.4", "")
		wantEnded(t, gate.LimitUnknown, three[0])
		enter(t, g, "10.0.0.5", "") // the two addresses have as many now: the second has had so many longer
		wantEnded(t, gate.LimitUnknown, two[0])
		enter(t, g, "10.0.0.6", "")
		wantEnded(t, gate.LimitUnknown, three[1])
		wantEnded(t, "", one, two[1], three[2])
		if three[0].Known() || !one.Known() {
			t.Error("who gave way is not known any more, and who waits becomes so")
		}
		three[0].Leave()
		wantCounts(t, g, 6, 5)
	})
}

func TestAFloodOfOneAddressGivesWayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Limits{Unknown: 8})
		var flood, honest []*guest
		for range 8 {
			flood = append(flood, enter(t, g, "127.0.0.2", ""))
		}
		enter(t, g, "127.0.0.2", gate.LimitUnknown)
		for i := range 4 {
			honest = append(honest, enter(t, g, "127.0.0.1", ""))
			wantEnded(t, gate.LimitUnknown, flood[i])
		}
		enter(t, g, "127.0.0.1", gate.LimitUnknown) // half of the places are left to the others for their time
		wantEnded(t, "", flood[4:]...)
		wantEnded(t, "", honest...)
		for _, v := range honest {
			v.Known()
		}
		for range 4 {
			enter(t, g, "127.0.0.2", "") // what is known is not counted
		}
		enter(t, g, "127.0.0.2", gate.LimitUnknown)
		wait(long)
		enter(t, g, "127.0.0.2", "")
		wantEnded(t, gate.LimitUnknown, flood[4])
		wantEnded(t, "", honest...)
	})
}

// TestAnyHistory compares a gate with a list of its guests, which is searched.
func TestAnyHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			limits := gate.Limits{Connections: 5 + random.IntN(20), PerAddress: 1 + random.IntN(10), Unknown: 1 + random.IntN(10)}
			g := gate.New(limits)
			guests := make(map[*guest]string) // → address, of those that have a place
			known := make(map[*guest]bool)
			for range 500 {
				wait(time.Duration(random.IntN(50)) * time.Millisecond)
				for v, from := range guests {
					if v.ended != "" && known[v] {
						t.Fatalf("one that was known was hung up, from %s", from)
					}
					if v.ended != "" {
						delete(guests, v)
						v.Leave()
					} else if random.IntN(8) == 0 {
						known[v] = v.Known()
					} else if random.IntN(8) == 0 {
						delete(guests, v)
						v.Leave()
					}
				}
				v, from := new(guest), fmt.Sprint("10.0.0.", random.IntN(4))
				crowd := make(map[string]int)
				for other, address := range guests {
					if !known[other] {
						crowd[address]++
					}
				}
				v.Place, _ = g.Enter(netip.MustParseAddr(from), func(limit string) { v.ended = limit })
				if v.Place != nil {
					guests[v] = from
				}
				for other, address := range guests {
					for _, n := range crowd {
						if other.ended != "" && n > crowd[address] {
							t.Fatalf("%s gave way with %d unknown, and another has %d", address, crowd[address], n)
						}
					}
				}
				check(t, g, limits, guests, known)
			}
		}
	})
}

// check counts what has a place.
func check(t *testing.T, g *gate.Gate, limits gate.Limits, guests map[*guest]string, known map[*guest]bool) {
	open, unknown, of := 0, 0, make(map[string]int)
	for v, from := range guests {
		if v.ended != "" {
			continue
		}
		open++
		of[from]++
		if !known[v] {
			unknown++
		}
	}
	if g.Open() != open || g.Unknown() != unknown || open > limits.Connections || unknown > limits.Unknown {
		t.Fatalf("%d open and %d unknown of %+v; counted %d and %d", g.Open(), g.Unknown(), limits, open, unknown)
	}
	for from, n := range of {
		if n > limits.PerAddress {
			t.Fatalf("%d from %s of %+v", n, from, limits)
		}
	}
}

func TestManyGoroutinesMayUseAGate(t *testing.T) {
	g := gate.New(gate.Limits{Connections: 64, PerAddress: 48, Unknown: 16})
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			from := netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 4)})
			for range 2000 {
				hungUp := make(chan string, 1)
				if p, _ := g.Enter(from, func(limit string) { hungUp <- limit }); p != nil {
					if !p.Known() && len(hungUp) > 1 {
						t.Error("hung up twice")
					}
					p.Leave()
				}
			}
		})
	}
	running.Wait()
	wantCounts(t, g, 0, 0)
}

func BenchmarkEnter(b *testing.B) {
	g := gate.New(gate.Limits{Connections: 10_000, Unknown: 1024})
	from := netip.MustParseAddr("10.0.0.1")
	for b.Loop() {
		p, _ := g.Enter(from, func(string) {})
		p.Known()
		p.Leave()
	}
}
