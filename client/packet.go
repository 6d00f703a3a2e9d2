package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The packets that carry operations and their answers are written and read here, without the dozens of allocations that
// paho.golang takes for each; everything else about MQTT is its.

// publish is a PUBLISH (MQTT 5, 3.3): of ours always at QoS 1 with correlation data and no other property.
type publish struct {
	topic       string
	qos         byte // of one that was read
	packetID    uint16
	redelivery  bool
	correlation string
	payload     []byte // of one that was read: until the next read
}

// Types of packets with their flags, and of properties (MQTT 5, 2.1 and 2.2.2.2).
const (
	publishQoS1         = 0x32
	flagDup             = 0x08
	propertyCorrelation = 0x09
)

// properties returns the length of the properties; it has one byte, since the correlation data of ours are short.
func (p *publish) properties() int { return 3 + len(p.correlation) }

func (p *publish) remaining() int {
	return 2 + len(p.topic) + 2 + 1 + p.properties() + len(p.payload)
}

// size returns the number of bytes that append appends.
func (p *publish) size() int {
	remaining := p.remaining()
	return 1 + len(binary.AppendUvarint(nil, uint64(remaining))) + remaining
}

func (p *publish) append(dst []byte) []byte {
	first := byte(publishQoS1)
	if p.redelivery {
		first |= flagDup
	}
	dst = binary.AppendUvarint(append(dst, first), uint64(p.remaining())) // MQTT's lengths are written as these are
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(p.topic))), p.topic...)
	dst = binary.BigEndian.AppendUint16(dst, p.packetID)
	dst = append(dst, byte(p.properties()), propertyCorrelation)
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(p.correlation))), p.correlation...)
	return append(dst, p.payload...)
}

var errPacket = errors.New("a packet that is none")

// parsePublish reads a whole PUBLISH. It takes what a reply needs and passes over the rest.
func parsePublish(b []byte) (p publish, err error) {
	r := packetReader{b: b}
	p.qos = r.byte() >> 1 & 3
	r.varint() // the length, which was looked at before
	r.text()   // the topic
	if p.qos > 0 {
		p.packetID = r.uint16()
	}
	properties := packetReader{b: r.take(r.varint())}
	for len(properties.b) > 0 && !properties.bad {
		if kind := properties.byte(); kind == propertyCorrelation {
			p.correlation = string(properties.text())
		} else {
			properties.property(kind)
		}
	}
	p.payload = r.b
	if r.bad || properties.bad || p.qos > 1 || p.qos == 1 && p.packetID == 0 {
		return publish{}, fmt.Errorf("read a PUBLISH: %w", errPacket)
	}
	return p, nil
}

// parsePuback reads a whole PUBACK (MQTT 5, 3.4) but for its properties.
func parsePuback(b []byte) (packetID uint16, reason byte, err error) {
	r := packetReader{b: b}
	r.byte()
	length := r.varint()
	packetID = r.uint16()
	if length > 2 {
		reason = r.byte()
	}
	if r.bad {
		return 0, 0, fmt.Errorf("read a PUBACK: %w", errPacket)
	}
	return packetID, reason, nil
}

// packetReader takes a packet apart. After a read past its end it is bad and yields zeros.
type packetReader struct {
	b   []byte
	bad bool
}

func (r *packetReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *packetReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *packetReader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *packetReader) varint() int {
	length := 0
	for i := range 4 {
		b := r.byte()
		length |= int(b&0x7f) << (7 * i)
		if b < 0x80 {
			return length
		}
	}
	r.bad = true
	return 0
}

// text reads what two bytes of length precede.
func (r *packetReader) text() []byte { return r.take(int(r.uint16())) }

// property passes over a property of a PUBLISH (MQTT 5, 3.3.2.3).
func (r *packetReader) property(kind byte) {
	switch kind {
	case 0x01: // payload format indicator
		r.byte()
	case 0x02: // message expiry interval
		r.take(4)
	case 0x03, 0x08: // content type, response topic
		r.text()
	case 0x0b: // subscription identifier
		r.varint()
	case 0x23: // topic alias
		r.uint16()
	case 0x26: // user property
		r.text()
		r.text()
	default:
		r.bad = true
	}
}

// packetLength returns the length of the packet at the front of b, or 0 while that cannot be told.
func packetLength(b []byte) (int, error) {
	length := 0
	for i := 1; i < len(b) && i <= 4; i++ {
		length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			if n := 1 + i + length; n <= maxHeard {
				return n, nil
			}
			return 0, fmt.Errorf("a packet of more than %d bytes", maxHeard)
		}
	}
	if len(b) > 4 {
		return 0, fmt.Errorf("a packet without a length: %w", errPacket)
	}
	return 0, nil
}

// readPacket reads one packet and nothing behind it.
func readPacket(r io.Reader) ([]byte, error) {
	b := make([]byte, 1, 64)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	for {
		b = append(b, 0)
		if _, err := io.ReadFull(r, b[len(b)-1:]); err != nil {
			return nil, err
		}
		n, err := packetLength(b)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		header := len(b)
		b = append(b, make([]byte, n-header)...)
		_, err = io.ReadFull(r, b[header:])
		return b, err
	}
}
