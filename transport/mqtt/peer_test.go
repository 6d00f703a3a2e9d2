package mqtt_test

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// patience bounds every wait of a test.
const patience = 10 * time.Second

// The packet types.
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

// peer is a client that says exactly what a test tells it to.
type peer struct {
	t     testing.TB
	conn  net.Conn
	in    *bufio.Reader
	level byte
	id    string
}

// hello is a CONNECT.
type hello struct {
	id         string
	level      byte // default 5
	stored     bool // no clean start
	keepAlive  uint16
	properties []byte // of MQTT 5
	will       bool
	lastWords  string // of the will
	willFlags  byte
	willTopic  string // default: bank/replies/alice
	willAfter  uint32 // its delay, in seconds
	user       string
	password   string // default "secret"
}

// packet is one packet from the server.
type packet struct {
	kind       byte
	flags      byte
	id         uint16
	reason     byte // of acks, CONNACK, DISCONNECT
	present    bool
	granted    []byte
	topic      string
	payload    []byte
	properties map[byte]any
}

func (p packet) dup() bool { return p.flags&8 != 0 }
func (p packet) qos() byte { return p.flags >> 1 & 3 }

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func join(parts ...[]byte) (all []byte) {
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func framed(head byte, parts ...[]byte) []byte {
	body := join(parts...)
	return join([]byte{head}, binary.AppendUvarint(nil, uint64(len(body))), body)
}

// withLength returns properties as they stand in a packet of that level.
func withLength(level byte, properties []byte) []byte {
	if level < 5 {
		return nil
	}
	return join(binary.AppendUvarint(nil, uint64(len(properties))), properties)
}

func property(id byte, value any) []byte {
	b := []byte{id}
	switch v := value.(type) {
	case string:
		return append(b, text(v)...)
	case byte:
		return append(b, v)
	case uint16:
		return binary.BigEndian.AppendUint16(b, v)
	case uint32:
		return binary.BigEndian.AppendUint32(b, v)
	}
	panic("no such property")
}

func (h hello) bytes() []byte {
	name, level := "MQTT", h.level
	if level == 0 {
		level = 5
	}
	if level == 3 {
		name = "MQIsdp"
	}
	flags := byte(0)
	if !h.stored {
		flags |= 2
	}
	body := [][]byte{text(name), {level, 0}, binary.BigEndian.AppendUint16(nil, h.keepAlive), withLength(level, h.properties), text(h.id)}
	if h.will {
		flags |= 4 | h.willFlags
		topic, delay := h.willTopic, []byte(nil)
		if topic == "" {
			topic = "bank/replies/alice"
		}
		if h.willAfter > 0 {
			delay = property(0x18, h.willAfter)
		}
		body = append(body, withLength(level, delay), text(topic), text(h.lastWords))
	}
	if h.user != "" {
		flags |= 0xc0
		body = append(body, text(h.user), text(cmp.Or(h.password, "secret")))
	}
	body[1][1] = flags
	return framed(tConnect<<4, body...)
}

// call opens a connection.
func call(t testing.TB, address string) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, conn)
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &peer{t: t, conn: conn, in: bufio.NewReader(conn), level: 5}
}

func (p *peer) send(b ...[]byte) {
	p.t.Helper()
	if _, err := p.conn.Write(join(b...)); err != nil {
		p.t.Fatalf("%s: %v", p.id, err)
	}
}

// greet sends a CONNECT and returns the CONNACK.
func (p *peer) greet(h hello) packet {
	p.t.Helper()
	p.level, p.id = h.level, h.id
	if h.level == 0 {
		p.level = 5
	}
	p.send(h.bytes())
	return p.expect(tConnack)
}

// enter connects and fails the test when that is refused.
func enter(t testing.TB, address string, h hello) (*peer, packet) {
	t.Helper()
	p := call(t, address)
	ack := p.greet(h)
	if ack.reason != 0 {
		t.Fatalf("CONNECT %q refused: 0x%02x", h.id, ack.reason)
	}
	return p, ack
}

// listening connects and subscribes to the client's replies at QoS 1.
func listening(t testing.TB, address string, h hello) *peer {
	t.Helper()
	p, _ := enter(t, address, h)
	p.subscribe(1, "bank/replies/"+h.id, 1)
	return p
}

// read returns the next packet, or an error.
func (p *peer) read() (packet, error) {
	head, err := p.in.ReadByte()
	if err != nil {
		return packet{}, err
	}
	size, err := binary.ReadUvarint(p.in)
	if err != nil {
		return packet{}, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(p.in, body); err != nil {
		return packet{}, err
	}
	return p.decode(head, body)
}

func (p *peer) decode(head byte, body []byte) (_ packet, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("packet %x %x: %v", head, body, fault)
		}
	}()
	k := packet{kind: head >> 4, flags: head & 15}
	take := func(n int) []byte { b := body[:n]; body = body[n:]; return b }
	takeID := func() { k.id = binary.BigEndian.Uint16(take(2)) }
	properties := func() {
		if p.level == 5 && len(body) > 0 {
			size, n := binary.Uvarint(body)
			take(n)
			k.properties = readProperties(take(int(size)))
		}
	}
	switch k.kind {
	case tConnack:
		k.present, k.reason = take(1)[0] == 1, take(1)[0]
		properties()
	case tPublish:
		k.topic = string(take(int(binary.BigEndian.Uint16(take(2)))))
		if k.qos() > 0 {
			takeID()
		}
		properties()
		k.payload = body
	case tPuback, tPubrec, tPubrel, tPubcomp:
		takeID()
		if len(body) > 0 {
			k.reason = take(1)[0]
		}
	case tSuback, tUnsuback:
		takeID()
		properties()
		k.granted = body
	case tDisconnect:
		if len(body) > 0 {
			k.reason = take(1)[0]
		}
	}
	return k, nil
}

func readProperties(b []byte) map[byte]any {
	all := map[byte]any{}
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		switch id {
		case 0x02, 0x11, 0x27:
			all[id] = binary.BigEndian.Uint32(b)
			b = b[4:]
		case 0x13, 0x21, 0x22:
			all[id] = binary.BigEndian.Uint16(b)
			b = b[2:]
		case 0x24, 0x25, 0x28, 0x29, 0x2a:
			all[id] = b[0]
			b = b[1:]
		case 0x26: // two texts
			for range 2 {
				b = b[2+int(binary.BigEndian.Uint16(b)):]
			}
		default: // text or bytes
			n := 2 + int(binary.BigEndian.Uint16(b))
			all[id] = string(b[2:n])
			b = b[n:]
		}
	}
	return all
}

func (p *peer) next() packet {
	p.t.Helper()
	k, err := p.read()
	if err != nil {
		p.t.Fatalf("%s: read: %v", p.id, err)
	}
	return k
}

func (p *peer) expect(kind byte) packet {
	p.t.Helper()
	k := p.next()
	if k.kind != kind {
		p.t.Fatalf("%s: got packet type %d (id %d, reason 0x%02x, %q), want %d", p.id, k.kind, k.id, k.reason, k.payload, kind)
	}
	return k
}

// ack expects an acknowledgement of id.
func (p *peer) ack(kind byte, id uint16, reason byte) {
	p.t.Helper()
	if k := p.expect(kind); k.id != id || k.reason != reason {
		p.t.Fatalf("%s: ack type %d of %d with 0x%02x, want of %d with 0x%02x", p.id, kind, k.id, k.reason, id, reason)
	}
}

// gone expects the end of the connection, with a DISCONNECT of that reason before it when reason is not 0.
func (p *peer) gone(reason byte) {
	p.t.Helper()
	if reason != 0 {
		if k := p.expect(tDisconnect); k.reason != reason {
			p.t.Fatalf("%s: DISCONNECT 0x%02x, want 0x%02x", p.id, k.reason, reason)
		}
	}
	if k, err := p.read(); err == nil {
		p.t.Fatalf("%s: packet type %d instead of the end", p.id, k.kind)
	} else if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatalf("%s: the connection does not end", p.id)
	}
}

// quiet proves that the server has sent nothing: it answers a ping, and answers come in order.
func (p *peer) quiet() {
	p.t.Helper()
	p.send([]byte{tPingreq << 4, 0})
	p.expect(tPingresp)
}

// settle reads all that has been sent so far, acknowledging nothing.
func (p *peer) settle() (all []packet) {
	p.t.Helper()
	p.send([]byte{tPingreq << 4, 0})
	for k := p.next(); k.kind != tPingresp; k = p.next() {
		all = append(all, k)
	}
	return all
}

func (p *peer) subscribe(id uint16, filter string, qos byte) packet {
	p.t.Helper()
	p.send(framed(tSubscribe<<4|2, binary.BigEndian.AppendUint16(nil, id), withLength(p.level, nil), text(filter), []byte{qos}))
	return p.expect(tSuback)
}

// note is a PUBLISH to be sent.
type note struct {
	qos, dup, retain byte
	id               uint16
	topic            string // default: bank/ops
	properties       []byte
	payload          string
}

func (p *peer) publish(notes ...note) {
	p.t.Helper()
	var all []byte
	for _, n := range notes {
		all = append(all, n.bytes(p.level)...)
	}
	p.send(all)
}

func (n note) bytes(level byte) []byte {
	topic := n.topic
	if topic == "" {
		topic = "bank/ops"
	}
	var id []byte
	if n.qos > 0 {
		id = binary.BigEndian.AppendUint16(nil, n.id)
	}
	return framed(tPublish<<4|n.dup<<3|n.qos<<1|n.retain, text(topic), id, withLength(level, n.properties), []byte(n.payload))
}

// clog publishes and reads nothing until both sides are stuck: one write has not gone through for a second.
func (p *peer) clog() {
	for err := error(nil); err == nil; {
		p.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = p.conn.Write(note{payload: deposit("1", 1)}.bytes(p.level))
	}
}

func (p *peer) puback(id uint16) {
	p.t.Helper()
	p.send([]byte{tPuback << 4, 2, byte(id >> 8), byte(id)})
}

func (p *peer) pubrel(id uint16) {
	p.t.Helper()
	p.send([]byte{tPubrel<<4 | 2, 2, byte(id >> 8), byte(id)})
}

// answer is a reply in JSON.
type answer struct {
	Status    bool
	Msg       any
	Code      string
	ID        string
	Balance   string
	Seq       uint64
	Duplicate bool
}

// reply expects a reply at that QoS and acknowledges it when that is 1.
func (p *peer) reply(qos byte) (answer, packet) {
	p.t.Helper()
	k := p.expect(tPublish)
	if k.qos() != qos {
		p.t.Fatalf("%s: reply at QoS %d, want %d", p.id, k.qos(), qos)
	}
	if qos == 1 {
		p.puback(k.id)
	}
	return p.answer(k), k
}

func (p *peer) answer(k packet) (a answer) {
	p.t.Helper()
	if err := json.Unmarshal(k.payload, &a); err != nil {
		p.t.Fatalf("%s: reply %q: %v", p.id, k.payload, err)
	}
	return a
}

func deposit(account string, amount int) string {
	return fmt.Sprintf(`{"op":"deposit","account":%q,"amount":%d}`, account, amount)
}
