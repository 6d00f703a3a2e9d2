package simulation

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// link is a connection between a device and the MQTT door. What either side sends is in flight until the driver delivers it,
// and lost when the link is cut. As a net.Conn it is the gateway's side.
type link struct {
	serial int

	// What is the driver's alone.
	outgoing []outgoing // of the device, in flight
	incoming []packet   // to the device, in flight
	reading  reader     // cuts what the gateway wrote into packets
	left     bool       // the device has gone, whether the gateway knows or not
	window   int        // how many replies the device takes before it acknowledges them; 0: it has not said
	sent     int        // replies of QoS 1 that the gateway has sent and heard no acknowledgement of

	mu       sync.Mutex // guards all below
	changed  *sync.Cond
	arrived  []byte // for the gateway to read
	written  []byte // by the gateway, not seen by the driver yet
	ended    error  // of the gateway's reads, once arrived is read
	closed   bool   // by the gateway
	silent   bool   // the gateway will write no more
	severed  bool   // what it writes is lost
	deadline time.Time
	alarm    *time.Timer
}

// outgoing is a packet of a device's.
type outgoing struct {
	bytes []byte
	from  int // how many have arrived
}

func newLink(serial int) *link {
	l := &link{serial: serial}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// Read implements net.Conn.
func (l *link) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return 0, net.ErrClosed
		case len(l.arrived) > 0:
			n := copy(b, l.arrived)
			l.arrived = l.arrived[n:]
			return n, nil
		case l.ended != nil:
			return 0, l.ended
		case !l.deadline.IsZero() && !time.Now().Before(l.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		l.changed.Wait()
	}
}

// Write implements net.Conn. It never blocks.
func (l *link) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.silent {
		return 0, net.ErrClosed
	}
	if !l.severed {
		l.written = append(l.written, b...)
	}
	return len(b), nil
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.alarm != nil {
		l.alarm.Stop()
	}
	l.changed.Broadcast()
	return nil
}

// CloseWrite says that the gateway will write no more.
func (l *link) CloseWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
	return nil
}

// SetReadDeadline implements net.Conn.
func (l *link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = t
	if l.closed {
		return net.ErrClosed
	}
	if l.alarm == nil {
		l.alarm = time.AfterFunc(time.Until(t), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.changed.Broadcast()
		})
	} else {
		l.alarm.Reset(time.Until(t))
	}
	return nil
}

// SetWriteDeadline and SetDeadline complete net.Conn.
func (l *link) SetWriteDeadline(time.Time) error { return nil }
func (l *link) SetDeadline(t time.Time) error    { return l.SetReadDeadline(t) }

// LocalAddr and RemoteAddr are on loopback, where clients may be anonymous.
func (l *link) LocalAddr() net.Addr  { return home(1883) }
func (l *link) RemoteAddr() net.Addr { return home(10000 + l.serial) }

func home(port int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

// arrive delivers the next n bytes of the first packet in flight to the gateway.
func (l *link) arrive(n int) {
	first := &l.outgoing[0]
	l.mu.Lock()
	l.arrived = append(l.arrived, first.bytes[first.from:first.from+n]...)
	l.mu.Unlock()
	if first.from += n; first.from == len(first.bytes) {
		l.outgoing = l.outgoing[1:]
	}
	l.changed.Broadcast()
}

// end makes the gateway's side find out that the device is gone.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.severed = io.EOF, true
	l.changed.Broadcast()
}

// collect returns what the gateway has written since the last call, and whether it has ended the connection.
func (l *link) collect() (bytes []byte, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes, l.written = l.written, nil
	return bytes, l.closed || l.silent
}

// isClosed reports whether the gateway has closed its side.
func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// door is the listener of a process.
type door struct {
	calls chan net.Conn
	ctx   context.Context
	stop  context.CancelFunc
}

func newDoor() *door {
	d := &door{calls: make(chan net.Conn, 64)}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case <-d.ctx.Done():
		return nil, net.ErrClosed
	case conn := <-d.calls:
		return conn, nil
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.stop()
	return nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return home(1883) }

// call connects, unless nobody listens any more.
func (d *door) call(l *link) error {
	if d.ctx.Err() != nil {
		return errors.New("simulation: connection refused")
	}
	d.calls <- l
	return nil
}
