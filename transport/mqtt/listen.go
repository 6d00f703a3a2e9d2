package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gateway/seldom"
)

const (
	firstPause = 5 * time.Millisecond // after a failure to accept; doubles while it goes on failing
	longPause  = time.Second
)

// door is a listener that admits: its Accept returns only connections that may be served. Each is counted until it is
// closed. As a net.Listener it serves an HTTP server as well.
type door struct {
	net.Listener
	server *Server
	allow  []netip.Prefix
	home   bool // on loopback
	tls    *tls.Config
	ctx    context.Context // ends when nobody more is admitted
}

// serveDoor serves one listener until ctx ends or the listener fails. Its connections may go on.
func (s *Server) serveDoor(ctx context.Context, l Listener) error {
	d := &door{Listener: l.Net, server: s, allow: l.AllowFrom, home: onLoopback(l.Net.Addr()), tls: l.TLS, ctx: ctx}
	closed := context.AfterFunc(ctx, func() { l.Net.Close() })
	defer closed()
	defer l.Net.Close()
	if l.WebSocket {
		return s.serveWebSocket(ctx, d, l.Origins)
	}
	for {
		wire, err := d.Accept()
		if err != nil {
			return d.failure(err)
		}
		s.running.Go(func() {
			defer wire.Close()
			s.attend(wire, wire.(*visitor))
		})
	}
}

// failure returns nil when accepting ended because it was to.
func (d *door) failure(err error) error {
	if d.ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("mqtt: accept on %v: %w", d.Addr(), err)
}

// Accept returns the next connection that is admitted. While the system has no room for connections, it waits.
func (d *door) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	for {
		wire, err := d.Listener.Accept()
		if err == nil {
			pause = 0
			if v := d.admit(wire); v != nil {
				return v, nil
			}
			continue
		}
		if d.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		d.server.log.Tell(seldom.Event{Level: slog.LevelWarn, What: "cannot accept connections"}, "address", d.Addr(), "err", err)
		pause = min(max(2*pause, firstPause), longPause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-d.ctx.Done():
		}
		timer.Stop()
	}
}

// onLoopback reports whether nobody on another machine can connect to a listener's address.
func onLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.AddrPort().Addr().Unmap().IsLoopback()
}
