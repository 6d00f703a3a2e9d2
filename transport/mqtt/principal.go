package mqtt

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"gateway/bank"
)

// Access knows who clients are, and which client ids they may use. Its methods are called by many goroutines.
type Access interface {
	// Login returns the principal that a user name and a password are, or ErrCredentials, or ErrTryLater. It may take long, but
	// not after ctx has ended.
	Login(ctx context.Context, from netip.Addr, user string, password []byte) (principal string, err error)
	// Certified returns the principal of a client's certificate, which has been verified.
	Certified(certificate *x509.Certificate) (principal string, ok bool)
	// MayUse reports whether the principal may use the client id.
	MayUse(principal, clientID string) bool
	// Beginnings returns what client ids may begin with of which the principal may use every one.
	Beginnings(principal string) []string
}

var (
	// ErrCredentials says that the user name or the password is wrong.
	ErrCredentials = errors.New("mqtt: wrong user name or password")
	// ErrTryLater says that nobody has looked at the user name and password.
	ErrTryLater = errors.New("mqtt: logins must wait")
)

// strangers is the Access that knows no user: it lets whoever is anonymous use any client id.
type strangers struct{}

func (strangers) Login(context.Context, netip.Addr, string, []byte) (string, error) {
	return "", ErrCredentials
}
func (strangers) Certified(*x509.Certificate) (string, bool) { return "", false }
func (strangers) MayUse(principal, _ string) bool            { return principal == bank.AnonymousPrincipal }
func (strangers) Beginnings(string) []string                 { return nil }

// admit finds out who c's client is and decides under which client id it goes. From then on Revoke finds it.
func (s *Server) admit(c *conn, cl *mochi.Client, pk *packets.Packet) error {
	for {
		revocations := s.revocations.Load()
		principal, err := s.identify(c, pk)
		if err != nil {
			return err
		}
		if !s.chooseID(cl, principal) {
			return badClientID
		}
		if s.enroll(c, principal, cl.ID, revocations) {
			return nil
		}
	}
}

// identify returns the principal of c's client.
func (s *Server) identify(c *conn, pk *packets.Packet) (string, error) {
	connect := &pk.Connect
	user := string(connect.Username)
	if c.certificate != nil {
		principal, ok := s.options.Access.Certified(c.certificate)
		switch {
		case !ok:
			return "", notAuthorized
		case connect.UsernameFlag && user != principal:
			return "", badCredentials
		case !connect.PasswordFlag:
			return principal, nil
		}
		user = principal // whoever shows two credentials must have both
	} else if !connect.UsernameFlag && !connect.PasswordFlag {
		if !s.options.Anonymous || !c.visitor.home {
			return "", notAuthorized
		}
		return bank.AnonymousPrincipal, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, s.options.ReadTimeout)
	defer cancel()
	principal, err := s.options.Access.Login(ctx, c.peer.Addr(), user, connect.Password)
	switch {
	case errors.Is(err, ErrCredentials):
		return "", badCredentials
	case err != nil:
		return "", quotaExceeded
	}
	return principal, nil
}

// chooseID reports whether the principal may use the client id. One that mochi has assigned, which is any, becomes one that
// begins as the principal's have to.
func (s *Server) chooseID(cl *mochi.Client, principal string) bool {
	if s.options.Access.MayUse(principal, cl.ID) {
		return true
	}
	if cl.Properties.Props.AssignedClientID == "" {
		return false
	}
	for _, beginning := range s.options.Access.Beginnings(principal) {
		if own := beginning + cl.ID; validClientID(own) && s.options.Access.MayUse(principal, own) {
			cl.ID, cl.Properties.Props.AssignedClientID = own, own
			return true
		}
	}
	return false
}

// enroll notes who c's client is and its client id, unless rights were revoked since they were asked for: then they must be asked
// for again.
func (s *Server) enroll(c *conn, principal, id string, revocations uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revocations.Load() != revocations {
		return false
	}
	c.principal, c.id = principal, id
	return true
}

// Revoke ends the connections of the principals that have lost something, those whose principal may not use their client id any more,
// and those whose CONNECT is looked at meanwhile. Access must know of the change already. What was accepted from them is done, and
// their sessions are kept: whoever may still come back finds its replies. One that nobody may come back to ends when the client id is
// asked for by somebody who may use it. Any goroutine may call it.
func (s *Server) Revoke(lost func(principal string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revocations.Add(1)
	for c := range s.conns { // while there is one, nobody has waited for running to its end
		if c.principal != "" && (lost(c.principal) || !s.options.Access.MayUse(c.principal, c.id)) {
			s.running.Go(func() { c.disconnect(administrative) }) // which may wait for a peer that does not read
		}
	}
}
