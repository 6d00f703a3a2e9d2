package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"gateway/bank"
	"gateway/gate"
	"gateway/seldom"
	"gateway/wire"

	mochi "github.com/mochi-mqtt/server/v2"
)

// Bank takes operations. [bank.Banco] is one.
type Bank interface {
	Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error
}

// Observer is told what happens. Its methods are called from many goroutines, the committer's among them, and must be
// quick.
type Observer interface {
	// Operation reports an operation that was answered, whoever refused it; its kind is zero when there was none.
	Operation(kind bank.Kind, code bank.Code, took time.Duration)
	// Connection reports that a connection was opened or closed.
	Connection(opened bool)
	// Rejected reports a connection that was refused or ended for one of the Rejected reasons, or for the limit of package
	// gate that was reached.
	Rejected(reason string)
	// Limited reports that a client has reached one of the Limits.
	Limited(limit string)
}

// Listener is a place where clients come in.
type Listener struct {
	// Net is closed by Serve.
	Net net.Listener
	// WebSocket says that clients speak MQTT in WebSocket messages.
	WebSocket bool
	// TLS secures the connections; nil: none does. Its handshake is part of the time that ReadTimeout gives.
	TLS *tls.Config
	// AllowFrom are the addresses that may connect; none: all may. Others are closed before a byte is read or sent.
	AllowFrom []netip.Prefix
	// Origins are the pages that may connect to a WebSocket listener, as browsers write them ("https://bank.example:8443").
	// A client that is no browser names none and may connect, and so may a page of the listener's own address when that
	// is an IP address or localhost: any other name may have been made to point here by its owner.
	Origins []string
}

// Options are the choices of a [Server]. A zero value has the default of that name; without a Gate, Observer or Logger
// there is none.
type Options struct {
	OperationsTopic string // where operations are published; default bank/ops
	RepliesTopic    string // where a client's replies are, with {client_id} in it once; default bank/replies/{client_id}
	Decimals        int    // of the bank's amounts
	Anonymous       bool   // clients of listeners on loopback may act without credentials; nobody else may
	Access          Access // who everybody else is; nil: nobody
	Gate            *gate.Gate
	Observer        Observer
	Logger          *slog.Logger
	ReadTimeout     time.Duration // from the connection to a whole CONNECT
	IdleTimeout     time.Duration // the longest keep-alive, which is the one of clients that ask for none
	WriteTimeout    time.Duration // how long a client may leave its packets in the socket; at most a sixteenth more
	Message         int           // bytes of a packet
	InFlight        int           // operations of one connection that are accepted and not acknowledged, at most 65,535
	Sessions        int           // connected and stored
	PerPrincipal    int           // of one principal; default: a tenth of Sessions for a user, all for the anonymous
	Waiting         int           // replies of one session that wait or are not acknowledged, besides InFlight
	WaitingAll      int           // the same of all sessions together
	Keeping         *Keeping      // what makes sessions survive the process; nil: they live in memory

	// Auditor reports whether a principal may listen to all operations, replies and entries; nil: nobody may. It is asked at
	// each SUBSCRIBE, when a session comes back, and before anything is delivered, by many goroutines.
	Auditor func(principal string) bool
	Journal Journal // what auditors are told on JournalTopic; nil: nothing
	Heads   Heads   // what they are told on HeadTopic; nil: nothing
}

// Server is the broker. It serves once.
type Server struct {
	bank     Bank
	options  Options
	codecs   map[wire.Format]wire.Codec
	broker   *mochi.Server
	sessions *registry
	serials  atomic.Uint64
	batches  sync.Pool // of *batch
	log      *seldom.Log
	mirror   mirror
	running  sync.WaitGroup
	draining atomic.Bool

	revocations atomic.Uint64 // changes under mu

	mu    sync.Mutex // guards conns
	conns map[*conn]struct{}
}

// New checks the options and returns a server that has not begun.
func New(bank Bank, options Options) (*Server, error) {
	setDefaults(&options)
	if err := checkTopics(options.OperationsTopic, options.RepliesTopic); err != nil {
		return nil, err
	}
	if options.InFlight < 0 || options.InFlight > 1<<16-1 || options.Message < 0 || options.Message > 1<<28 {
		return nil, errors.New("mqtt: InFlight or Message is not one")
	}
	if options.Sessions < 0 || options.PerPrincipal < 0 || options.Waiting < 0 || options.WaitingAll < 0 {
		return nil, errors.New("mqtt: Sessions, PerPrincipal, Waiting or WaitingAll is not one")
	}
	s := &Server{
		bank: bank, options: options, log: seldom.NewLog(options.Logger), conns: make(map[*conn]struct{}),
	}
	s.codecs = map[wire.Format]wire.Codec{
		wire.JSON: wire.NewCodec(wire.JSON, options.Decimals), wire.Msgpack: wire.NewCodec(wire.Msgpack, options.Decimals),
	}
	s.sessions = newRegistry(limits{
		sessions: options.Sessions, perPrincipal: options.PerPrincipal, waiting: options.Waiting + options.InFlight,
		waitingAll: int64(options.WaitingAll), drain: maxDrain,
	}, options.Observer, time.Now)
	if options.Keeping != nil {
		s.sessions.keeper = newKeeper(s, options.Keeping)
		if err := s.sessions.keeper.recover(options.Keeping.Recovery); err != nil {
			return nil, fmt.Errorf("mqtt: recover the sessions: %w", err)
		}
	}
	s.batches.New = func() any { return new(batch) }
	s.broker = newBroker(&options)
	if err := s.broker.AddHook(&hook{server: s}, nil); err != nil {
		return nil, fmt.Errorf("mqtt: set the broker up: %w", err)
	}
	return s, nil
}

func setDefaults(o *Options) {
	if o.OperationsTopic == "" {
		o.OperationsTopic = "bank/ops"
	}
	if o.RepliesTopic == "" {
		o.RepliesTopic = "bank/replies/" + clientIDVariable
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = DefaultReadTimeout
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	if o.Message == 0 {
		o.Message = DefaultMessage
	}
	if o.InFlight == 0 {
		o.InFlight = DefaultInFlight
	}
	if o.Sessions == 0 {
		o.Sessions = DefaultSessions
	}
	if o.Waiting == 0 {
		o.Waiting = DefaultWaiting
	}
	if o.WaitingAll == 0 {
		o.WaitingAll = DefaultWaitingAll
	}
	if o.Access == nil {
		o.Access = strangers{}
	}
	if o.Gate == nil {
		o.Gate = gate.New(gate.Limits{})
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// newBroker returns mochi with everything off that this package does itself. Its event loop never runs: that keeps expired
// sessions and statistics, and there are none. Its log tells payloads, so it has none.
func newBroker(o *Options) *mochi.Server {
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumClientWritesPending = 1 // nothing is published through mochi
	capabilities.MaximumPacketSize = uint32(o.Message)
	capabilities.ReceiveMaximum = uint16(o.InFlight)
	capabilities.TopicAliasMaximum = 0
	capabilities.RetainAvailable = 0
	capabilities.SharedSubAvailable = 0
	capabilities.SubIDAvailable = 0
	capabilities.Compatibilities.NoInheritedPropertiesOnAck = true
	return mochi.New(&mochi.Options{
		Capabilities: capabilities, Logger: slog.New(slog.DiscardHandler), SysTopicResendInterval: 1 << 30,
		ClientNetReadBufferSize: 128, ClientNetWriteBufferSize: 128,
	})
}

// Waiting returns how many replies are owed to all sessions: waiting, or not acknowledged.
func (s *Server) Waiting() int { return int(s.sessions.waiting.Load()) }

// Sessions returns how many sessions there are, connected and stored.
func (s *Server) Sessions() int { return s.sessions.count() }

// Missed returns how many copies of operations and replies auditors were not given, because they read too slowly.
func (s *Server) Missed() uint64 { return s.mirror.missed.Load() }

// Serve serves the listeners until ctx ends or one of them fails, whose error it returns. It then accepts no connection and
// no operation more, answers every operation that was accepted, tells clients of MQTT 5 that the server shuts down, and
// returns when the last connection has ended: after ten seconds at most, whatever peers do. It waits a second for who does not hang up,
// and for who goes on sending as long as it does: they may not have taken yet what they were answered. The bank must go on answering
// meanwhile.
func (s *Server) Serve(ctx context.Context, listeners []Listener) error {
	accepting, stop := context.WithCancel(ctx)
	defer stop()
	var doors sync.WaitGroup
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		doors.Go(func() {
			if err := s.serveDoor(accepting, l); err != nil {
				failed <- err
				stop()
			}
		})
	}
	if keeper := s.sessions.keeper; keeper != nil {
		keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
		var kept sync.WaitGroup
		kept.Go(func() { keeper.run(keeping) })
		defer kept.Wait()
		defer stop() // after the last connection
	}
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for accepting.Err() == nil {
		select {
		case <-sweep.C:
			s.sessions.sweep()
		case <-accepting.Done():
		}
	}
	s.drain(&doors)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// drain ends the connections, each as soon as it is owed nothing.
func (s *Server) drain(doors *sync.WaitGroup) {
	s.draining.Store(true)
	deadline := time.AfterFunc(s.sessions.limits.drain, func() { s.each((*conn).abort) })
	defer deadline.Stop()
	doors.Wait()
	s.each(func(c *conn) {
		c.rouse()
		if !c.arriving.Load() {
			c.hangUp()
		}
	})
	s.running.Wait()
	s.broker.Close() // waits for the connections, of which there are none
}

func (s *Server) each(do func(*conn)) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		do(c)
	}
}

// attend serves a visitor, on the goroutine that calls it, until its connection ends. wire is where its packets are.
func (s *Server) attend(wire net.Conn, v *visitor) {
	c := newConn(s, wire, v)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	defer c.linger()
	defer s.leave(c)
	defer s.contain(c)
	if s.draining.Load() || v.secure() != nil {
		return
	}
	c.certificate = v.certificate()
	err := s.broker.EstablishConnection("", c)
	s.options.Logger.Debug("connection ended", "peer", c.peer, "err", err)
}

// contain keeps a fault that one connection's bytes brought about within that connection: mochi's decoders have some.
func (s *Server) contain(c *conn) {
	if fault := recover(); fault != nil {
		s.options.Logger.Error("connection failed", "peer", c.peer, "fault", fault, "stack", string(debug.Stack()))
		c.hangUp()
	}
}

// leave ends a connection and frees its session.
func (s *Server) leave(c *conn) {
	defer close(c.detached) // also when its session could not be kept: another connection may wait to have it
	c.hangUp()
	c.writer.Wait()
	if e := c.ear.Load(); e != nil {
		s.mirror.set(e, nil)
	}
	if c.session == nil {
		return
	}
	// After a fault mochi has not cleaned up.
	if cl, ok := s.broker.Clients.Get(c.session.id); ok && cl.Net.Conn == net.Conn(c) {
		c.ended = true
		s.broker.UnsubscribeClient(cl)
		s.broker.Clients.Delete(cl.ID)
	}
	s.sessions.detach(c.session, c.expiry)
}

// silent observes nothing.
type silent struct{}

func (silent) Operation(bank.Kind, bank.Code, time.Duration) {}
func (silent) Connection(bool)                               {}
func (silent) Rejected(string)                               {}
func (silent) Limited(string)                                {}
