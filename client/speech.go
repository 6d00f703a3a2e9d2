package client

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// firstFailure is the first reason code that is a failure (MQTT 5, 2.4).
const firstFailure = 0x80

// mqttSpeech is the speech of one MQTT connection. Of paho.golang it takes the packets alone: its clients acknowledge, store
// and resend by rules of their own, while here a call is repeated as an operation, with its id.
type mqttSpeech struct {
	way       *mqttWay
	link      *link
	keepAlive time.Duration
	maxPacket int // the gateway's, in bytes

	// These belong to the writer.
	pinged time.Time // the last time
	// These belong to the reader and the writer.
	ponged chan struct{} // holds a token when the last ping was answered
}

// connect opens a link: CONNECT and SUBSCRIBE have been answered when it returns.
func (m *mqttWay) connect(ctx context.Context) (*link, error) {
	s := &mqttSpeech{way: m, keepAlive: m.options.KeepAlive, maxPacket: maxHeard, ponged: make(chan struct{}, 1)}
	s.ponged <- struct{}{}
	conn, err := m.dialer.open(ctx, s.handshake)
	if err != nil {
		return nil, err
	}
	s.link.conn = conn
	s.link.wake() // the handshake may have heard something to acknowledge
	s.pinged = time.Now()
	return s.link, nil
}

// handshake says CONNECT and SUBSCRIBE and hears what comes until both are answered; replies of an earlier connection may
// come between.
func (s *mqttSpeech) handshake(conn net.Conn) error {
	if _, err := s.way.connectPacket().WriteTo(conn); err != nil {
		return fmt.Errorf("send CONNECT: %w", err)
	}
	b, err := readPacket(conn)
	if err != nil {
		return fmt.Errorf("read CONNACK: %w", err)
	}
	packet, err := packets.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("read CONNACK: %w", err)
	}
	ack, ok := packet.Content.(*packets.Connack)
	if !ok {
		return fmt.Errorf("read CONNACK: got %s", packet.PacketType())
	}
	if err := s.accepted(ack); err != nil {
		return err
	}
	s.way.begin(ack.SessionPresent)
	subscribe := packets.NewControlPacket(packets.SUBSCRIBE)
	subscribe.Content = &packets.Subscribe{
		PacketID: subscribeID, Properties: &packets.Properties{},
		Subscriptions: []packets.SubOptions{{Topic: s.way.replies, QoS: 1}},
	}
	if _, err := subscribe.WriteTo(conn); err != nil {
		return fmt.Errorf("send SUBSCRIBE: %w", err)
	}
	return s.subscribed(conn)
}

// subscribed hears what comes until the SUBACK.
func (s *mqttSpeech) subscribed(conn net.Conn) error {
	for {
		b, err := readPacket(conn)
		if err == nil && b[0]>>4 != packets.SUBACK {
			err = s.take(b)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("read SUBACK: %w", err)
		}
		packet, err := packets.ReadPacket(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("read SUBACK: %w", err)
		}
		return s.granted(packet.Content.(*packets.Suback))
	}
}

// granted says why a subscription was not. One that the gateway has no room for, or cannot answer now, may be another time.
func (s *mqttSpeech) granted(ack *packets.Suback) error {
	switch {
	case len(ack.Reasons) == 1 && ack.Reasons[0] < firstFailure:
		return nil
	case len(ack.Reasons) == 1 && (ack.Reasons[0] == packets.SubackQuotaexceeded || ack.Reasons[0] == packets.SubackImplementationspecificerror):
		return fmt.Errorf("the gateway does not take the subscription to %s now (0x%02x)", s.way.replies, ack.Reasons[0])
	}
	return fmt.Errorf("%w: subscribe to %s: reasons %x", ErrRefused, s.way.replies, ack.Reasons)
}

func (m *mqttWay) connectPacket() *packets.ControlPacket {
	expiry := uint32(m.options.SessionExpiry / time.Second)
	most := uint32(maxHeard)
	connect := packets.NewControlPacket(packets.CONNECT)
	connect.Content = &packets.Connect{
		ProtocolName: "MQTT", ProtocolVersion: 5,
		ClientID: m.options.ClientID, KeepAlive: uint16(m.options.KeepAlive / time.Second),
		UsernameFlag: m.options.User != "", Username: m.options.User,
		PasswordFlag: m.options.User != "", Password: []byte(m.options.Password),
		Properties: &packets.Properties{SessionExpiryInterval: &expiry, MaximumPacketSize: &most},
	}
	return connect
}

// accepted makes the link as the CONNACK has it, or says why there is none.
func (s *mqttSpeech) accepted(ack *packets.Connack) error {
	switch ack.ReasonCode {
	case packets.ConnackSuccess:
	case packets.ConnackUnsupportedProtocolVersion, packets.ConnackInvalidClientID, packets.ConnackBadUsernameOrPassword,
		packets.ConnackNotAuthorized, packets.ConnackBanned, packets.ConnackBadAuthenticationMethod:
		return fmt.Errorf("%w: %s (0x%02x)", ErrRefused, ack.Reason(), ack.ReasonCode)
	default:
		return fmt.Errorf("the gateway does not take the connection: %s (0x%02x)", ack.Reason(), ack.ReasonCode)
	}
	places := s.way.options.InFlight
	if p := ack.Properties; p != nil {
		if p.MaximumQOS != nil && *p.MaximumQOS < 1 {
			return fmt.Errorf("%w: it has no QoS 1", ErrRefused)
		}
		if p.ReceiveMaximum != nil {
			places = max(1, min(places, int(*p.ReceiveMaximum)))
		}
		if p.ServerKeepAlive != nil {
			s.keepAlive = time.Duration(*p.ServerKeepAlive) * time.Second
		}
		if p.MaximumPacketSize != nil {
			s.maxPacket = int(*p.MaximumPacketSize)
		}
	}
	s.link = newLink(nil, places, s.way.options.AnswerTimeout)
	s.link.speech = s
	s.link.tick = min(s.link.tick, replyGrace/4)
	if s.keepAlive > 0 {
		s.link.tick = min(s.link.tick, s.keepAlive/8)
	}
	return nil
}

// say publishes the request of k.
func (s *mqttSpeech) say(k *call) error {
	f, redelivery, err := s.way.board(k, s)
	if err != nil {
		return err
	}
	packet := publish{
		topic: s.way.options.OperationsTopic, packetID: f.packetID, redelivery: redelivery, correlation: k.delivery.correlation,
		payload: k.request,
	}
	if size := packet.size(); size > s.maxPacket {
		s.way.unboard(f)
		return fmt.Errorf("%w: the packet would have %d bytes, %d are the most", ErrRefused, size, s.maxPacket)
	}
	s.link.mu.Lock()
	s.link.out = packet.append(s.link.out)
	s.link.mu.Unlock()
	s.link.wake()
	return nil
}

// unboard takes back a flight that never left.
func (m *mqttWay) unboard(f *flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ids, f.packetID)
	f.acked, f.answered = true, true
}

// hear takes the packets at the front of b.
func (s *mqttSpeech) hear(b []byte) (int, error) {
	heard := 0
	for {
		n, err := packetLength(b[heard:])
		if err != nil || n == 0 || heard+n > len(b) {
			return heard, err
		}
		if err := s.take(b[heard : heard+n]); err != nil {
			return heard, err
		}
		heard += n
	}
}

// take acts on one packet.
func (s *mqttSpeech) take(b []byte) error {
	switch b[0] >> 4 {
	case packets.PUBLISH:
		return s.takeReply(b)
	case packets.PUBACK:
		packetID, reason, err := parsePuback(b)
		if err != nil {
			return err
		}
		s.leave(s.way.land(s, packetID, reason))
		return nil
	}
	packet, err := packets.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("read a packet: %w", err)
	}
	switch p := packet.Content.(type) {
	case *packets.Pingresp:
		select {
		case s.ponged <- struct{}{}:
		default:
		}
	case *packets.Disconnect:
		return fmt.Errorf("the gateway ended the connection: %s (0x%02x)", p.Reason(), p.ReasonCode)
	default:
		return fmt.Errorf("%s comes out of turn", packet.PacketType())
	}
	return nil
}

// takeReply answers the call that the reply is to. A reply to nobody, or one that cannot be read, is acknowledged as well,
// lest it comes for ever.
func (s *mqttSpeech) takeReply(b []byte) error {
	p, err := parsePublish(b)
	if err != nil {
		return err
	}
	if len(p.correlation) > 0 {
		if answer, _, err := s.way.language.DecodeAnswer(p.payload); err == nil {
			s.leave(s.way.settle(s, p.correlation, answer))
		}
	}
	if p.qos == 1 {
		// PUBACK with success in its short form (MQTT 5, 3.4.2.1).
		s.link.queue([]byte{packets.PUBACK << 4, 2, byte(p.packetID >> 8), byte(p.packetID)})
	}
	return nil
}

// leave gives the places of flights back that are over.
func (s *mqttSpeech) leave(over ...*flight) {
	for _, f := range over {
		if f != nil {
			s.link.leave()
		}
	}
}

// tick looks for answers that are overdue and for a gateway that is no more.
func (s *mqttSpeech) tick() error {
	now := time.Now()
	over, err := s.way.overdue(s, now)
	s.leave(over...)
	if err != nil || s.keepAlive == 0 || now.Sub(s.pinged) < s.keepAlive/2 {
		return err
	}
	select {
	case <-s.ponged:
	default:
		return fmt.Errorf("no PINGRESP in %s", now.Sub(s.pinged))
	}
	s.pinged = now
	s.link.queue([]byte{packets.PINGREQ << 4, 0})
	return nil
}

// farewell ends the session with the connection: nobody will come for its answers.
func (s *mqttSpeech) farewell() []byte {
	var now uint32
	goodbye := packets.NewControlPacket(packets.DISCONNECT)
	goodbye.Content = &packets.Disconnect{Properties: &packets.Properties{SessionExpiryInterval: &now}}
	var b bytes.Buffer
	goodbye.WriteTo(&b)
	return b.Bytes()
}
