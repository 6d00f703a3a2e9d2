package mqtt_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

// reaching is how a limit is come to, below it, and then reached.
type reaching struct {
	limit   string
	options mqtt.Options
	come    func(h *house)
	reach   func(h *house)
}

// reachings are those of all limits.
func reachings() []reaching {
	const own = "bank/replies/c"
	subscribes := func(filters ...string) func(*house) {
		return func(h *house) {
			p, _ := enter(h.t, h.address, hello{id: "c"})
			for len(filters) > 8 && filters[0] != filters[1] {
				p.subscribeAll(filters[:8]...)
				filters = filters[8:]
			}
			p.subscribeAll(filters...)
		}
	}
	publishes := func(sent ...note) func(*house) {
		return func(h *house) {
			p := listening(h.t, h.address, hello{id: "c"})
			p.publish(sent...)
			for range sent {
				p.until(tPuback)
			}
		}
	}
	one := func(properties []byte) note {
		return note{qos: 1, id: 1, properties: properties, payload: deposit("1", 1)}
	}
	two := []note{one(nil), {qos: 1, id: 2, payload: deposit("1", 1)}}
	waits := func(h *house) { h.server.Limits(10, 1, 100) }
	waitsInAll := func(h *house) { h.server.Limits(10, 100, 1) }
	after := func(before, then func(*house)) func(*house) { return func(h *house) { before(h); then(h) } }
	same := make([]string, 9)
	for i := range same {
		same[i] = own
	}
	return []reaching{
		{mqtt.LimitFilters, mqtt.Options{}, subscribes(same[:8]...), subscribes(same...)},
		{mqtt.LimitFilterSize, mqtt.Options{}, subscribes(own + strings.Repeat("/x", 13)), subscribes(own + strings.Repeat("/x", 14))},
		{mqtt.LimitSubscriptions, mqtt.Options{}, subscribes(filtersOf(own, 1, 16)...), subscribes(filtersOf(own, 1, 17)...)},
		{mqtt.LimitCorrelation, mqtt.Options{}, publishes(one(property(0x09, strings.Repeat("x", 512)))),
			publishes(one(property(0x09, strings.Repeat("x", 513))))},
		{mqtt.LimitResponseTopic, mqtt.Options{}, publishes(one(property(0x08, own+strings.Repeat("/x", 13)))),
			publishes(one(property(0x08, own+strings.Repeat("/x", 14))))},
		{mqtt.LimitWaiting, mqtt.Options{}, after(waits, publishes(two[:1]...)), after(waits, publishes(two...))},
		{mqtt.LimitWaitingAll, mqtt.Options{}, after(waitsInAll, publishes(two[:1]...)), after(waitsInAll, publishes(two...))},
		{mqtt.LimitWaitingOwn, mqtt.Options{Access: newVillage()}, waitsForAna("ana-1", false), waitsForAna("ana-2", true)},
		{mqtt.LimitUnreleased, mqtt.Options{InFlight: 2}, keepsIDs(1024, false), keepsIDs(1025, true)},
		{mqtt.LimitSessions, mqtt.Options{Sessions: 2}, greets(0, "a", "b"), greets(0x97, "c")},
		{mqtt.LimitPerPrincipal, mqtt.Options{Sessions: 20, PerPrincipal: 2, Access: newVillage()}, greets(0, "ana-1", "ana-2"),
			greets(0x97, "ana-3")},
		{mqtt.LimitMessage, mqtt.Options{Message: 600}, sends(600, 0), sends(601, 0x95)},
		{mqtt.LimitInFlight, mqtt.Options{InFlight: 2}, opens(2, 0), opens(3, 0x93)},
		{mqtt.LimitIdleTimeout, mqtt.Options{IdleTimeout: time.Second}, publishes(one(nil)), silence},
		{mqtt.LimitWriteTimeout, mqtt.Options{WriteTimeout: 300 * time.Millisecond}, publishes(one(nil)), clogs},
	}
}

// waitsForAna publishes an operation as ana, for whom one reply may wait, and does not acknowledge the reply.
func waitsForAna(id string, refused bool) func(*house) {
	return func(h *house) {
		h.server.Limits(20, 1, 10)
		p := listening(h.t, h.address, hello{id: id, user: "ana"})
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		if k := p.expect(tPuback); (k.reason == 0x97) != refused {
			h.t.Errorf("PUBACK 0x%02x", k.reason)
		}
	}
}

// keepsIDs publishes so many operations at QoS 2 and releases none of them.
func keepsIDs(count int, ended bool) func(*house) {
	return func(h *house) {
		p, _ := enter(h.t, h.address, hello{id: "c", level: 4})
		for id := 1; id <= count; id++ {
			p.publish(note{qos: 2, id: uint16(id), payload: `x`})
			if ended && id == count {
				p.gone(0)
				return
			}
			p.expect(tPubrec)
		}
		p.publish(note{qos: 2, id: 1, dup: 1, payload: `x`}) // one of them again
		p.expect(tPubrec)
		p.pubrel(1)
		p.expect(tPubcomp)
	}
}

// greets lets clients connect, whose sessions are kept, with that reason.
func greets(reason byte, ids ...string) func(*house) {
	return func(h *house) {
		for _, id := range ids {
			k := keeps(5, id)
			k.user, _, _ = strings.Cut(id, "-")
			if k.user == id {
				k.user = ""
			}
			if ack := call(h.t, h.address).greet(k); ack.reason != reason {
				h.t.Errorf("%s: 0x%02x, want 0x%02x", id, ack.reason, reason)
			}
		}
	}
}

// sends sends a packet of so many bytes, by which the connection ends for that reason, if it is one.
func sends(size int, reason byte) func(*house) {
	return func(h *house) {
		p, _ := enter(h.t, h.address, hello{id: "c"})
		empty := len(note{topic: "bank/ops", payload: strings.Repeat("x", 200)}.bytes(5)) - 200
		p.send(note{topic: "bank/ops", payload: strings.Repeat(" ", size-empty-len(deposit("1", 1))) + deposit("1", 1)}.bytes(5))
		if reason != 0 {
			p.gone(reason)
			return
		}
		p.settle()
	}
}

// opens publishes so many operations before any is answered.
func opens(operations int, reason byte) func(*house) {
	return func(h *house) {
		p, _ := enter(h.t, h.address, hello{id: "c"})
		release := h.engine.hold()
		for id := range operations {
			p.publish(note{qos: 1, id: uint16(1 + id), payload: deposit("1", 1)})
		}
		if reason == 0 {
			release()
			for range operations {
				p.expect(tPuback)
			}
			return
		}
		defer release()
		p.gone(reason)
	}
}

func silence(h *house) {
	p, _ := enter(h.t, h.address, hello{id: "c"})
	p.gone(0x8d)
}

// clogs asks on and on and reads nothing, until that is ended.
func clogs(h *house) {
	p := listening(h.t, h.address, hello{id: "c", level: 4})
	var notes []byte
	for id := range 500 {
		notes = append(notes, note{qos: 1, id: uint16(id + 1), payload: deposit("1", 1)}.bytes(4)...)
	}
	for {
		if _, err := p.conn.Write(notes); err != nil {
			return
		}
	}
}

// TestLimitsAreCounted comes to each limit, which nobody hears of, and then reaches it, which is counted.
func TestLimitsAreCounted(t *testing.T) {
	tried := map[string]bool{}
	for _, c := range reachings() {
		tried[c.limit] = true
		t.Run(c.limit, func(t *testing.T) {
			observer := new(counts)
			h := build(t, func(o *mqtt.Options) {
				decimals, logger := o.Decimals, o.Logger
				*o = c.options
				o.Decimals, o.Logger, o.Anonymous, o.Observer = decimals, logger, true, observer
			})
			c.come(h)
			if n := observer.limited(c.limit); n != 0 {
				t.Errorf("counted %d times below it", n)
			}
			c.reach(h)
			if n := observer.limited(c.limit); n != 1 {
				t.Errorf("counted %d times: %v", n, observer.limits)
			}
		})
	}
	for _, limit := range mqtt.Limits() {
		if !tried[limit] {
			t.Errorf("%s is not tried", limit)
		}
	}
}

// TestAWebSocketMessageHasALimit too: it is a packet that is too large.
func TestAWebSocketMessageHasALimit(t *testing.T) {
	observer := new(counts)
	h := build(t, func(o *mqtt.Options) { o.Observer = observer })
	p, _ := surf(t, h.web, "", "mqtt")
	p.greet(hello{id: "c"})
	wire := p.conn.(*socketConn).NetConn()
	wire.Write(binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, 4*mqtt.DefaultMessage+1)) // the head of a binary frame
	wire.Write(make([]byte, 4))                                                            // its mask
	io.Copy(io.Discard, wire)
	if observer.limited(mqtt.LimitMessage) != 1 || observer.rejected(mqtt.RejectedPacket) != 1 {
		t.Errorf("limits %v, rejected %v", observer.limits, observer.reasons)
	}
}

// TestWhoComesToItsLimitsHoldsNobodyElse: floods at the limits of one client while another is measured.
func TestWhoComesToItsLimitsHoldsNobodyElse(t *testing.T) {
	for limit, sent := range map[string][]byte{
		mqtt.LimitInFlight:    note{qos: 1, id: 1, payload: deposit("1", 1)}.bytes(4),
		mqtt.LimitCorrelation: note{properties: property(0x09, strings.Repeat("x", 513)), payload: deposit("1", 1)}.bytes(5),
		mqtt.LimitFilters:     framed(tSubscribe<<4|2, []byte{0, 1, 0}, bytes.Repeat(append(text("bank/replies/attacker"), 1), 9)),
	} {
		t.Run(limit, func(t *testing.T) {
			observer, level := new(counts), byte(5)
			if limit == mqtt.LimitInFlight {
				level = 4 // which has no Receive Maximum
			}
			h := build(t, func(o *mqtt.Options) { o.Observer, o.InFlight = observer, 2 })
			attacker, _ := enter(t, h.address, hello{id: "attacker", level: level})
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				for {
					if _, err := attacker.conn.Write(sent); err != nil {
						return
					}
				}
			}()
			go io.Copy(io.Discard, attacker.in)
			honest := listening(t, h.address, hello{id: "honest"})
			worst := time.Duration(0)
			for id := uint16(1); id <= 200; id++ {
				began := time.Now()
				honest.publish(note{qos: 1, id: id, payload: deposit("2", 1)})
				honest.ack(tPuback, id, 0)
				_, k := honest.reply(1)
				honest.puback(k.id)
				worst = max(worst, time.Since(began))
			}
			attacker.conn.Close()
			<-stop
			t.Logf("%s: an honest client waited %v at most (seconds would be wrong)", limit, worst)
			if worst > 3*time.Second {
				t.Errorf("a flood delayed another client by %v", worst)
			}
			if observer.limited(limit) == 0 {
				t.Error("the flood did not come to a limit")
			}
		})
	}
}
