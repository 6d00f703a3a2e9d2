package mqtt

import (
	"context"
	"time"
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

// Own makes the session of a client id another principal's.
func (s *Server) Own(clientID, principal string) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	s.sessions.sessions[clientID].principal = principal
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

// AwaitDetached waits until the server has seen that a session's connection ended.
func (s *Server) AwaitDetached(clientID string) {
	s.sessions.mu.Lock()
	session := s.sessions.sessions[clientID]
	s.sessions.mu.Unlock()
	if c := session.connection(); c != nil {
		<-c.detached
	}
}
