package mqtt

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Limits makes a server's limits as small as a test needs them, before anybody connects.
func (s *Server) Limits(sessions, waiting int, waitingAll int64) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	s.sessions.limits = limits{sessions: sessions, waiting: waiting, waitingAll: waitingAll, drain: maxDrain}
}

// MaxDrain is how long Serve goes on after it was told to stop.
const MaxDrain = maxDrain

// Drain makes that shorter.
func (s *Server) Drain(longest time.Duration) { s.sessions.limits.drain = longest }

// Later moves the clock by which sessions expire, and sweeps.
func (s *Server) Later(by time.Duration) {
	s.sessions.mu.Lock()
	s.sessions.now = func() time.Time { return time.Now().Add(by) }
	s.sessions.mu.Unlock()
	s.sessions.sweep()
}

// Remembered returns how many QoS 1 operations of a session are remembered.
func (s *Server) Remembered(clientID string) int {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	session := s.sessions.sessions[clientID]
	session.mu.Lock()
	defer session.mu.Unlock()
	return len(session.inbound.answers)
}

// Record writes down what has been acknowledged, which happens by itself soon.
func (s *Server) Record() { s.sessions.keeper.record() }

// Checkpoint makes one now.
func (s *Server) Checkpoint() {
	s.sessions.keeper.gap.Store(true)
	s.sessions.keeper.check(context.Background(), 0)
}

// AwaitDetached waits until the server has seen that a session's connection ended. The session may have ended with it.
func (s *Server) AwaitDetached(clientID string) {
	s.sessions.mu.Lock()
	session := s.sessions.sessions[clientID]
	s.sessions.mu.Unlock()
	if session == nil {
		return
	}
	if c := session.connection(); c != nil {
		<-c.detached
	}
}

// Check holds a packet of a client of that protocol level against the standard, without a connection. It returns the packet
// as mochi may see it, or the reason that ends the connection and what a CONNECT is answered.
func Check(level byte, b []byte) (passed, refusal []byte, err error) {
	p, err := cut(b, 1<<28)
	if err != nil {
		return nil, nil, err
	}
	if p.kind() == packets.Connect {
		if level, why := checkConnect(&p); why != success {
			return nil, appendRefusal(nil, level, why), why
		}
		return p.all, nil, nil
	}
	if err = p.checkHeader(level); err != nil {
		return nil, nil, err
	}
	switch p.kind() {
	case packets.Publish:
		err = new(publish).parse(&p, level)
	case packets.Puback, packets.Pubrel:
		_, err = checkAck(&p, level)
	case packets.Subscribe:
		err = checkSubscribe(&p, level)
	case packets.Unsubscribe:
		err = checkUnsubscribe(&p, level)
	case packets.Pingreq:
		err = checkPing(&p)
	case packets.Disconnect:
		_, _, err = checkDisconnect(&p, level)
	default:
		err = protocolError
	}
	if err != nil {
		return nil, nil, err
	}
	return p.all, nil, nil
}

// ReasonOf returns the reason code that err is, or 0.
func ReasonOf(err error) byte {
	why, _ := err.(reason)
	return byte(why)
}

// ErrIncomplete is what Check says of a packet that is not all there.
var ErrIncomplete = errIncomplete

// Connections returns how many connections there are, before and after their CONNECT.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// EntryIDsFrom makes the packet ids of a session's entries go on downwards from id.
func (s *Server) EntryIDsFrom(clientID string, id uint16) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	session := s.sessions.sessions[clientID]
	session.mu.Lock()
	defer session.mu.Unlock()
	session.feed.lastID = id + 1
}

// Certificates returns those of the clients that are connected.
func (s *Server) Certificates() (all []*x509.Certificate) {
	s.each(func(c *conn) {
		if c.certificate != nil {
			all = append(all, c.certificate)
		}
	})
	return all
}

// MaxUnended is how many sessions of a client id may have ended without a record of it.
const MaxUnended = maxUnended

// Unended returns how many have.
func (s *Server) Unended(clientID string) int {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return len(s.sessions.unended[clientID])
}

// MovingDeadline returns what a connection puts its deadlines off with.
func MovingDeadline() func(time.Duration, func(time.Time) error) error { return new(moving).move }
