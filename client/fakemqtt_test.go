package client_test

import (
	"net"
	"sync"

	"github.com/eclipse/paho.golang/packets"

	"gateway/bank"
	"gateway/wire"
)

// fakeBroker is a fake whose connections speak as much MQTT 5 as the client needs.
type fakeBroker struct {
	*fake
	keeps       bool   // it keeps the session of a client that is away
	receiveMax  uint16 // 0: does not say
	connack     byte
	suback      byte
	maxPacket   uint32 // 0: does not say
	keepAlive   uint16 // 0: does not say
	deaf        bool   // it answers no PINGREQ
	mu          sync.Mutex
	connects    []packets.Connect
	disconnects chan packets.Disconnect
	publishes   []packets.Publish
	waiting     [][]byte // replies for the next connection
	pings       int
}

func newBroker(b *book) *fakeBroker {
	broker := &fakeBroker{
		fake:  &fake{book: b, codec: wire.NewCodec(wire.Msgpack, 2)},
		keeps: true, disconnects: make(chan packets.Disconnect, 8),
	}
	broker.serve = func(_ *fake, conn net.Conn, n int) { broker.serveMQTT(conn, n) }
	return broker
}

func (b *fakeBroker) serveMQTT(conn net.Conn, n int) {
	if b.plan(n, -1) == dropAtOnce || !b.welcome(conn) {
		return
	}
	for i := 0; ; {
		packet, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch p := packet.Content.(type) {
		case *packets.Publish:
			b.note(func() { b.publishes = append(b.publishes, *p) })
			if !b.execute(conn, p, b.plan(n, i)) {
				return
			}
			i++
		case *packets.Pingreq:
			b.note(func() { b.pings++ })
			if !b.deaf {
				packets.NewControlPacket(packets.PINGRESP).WriteTo(conn)
			}
		case *packets.Disconnect:
			b.disconnects <- *p
			return
		}
	}
}

func (b *fakeBroker) note(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// welcome answers CONNECT and SUBSCRIBE; replies that waited come between.
func (b *fakeBroker) welcome(conn net.Conn) bool {
	packet, err := packets.ReadPacket(conn)
	if err != nil {
		return false
	}
	connect, ok := packet.Content.(*packets.Connect)
	if !ok {
		b.t.Errorf("the first packet is %s", packet.PacketType())
		return false
	}
	ack := packets.NewControlPacket(packets.CONNACK)
	var waiting [][]byte
	b.note(func() {
		present := b.keeps && len(b.connects) > 0 && !connect.CleanStart
		b.connects = append(b.connects, *connect)
		properties := &packets.Properties{}
		if b.receiveMax > 0 {
			properties.ReceiveMaximum = &b.receiveMax
		}
		if b.maxPacket > 0 {
			properties.MaximumPacketSize = &b.maxPacket
		}
		if b.keepAlive > 0 {
			properties.ServerKeepAlive = &b.keepAlive
		}
		ack.Content = &packets.Connack{SessionPresent: present, ReasonCode: b.connack, Properties: properties}
		if present {
			waiting = b.waiting
		}
		b.waiting = nil
	})
	ack.WriteTo(conn)
	for _, reply := range waiting {
		conn.Write(reply)
	}
	for {
		packet, err := packets.ReadPacket(conn)
		if err != nil {
			return false
		}
		subscribe, ok := packet.Content.(*packets.Subscribe)
		if !ok {
			continue
		}
		ack := packets.NewControlPacket(packets.SUBACK)
		ack.Content = &packets.Suback{PacketID: subscribe.PacketID, Reasons: []byte{b.suback}, Properties: &packets.Properties{}}
		ack.WriteTo(conn)
		return true
	}
}

// execute does what the fault says and reports whether the connection goes on.
func (b *fakeBroker) execute(conn net.Conn, p *packets.Publish, what fault) bool {
	var op bank.Operation
	codec := wire.NewCodec(wire.Sniff(p.Payload), 2)
	if _, err := codec.Decode(p.Payload, &op); err != nil || p.QoS != 1 || p.Topic != "bank/ops" {
		b.t.Errorf("the client published what is no operation: %v", err)
	}
	ack, reply, ok := b.judge(codec, p, op, what)
	if !ok {
		return false
	}
	switch what {
	case ackedOnly:
		b.note(func() { b.waiting = append(b.waiting, reply) })
		conn.Write(ack)
		return false
	case dropInReply:
		conn.Write(append(ack, reply[:len(reply)/2]...))
		return false
	case replyTwice:
		reply = append(reply, reply...)
	case replyFirst:
		ack, reply = reply, ack
	case refusedAlone:
		reply = nil
	case silent:
		ack, reply = nil, nil
	case disconnect:
		goodbye := packets.NewControlPacket(packets.DISCONNECT)
		goodbye.Content = &packets.Disconnect{ReasonCode: packets.DisconnectServerShuttingDown, Properties: &packets.Properties{}}
		ack, reply = packetBytes(goodbye), nil
	}
	_, err := conn.Write(append(ack, reply...))
	return err == nil
}

// judge does the operation, unless the fault has it otherwise, and returns the packets that say so.
func (b *fakeBroker) judge(codec wire.Codec, p *packets.Publish, op bank.Operation, what fault) (ack, reply []byte, ok bool) {
	reason := byte(packets.PubackSuccess)
	var answer bank.Reply
	switch what {
	case dropUnread:
		return nil, nil, false
	case forbidden:
		answer, reason = bank.Refusal(&op, bank.Forbidden), packets.PubackNotAuthorized
	case overloaded, refusedReply, refusedAlone:
		answer = bank.Refusal(&op, bank.Overloaded)
		if what != overloaded {
			reason = packets.PubackQuotaExceeded
		}
	default:
		answer = b.do(op)
	}
	payload := codec.AppendReply(nil, &answer)
	correlation := p.Properties.CorrelationData
	switch what {
	case dropDone:
		return nil, nil, false
	case stranger: // nobody asked for it; the right one follows
		other := answer
		other.ID, other.Code = "another", bank.Overflow
		reply = publishPacket(codec.AppendReply(nil, &other), correlation)
		reply = append(reply, publishPacket(payload, []byte("another"))...)
	case garbage:
		reply = publishPacket([]byte("\xc1\xc1"), correlation)
	case unavailable:
		refusal := bank.Refusal(&op, bank.Unavailable)
		payload = codec.AppendReply(nil, &refusal)
	}
	puback := packets.NewControlPacket(packets.PUBACK)
	puback.Content = &packets.Puback{PacketID: p.PacketID, ReasonCode: reason, Properties: &packets.Properties{}}
	return packetBytes(puback), append(reply, publishPacket(payload, correlation)...), true
}

func publishPacket(payload, correlation []byte) []byte {
	publish := &packets.Publish{
		Topic: "bank/replies/x", QoS: 1, PacketID: 7, Payload: payload, Properties: &packets.Properties{CorrelationData: correlation},
	}
	return packetBytes(publish.ToControlPacket())
}

func packetBytes(p *packets.ControlPacket) []byte {
	var b writeBuffer
	p.WriteTo(&b)
	return b
}

// writeBuffer is what was written to it.
type writeBuffer []byte

func (b *writeBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
