package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"
)

// Conn is a connection secured by TLS. Other than those of crypto/tls, it ends without waiting for its peer, and its deadlines
// are nobody's but its owner's.
type Conn struct {
	*tls.Conn
	below net.Conn
	ended bool // CloseWrite was called
}

// Server secures a connection that was accepted. The handshake is made by Handshake, or by the first Read or Write, within the
// deadlines that are set then.
func Server(below net.Conn, config *tls.Config) *Conn {
	return &Conn{Conn: tls.Server(unhurried{below}, config), below: below}
}

// unhurried is a connection as crypto/tls gets it, which would give a goodbye five seconds of its own.
type unhurried struct{ net.Conn }

func (unhurried) SetWriteDeadline(time.Time) error { return nil }

// Certificate returns the one that the client has shown in the handshake and an authority has signed, or nil.
func (c *Conn) Certificate() *x509.Certificate {
	chains := c.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return nil
	}
	return chains[0][0]
}

// Read reads what the peer sends. After CloseWrite it is thrown away as it comes, undeciphered.
func (c *Conn) Read(p []byte) (int, error) {
	if c.ended {
		return c.below.Read(p)
	}
	return c.Conn.Read(p)
}

// CloseWrite says goodbye, first as TLS has it and then as TCP. Only the goroutine that reads may call it.
func (c *Conn) CloseWrite() error {
	c.ended = true
	var err error
	if c.ConnectionState().HandshakeComplete { // else there is no goodbye yet, and an alert has said why
		err = c.Conn.CloseWrite()
	}
	if half, ok := c.below.(interface{ CloseWrite() error }); ok {
		return errors.Join(err, half.CloseWrite())
	}
	return err
}

// Close closes the connection at once and without a word: one whose peer does not read could not say it.
func (c *Conn) Close() error { return c.below.Close() }

// SetDeadline sets the deadlines of the connection below, and so do the other two.
func (c *Conn) SetDeadline(t time.Time) error      { return c.below.SetDeadline(t) }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.below.SetReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.below.SetWriteDeadline(t) }
