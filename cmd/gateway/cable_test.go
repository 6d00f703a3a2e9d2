package main

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// cableState is what becomes of the bytes on a cable.
type cableState int

const (
	cableWhole   cableState = iota // they are delivered
	cableHeld                      // they wait
	cableSlow                      // each part that is read waits for up to cableDelay
	cableHalving                   // half of a part is delivered, and the connection ends
	cableCut                       // connections end, and new ones too
)

const (
	// cableDelay is the longest that a slow cable keeps what it has read.
	cableDelay = 200 * time.Millisecond
	// cablePart is what a cable reads at once, in bytes: less than many answers together.
	cablePart = 512
)

// cable is the way from one client to a door: a listener whose connections go on to the door, as long as the cable is whole.
type cable struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu      sync.Mutex // guards all below
	random  *rand.Rand
	state   cableState
	changed chan struct{} // closed and replaced when state changes
	conns   map[net.Conn]struct{}
	over    bool
}

// layCable lays one that ends with the test.
func layCable(t *testing.T, to string, seed uint64) *cable {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{
		listener: ln, to: to, random: rand.New(rand.NewPCG(seed, 0)), changed: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	c.running.Go(c.serve)
	t.Cleanup(func() {
		c.mu.Lock()
		c.over = true
		c.mu.Unlock()
		_ = ln.Close()
		c.set(cableCut)
		c.running.Wait()
	})
	return c
}

func (c *cable) address() string { return c.listener.Addr().String() }

// set changes the state. A cut ends all connections.
func (c *cable) set(state cableState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = state
	close(c.changed)
	c.changed = make(chan struct{})
	if state == cableCut {
		for conn := range c.conns {
			_ = conn.Close()
		}
	}
}

// now returns the state, and what is closed when it changes.
func (c *cable) now() (cableState, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.changed
}

func (c *cable) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		if state, _ := c.now(); state == cableCut {
			_ = conn.Close()
			continue
		}
		door, err := net.DialTimeout("tcp", c.to, patience)
		if err != nil || !c.adopt(conn, door) {
			_ = conn.Close()
			continue
		}
		c.running.Go(func() { c.carry(door, conn) })
		c.running.Go(func() { c.carry(conn, door) })
	}
}

// adopt takes two ends in, unless the cable is gone.
func (c *cable) adopt(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range ends {
		if c.over {
			_ = end.Close()
		} else {
			c.conns[end] = struct{}{}
		}
	}
	return !c.over
}

// carry takes bytes from one end to the other, and ends both when either does.
func (c *cable) carry(to, from net.Conn) {
	defer func() {
		c.mu.Lock()
		delete(c.conns, to)
		delete(c.conns, from)
		c.mu.Unlock()
		_, _ = to.Close(), from.Close()
	}()
	part := make([]byte, cablePart)
	for {
		n, err := from.Read(part)
		if err != nil {
			return
		}
		state := c.pass()
		if state == cableHalving || state == cableCut {
			n /= 2
		}
		if _, err := to.Write(part[:n]); err != nil || state == cableHalving || state == cableCut {
			return
		}
	}
}

// pass returns when a part may go on, with the state in which it does.
func (c *cable) pass() cableState {
	for {
		state, changed := c.now()
		var ready <-chan time.Time
		switch state {
		case cableHeld:
		case cableSlow:
			c.mu.Lock()
			ready = time.After(time.Duration(c.random.Int64N(int64(cableDelay))))
			c.mu.Unlock()
		default:
			return state
		}
		select {
		case <-ready:
			return state
		case <-changed:
		}
	}
}

// TestACableDoesWhatItsStateSays sends through one in each state.
func TestACableDoesWhatItsStateSays(t *testing.T) {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	c := layCable(t, door.Addr().String(), 1)
	var near, far net.Conn
	open := func() {
		if near, err = net.Dial("tcp", c.address()); err != nil {
			t.Fatal(err)
		}
		if far, err = door.Accept(); err != nil {
			t.Fatal(err)
		}
		_ = far.SetDeadline(time.Now().Add(patience))
	}
	arrives := func(want int) {
		t.Helper()
		got := make([]byte, 8)
		if n, err := far.Read(got); n != want || (err != nil) != (want == 0) {
			t.Fatalf("%d bytes, %v, want %d", n, err, want)
		}
	}
	send := func() {
		if _, err := near.Write(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
	open()
	defer func() { _, _ = near.Close(), far.Close() }()
	send()
	arrives(8)
	c.set(cableHeld)
	send()
	_ = far.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	arrives(0)
	_ = far.SetReadDeadline(time.Now().Add(patience))
	c.set(cableSlow)
	arrives(8)
	c.set(cableHalving)
	send()
	arrives(4)
	arrives(0)
	c.set(cableWhole)
	open()
	c.set(cableCut)
	arrives(0)
}
