package socket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gateway/bank"
	"gateway/gate"
	"gateway/seldom"
	"gateway/wire"
)

// Bank takes operations. A [bank.Banco] is one.
type Bank interface {
	// Submit accepts op and later calls done exactly once, or returns an error and never does. done does not block.
	Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error
}

// Observer is told what happens at the door. Any goroutine may call it; its methods must be quick.
type Observer interface {
	// Operation reports an answer: took is the time from the arrival of the operation to the end of its reply's write. kind is
	// zero when the bytes were no operation.
	Operation(kind bank.Kind, code bank.Code, took time.Duration)
	// Connection reports that one was opened or closed.
	Connection(opened bool)
	// Rejected reports a connection that was closed before it was served, for one of the Rejected reasons, or for the limit
	// of package gate that was reached.
	Rejected(reason string)
	// Limited reports that a client that is served has reached one of the Limits.
	Limited(limit string)
}

// Why a connection was rejected.
const (
	RejectedAddress = "address" // the listener's AllowFrom does not name it
	RejectedTLS     = "tls"     // the handshake failed, or took too long
)

// The limits that [Observer.Limited] is told of.
const (
	LimitInFlight     = "in_flight"     // a session is read no further until it is answered
	LimitMessage      = "message"       // an operation is too large
	LimitReadTimeout  = "read_timeout"  // no whole operation came in time
	LimitIdleTimeout  = "idle_timeout"  // a session had nothing to say for too long
	LimitWriteTimeout = "write_timeout" // a reply was not taken in time
)

// Limits returns all of them.
func Limits() []string {
	return []string{LimitInFlight, LimitMessage, LimitReadTimeout, LimitIdleTimeout, LimitWriteTimeout}
}

// Rejections returns all reasons for which a connection is rejected here, those of package gate not among them.
func Rejections() []string { return []string{RejectedAddress, RejectedTLS} }

const ()

// Listener is one open door.
type Listener struct {
	Net   net.Listener // Serve closes it
	Codec wire.Codec
	// Session lets a connection carry any number of operations.
	Session bool
	// AllowFrom names the addresses that may connect; empty allows all.
	AllowFrom []netip.Prefix
	// TLS secures the connections; nil: none does. The handshake has ReadTimeout, and the ack comes after it.
	TLS *tls.Config
	// Principal is who asks. When it is "", Certified says it, and without that every operation is unauthorized.
	Principal string
	// Certified returns who the client is that has shown a certificate, which TLS has verified, or that it is nobody's. It is
	// asked once for a connection.
	Certified func(*x509.Certificate) (principal string, ok bool)
}

// Options are the choices of a [Server]. Zero values are replaced by defaults, which for Gate, Observer and Logger are: no
// bound, and silence.
type Options struct {
	Gate     *gate.Gate
	Observer Observer
	Logger   *slog.Logger
	// ReadTimeout bounds the time from the ack to a whole operation; in a session, from an operation's first byte to its last.
	// A handshake of TLS has as much before.
	ReadTimeout time.Duration
	// IdleTimeout bounds the time that a session may spend between operations with nothing in flight.
	IdleTimeout time.Duration
	// Message bounds an operation in bytes, below the codec's own bound.
	Message int
	// InFlight bounds the operations of one session that were accepted and not yet answered; at the bound reading stops.
	InFlight int
}

// The defaults of [Options].
const (
	DefaultReadTimeout = 5 * time.Second
	DefaultIdleTimeout = 5 * time.Minute
	DefaultMessage     = 16 << 10 // bytes
	DefaultInFlight    = 256
)

const (
	// writeTimeout bounds the time in which a peer must take what a session writes, so that one that does not read holds
	// nothing but its own connection.
	writeTimeout = 5 * time.Second
	// lingerTimeout bounds the time in which a peer must take its last reply and close, or be cut off.
	lingerTimeout = time.Second
	// lingerBytes bounds what is read and thrown away meanwhile.
	lingerBytes = 1 << 20
	// firstBytes is the first size of a read buffer, more than any ordinary operation.
	firstBytes = 2048
)

// Server answers operations over sockets.
type Server struct {
	bank    Bank
	options Options
	log     *seldom.Log

	mu    sync.Mutex         // guards doors
	doors map[*door]struct{} // that are served
}

// New returns a Server. It starts nothing.
func New(bank Bank, o Options) *Server {
	if o.Gate == nil {
		o.Gate = gate.New(gate.Limits{})
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = DefaultReadTimeout
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.Message <= 0 {
		o.Message = DefaultMessage
	}
	if o.InFlight <= 0 {
		o.InFlight = DefaultInFlight
	}
	return &Server{
		bank: bank, options: o, log: seldom.NewLog(o.Logger), doors: make(map[*door]struct{}),
	}
}

// Listen opens a TCP listener that suits Serve: its queue is as long as the system allows, Nagle's algorithm is off, and so
// are keep-alive probes, which cost four calls per connection and find nothing that Serve's deadlines do not.
//
// The network is one of package net, such as "tcp4".
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen for sockets: %w", err)
	}
	return l, nil
}

// Serve answers the connections of l until ctx ends; then it closes l.Net, reads no more, answers everything accepted and
// returns nil once the last connection is done. Peers delay that by a few seconds at most: it is the bank's answers that it
// waits for. A passing failure to accept is waited out. Serve returns an error, in the same manner, only when l.Net was
// closed by somebody else.
//
// Serve may be called for several listeners at once.
func (s *Server) Serve(ctx context.Context, l Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := newDoor(s, l)
	s.mu.Lock()
	s.doors[d] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.doors, d)
	}()
	d.running.Go(func() {
		<-ctx.Done()
		if err := l.Net.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.options.Logger.Warn("listener not closed", "address", l.Net.Addr(), "err", err)
		}
		d.readers.stop()
	})
	err := d.accept(ctx)
	cancel()
	d.running.Wait()
	return err
}

// Revoke ends the connections whose principal gone names: nothing more is read of them, what was accepted is answered, and
// one that owes an operation is told that it is unauthorized. It returns at once. Connections that come later are asked
// anew who they are, so whoever decides that must have changed its mind before.
func (s *Server) Revoke(gone func(principal string) bool) {
	s.mu.Lock()
	doors := slices.Collect(maps.Keys(s.doors))
	s.mu.Unlock()
	for _, d := range doors {
		d.readers.revoke(gone)
	}
}

// silent observes nothing.
type silent struct{}

func (silent) Operation(bank.Kind, bank.Code, time.Duration) {}
func (silent) Connection(bool)                               {}
func (silent) Rejected(string)                               {}
func (silent) Limited(string)                                {}
