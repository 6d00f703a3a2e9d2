package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// The packets of MQTT that these tests send and read.
const (
	typeConnect   = 1
	typeConnack   = 2
	typePublish   = 3
	typePuback    = 4
	typePubrec    = 5
	typePubrel    = 6
	typePubcomp   = 7
	typeSubscribe = 8
	typeSuback    = 9

	typeDisconnect = 14
)

// Properties of MQTT 5.
const (
	propertyResponseTopic  = 0x08
	propertyCorrelation    = 0x09
	propertyExpiry         = 0x11
	propertyReceiveMaximum = 0x21
)

// link is one connection of a session that persists: MQTT 5 with an expiry, or MQTT 3.1.1 without a clean session.
type link struct {
	conn  net.Conn
	in    *bufio.Reader
	level byte
}

// frame is a packet from the gateway.
type frame struct {
	kind, flags byte
	id          uint16
	reason      byte // of acknowledgements and DISCONNECT
	topic       string
	correlation string // data of MQTT 5
	payload     []byte
}

// again reports whether a PUBLISH says that it may have been sent before.
func (f *frame) again() bool { return f.flags&8 != 0 }

func mqttText(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// connectLink connects and reads the CONNACK; present says whether the session was there. In MQTT 5 the CONNECT has the
// properties, besides that the session persists.
func connectLink(address, clientID string, level byte, properties ...byte) (l *link, present bool, err error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, false, err
	}
	l = &link{conn: conn, in: bufio.NewReader(conn), level: level}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if level == 5 {
		properties = withLength(binary.BigEndian.AppendUint32(append(properties, propertyExpiry), 3600))
	}
	l.send(typeConnect<<4, mqttText("MQTT"), []byte{level, 0, 0, 60}, properties, mqttText(clientID))
	head, body, err := l.next()
	if err == nil && (head>>4 != typeConnack || len(body) < 2 || body[1] != 0) {
		err = fmt.Errorf("CONNECT answered %x %x", head, body)
	}
	if err != nil {
		_ = conn.Close()
		return nil, false, err
	}
	return l, body[0] == 1, nil
}

// send writes a packet. That it failed is seen by the next read.
func (l *link) send(head byte, parts ...[]byte) {
	body := bytes.Join(parts, nil)
	_, _ = l.conn.Write(append(binary.AppendUvarint([]byte{head}, uint64(len(body))), body...))
}

func (l *link) sendID(head byte, id uint16) { l.send(head, binary.BigEndian.AppendUint16(nil, id)) }

func withLength(properties []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(properties))), properties...)
}

// properties are those of a packet, which MQTT 3 has not.
func (l *link) properties(are []byte) []byte {
	if l.level < 5 {
		return nil
	}
	return withLength(are)
}

func (l *link) subscribe(topic string) {
	l.send(typeSubscribe<<4|2, []byte{0, 1}, l.properties(nil), mqttText(topic), []byte{1})
}

func (l *link) publish(m *message) {
	head := typePublish<<4 | m.qos<<1
	if m.again {
		head |= 8
	}
	l.send(head, mqttText("bank/ops"), binary.BigEndian.AppendUint16(nil, m.id), l.properties(m.properties), []byte(m.payload))
}

func (l *link) next() (head byte, body []byte, err error) {
	if head, err = l.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(l.in)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, size)
	_, err = io.ReadFull(l.in, body)
	return head, body, err
}

func (l *link) read() (frame, error) {
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	head, body, err := l.next()
	if err != nil {
		return frame{}, err
	}
	f := frame{kind: head >> 4, flags: head & 15}
	if f.kind == typePublish {
		topic := 2 + int(binary.BigEndian.Uint16(body))
		f.topic, body = string(body[2:topic]), body[topic:]
	}
	if f.kind != typeDisconnect && (f.kind != typePublish || f.flags&6 != 0) {
		f.id = binary.BigEndian.Uint16(body)
		body = body[2:]
	}
	switch {
	case f.kind == typePublish && l.level == 5:
		size, n := binary.Uvarint(body)
		f.correlation = correlationIn(body[n : n+int(size)])
		f.payload = body[n+int(size):]
	case f.kind == typePublish:
		f.payload = body
	case len(body) > 0:
		f.reason = body[0]
	}
	return f, nil
}

// correlationIn finds the correlation data among the properties of a reply.
func correlationIn(properties []byte) string {
	for len(properties) > 2 {
		kind, end := properties[0], 3+int(binary.BigEndian.Uint16(properties[1:]))
		if kind == propertyCorrelation {
			return string(properties[3:end])
		}
		properties = properties[end:]
	}
	return ""
}

// message is an operation on its way.
type message struct {
	qos        byte
	id         uint16
	again      bool // it was sent before
	released   bool // at QoS 2: PUBREC came, PUBREL was sent
	properties []byte
	payload    string
}
