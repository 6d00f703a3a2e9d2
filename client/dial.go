package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// dialer opens connections to one address.
type dialer struct {
	address string
	tls     *tls.Config // nil: none
	timeout time.Duration
	network func(ctx context.Context, network, address string) (net.Conn, error)
}

// newDialer checks the address and completes the configuration of TLS.
func newDialer(address string, d dialer) (dialer, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return d, fmt.Errorf("client: address: %w", err)
	}
	d.address = address
	if d.timeout <= 0 {
		d.timeout = DefaultDialTimeout
	}
	if d.network == nil {
		d.network = new(net.Dialer).DialContext
	}
	if d.tls != nil && d.tls.ServerName == "" {
		d.tls = d.tls.Clone()
		d.tls.ServerName = host
	}
	return d, nil
}

// open connects and lets handshake go on, all within the timeout. The connection it returns has no deadline.
func (d *dialer) open(ctx context.Context, handshake func(conn net.Conn) error) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.network(ctx, "tcp", d.address)
	if err != nil {
		return nil, err // names the address
	}
	// Whatever ends ctx ends the reads and writes of the handshake.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if d.tls != nil {
		secured := tls.Client(conn, d.tls)
		err = secured.HandshakeContext(ctx)
		conn = secured
	}
	if err == nil {
		err = handshake(conn)
	}
	if d.tls == nil && errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: does the listener want TLS, or not let this address in?", err)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", d.address, refusedByTLS(err))
	}
	return conn, nil
}

// refusedByTLS marks the errors of TLS that another attempt would only meet again.
func refusedByTLS(err error) error {
	switch err := err.(type) {
	case *tls.CertificateVerificationError, tls.AlertError:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// socketDialer opens connections to a socket listener.
type socketDialer struct {
	dialer
	ack []byte
}

// acked returns a connection whose ack was read.
func (d *socketDialer) acked(ctx context.Context) (net.Conn, error) {
	return d.open(ctx, func(conn net.Conn) error {
		got := make([]byte, len(d.ack))
		if n, err := io.ReadFull(conn, got); err != nil {
			return fmt.Errorf("read the ack: %w (%d bytes)", err, n)
		}
		if !bytes.Equal(got, d.ack) {
			return fmt.Errorf("read the ack: got %x, not %x: is the listener of another codec?", got, d.ack)
		}
		return nil
	})
}
