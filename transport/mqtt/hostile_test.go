package mqtt_test

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gateway/bank"
	"gateway/gate"
	"gateway/transport/mqtt"
)

func TestWhoMayConnect(t *testing.T) {
	h := build(t, nil)
	for _, c := range []struct {
		name   string
		hello  hello
		v5, v3 byte // the return codes; v3 is 255 for the close without a CONNACK
	}{
		{"will", hello{id: "eve", will: true, lastWords: "forged"}, 0x87, 5},
		{"empty will", hello{id: "eve", will: true}, 0x87, 5},
		{"retained will at QoS 1", hello{id: "eve", will: true, lastWords: "forged", willFlags: 0x28}, 0x87, 5},
		{"credentials, and there are none", hello{id: "eve", user: "ana"}, 0x86, 4},
		{"id with a slash", hello{id: "a/b"}, 0x85, 2},
		{"id with a wildcard", hello{id: "+"}, 0x85, 2},
		{"id of 65 bytes", hello{id: strings.Repeat("x", 65)}, 0x85, 2},
		{"id of 64 bytes", hello{id: strings.Repeat("x", 64)}, 0, 0},
		{"all that an id may have", hello{id: "aZ09._:-"}, 0, 0},
		{"mochi's own id", hello{id: "inline"}, 0, 0},
		{"no id", hello{}, 0, 0},
		{"no id and no clean start", hello{stored: true}, 0, 2},
		{"authentication", hello{id: "eve", properties: property(0x15, "SCRAM")}, 0x8c, 0},
	} {
		for _, level := range []byte{3, 4, 5} {
			want := c.v3
			if level == 5 {
				want = c.v5
			}
			if level == 3 && c.hello.id == "" {
				want = 2 // MQTT 3.1 has no assigned ids
			}
			c.hello.level = level
			p := call(t, h.address)
			ack := p.greet(c.hello)
			if ack.reason != want {
				t.Errorf("%s, level %d: 0x%02x, want 0x%02x", c.name, level, ack.reason, want)
			}
			if ack.reason != 0 {
				p.gone(0)
			} else if c.hello.id == "" && level == 5 {
				id, _ := ack.properties[0x12].(string)
				if id == "" {
					t.Error("no id was assigned")
				}
				p.id = id
				p.subscribe(1, "bank/replies/"+id, 1)
				p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
				p.ack(tPuback, 1, 0)
				p.reply(1)
			}
			p.conn.Close()
		}
	}
}

func TestNobodyIsServedWithoutCredentialsUnlessAllowed(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Anonymous = false })
	for _, level := range []byte{3, 4, 5} {
		p := call(t, h.address)
		if ack := p.greet(hello{id: "c", level: level}); ack.reason != map[byte]byte{3: 5, 4: 5, 5: 0x87}[level] {
			t.Errorf("level %d: 0x%02x", level, ack.reason)
		}
	}
}

func TestTheConnackSaysWhatIsOff(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.IdleTimeout, o.InFlight, o.Message = 90*time.Second, 17, 4096 })
	_, ack := enter(t, h.address, hello{id: "c", properties: property(0x19, byte(1))})
	want := map[byte]any{
		0x13: uint16(90), 0x1a: "bank/replies/c", 0x21: uint16(17), 0x25: byte(0), 0x27: uint32(4096), 0x29: byte(0), 0x2a: byte(0),
	}
	if fmt.Sprint(ack.properties) != fmt.Sprint(want) {
		t.Errorf("CONNACK\n%v, want\n%v", ack.properties, want)
	}
	_, ack = enter(t, h.address, hello{id: "d", keepAlive: 60})
	if ack.properties[0x13] != nil || ack.properties[0x1a] != nil || ack.properties[0x22] != nil {
		t.Errorf("CONNACK %v: a keep-alive, an alias maximum or response information that was not called for", ack.properties)
	}
	if _, ack = enter(t, h.address, hello{id: "e", keepAlive: 91}); ack.properties[0x13] != uint16(90) {
		t.Errorf("CONNACK %v", ack.properties)
	}
}

func TestNobodyListensToOthers(t *testing.T) {
	h := build(t, nil)
	for _, level := range []byte{3, 4, 5} {
		p, _ := enter(t, h.address, hello{id: "c", level: level})
		refused := byte(0x87)
		if level < 5 {
			refused = 0x80
		}
		for _, filter := range []string{
			"#", "+", "+/+", "+/+/+", "/#", "bank/#", "bank/+", "bank/+/#", "bank/ops", "bank/ops/#", "bank/replies/#", "bank/replies/+",
			"bank/replies/+/#", "bank/replies", "bank/replies/alice", "bank/replies/cc", "bank/+/c", "+/replies/c", "$SYS/#",
			"BANK/replies/c", "bank/replies/c/" + strings.Repeat("a/", 15), "bank/replies/c/" + strings.Repeat("x", 250),
		} {
			if k := p.subscribe(1, filter, 1); len(k.granted) != 1 || k.granted[0] != refused {
				t.Errorf("level %d: subscribed to %q: %x", level, filter, k.granted)
			}
		}
		for _, filter := range []string{"bank/replies/c", "bank/replies/c/#", "bank/replies/c/+", "bank/replies/c/+/x", "bank/replies/c/7"} {
			if k := p.subscribe(1, filter, 1); k.granted[0] != 1 {
				t.Errorf("level %d: not subscribed to %q: %x", level, filter, k.granted)
			}
		}
		eve := listening(t, h.address, hello{id: "eve", level: level})
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		p.ack(tPuback, 1, 0)
		p.reply(1)
		eve.quiet()
	}
}

func TestPacketsThatEndTheConnection(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Message = 1024 })
	for _, c := range []struct {
		name   string
		bytes  []byte
		reason byte
	}{
		{"larger than advertised", note{qos: 1, id: 1, payload: strings.Repeat(" ", 1024)}.bytes(5), 0x95},
		{"256 MB announced", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 0x95},
		{"a length of five bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, 0x81},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := enter(t, h.address, hello{id: "c"})
			p.conn.Write(c.bytes)
			p.gone(c.reason)
			p, _ = enter(t, h.address, hello{id: "c", level: 4})
			p.conn.Write(c.bytes)
			p.gone(0)
		})
	}
	if h.entries() != 0 {
		t.Error("something was executed")
	}
}

// A socket closed with bytes unread destroys what was sent to its client last.
func TestTheReasonArrivesBehindWhateverIsUnread(t *testing.T) {
	h := build(t, nil)
	p, _ := enter(t, h.address, hello{id: "c"})
	large := note{payload: strings.Repeat(" ", 500<<10)}.bytes(5)
	for len(large) > 0 { // a client that writes it piece by piece comes to read the reason
		n := min(len(large), 1<<10)
		p.send(large[:n])
		large = large[n:]
	}
	p.gone(0x95)
}

// A fault on a connection's goroutine may cost that connection only. No bytes are known that bring one about, so an observer
// does.
func TestAFaultIsContained(t *testing.T) {
	observer := &faulty{}
	h := build(t, func(o *mqtt.Options) { o.Observer = observer })
	h.faulty = true
	other := listening(t, h.address, hello{id: "other"})
	for range 2 {
		p, _ := enter(t, h.address, keeps(5, "c"))
		p.publish(note{payload: "nonsense"})
		p.gone(0)
		p, _ = enter(t, h.address, keeps(5, "c"))
		p.subscribe(1, "bank/replies/c", 1)
		p.conn.Close()
	}
	other.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	other.ack(tPuback, 1, 0)
	other.reply(1)
	if !strings.Contains(h.log.String(), "connection failed") || !strings.Contains(h.log.String(), "faulty") {
		t.Error("the fault is not in the log")
	}
}

// faulty is an Observer that does not survive an operation that is none.
type faulty struct{ counts }

func (f *faulty) Operation(kind bank.Kind, code bank.Code, took time.Duration) {
	if code == bank.Malformed {
		panic("faulty observer")
	}
	f.counts.Operation(kind, code, took)
}

func TestASilentSocketIsClosed(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.ReadTimeout = 50 * time.Millisecond })
	silent := call(t, h.address)
	slow := call(t, h.address)
	whole := hello{id: "c"}.bytes()
	slow.send(whole[:len(whole)-1])
	silent.gone(0)
	slow.gone(0)
	wrong := call(t, h.address)
	wrong.send(note{payload: "x"}.bytes(5))
	wrong.gone(0)
}

func TestN7SilenceEndsAConnection(t *testing.T) {
	h := build(t, nil)
	alive, _ := enter(t, h.address, hello{id: "alive", keepAlive: 1})
	began := time.Now()
	ended := make(chan time.Duration, 2)
	var dribbling []net.Conn
	for level, reason := range map[byte]byte{4: 0, 5: 0x8d} {
		p, _ := enter(t, h.address, hello{id: fmt.Sprint("silent", level), level: level, keepAlive: 1})
		p.send([]byte{0x30, 0x7f})
		dribbling = append(dribbling, p.conn)
		go func() {
			if k, err := p.read(); reason != 0 && (err != nil || k.reason != reason) {
				t.Errorf("level %d: %v, 0x%02x", level, err, k.reason)
			}
			ended <- time.Since(began)
		}()
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for silent := 2; silent > 0; {
		select {
		case <-tick.C:
			alive.quiet()
			for _, conn := range dribbling { // what makes no packet is silence too
				conn.Write([]byte{0})
			}
		case after := <-ended:
			silent--
			if after < time.Second || after > patience/2 {
				t.Errorf("ended after %v", after)
			}
		}
	}
	alive.quiet()
}

func TestAnnouncedBytesCostNoMemory(t *testing.T) {
	h := build(t, nil)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for range 8 {
		p := call(t, h.address)
		p.send([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
		p.gone(0)
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d bytes more", grown)
	}
}

func TestAllowFromAndTheGateAreAppliedBeforeAByte(t *testing.T) {
	observer, places := new(counts), gate.New(gate.Limits{Connections: 1})
	l := listen(t)
	h := build(t, func(o *mqtt.Options) { o.Observer, o.Gate = observer, places }, mqtt.Listener{
		Net: l, AllowFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	call(t, l.Addr().String()).gone(0)
	first, _ := enter(t, h.address, hello{id: "a"})
	call(t, h.address).gone(0) // the gate has room for one
	first.conn.Close()
	for { // until it has been counted out
		p := call(t, h.address)
		p.conn.Write(hello{id: "b"}.bytes())
		if _, err := p.read(); err == nil {
			break
		}
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if observer.rejected(mqtt.RejectedAddress) != 1 || observer.rejected(gate.LimitConnections) < 1 || observer.open.Load() != 0 {
		t.Errorf("rejected %v, %d open", observer.reasons, observer.open.Load())
	}
	if n := places.Open(); n != 0 {
		t.Errorf("%d places were not given back", n)
	}
}

func TestOperationsAreObserved(t *testing.T) {
	observer := new(counts)
	h := build(t, func(o *mqtt.Options) { o.Observer = observer })
	p := listening(t, h.address, hello{id: "c"})
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.reply(1)
	p.publish(note{qos: 1, id: 2, payload: "nonsense"})
	p.ack(tPuback, 2, 0x99)
	p.reply(1)
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	slices.Sort(observer.operations) // the first may be observed after it was replied to
	if got := fmt.Sprintf("%q", observer.operations); got != `[" malformed" "deposit ok"]` {
		t.Errorf("observed %s", got)
	}
}

// counts is an Observer.
type counts struct {
	mu         sync.Mutex
	operations []string
	reasons    map[string]int
	limits     map[string]int
	open       atomic.Int64
}

func (c *counts) Operation(kind bank.Kind, code bank.Code, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operations = append(c.operations, kind.String()+" "+code.String())
}

func (c *counts) Connection(opened bool) {
	if opened {
		c.open.Add(1)
	} else {
		c.open.Add(-1)
	}
}

func (c *counts) Rejected(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reasons == nil {
		c.reasons = map[string]int{}
	}
	c.reasons[reason]++
}

func (c *counts) Limited(limit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limits == nil {
		c.limits = map[string]int{}
	}
	c.limits[limit]++
}

// limited returns how often a limit was reached.
func (c *counts) limited(limit string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits[limit]
}

func (c *counts) rejected(reason string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reasons[reason]
}

func TestASlowReaderHarmsNobodyElse(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.WriteTimeout = 300 * time.Millisecond })
	slow := listening(t, h.address, hello{id: "slow", level: 4})
	stuck := make(chan struct{})
	go func() { // publishes for ever and reads nothing
		defer close(stuck)
		notes := make([]byte, 0, 1<<16)
		for id := range 500 {
			notes = append(notes, note{qos: 1, id: uint16(id + 1), payload: deposit("1", 1)}.bytes(4)...)
		}
		for {
			if _, err := slow.conn.Write(notes); err != nil {
				return
			}
		}
	}()
	quick := listening(t, h.address, hello{id: "quick"})
	worst := time.Duration(0)
	for id := uint16(1); ; id++ {
		began := time.Now()
		quick.publish(note{qos: 1, id: id, payload: deposit("2", 1)})
		quick.ack(tPuback, id, 0)
		quick.reply(1)
		worst = max(worst, time.Since(began))
		select {
		case <-stuck:
			if worst > time.Second {
				t.Errorf("a slow reader delayed another by %v", worst)
			}
			return
		default:
		}
		if id == 1<<16-1 {
			id = 0
		}
	}
}
