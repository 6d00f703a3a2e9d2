package mqtt

import (
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gateway/certs"
	"gateway/gate"
	"gateway/seldom"
)

// visitor is an admitted connection. Until its client is known, no read waits past until, whatever deadline it is given: an
// HTTP server or a WebSocket between would begin anew with every step.
type visitor struct {
	net.Conn // a *certs.Conn where the listener has TLS
	server   *Server
	home     bool // it came in by a listener on loopback
	peer     netip.AddrPort
	place    *gate.Place
	until    time.Time
	known    atomic.Bool
	failed   sync.Once // the handshake
	gone     sync.Once
}

// admit returns wire as a visitor, or closes it.
func (d *door) admit(wire net.Conn) *visitor {
	s, peer := d.server, gate.Peer(wire)
	if !gate.Allows(d.allow, peer.Addr()) {
		wire.Close()
		s.reject(peer, RejectedAddress)
		return nil
	}
	place, full := s.options.Gate.Enter(peer.Addr(), func(limit string) {
		wire.Close()
		s.reject(peer, limit)
	})
	if full != "" {
		wire.Close()
		s.reject(peer, full)
		return nil
	}
	s.options.Observer.Connection(true)
	s.running.Add(1)
	v := &visitor{
		Conn: wire, server: s, home: d.home, peer: peer, place: place, until: time.Now().Add(s.options.ReadTimeout),
	}
	if d.tls != nil {
		v.Conn = certs.Server(wire, d.tls)
	}
	v.Conn.SetDeadline(v.until)
	return v
}

// secure makes the handshake of TLS, where there is one and it has not been made.
func (v *visitor) secure() error {
	conn, ok := v.Conn.(*certs.Conn)
	if !ok {
		return nil
	}
	err := conn.Handshake()
	if err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	v.failed.Do(func() {
		v.server.reject(v.peer, RejectedTLS)
		conn.CloseWrite() // and let the alert arrive, which tells the client why
		conn.SetReadDeadline(time.Now().Add(farewellTime))
		io.CopyN(io.Discard, conn, farewellBytes)
	})
	return err
}

// certificate returns the one that the client has shown in the handshake and an authority has signed, or nil.
func (v *visitor) certificate() *x509.Certificate {
	if conn, ok := v.Conn.(*certs.Conn); ok {
		return conn.Certificate()
	}
	return nil
}

// settle says that the client is known.
func (v *visitor) settle() {
	v.known.Store(true)
	v.place.Known() // if it is not, the connection is closed already
}

// Read makes the handshake first.
func (v *visitor) Read(p []byte) (int, error) {
	if err := v.secure(); err != nil {
		return 0, err
	}
	return v.Conn.Read(p)
}

// SetReadDeadline sets an earlier deadline than until, or one after the client is known.
func (v *visitor) SetReadDeadline(t time.Time) error {
	if !v.known.Load() && (t.IsZero() || t.After(v.until)) {
		t = v.until
	}
	return v.Conn.SetReadDeadline(t)
}

// SetDeadline sets both deadlines.
func (v *visitor) SetDeadline(t time.Time) error {
	return errors.Join(v.SetReadDeadline(t), v.SetWriteDeadline(t))
}

// Close counts the visitor out.
func (v *visitor) Close() error {
	err := v.Conn.Close()
	v.gone.Do(func() {
		v.server.options.Observer.Connection(false)
		v.place.Leave()
		v.server.running.Done()
	})
	return err
}

// CloseWrite ends what is sent, where the transport can.
func (v *visitor) CloseWrite() error {
	if half, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// reject counts a connection that is not served, or no longer, and tells of it.
func (s *Server) reject(peer netip.AddrPort, kind string) { s.rejectFor(peer, kind, 0) }

// rejectFor does so, and tells what the client was told.
func (s *Server) rejectFor(peer netip.AddrPort, kind string, why reason) {
	s.options.Observer.Rejected(kind)
	told := kind
	if why != 0 {
		told += ": " + why.Error()
	}
	e := seldom.Event{Level: slog.LevelWarn, What: "connection rejected", From: gate.Network(peer.Addr()), Same: told}
	s.log.Tell(e, "peer", peer, "reason", told)
}

// rejectOrigin does so for a page, of which an HTTP server shows the request alone.
func (s *Server) rejectOrigin(r *http.Request) { s.reject(gate.PeerOf(r.RemoteAddr), RejectedOrigin) }
