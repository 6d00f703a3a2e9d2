package socket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// Bank takes operations. A [bank.Banco] is one.
type Bank interface {
	// Submit accepts op and later calls done exactly once, or returns an error and never does. done does not block.
	Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error
}

// Gate counts the connections of all doors together. Any goroutine may call it.
type Gate interface {
	// Enter takes a place, or reports that there is none.
	Enter() bool
	// Leave gives a place back.
	Leave()
}

// Observer is told what happens at the door. Any goroutine may call it; its methods must be quick.
type Observer interface {
	// Operation reports an answer: took is the time from the arrival of the operation to the end of its reply's write. kind is
	// zero when the bytes were no operation.
	Operation(kind bank.Kind, code bank.Code, took time.Duration)
	// Connection reports that one was opened or closed.
	Connection(opened bool)
	// Rejected reports a connection that was closed before any byte, for one of the Rejected reasons.
	Rejected(reason string)
}

// Why a connection was rejected.
const (
	RejectedAddress     = "address"     // the listener's AllowFrom does not name it
	RejectedConnections = "connections" // the Gate has no place
)

// Listener is one open door.
type Listener struct {
	Net   net.Listener // Serve closes it
	Codec wire.Codec
	// Session lets a connection carry any number of operations.
	Session bool
	// AllowFrom names the addresses that may connect; empty allows all.
	AllowFrom []netip.Prefix
	// Principal is who asks. When it is "", every operation is unauthorized.
	Principal string
}

// Options are the choices of a [Server]. Zero values are replaced by defaults, which for Gate, Observer and Logger are: no
// bound, and silence.
type Options struct {
	Gate     Gate
	Observer Observer
	Logger   *slog.Logger
	// ReadTimeout bounds the time from the ack to a whole operation; in a session, from an operation's first byte to its last.
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
}

// New returns a Server. It starts nothing.
func New(bank Bank, o Options) *Server {
	if o.Gate == nil {
		o.Gate = open{}
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
	return &Server{bank: bank, options: o}
}

// Listen opens a TCP listener that suits Serve: its queue is as long as the system allows, Nagle's algorithm is off, and so
// are keep-alive probes, which cost four calls per connection and find nothing that Serve's deadlines do not.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", address)
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

// open is a Gate without bound.
type open struct{}

func (open) Enter() bool { return true }
func (open) Leave()      {}

// silent observes nothing.
type silent struct{}

func (silent) Operation(bank.Kind, bank.Code, time.Duration) {}
func (silent) Connection(bool)                               {}
func (silent) Rejected(string)                               {}
