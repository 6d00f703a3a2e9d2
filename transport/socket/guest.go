package socket

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gateway/certs"
	"gateway/gate"
	"gateway/seldom"
)

// guest is a connection that was admitted.
type guest struct {
	net.Conn  // what is read and written: a *certs.Conn where the listener has TLS
	peer      netip.AddrPort
	place     *gate.Place
	principal string      // "": nobody
	asked     uint64      // how many revocations there had been when it was asked who a certificate is; 0: it was not
	revoked   atomic.Bool // nothing more is to be read
}

// admit starts to serve conn, or closes it before a byte was read.
func (d *door) admit(ctx context.Context, conn net.Conn) {
	peer := gate.Peer(conn)
	if !gate.Allows(d.listener.AllowFrom, peer.Addr()) {
		conn.Close()
		d.reject(peer, RejectedAddress)
		return
	}
	place, full := d.options.Gate.Enter(peer.Addr(), func(limit string) {
		conn.Close()
		d.reject(peer, limit)
	})
	if full != "" {
		conn.Close()
		d.reject(peer, full)
		return
	}
	d.options.Observer.Connection(true)
	d.running.Go(func() {
		d.serve(ctx, &guest{Conn: conn, peer: peer, place: place, principal: d.listener.Principal})
		conn.Close()
		d.options.Observer.Connection(false)
		place.Leave()
	})
}

// serve serves g on its own goroutine. The connection is the caller's to close.
func (d *door) serve(ctx context.Context, g *guest) {
	if d.listener.TLS != nil && !d.secure(ctx, g) {
		return
	}
	if d.listener.Session {
		d.serveSession(ctx, g)
	} else {
		d.serveOne(ctx, g)
	}
}

// secure makes the handshake, after which g is who its certificate says.
func (d *door) secure(ctx context.Context, g *guest) bool {
	conn := certs.Server(g.Conn, d.listener.TLS)
	g.Conn = conn
	conn.SetDeadline(time.Now().Add(d.options.ReadTimeout))
	if !d.readers.add(g) {
		return false
	}
	err := conn.Handshake()
	d.readers.remove(g)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) { // or it was wanted
			d.reject(g.peer, RejectedTLS)
			conn.SetDeadline(time.Now().Add(lingerTimeout))
			hangUp(conn, make([]byte, firstBytes)) // so that the alert arrives, which tells the client why
		}
		return false
	}
	if shown := conn.Certificate(); g.principal == "" && shown != nil && d.listener.Certified != nil {
		for g.asked != d.readers.revocations() { // or what it was told may be of before one
			g.asked = d.readers.revocations()
			principal, known := d.listener.Certified(shown)
			if g.principal = ""; known {
				g.principal = principal
			}
		}
	}
	return true
}

// reject counts a connection that is not served and tells of it.
func (d *door) reject(peer netip.AddrPort, reason string) {
	d.options.Observer.Rejected(reason)
	e := seldom.Event{Level: slog.LevelWarn, What: "connection rejected", From: gate.Network(peer.Addr()), Same: reason}
	d.log.Tell(e, "peer", peer, "reason", reason)
}

// readers are the guests that read, so that their reading can be ended.
type readers struct {
	mu      sync.Mutex // guards all below
	guests  map[*guest]struct{}
	revoked uint64 // how often revoke was called, and once more
	stopped bool
}

// add reports whether g may read; from then on stop and revoke end its reading. It may not when rights were revoked since its
// certificate was asked about, a moment ago: it may have lost them, and who has not may come again.
func (r *readers) add(g *guest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || g.asked > 0 && g.asked != r.revoked {
		return false
	}
	r.guests[g] = struct{}{}
	return true
}

// revocations returns a number that the next call of revoke changes. It is not zero.
func (r *readers) revocations() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revoked
}

// remove makes g's read deadline its own again.
func (r *readers) remove(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.guests, g)
}

// past is a deadline that no read meets.
func past() time.Time { return time.Unix(1, 0) }

// stop makes every read fail at once, now and later. One who sets a read deadline between add and remove must look at ending
// after that: it says so before stop or revoke is called.
func (r *readers) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for g := range r.guests {
		g.SetReadDeadline(past())
	}
}

// revoke does the same to the guests whose principal gone names.
func (r *readers) revoke(gone func(principal string) bool) {
	named := make(map[string]bool)
	r.mu.Lock()
	r.revoked++
	for g := range r.guests {
		named[g.principal] = false
	}
	r.mu.Unlock()
	delete(named, "")
	for principal := range named {
		named[principal] = gone(principal)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.guests {
		if named[g.principal] {
			g.revoked.Store(true)
			g.SetReadDeadline(past())
		}
	}
}
