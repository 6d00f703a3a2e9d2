package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
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
	home   bool            // on loopback
	ctx    context.Context // ends when nobody more is admitted
}

// serveDoor serves one listener until ctx ends or the listener fails. Its connections may go on.
func (s *Server) serveDoor(ctx context.Context, l Listener) error {
	d := &door{Listener: l.Net, server: s, allow: l.AllowFrom, home: onLoopback(l.Net.Addr()), ctx: ctx}
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
			s.attend(wire, wire.(*visitor).since.Add(s.options.ReadTimeout))
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
		if pause == 0 {
			d.server.options.Logger.Warn("cannot accept connections", "address", d.Addr(), "err", err)
		}
		pause = min(max(2*pause, firstPause), longPause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-d.ctx.Done():
		}
		timer.Stop()
	}
}

// admit returns wire as a visitor, or closes it.
func (d *door) admit(wire net.Conn) *visitor {
	rejected := ""
	if !d.allowed(peerOf(wire).Addr()) {
		rejected = RejectedAddress
	} else if !d.server.options.Gate.Enter() {
		rejected = RejectedConnections
	}
	if rejected != "" {
		wire.Close()
		d.server.options.Observer.Rejected(rejected)
		d.server.options.Logger.Debug("connection rejected", "peer", wire.RemoteAddr(), "reason", rejected)
		return nil
	}
	d.server.options.Observer.Connection(true)
	d.server.running.Add(1)
	return &visitor{Conn: wire, door: d, server: d.server, since: time.Now()}
}

func (d *door) allowed(address netip.Addr) bool {
	if len(d.allow) == 0 {
		return true
	}
	for _, prefix := range d.allow {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// onLoopback reports whether nobody on another machine can connect to a listener's address.
func onLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.AddrPort().Addr().Unmap().IsLoopback()
}

// visitor is an admitted connection.
type visitor struct {
	net.Conn
	door   *door
	server *Server
	since  time.Time
	once   sync.Once
}

// Close counts the visitor out.
func (v *visitor) Close() error {
	err := v.Conn.Close()
	v.once.Do(func() {
		v.server.options.Observer.Connection(false)
		v.server.options.Gate.Leave()
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

// visitorOf returns the admitted connection that wire is, or runs over.
func visitorOf(wire net.Conn) *visitor {
	if socket, ok := wire.(*webSocket); ok {
		wire = socket.NetConn()
	}
	v, _ := wire.(*visitor)
	return v
}
