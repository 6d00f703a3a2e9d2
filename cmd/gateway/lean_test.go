package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The packet types of MQTT that a lean client says or hears.
const (
	leanConnect   = 1
	leanConnack   = 2
	leanPublish   = 3
	leanPuback    = 4
	leanSubscribe = 8
	leanSuback    = 9
)

const (
	// leanKeepAlive is the longest that a gateway allows, in seconds, so that clients need not ping for as long.
	leanKeepAlive = 300
	// leanExpiry is how long the session of an MQTT 5 client is kept, in seconds.
	leanExpiry = 3600
	// leanBuffer is what a lean client reads at once, in bytes: a reply and its acknowledgement.
	leanBuffer = 512
)

// lean is a client of MQTT 3.1.1 or 5 that is written to be many: one connection, one small buffer, no goroutine. Its
// session persists, its operations go at QoS 1, and it is subscribed to its replies.
type lean struct {
	conn  net.Conn
	in    *bufio.Reader
	level byte
	id    string
}

// leanPacket is what came for a lean client: an acknowledgement of a packet id, or a reply that has one.
type leanPacket struct {
	kind    byte
	id      uint16
	payload []byte
}

// callLean connects and subscribes. An empty source is any address.
func callLean(address, source, id string, level byte) (*lean, error) {
	dialer := net.Dialer{Timeout: patience}
	if source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	l := &lean{conn: conn, in: bufio.NewReaderSize(conn, leanBuffer), level: level, id: id}
	if err := l.greet(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return l, nil
}

func (l *lean) greet() error {
	if err := l.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	connect := append(leanText("MQTT"), l.level, 0, leanKeepAlive>>8, leanKeepAlive&0xff)
	if l.level == 5 {
		connect = binary.BigEndian.AppendUint32(append(connect, 5, 0x11), leanExpiry)
	}
	subscribe := []byte{0, 1}
	if l.level == 5 {
		subscribe = append(subscribe, 0)
	}
	subscribe = append(append(subscribe, leanText("bank/replies/"+l.id)...), 1)
	hello := append(leanFrame(leanConnect<<4, append(connect, leanText(l.id)...)), leanFrame(leanSubscribe<<4|2, subscribe)...)
	if _, err := l.conn.Write(hello); err != nil {
		return err
	}
	for _, want := range []byte{leanConnack, leanSuback} {
		p, err := l.next()
		if err != nil {
			return err
		}
		if p.kind != want {
			return fmt.Errorf("packet type %d, want %d", p.kind, want)
		}
	}
	return l.conn.SetDeadline(time.Time{})
}

func leanText(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func leanFrame(head byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{head}, uint64(len(body))), body...)
}

// publish sends an operation. Any goroutine may, one at a time.
func (l *lean) publish(id uint16, payload []byte) error {
	body := binary.BigEndian.AppendUint16(leanText("bank/ops"), id)
	if l.level == 5 {
		body = append(body, 0)
	}
	_, err := l.conn.Write(leanFrame(leanPublish<<4|1<<1, append(body, payload...)))
	return err
}

// puback acknowledges a reply.
func (l *lean) puback(id uint16) error {
	_, err := l.conn.Write([]byte{leanPuback << 4, 2, byte(id >> 8), byte(id)})
	return err
}

// next waits for the next packet. A refusal of any kind is an error.
func (l *lean) next() (leanPacket, error) {
	head, err := l.in.ReadByte()
	if err != nil {
		return leanPacket{}, err
	}
	size, err := binary.ReadUvarint(l.in)
	if err != nil {
		return leanPacket{}, err
	}
	if size > 1<<14 {
		return leanPacket{}, fmt.Errorf("a packet of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(l.in, body); err != nil {
		return leanPacket{}, err
	}
	p := leanPacket{kind: head >> 4}
	if err := p.read(body, l.level); err != nil {
		return p, fmt.Errorf("packet % x%x: %w", head, body, err)
	}
	return p, nil
}

var errLeanRefused = errors.New("refused")

func (p *leanPacket) read(body []byte, level byte) error {
	if len(body) < 2 {
		return io.ErrUnexpectedEOF
	}
	p.id = binary.BigEndian.Uint16(body)
	switch p.kind {
	case leanConnack:
		if body[1] != 0 {
			return errLeanRefused
		}
	case leanPuback:
		if len(body) > 2 && body[2] >= 0x80 {
			return errLeanRefused
		}
	case leanSuback:
		if body[len(body)-1] != 1 {
			return errLeanRefused
		}
	case leanPublish:
		at := 2 + int(p.id) + 2 // behind the topic and the packet id
		if len(body) < at+int(level/5) {
			return io.ErrUnexpectedEOF
		}
		p.id = binary.BigEndian.Uint16(body[at-2:])
		if level == 5 {
			at += 1 + int(body[at]) // short properties
		}
		if at > len(body) {
			return io.ErrUnexpectedEOF
		}
		p.payload = body[at:]
	}
	return nil
}
