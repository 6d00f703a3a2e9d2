package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"gateway/wire"
)

// SocketOptions are the choices of [NewSocket]; the zero value works with a listener whose codec is msgpack.
type SocketOptions struct {
	// Format is the listener's codec: wire.Msgpack, which is also what the zero value means, or wire.JSON.
	Format wire.Format
	// Session takes one connection for all operations. The listener must have `session: true`. Without it, every operation
	// takes a connection of its own, which works with a listener of either kind.
	Session bool
	// TLS asks for TLS; nil is none. An empty ServerName is the host of the address.
	TLS *tls.Config
	// InFlight bounds the operations on their way at once: in a session those that are sent and not answered, else the open
	// connections. It should not be above the gateway's limits.in_flight. Default: DefaultInFlight.
	InFlight int
	// DialTimeout bounds one attempt to connect. Default: DefaultDialTimeout.
	DialTimeout time.Duration
	// AnswerTimeout bounds the wait for the next answer on a connection that owes one. Default: DefaultAnswerTimeout.
	AnswerTimeout time.Duration
	// Dial opens the connection below TLS. Default: that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewSocket returns a Client of the socket listener at address, "host:port". It does not connect yet.
func NewSocket(address string, o SocketOptions) (*Client, error) {
	if o.Format == 0 {
		o.Format = wire.Msgpack
	}
	if o.Format != wire.Msgpack && o.Format != wire.JSON {
		return nil, fmt.Errorf("client: no operations in format %s", o.Format)
	}
	if o.InFlight <= 0 {
		o.InFlight = DefaultInFlight
	}
	if o.AnswerTimeout <= 0 {
		o.AnswerTimeout = DefaultAnswerTimeout
	}
	d, err := newDialer(address, dialer{tls: o.TLS, timeout: o.DialTimeout, network: o.Dial})
	if err != nil {
		return nil, err
	}
	language := wire.NewClient(o.Format)
	c := &Client{language: language, life: newLife()}
	sockets := &socketDialer{dialer: d, ack: language.Ack()}
	if !o.Session {
		places := make(chan struct{}, o.InFlight)
		c.way = &singleWay{dialer: sockets, language: language, patience: o.AnswerTimeout, places: places, life: c.life}
		return c, nil
	}
	c.way = newPipeline(c.life, func(ctx context.Context) (*link, error) {
		conn, err := sockets.acked(ctx)
		if err != nil {
			return nil, err
		}
		l := newLink(conn, o.InFlight, o.AnswerTimeout)
		l.speech = &session{link: l, language: language}
		return l, nil
	})
	return c, nil
}

// session is the speech of a socket session: answers come in the order of the operations.
type session struct {
	link     *link
	language *wire.Client
	waiting  []*call // in the order in which their requests are in the link's out; guarded by link.mu
}

// say queues the request of k and its place in the order together.
func (s *session) say(k *call) error {
	s.link.mu.Lock()
	s.waiting = append(s.waiting, k)
	s.link.queueLocked(k.request)
	s.link.mu.Unlock()
	s.link.wake()
	return nil
}

// hear gives the answers at the front of b to those whose turn it is.
func (s *session) hear(b []byte) (int, error) {
	heard := 0
	for {
		heard += s.space(b[heard:])
		if heard == len(b) {
			return heard, nil
		}
		answer, n, err := s.language.DecodeAnswer(b[heard:])
		if errors.Is(err, wire.ErrIncomplete) {
			return heard, nil
		}
		if err != nil {
			return heard, fmt.Errorf("read an answer: %w", err)
		}
		heard += n
		k := s.next()
		if k == nil || !k.claims(&answer) {
			return heard, errStranger
		}
		s.link.answer(k, answer)
		s.link.leave()
	}
}

// space returns the length of the white space between two answers: JSON ends them with a newline.
func (s *session) space(b []byte) int {
	if s.language.Format() != wire.JSON {
		return 0
	}
	return len(b) - len(bytes.TrimLeft(b, " \t\r\n"))
}

// next takes the call whose turn it is, or nil.
func (s *session) next() *call {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	k := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	return k
}

// tick has nothing to say: an idle session is the gateway's to end.
func (s *session) tick() error { return nil }

// farewell says nothing: a session ends with its connection.
func (s *session) farewell() []byte { return nil }
