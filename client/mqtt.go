package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// The defaults and limits of MQTT.
const (
	// DefaultOperationsTopic and DefaultRepliesTopic are the gateway's own defaults.
	DefaultOperationsTopic = "bank/ops"
	DefaultRepliesTopic    = "bank/replies/{client_id}"
	// DefaultKeepAlive is the time after which a silent connection is given up by the gateway. The client asks for a sign
	// of life twice in it.
	DefaultKeepAlive = 60 * time.Second
	// DefaultSessionExpiry is how long the gateway keeps answers for a client that is away.
	DefaultSessionExpiry = 10 * time.Minute
	// MaxClientID bounds a client id in bytes, and MaxTopic a topic.
	MaxClientID = 64
	MaxTopic    = 1024

	// replyGrace is how long a reply may be behind the PUBACK that turns its operation away.
	replyGrace = time.Second
	// maxKeepAlive is what the protocol has room for.
	maxKeepAlive = 65535 * time.Second
)

// MQTTOptions are the choices of [NewMQTT]; the zero value works with a gateway that allows anonymous clients.
type MQTTOptions struct {
	// Format is that of the payloads: wire.Msgpack, which is also what the zero value means, or wire.JSON.
	Format wire.Format
	// ClientID is 1 to 64 of [A-Za-z0-9._:-], and nobody else's: two clients with one id throw each other out. Default:
	// "gateway-client-" and 26 random characters, or User, "-" and 26 random characters, which a gateway lets that user have.
	ClientID string
	// User and Password are the credentials; an empty User sends none.
	User, Password string
	// TLS asks for TLS; nil is none. An empty ServerName is the host of the address.
	TLS *tls.Config
	// OperationsTopic and RepliesTopic are the gateway's mqtt.operations_topic and mqtt.replies_topic. Defaults:
	// DefaultOperationsTopic and DefaultRepliesTopic.
	OperationsTopic, RepliesTopic string
	// InFlight bounds the operations that are sent and not answered; the gateway's Receive Maximum does so too. Default:
	// DefaultInFlight.
	InFlight int
	// KeepAlive is in whole seconds; the gateway may ask for another. Default: DefaultKeepAlive.
	KeepAlive time.Duration
	// SessionExpiry, in whole seconds, is how long an answer waits for a client whose connection broke. Default:
	// DefaultSessionExpiry.
	SessionExpiry time.Duration
	// DialTimeout bounds one attempt to connect and subscribe. Default: DefaultDialTimeout.
	DialTimeout time.Duration
	// AnswerTimeout bounds the wait for one answer; then the connection is given up. Default: DefaultAnswerTimeout.
	AnswerTimeout time.Duration
	// Dial opens the connection below TLS. Default: that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewMQTT returns a Client of the MQTT listener at address, "host:port". It does not connect yet.
func NewMQTT(address string, o MQTTOptions) (*Client, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d, err := newDialer(address, dialer{tls: o.TLS, timeout: o.DialTimeout, network: o.Dial})
	if err != nil {
		return nil, err
	}
	m := &mqttWay{dialer: d, options: o, language: wire.NewClient(o.Format), calls: make(map[string]*call), ids: make(map[uint16]*flight)}
	m.replies = strings.ReplaceAll(o.RepliesTopic, "{client_id}", o.ClientID)
	rand.Read(m.prefix[:])
	life := newLife()
	m.pipeline = newPipeline(life, m.connect)
	return &Client{language: m.language, way: m, life: life}, nil
}

// complete sets what was left out and checks the rest.
func (o *MQTTOptions) complete() error {
	if o.Format == 0 {
		o.Format = wire.Msgpack
	}
	if o.Format != wire.Msgpack && o.Format != wire.JSON {
		return fmt.Errorf("client: no operations in format %s", o.Format)
	}
	if o.ClientID == "" {
		o.ClientID = orDefault(o.User, "gateway-client") + "-" + rand.Text()
	}
	if !validClientID(o.ClientID) {
		return fmt.Errorf("client: client id: want 1 to %d of [A-Za-z0-9._:-]", MaxClientID)
	}
	o.OperationsTopic = orDefault(o.OperationsTopic, DefaultOperationsTopic)
	o.RepliesTopic = orDefault(o.RepliesTopic, DefaultRepliesTopic)
	if len(o.OperationsTopic) > MaxTopic || len(o.RepliesTopic) > MaxTopic {
		return fmt.Errorf("client: a topic of more than %d bytes", MaxTopic)
	}
	if o.InFlight <= 0 {
		o.InFlight = DefaultInFlight
	}
	o.KeepAlive = orDefault(o.KeepAlive, DefaultKeepAlive)
	if o.KeepAlive < time.Second || o.KeepAlive > maxKeepAlive {
		return fmt.Errorf("client: keep alive: want %s to %s", time.Second, maxKeepAlive)
	}
	o.SessionExpiry = orDefault(o.SessionExpiry, DefaultSessionExpiry)
	if o.SessionExpiry < time.Second || o.SessionExpiry/time.Second >= 1<<32-1 {
		return fmt.Errorf("client: session expiry: want a second or more")
	}
	o.AnswerTimeout = orDefault(o.AnswerTimeout, DefaultAnswerTimeout)
	return nil
}

func orDefault[T comparable](given, otherwise T) T {
	var zero T
	if given == zero {
		return otherwise
	}
	return given
}

func validClientID(id string) bool {
	if len(id) == 0 || len(id) > MaxClientID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._:-", c) >= 0) {
			return false
		}
	}
	return true
}

// mqttWay is the way over MQTT 5. What it remembers of publishes outlives a connection, as the standard asks of a session
// (MQTT 5, 4.1 and 4.4): a publish that was not acknowledged is sent again with its packet id, while somebody waits for its
// answer.
type mqttWay struct {
	*pipeline
	dialer   dialer
	options  MQTTOptions
	language *wire.Client
	replies  string  // the topic of our replies
	prefix   [8]byte // begins the correlation data of this Client, and of no earlier one with its id

	mu      sync.Mutex         // guards all below and the delivery of every call
	calls   map[string]*call   // by correlation data; also those that nobody waits for, while they fly
	ids     map[uint16]*flight // publishes without an acknowledgement
	lastID  uint16
	counter uint64 // of correlation data
	epoch   int    // counts the sessions that the gateway began for us
}

// delivery is what the mqttWay notes about a call.
type delivery struct {
	correlation string
	forgotten   bool    // nobody waits for the answer
	flight      *flight // the newest; nil before the first
}

// flight is one publish of a call. It is over when it was both acknowledged and answered, or with its link.
type flight struct {
	call     *call
	speech   *mqttSpeech // on whose link it flies
	epoch    int
	packetID uint16
	since    time.Time
	acked    bool
	answered bool
	refused  byte // the reason of a PUBACK that turned it away, or 0
}

// forget drops the call, or leaves it to its flight: the answer must still be heard to free its place.
func (m *mqttWay) forget(k *call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.delivery.forgotten = true
	if f := k.delivery.flight; f == nil || f.over() || !f.speech.link.alive() {
		m.dropLocked(k)
	}
}

func (m *mqttWay) dropLocked(k *call) {
	delete(m.calls, k.delivery.correlation)
	if f := k.delivery.flight; f != nil && m.ids[f.packetID] == f {
		delete(m.ids, f.packetID)
	}
}

func (f *flight) over() bool { return f.acked && f.answered }

// begin is called for a new link: the gateway kept our session, or began one.
func (m *mqttWay) begin(kept bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !kept {
		m.epoch++
	}
	for _, k := range m.calls {
		if k.delivery.forgotten {
			m.dropLocked(k)
		}
	}
}

// board gives k a flight on the link of s. It reports whether that is a redelivery, or an error when there is no packet id
// left.
func (m *mqttWay) board(k *call, s *mqttSpeech) (f *flight, redelivery bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.delivery.correlation == "" {
		m.counter++
		k.delivery.correlation = string(binary.BigEndian.AppendUint64(m.prefix[:], m.counter))
		m.calls[k.delivery.correlation] = k
	}
	before := k.delivery.flight
	f = &flight{call: k, speech: s, epoch: m.epoch, since: time.Now()}
	if before != nil && !before.acked && before.speech != s {
		f.packetID = before.packetID
		redelivery = before.epoch == m.epoch
	} else if f.packetID, err = m.freeIDLocked(); err != nil {
		return nil, false, err
	}
	m.ids[f.packetID] = f
	k.delivery.flight = f
	return f, redelivery, nil
}

// subscribeID is the packet id of every SUBSCRIBE; publishes have the others.
const subscribeID = 1

func (m *mqttWay) freeIDLocked() (uint16, error) {
	for range 1 << 16 {
		m.lastID++
		if m.lastID <= subscribeID {
			m.lastID = subscribeID + 1
		}
		if m.ids[m.lastID] == nil {
			return m.lastID, nil
		}
	}
	return 0, fmt.Errorf("no packet id is free")
}

// land notes that the publish with that packet id was acknowledged on the link of s. It returns the flight if that ended
// it.
func (m *mqttWay) land(s *mqttSpeech, packetID uint16, reason byte) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.ids[packetID]
	if f == nil || f.speech != s {
		return nil
	}
	delete(m.ids, packetID)
	f.acked = true
	if f.answered {
		return m.overLocked(f)
	}
	if reason >= firstFailure {
		f.refused, f.since = reason, time.Now()
	}
	return nil
}

// settle finds the call with that correlation data and answers it. It returns its flight if that ended it on the link of s.
func (m *mqttWay) settle(s *mqttSpeech, correlation string, a wire.Answer) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.calls[correlation]
	if k == nil || !k.claims(&a) {
		return nil
	}
	a.ID = k.id // the correlation data named it
	s.link.answer(k, a)
	f := k.delivery.flight
	if f == nil || f.speech != s || f.answered {
		return nil
	}
	f.answered = true
	if f.acked {
		return m.overLocked(f)
	}
	return nil
}

func (m *mqttWay) overLocked(f *flight) *flight {
	if f.call.delivery.forgotten {
		m.dropLocked(f.call)
	}
	return f
}

// overdue answers the publishes that were turned away and have waited long enough for a reply that says so, and returns
// their flights. It returns errStalled when any other has waited too long.
func (m *mqttWay) overdue(s *mqttSpeech, now time.Time) (over []*flight, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.calls {
		f := k.delivery.flight
		if f == nil || f.speech != s || f.answered {
			continue
		}
		waited := now.Sub(f.since)
		if f.refused != 0 && waited > replyGrace {
			f.answered = true
			s.link.answer(k, answerTo(f.refused, k.id))
			over = append(over, m.overLocked(f))
		} else if waited > m.options.AnswerTimeout {
			err = errStalled
		}
	}
	return over, err
}

// answerTo is what a PUBACK with that reason says: PROTOCOL.md, "MQTT".
func answerTo(reason byte, id string) wire.Answer {
	code := bank.Unavailable
	switch reason {
	case 0x87:
		code = bank.Forbidden
	case 0x97:
		code = bank.Overloaded
	case 0x99:
		code = bank.Malformed
	}
	return wire.Answer{Code: code, ID: id, Msg: fmt.Sprintf("%s: the gateway did not take the publish (reason 0x%02x)", code, reason)}
}
