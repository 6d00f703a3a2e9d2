package mqtt_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/transport/mqtt"
)

// lobby is a listener without a network: it has no ports to run out of, and what a fuzzer found happens again.
type lobby struct {
	calls  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newLobby() *lobby { return &lobby{calls: make(chan net.Conn), closed: make(chan struct{})} }

// dial returns the caller's end of a new connection.
func (l *lobby) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.calls <- local{theirs}
	return ours
}

func (l *lobby) Accept() (net.Conn, error) {
	select {
	case conn := <-l.calls:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *lobby) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *lobby) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1883} }

// local is a connection from this machine.
type local struct{ net.Conn }

func (local) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// script reads what the attacker does from a fuzzer's bytes; at their end it reads zeros.
type script []byte

func (s *script) byte() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// bytes reads a count and that many bytes, or what is there.
func (s *script) bytes() []byte {
	n := min(int(s.byte()), len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// pick reads one of a list, or any text.
func (s *script) pick(from []string) string {
	if i := int(s.byte()); i < len(from) {
		return from[i]
	}
	return string(s.bytes())
}

// What an attacker knows.
var (
	fuzzIDs    = []string{"eve", "honest", "eve:2", "", "hones", "honest/x", "+", "inline"}
	fuzzTopics = []string{
		"bank/ops", "bank/replies/eve", "bank/replies/honest", "bank/replies/eve/#", "bank/replies/eve/x", "bank/replies/honest/#",
		"bank/replies/+", "bank/replies/#", "#", "+/+/+", "$SYS/#", "$share/g/bank/replies/honest", "bank/replies/eve/../honest", "",
	}
	fuzzPayloads = []string{
		deposit("7", 1), `{"op":"balance","account":"7"}`, `{"op":"withdraw","account":"7","amount":900}`,
		`{"op":"transfer","account":"7","to":"8","amount":1,"id":"t"}`, `{"op":"status","id":"honest-1"}`,
		"\x83\xa2op\xa7deposit\xa7account\xa17\xa6amount\x01", "\x81\xa2op", "nonsense", "",
	}
)

const (
	// mostSteps is how many steps of a script are done.
	mostSteps = 24
	// arenaInputs is how many inputs one arena sees; then its book has grown enough.
	arenaInputs = 1000
	// secret is the honest client's account, which the attacker does not know.
	secret = "h-3f9c61d27ab0e845"
)

// The steps of a script, in the low four bits of a byte. The next two say what becomes of the packet: it is sent as it is, or
// cut, or with a byte changed, or in two parts.
const (
	stepConnect = iota
	stepPublish
	stepSubscribe
	stepUnsubscribe
	stepAck
	stepPing
	stepDisconnect
	stepRaw
	stepHonest
	stepHangUp
	stepCount

	sentCut     = 1 << 4
	sentSpoilt  = 2 << 4
	sentInParts = 3 << 4
)

// arena is a broker with an honest client, who stays while attackers come and go.
type arena struct {
	house    *house
	lobby    *lobby
	log      *syncedBuffer // of errors
	honest   *peer
	deposits int // that the honest client has made
	entries  int // that have been looked at
	inputs   int
	before   int // goroutines
}

func newArena(t *testing.T) *arena {
	a := &arena{lobby: newLobby(), log: new(syncedBuffer), before: runtime.NumGoroutine()}
	a.house = open(t, newEngine(), func(o *mqtt.Options) {
		o.Logger = slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelError}))
		o.Access = newVillage("honest")
	}, mqtt.Listener{Net: a.lobby})
	conn := a.lobby.dial()
	a.honest = &peer{t: t, conn: conn, in: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(patience))
	a.honest.greet(hello{id: "honest", user: "honest"})
	a.honest.subscribe(1, "bank/replies/honest/#", 1)
	return a
}

// close sends everybody home.
func (a *arena) close(t testing.TB) {
	if a != nil {
		a.house.t = t
		a.honest.conn.Close()
		a.house.close(a.before)
	}
}

// duel is an attacker at an arena.
type duel struct {
	*testing.T
	*arena
	script   script
	attacker net.Conn // nil: none
	level    byte
	whole    bool // the attacker has sent whole packets only
	pings    int  // among them
	pongs    chan struct{}
	reading  sync.WaitGroup
}

// play lets an attacker do what a script says, and looks at what came of it.
func (a *arena) play(t *testing.T, b []byte) {
	a.house.t, a.honest.t = t, t
	a.honest.conn.SetDeadline(time.Now().Add(patience))
	d := &duel{T: t, arena: a, script: b}
	goroutines := runtime.NumGoroutine()
	d.fight()
	d.settle(goroutines)
}

// fight does what the script says.
func (d *duel) fight() {
	for steps := 0; len(d.script) > 0 && steps < mostSteps; steps++ {
		step := d.script.byte()
		switch step & 15 % stepCount {
		case stepHonest:
			d.operate()
		case stepHangUp:
			d.hangUp()
		case stepConnect:
			d.hangUp()
			d.strike(step, d.connect())
		default:
			d.strike(step, d.packet(step&15%stepCount))
		}
	}
}

// connect makes a CONNECT, with a will now and then.
func (d *duel) connect() []byte {
	how := d.script.byte()
	h := hello{id: d.script.pick(fuzzIDs), level: 3 + how%3, stored: how&4 != 0}
	h.will, h.lastWords, h.willFlags = how&8 != 0, "forged", how&0x30
	if h.level == 5 && how&0x40 != 0 {
		h.properties = d.script.bytes()
	}
	if how&0x80 != 0 {
		h.keepAlive, h.user = uint16(d.script.byte()), "ana"
	}
	d.level = h.level
	return h.bytes()
}

// packet makes a packet of any other kind.
func (d *duel) packet(step byte) []byte {
	id := []byte{0, d.script.byte() % 4}
	properties := func() []byte {
		if how := d.script.byte(); how&1 != 0 {
			return withLength(d.level, d.script.bytes())
		}
		return withLength(d.level, nil)
	}
	switch step {
	case stepPublish:
		return d.publish(uint16(id[1]))
	case stepSubscribe:
		return framed(tSubscribe<<4|2, id, properties(), text(d.script.pick(fuzzTopics)), []byte{d.script.byte()})
	case stepUnsubscribe:
		return framed(tUnsubscribe<<4|2, id, properties(), text(d.script.pick(fuzzTopics)))
	case stepAck:
		return framed([]byte{tPuback << 4, tPubrec << 4, tPubrel<<4 | 2, tPubcomp << 4}[d.script.byte()%4], id, d.script.bytes())
	case stepPing:
		return []byte{tPingreq << 4, 0}
	case stepDisconnect:
		return framed(tDisconnect<<4, d.script.bytes())
	}
	return d.script.bytes()
}

// publish makes a PUBLISH, with a response topic and correlation data now and then.
func (d *duel) publish(id uint16) []byte {
	how := d.script.byte()
	n := note{qos: how & 3, dup: how >> 2 & 1, retain: how >> 3 & 1, id: id}
	n.topic, n.payload = d.script.pick(fuzzTopics), d.script.pick(fuzzPayloads)
	if d.level == 5 && how&0x10 != 0 {
		n.properties = property(0x08, d.script.pick(fuzzTopics))
	}
	if d.level == 5 && how&0x20 != 0 {
		n.properties = append(n.properties, property(0x09, string(d.script.bytes()))...)
	}
	if d.level == 5 && how&0x40 != 0 {
		n.properties = append(n.properties, d.script.bytes()...)
	}
	return n.bytes(d.level)
}

// strike sends a packet as step says. That it cannot be sent is nothing: the broker has had enough.
func (d *duel) strike(step byte, b []byte) {
	if len(b) == 0 {
		return
	}
	at := 0
	if step&sentInParts != 0 {
		at = int(d.script.byte()) % len(b)
	}
	if d.attacker == nil {
		d.attacker = d.lobby.dial()
		d.attacker.SetDeadline(time.Now().Add(patience))
		d.whole, d.pings, d.pongs = true, 0, make(chan struct{}, mostSteps+1)
		conn, pongs := d.attacker, d.pongs
		d.reading.Go(func() { d.listen(conn, pongs) })
	}
	if how := step & sentInParts; how == sentCut || how == sentSpoilt || step&15%stepCount == stepRaw {
		d.whole = false
	} else if step&15%stepCount == stepPing {
		d.pings++
	}
	switch step & sentInParts {
	case sentCut:
		b = b[:at]
	case sentSpoilt:
		b = slices.Clone(b)
		b[at] ^= d.script.byte()
	case sentInParts:
		d.attacker.Write(b[:at])
		b = b[at:]
	}
	d.attacker.Write(b)
}

// listen reads all that the broker tells the attacker: whole packets, none of another's topic, nothing of the honest client.
func (d *duel) listen(conn net.Conn, pongs chan<- struct{}) {
	defer close(pongs)
	in := bufio.NewReader(conn)
	for {
		head, err := in.ReadByte()
		if err != nil {
			return
		}
		size, err := binary.ReadUvarint(in)
		if err != nil || size > mqtt.DefaultMessage {
			if err == nil {
				d.Errorf("the attacker is sent %d bytes", size)
			}
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		switch head >> 4 {
		case tConnack, tPuback, tPubrec, tPubcomp, tSuback, tUnsuback, tDisconnect:
		case tPingresp:
			pongs <- struct{}{}
		case tPublish:
			topic := string(body[2 : 2+binary.BigEndian.Uint16(body)])
			if !strings.HasPrefix(topic, "bank/replies/") || strings.HasPrefix(topic+"/", "bank/replies/honest/") {
				d.Errorf("the attacker is sent a message on %q", topic)
			}
		default:
			d.Errorf("the attacker is sent a packet 0x%02x %x", head, body)
		}
		if bytes.Contains(body, []byte(secret)) {
			d.Errorf("the attacker is sent %q", body)
		}
	}
}

// operate is one operation of the honest client, which is answered exactly, with nothing in between.
func (d *duel) operate() {
	d.deposits++
	id, correlation := uint16(d.deposits), fmt.Sprint(secret, " ", d.deposits)
	payload := fmt.Sprintf(`{"op":"deposit","account":%q,"amount":1,"id":"honest-%d"}`, secret, d.deposits)
	d.honest.publish(note{qos: 1, id: id, properties: property(0x09, correlation), payload: payload})
	d.honest.ack(tPuback, id, 0)
	a, k := d.honest.reply(1)
	want := answer{Status: true, Msg: float64(d.deposits), Code: "ok", ID: fmt.Sprint("honest-", d.deposits), Seq: a.Seq}
	want.Balance = fmt.Sprint(d.deposits, ".00")
	if a != want || k.topic != "bank/replies/honest" || k.properties[0x09] != correlation {
		d.Fatalf("the honest client is answered %+v on %q for %v, want %+v for %v", a, k.topic, k.properties, want, correlation)
	}
}

func (d *duel) hangUp() {
	if d.attacker != nil {
		d.attacker.Close()
		d.attacker = nil
	}
}

// linger lets the attacker read what was answered, if it can tell when that has come.
func (d *duel) linger() {
	d.operate()
	if d.attacker == nil || !d.whole {
		return
	}
	d.strike(stepPing, []byte{tPingreq << 4, 0})
	for range d.pings {
		<-d.pongs // or the connection has ended
	}
}

// settle ends the attacker and looks at what is left of it: money that was moved, and nothing else.
func (d *duel) settle(goroutines int) {
	d.linger()
	d.hangUp()
	d.reading.Wait()
	server := d.house.server
	for deadline := time.Now().Add(patience); server.Connections() > 1 || runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			d.Fatalf("%d connections; %d goroutines, and %d before", server.Connections(), runtime.NumGoroutine(), goroutines)
		}
	}
	d.operate() // behind all that the attacker asked
	d.honest.quiet()
	server.Later(8 * 24 * time.Hour)
	server.Later(0)
	if server.Sessions() != 1 || server.Waiting() != 0 {
		d.Errorf("%d sessions and %d replies are left", server.Sessions(), server.Waiting())
	}
	sum := bank.Amount(0)
	for _, e := range d.house.engine.Entries()[d.entries:] {
		for _, p := range e.Postings {
			sum += p.Amount
		}
	}
	if d.entries = d.house.entries(); sum != 0 {
		d.Errorf("the book sums to %d", sum)
	}
	if log := d.log.String(); log != "" {
		d.Errorf("log: %s", log)
	}
}

// duelScripts are the seeds of FuzzSession: each step alone and after a CONNECT of each level, and longer stories.
func duelScripts() (all [][]byte) {
	for level := range byte(3) {
		hi := []byte{stepConnect, level, 0}
		all = append(all, hi)
		for step := byte(0); step < 64; step++ {
			if step&15 < stepCount {
				all = append(all, []byte{step, 1, 2, 3, 4, 5}, append(slices.Clone(hi), step, 1, 1, 0, 0, 1, stepHonest, stepPing, 1))
			}
		}
		for topic := range byte(len(fuzzTopics)) {
			both := append(slices.Clone(hi), stepSubscribe, 1, 0, topic, 1, stepHonest)
			all = append(all, append(both, stepPublish, 1, 0x11, 0, 0, topic, stepHonest))
			all = append(all, append(slices.Clone(hi), stepPublish, 1, 2, topic, 0, stepAck, 1, 2, 0))
		}
		for id := range byte(len(fuzzIDs)) {
			all = append(all, []byte{stepConnect, level | 4, id, stepHonest, stepConnect, level | 8, id, stepConnect, level, id})
		}
	}
	for _, raw := range []string{
		"\x82\x06\x00\x01\x00\x00\x01a", "\x82\x0a\x00\x01\x00\x00\x05abcde", "\x10\xff\xff\xff\x7f", "\x30\xff\xff\xff\xff\x01",
	} {
		all = append(all, append([]byte{stepConnect, 2, 0, stepRaw, 0, byte(len(raw))}, raw...))
	}
	kept := []byte{stepConnect, 2 | 4 | 0x40, 0, 5, 0x11, 0, 0, 0, 60, stepSubscribe, 1, 0, 1, 1}
	return append(all, append(kept, stepPublish, 1, 1, 0, 0, stepPublish, 2, 1, 0, 1, stepHangUp, stepConnect, 2|4, 0, stepAck, 1, 0, 0))
}

// FuzzSession: whatever an attacker sends, cut and mixed with what an honest client does, that one is answered exactly, neither
// hears of the other, the book sums to zero, and no connection, session or goroutine is left.
func FuzzSession(f *testing.F) {
	seeds := duelScripts()
	if len(seeds) < 100 {
		f.Fatalf("%d seeds", len(seeds))
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	var a *arena
	f.Cleanup(func() { a.close(f) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if a == nil {
			a = newArena(t)
		}
		a.play(t, b)
		if a.inputs++; a.inputs == arenaInputs || t.Failed() {
			a.close(t)
			a = nil
		}
	})
}
