package mqtt

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// reason is a reason code of MQTT 5 (section 2.4). As an error it ends the connection, and says so where the protocol can.
type reason byte

const (
	success               reason = 0x00
	malformedPacket       reason = 0x81
	protocolError         reason = 0x82
	implementationError   reason = 0x83
	unsupportedVersion    reason = 0x84
	badClientID           reason = 0x85
	badCredentials        reason = 0x86
	notAuthorized         reason = 0x87
	serverUnavailable     reason = 0x88
	shuttingDown          reason = 0x8b
	badAuthentication     reason = 0x8c
	keepAliveTimeout      reason = 0x8d
	takenOver             reason = 0x8e
	packetIDNotFound      reason = 0x92
	receiveMaximum        reason = 0x93
	topicAliasInvalid     reason = 0x94
	packetTooLarge        reason = 0x95
	quotaExceeded         reason = 0x97
	administrative        reason = 0x98
	payloadFormatInvalid  reason = 0x99
	retainNotSupported    reason = 0x9a
	subscriptionIDsNotSup reason = 0xa1
)

func (r reason) Error() string {
	switch r {
	case malformedPacket:
		return "malformed packet"
	case protocolError:
		return "protocol error"
	case unsupportedVersion:
		return "unsupported protocol version"
	case badClientID:
		return "client id not valid"
	case badCredentials:
		return "bad user name or password"
	case notAuthorized:
		return "not authorized"
	case serverUnavailable:
		return "server unavailable"
	case shuttingDown:
		return "server shutting down"
	case badAuthentication:
		return "bad authentication method"
	case keepAliveTimeout:
		return "keep alive timeout"
	case takenOver:
		return "session taken over"
	case receiveMaximum:
		return "receive maximum exceeded"
	case topicAliasInvalid:
		return "topic alias invalid"
	case packetTooLarge:
		return "packet too large"
	case quotaExceeded:
		return "quota exceeded"
	case administrative:
		return "administrative action"
	case retainNotSupported:
		return "retain not supported"
	case subscriptionIDsNotSup:
		return "subscription identifiers not supported"
	}
	return "unspecified error"
}

// code returns r as mochi has it.
func (r reason) code() packets.Code { return packets.Code{Code: byte(r), Reason: r.Error()} }

// errIncomplete asks for more bytes.
var errIncomplete = errors.New("mqtt: incomplete packet")

// packet is one control packet; its slices are parts of the read buffer and valid until the next one is read.
type packet struct {
	head byte   // type and flags
	body []byte // what follows the fixed header
	all  []byte
}

func (p *packet) kind() byte { return p.head >> 4 }

// cut takes one packet of at most limit bytes off the front of b. Besides errIncomplete its errors are reasons: a packet too
// large is one as soon as its header says so.
func cut(b []byte, limit int) (packet, error) {
	remaining, shift := 0, 0
	for i := 1; i < len(b); i++ {
		remaining |= int(b[i]&0x7f) << shift
		shift += 7
		if b[i]&0x80 != 0 {
			if shift > 21 {
				return packet{}, malformedPacket // MQTT 5 section 1.5.5: four bytes at most
			}
			continue
		}
		size := i + 1 + remaining
		if size > limit {
			return packet{}, packetTooLarge
		}
		if len(b) < size {
			return packet{}, errIncomplete
		}
		return packet{head: b[0], body: b[i+1 : size], all: b[:size]}, nil
	}
	return packet{}, errIncomplete
}

// publish is a PUBLISH as its client sent it; its slices are parts of the packet.
type publish struct {
	qos, dup, retain byte
	id               uint16
	topic            []byte
	payload          []byte
	// Of MQTT 5:
	contentType   []byte
	responseTopic []byte
	correlation   []byte
	alias         bool
	readable      bool // the payload is said to be UTF-8
	garbled       bool // and is not
	answerTo      bool // a response topic was given
	correlated    bool // correlation data were given
}

// parse reads p, which is a PUBLISH, as a client of that protocol level sends it.
func (m *publish) parse(p *packet, level byte) error {
	m.qos, m.dup, m.retain = p.head>>1&3, p.head>>3&1, p.head&1
	if m.qos == 3 || m.qos == 0 && m.dup == 1 {
		return malformedPacket // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
	}
	f := fields{rest: p.body}
	m.topic = f.name() // [MQTT-3.3.2-1]
	if m.qos > 0 {
		m.id = f.packetID()
	}
	if level == 5 {
		m.properties(&f)
	}
	m.payload = f.rest
	switch {
	case f.fault != success:
		return f.fault
	case m.alias:
		return topicAliasInvalid // [MQTT-3.3.2-8], [MQTT-3.3.2-9]: no alias was allowed
	case len(m.topic) == 0 || wild(m.topic):
		return protocolError // [MQTT-4.7.3-1], [MQTT-3.3.2-2]
	}
	m.garbled = m.readable && !utf8.Valid(m.payload)
	return nil
}

// properties reads the properties of a PUBLISH and keeps those that mean something to a bank.
func (m *publish) properties(f *fields) {
	var v property
	all := f.properties(inPublish)
	for all.next(&v) {
		switch v.id {
		case propertyPayloadFormat:
			m.readable = v.number == 1
		case propertyContentType:
			m.contentType = v.bytes
		case propertyResponseTopic:
			m.responseTopic, m.answerTo = v.bytes, true
		case propertyCorrelation:
			m.correlation, m.correlated = v.bytes, true
		case propertyTopicAlias:
			m.alias = true
		}
	}
	f.fail(all.fault)
}

// appendAck appends a PUBACK, PUBREC or PUBCOMP.
func appendAck(dst []byte, kind byte, id uint16, why reason, level byte) []byte {
	if why == success || level < 5 {
		return append(dst, kind<<4, 2, byte(id>>8), byte(id))
	}
	return append(dst, kind<<4, 3, byte(id>>8), byte(id), byte(why))
}

// appendDisconnect appends a DISCONNECT, which only MQTT 5 lets a server send.
func appendDisconnect(dst []byte, why reason) []byte {
	return append(dst, packets.Disconnect<<4, 2, byte(why), 0)
}

// delivery is a PUBLISH to a client.
type delivery struct {
	topic       string
	id          uint16 // 0: QoS 0
	dup         bool
	retain      bool
	contentType string // "": none
	correlation []byte
	correlated  bool
	payload     []byte
}

// append appends d as a client of that protocol level reads it.
func (d *delivery) append(dst []byte, level byte) []byte {
	head, size := byte(packets.Publish<<4), 2+len(d.topic)+len(d.payload)
	if d.id != 0 {
		head |= 1 << 1
		size += 2
	}
	if d.dup {
		head |= 1 << 3
	}
	if d.retain {
		head |= 1
	}
	properties := 0
	if level == 5 {
		if d.contentType != "" {
			properties += 3 + len(d.contentType)
		}
		if d.correlated {
			properties += 3 + len(d.correlation)
		}
		size += 1 + properties
		if properties > 127 {
			size++
		}
	}
	dst = append(dst, head)
	dst = binary.AppendUvarint(dst, uint64(size)) // MQTT's variable byte integer is the same
	dst = appendText(dst, d.topic)
	if d.id != 0 {
		dst = binary.BigEndian.AppendUint16(dst, d.id)
	}
	if level == 5 {
		dst = binary.AppendUvarint(dst, uint64(properties))
		if d.contentType != "" {
			dst = appendText(append(dst, propertyContentType), d.contentType)
		}
		if d.correlated {
			dst = appendText(append(dst, propertyCorrelation), d.correlation)
		}
	}
	return append(dst, d.payload...)
}

func appendText[T string | []byte](dst []byte, text T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}
