package simulation

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// The packet types of MQTT, written here a second time so that a fault of the gateway's is not a device's as well.
const (
	tConnect = iota + 1
	tConnack
	tPublish
	tPuback
	tPubrec
	tPubrel
	tPubcomp
	tSubscribe
	tSuback
	tUnsubscribe
	tUnsuback
	tPingreq
	tPingresp
	tDisconnect
)

// packet is one packet from the gateway.
type packet struct {
	kind    byte
	flags   byte
	id      uint16
	reason  byte // of acknowledgements, CONNACK, DISCONNECT
	present bool
	granted byte
	topic   string
	payload []byte
	tag     int // the correlation data; 0: none
}

func (p *packet) qos() byte { return p.flags >> 1 & 3 }

func text(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// framed returns a packet with that first byte and body.
func framed(head byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{head}, uint64(len(body))), body...)
}

// forever is how long a session is kept that persists, in seconds.
const forever = 100_000

func connect(level byte, id, user string, clean bool, expiry uint32, window int) []byte {
	name := "MQTT"
	if level == 3 {
		name = "MQIsdp"
	}
	flags := byte(0)
	if clean {
		flags |= 2
	}
	if user != "" {
		flags |= 0xc0
	}
	body := append(text(nil, name), level, flags, 0, 60)
	if level == 5 {
		properties := binary.BigEndian.AppendUint32([]byte{0x11}, expiry)
		if window > 0 {
			properties = binary.BigEndian.AppendUint16(append(properties, 0x21), uint16(window))
		}
		body = append(append(body, byte(len(properties))), properties...)
	}
	body = text(body, id)
	if user != "" {
		body = text(text(body, user), "secret")
	}
	return framed(tConnect<<4, body)
}

func subscribe(level byte, id uint16, filter string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	if level == 5 {
		body = append(body, 0)
	}
	return framed(tSubscribe<<4|2, append(text(body, filter), 1))
}

func unsubscribe(level byte, id uint16, filter string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	if level == 5 {
		body = append(body, 0)
	}
	return framed(tUnsubscribe<<4|2, text(body, filter))
}

// note is a PUBLISH of an operation.
type note struct {
	qos, dup byte
	id       uint16
	answerTo string // the response topic; "": none
	tag      int    // the correlation data
	payload  []byte
}

func (n *note) bytes(level byte) []byte {
	body := text(nil, "bank/ops")
	if n.qos > 0 {
		body = binary.BigEndian.AppendUint16(body, n.id)
	}
	if level == 5 {
		var properties []byte
		if n.answerTo != "" {
			properties = text(append(properties, 0x08), n.answerTo)
		}
		properties = text(append(properties, 0x09), strconv.Itoa(n.tag))
		body = append(append(body, byte(len(properties))), properties...)
	}
	return framed(tPublish<<4|n.dup<<3|n.qos<<1, append(body, n.payload...))
}

// numbered returns a packet that has nothing but an id.
func numbered(kind byte, id uint16) []byte {
	flags := byte(0)
	if kind == tPubrel {
		flags = 2
	}
	return []byte{kind<<4 | flags, 2, byte(id >> 8), byte(id)}
}

// reader cuts what comes into packets.
type reader struct {
	level byte
	rest  []byte
}

var errPacket = errors.New("the gateway has sent what is no packet")

// next returns the next packet, or false: it is not all there.
func (r *reader) next() (p packet, ok bool, err error) {
	if len(r.rest) < 2 {
		return p, false, nil
	}
	size, n := binary.Uvarint(r.rest[1:])
	if n <= 0 || len(r.rest) < 1+n+int(size) {
		return p, false, nil
	}
	head, body := r.rest[0], r.rest[1+n:1+n+int(size)]
	r.rest = r.rest[1+n+int(size):]
	p.kind, p.flags = head>>4, head&15
	f := fields{rest: body}
	p.read(&f, r.level)
	if f.bad {
		return p, false, errPacket
	}
	return p, true, nil
}

func (p *packet) read(f *fields, level byte) {
	switch p.kind {
	case tConnack:
		p.present, p.reason = f.byte() == 1, f.byte()
	case tPublish:
		p.topic = string(f.take(int(f.uint16())))
		if p.qos() > 0 {
			p.id = f.uint16()
		}
		if level == 5 {
			p.properties(f)
		}
		p.payload = f.rest
	case tPuback, tPubrec, tPubcomp, tUnsuback:
		p.id = f.uint16()
		if len(f.rest) > 0 {
			p.reason = f.byte()
		}
	case tSuback:
		p.id = f.uint16()
		if level == 5 {
			f.take(int(f.byte()))
		}
		p.granted = f.byte()
	case tDisconnect:
		if len(f.rest) > 0 {
			p.reason = f.byte()
		}
	case tPingresp:
	default:
		f.bad = true
	}
}

// properties reads those of a reply: correlation data and nothing else that these devices ask for.
func (p *packet) properties(f *fields) {
	all := fields{rest: f.take(int(f.byte()))}
	for len(all.rest) > 0 && !all.bad {
		kind := all.byte()
		value := all.take(int(all.uint16()))
		if kind == 0x09 {
			p.tag, _ = strconv.Atoi(string(value))
		}
	}
	f.bad = f.bad || all.bad
}

// fields takes a packet's fields off its front.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.bad, f.rest = true, nil
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}
