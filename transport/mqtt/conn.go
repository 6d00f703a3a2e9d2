package mqtt

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// conn is one client's connection, as mochi sees it: a net.Conn whose Read gives whole packets that mochi is to deal with.
// The others it deals with itself, on the goroutine that reads.
type conn struct {
	server  *Server
	wire    net.Conn
	visitor *visitor // whose packets these are
	peer    netip.AddrPort
	serial  uint64 // no other connection has it
	// certificate is the one that the client has shown and an authority of the listener's has signed, or nil. It is there
	// before the CONNECT.
	certificate *x509.Certificate
	principal   string // who the client is, once it is known, and
	id          string // its client id; both are guarded by server.mu until the session is there

	// ctx ends with the connection; detached is closed when its session, if it had one, is free again.
	ctx      context.Context
	cancel   context.CancelFunc
	detached chan struct{}

	// Only the reading goroutine uses these.
	buffer  []byte
	start   int // buffer[start:end] is read and not cut yet
	end     int
	passing []byte // of the packet that mochi reads
	greeted bool   // a CONNECT came
	fresh   bool   // a whole packet came since the deadline was set
	filters int    // of a SUBSCRIBE, that mochi has asked about
	brimful bool   // the last read left no room: more is there than the buffer takes
	reads   moving // the deadline of reads

	// Set when the CONNECT is accepted.
	session   *session
	present   bool // the session was there before
	level     byte // 3, 4 or 5
	window    int  // QoS 1 replies on their way at once
	maxPacket int  // bytes that the client takes
	silence   time.Duration
	expiry    time.Duration // of the session, after the connection
	asked     uint32        // the expiry, in seconds, that a client of MQTT 5 asked for
	ended     bool          // mochi is done with it
	heads     headFeed      // of an auditor

	places chan struct{} // one for each packet that is to be answered and is not
	awake  chan struct{} // holds a token when there may be something to write
	writer sync.WaitGroup
	ear    atomic.Pointer[ear] // of an auditor

	closing  atomic.Bool
	parting  atomic.Bool // disconnect was called: the session is let go, and then linger ends the connection
	flushing sync.Mutex  // one batch is collected and written at a time; taken before writing
	writing  sync.Mutex  // one packet, or one batch, at a time
	writes   moving      // the deadline of writes; guarded by writing
	hungUp   sync.Once
	bound    *time.Timer // closes wire when it has lingered for farewellTime; set before parting, and not at a stop
	arriving atomic.Bool // its CONNECT is being looked at, or has been
	accepted atomic.Bool // CONNACK said yes
}

func newConn(s *Server, wire net.Conn, v *visitor) *conn {
	c := &conn{
		server: s, wire: wire, visitor: v, peer: v.peer, serial: s.serials.Add(1), detached: make(chan struct{}),
		buffer: make([]byte, firstBuffer), places: make(chan struct{}, s.options.InFlight), awake: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Read gives mochi the next bytes of a packet that is its to deal with. Only mochi's reading goroutine calls it.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.passing) == 0 {
		packet, err := c.next()
		if err == nil {
			err = c.take(&packet)
		}
		if err != nil {
			return 0, c.giveUp(err)
		}
	}
	n := copy(p, c.passing)
	c.passing = c.passing[n:]
	return n, nil
}

// take deals with a packet, or passes it on.
func (c *conn) take(p *packet) error {
	if c.session == nil {
		if c.greeted || p.kind() != packets.Connect {
			return protocolError // [MQTT-3.1.0-1]
		}
		c.greeted = true
		return c.greet(p)
	}
	err := p.checkHeader(c.level)
	if err != nil {
		return err
	}
	switch p.kind() {
	case packets.Publish:
		return c.publish(p)
	case packets.Puback:
		id, err := checkAck(p, c.level)
		if err == nil {
			c.session.delivered(c, id)
		}
		return err
	case packets.Pubrel:
		id, err := checkAck(p, c.level)
		if err == nil && c.hold() {
			c.session.released(c, id)
		}
		return err
	case packets.Subscribe:
		c.filters = 0
		err = checkSubscribe(p, c.level)
	case packets.Unsubscribe:
		err = checkUnsubscribe(p, c.level)
	case packets.Pingreq:
		err = checkPing(p)
	case packets.Disconnect:
		return c.bye(p)
	default:
		// A server's packet, a second CONNECT, or one about a QoS 2 message or an authentication that never was.
		return protocolError // [MQTT-3.1.0-2], [MQTT-4.12.0-7]
	}
	if err == nil {
		c.passing = p.all
	}
	return err
}

// greet passes a CONNECT on, or answers what is wrong with it.
func (c *conn) greet(p *packet) error {
	level, why := checkConnect(p)
	if why == success {
		c.passing = p.all
		return nil
	}
	if refusal := appendRefusal(nil, level, why); refusal != nil {
		c.Write(refusal)
	}
	return why
}

// bye takes a DISCONNECT in and tells mochi no more of it than that.
func (c *conn) bye(p *packet) error {
	expiry, given, err := checkDisconnect(p, c.level)
	if err != nil {
		return err
	}
	if given {
		asked := min(time.Duration(expiry)*time.Second, maxExpiry)
		if asked > 0 && c.expiry == 0 {
			return protocolError // section 3.14.2.2.2
		}
		c.expiry = asked
	}
	c.passing = []byte{packets.Disconnect << 4, 0}
	return nil
}

// next reads one packet.
func (c *conn) next() (packet, error) {
	for {
		p, err := cut(c.buffer[c.start:c.end], c.server.options.Message)
		if err == nil {
			c.start += len(p.all)
			c.fresh = true
			return p, nil
		}
		if err != errIncomplete {
			return packet{}, err
		}
		if err := c.fill(); err != nil {
			return packet{}, err
		}
	}
}

// fill reads more bytes behind those that are there.
func (c *conn) fill() error {
	if c.start > 0 {
		c.end = copy(c.buffer, c.buffer[c.start:c.end])
		c.start = 0
	}
	if c.end == len(c.buffer) || c.brimful && len(c.buffer) < c.server.options.Message {
		c.buffer = append(c.buffer, make([]byte, len(c.buffer))...)
	}
	if c.fresh && c.session != nil {
		// Bytes that make no packet do not prolong the silence.
		c.fresh = false
		if err := c.reads.move(c.silence, c.wire.SetReadDeadline); err != nil {
			return err
		}
	}
	if c.parting.Load() { // whose deadline may have been moved just now
		return net.ErrClosed
	}
	n, err := c.wire.Read(c.buffer[c.end:])
	c.end += n
	c.brimful = c.end == len(c.buffer)
	if n > 0 {
		return nil
	}
	if c.parting.Load() {
		return net.ErrClosed
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return keepAliveTimeout
	}
	return err
}

// giveUp ends the connection from the reading side and returns what mochi is told.
func (c *conn) giveUp(err error) error {
	why, ours := err.(reason)
	c.countLimit(why)
	switch {
	case !ours:
	case c.session == nil && why == keepAliveTimeout:
		c.server.reject(c.peer, RejectedTimeout)
	case c.session == nil && c.greeted:
		c.server.rejectFor(c.peer, RejectedConnect, why)
		c.farewell(why)
	case why == keepAliveTimeout: // a client that went without a word: nothing was wrong with what it sent
		c.farewell(why)
	default:
		c.server.rejectFor(c.peer, RejectedPacket, why)
		c.farewell(why)
	}
	c.hangUp()
	return err
}

// countLimit counts the limit that ends the connection, if it is one.
func (c *conn) countLimit(why reason) {
	switch limited := c.server.options.Observer.Limited; {
	case why == packetTooLarge:
		limited(LimitMessage)
	case why == receiveMaximum:
		limited(LimitInFlight)
	case why == quotaExceeded && c.session != nil:
		limited(LimitUnreleased)
	case why == keepAliveTimeout && c.session != nil:
		limited(LimitIdleTimeout)
	}
}

// farewell tells the client why the connection ends and lets it take the packet: closing a socket with bytes unread would
// destroy it. Only the reading goroutine calls it.
func (c *conn) farewell(why reason) {
	if c.accepted.Load() {
		c.flush()
	}
	c.say(why)
	if half, ok := c.wire.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	c.wire.SetReadDeadline(time.Now().Add(farewellTime))
	if !c.parting.Load() { // else somebody waits for its session
		io.CopyN(io.Discard, c.wire, farewellBytes)
	}
}

// say sends a DISCONNECT, if the client is one that may get it.
func (c *conn) say(why reason) {
	if c.closing.Swap(true) || !c.accepted.Load() || c.level < 5 {
		return
	}
	c.hurry(time.Now().Add(farewellTime))
	c.Write(appendDisconnect(nil, why))
}

// hurry ends a write that is stuck, which must not keep others waiting.
func (c *conn) hurry(deadline time.Time) {
	if w, ok := c.wire.(interface{ hurry(time.Time) }); ok {
		w.hurry(deadline)
		return
	}
	c.wire.SetWriteDeadline(deadline)
}

// disconnect ends the connection from any goroutine, and linger then lets its client take what was written. Who waits for its
// session does not wait for that.
func (c *conn) disconnect(why reason) {
	c.say(why)
	if !c.accepted.Load() { // nothing was written
		c.hangUp()
		return
	}
	c.hungUp.Do(func() {
		c.closing.Store(true)
		if why != shuttingDown { // which has a bound of its own
			c.bound = time.AfterFunc(farewellTime, func() { c.wire.Close() })
		}
		c.parting.Store(true)
		c.cease()
		c.hurry(time.Unix(1, 0))
		c.wire.SetReadDeadline(time.Unix(1, 0))
	})
}

// linger reads and throws away what still comes on a connection that disconnect has ended, until its client has hung up or sends
// nothing for farewellTime: closing a socket with bytes unread, or a little before they come, would destroy what the client has not
// taken. Only the reading goroutine calls it, when the session is free.
func (c *conn) linger() {
	if !c.parting.Load() {
		return
	}
	if c.bound != nil {
		defer c.bound.Stop()
	}
	c.visitor.SetWriteDeadline(time.Now().Add(farewellTime))
	if w, ok := c.wire.(*webSocket); ok {
		w.CloseWrite()
	}
	for err := c.visitor.CloseWrite(); err == nil; {
		c.visitor.SetReadDeadline(time.Now().Add(farewellTime))
		_, err = c.visitor.Read(c.buffer)
	}
}

// cease ends ctx, and the writer.
func (c *conn) cease() {
	c.cancel()
	c.rouse()
}

// hangUp closes the connection at once. Whoever waits for it, or in it, goes on.
func (c *conn) hangUp() {
	c.hungUp.Do(func() {
		c.closing.Store(true)
		c.cease()
		c.wire.Close()
	})
}

// abort closes it also when it lingers.
func (c *conn) abort() {
	c.hangUp()
	c.wire.Close()
}

// Write sends whole packets. mochi and our writer share it.
func (c *conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.writes.move(c.server.options.WriteTimeout, c.wire.SetWriteDeadline)
	if err == nil && c.closing.Load() {
		err = c.wire.SetWriteDeadline(time.Now().Add(farewellTime))
	}
	if err == nil && c.ctx.Err() != nil { // the deadline was moved too late for disconnect to see
		err = net.ErrClosed
	}
	n := 0
	if err == nil {
		n, err = c.wire.Write(b)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && !c.closing.Load() {
			c.server.options.Observer.Limited(LimitWriteTimeout)
		}
		c.hangUp()
	}
	return n, err
}

// Close is mochi's way to end the connection.
func (c *conn) Close() error {
	c.hangUp()
	return nil
}

// hold takes a place for a packet that is to be answered. It waits for one: a client that sends faster than it is answered
// is slowed by its own socket. It returns false when the connection ends.
func (c *conn) hold() bool {
	select {
	case c.places <- struct{}{}:
		return true
	default:
		c.server.options.Observer.Limited(LimitInFlight)
	}
	select {
	case c.places <- struct{}{}:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// give gives places back.
func (c *conn) give(places int) {
	for range places {
		<-c.places
	}
}

// rouse wakes the writer. Anyone may call it.
func (c *conn) rouse() {
	select {
	case c.awake <- struct{}{}:
	default:
	}
}

// remembers returns how many answered QoS 1 operations the client may deliver again.
func (c *conn) remembers() int {
	if c.level == 5 {
		return c.server.options.InFlight
	}
	return max(maxRemembered, c.server.options.InFlight)
}

// LocalAddr, RemoteAddr and the deadlines complete net.Conn. Deadlines are this package's: mochi's are not absolute, and
// overflow.
func (c *conn) LocalAddr() net.Addr              { return c.wire.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr             { return c.wire.RemoteAddr() }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
