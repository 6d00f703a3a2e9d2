package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

// The attacks of SECURITY.md on this door that no other test is named after.

// refusal is how a subscription is refused at that level.
func refusal(level byte) byte {
	if level < 5 {
		return 0x80
	}
	return 0x87
}

// subscribeAll sends one SUBSCRIBE of all filters and returns what was granted.
func (p *peer) subscribeAll(filters ...string) []byte {
	p.t.Helper()
	var all [][]byte
	for _, filter := range filters {
		all = append(all, text(filter), []byte{1})
	}
	p.send(framed(tSubscribe<<4|2, []byte{0, 1}, withLength(p.level, nil), join(all...)))
	return p.expect(tSuback).granted
}

// filtersOf returns n filters from the first on.
func filtersOf(own string, first, n int) (filters []string) {
	for i := range n {
		filters = append(filters, fmt.Sprint(own, "/", first+i))
	}
	return filters
}

func TestN10FiltersAreBounded(t *testing.T) {
	h := build(t, nil)
	const own = "bank/replies/c"
	for level := byte(3); level <= 5; level++ {
		no := string([]byte{refusal(level)})
		for _, c := range []struct {
			name    string
			filters [][]string // of each SUBSCRIBE
			granted string     // of the last
		}{
			{"8 filters", [][]string{filtersOf(own, 1, 8)}, strings.Repeat("\x01", 8)},
			{"9 filters", [][]string{filtersOf(own, 1, 9)}, strings.Repeat("\x01", 8) + no},
			{"one filter, 9 times", [][]string{{own, own, own, own, own, own, own, own, own}}, strings.Repeat("\x01", 8) + no},
			{"8 more", [][]string{filtersOf(own, 1, 8), filtersOf(own, 9, 8)}, strings.Repeat("\x01", 8)},
			{"17 in all", [][]string{filtersOf(own, 1, 8), filtersOf(own, 9, 8), filtersOf(own, 17, 1)}, no},
			{"one of 16 again", [][]string{filtersOf(own, 1, 8), filtersOf(own, 9, 8), filtersOf(own, 3, 1)}, "\x01"},
			{"16 levels", [][]string{{own + strings.Repeat("/x", 13)}}, "\x01"},
			{"17 levels", [][]string{{own + strings.Repeat("/x", 14)}}, no},
			{"16 levels, all wild", [][]string{{own + strings.Repeat("/+", 12) + "/#"}}, "\x01"},
			{"17 levels, all wild", [][]string{{own + strings.Repeat("/+", 13) + "/#"}}, no},
			{"256 bytes", [][]string{{own + "/" + strings.Repeat("x", 256-len(own)-1)}}, "\x01"},
			{"257 bytes", [][]string{{own + "/" + strings.Repeat("x", 257-len(own)-1)}}, no},
		} {
			p, _ := enter(t, h.address, hello{id: "c", level: level})
			granted := ""
			for _, filters := range c.filters {
				granted = string(p.subscribeAll(filters...))
			}
			if granted != c.granted {
				t.Errorf("level %d, %s: %x, want %x", level, c.name, granted, c.granted)
			}
		}
	}
}

func TestN10RequestsAreBounded(t *testing.T) {
	h := build(t, nil)
	const own = "bank/replies/c"
	p := listening(t, h.address, hello{id: "c"})
	for _, c := range []struct {
		name       string
		properties []byte
		code       string
	}{
		{"16 levels of response topic", property(0x08, own+strings.Repeat("/x", 13)), "ok"},
		{"17 levels", property(0x08, own+strings.Repeat("/x", 14)), "forbidden"},
		{"256 bytes of response topic", property(0x08, own+"/"+strings.Repeat("x", 256-len(own)-1)), "ok"},
		{"257 bytes", property(0x08, own+"/"+strings.Repeat("x", 257-len(own)-1)), "forbidden"},
		{"512 bytes of correlation data", property(0x09, strings.Repeat("x", 512)), "ok"},
		{"513 bytes", property(0x09, strings.Repeat("x", 513)), "too_large"},
	} {
		p.subscribe(1, own+"/#", 1)
		p.publish(note{qos: 1, id: 1, properties: c.properties, payload: deposit("1", 1)})
		p.harvestCode(c.code, c.name)
	}
}

// harvestCode expects one acknowledgement and a reply of that code.
func (p *peer) harvestCode(code, name string) {
	p.t.Helper()
	_, replies := p.harvest(1, 1)
	if a := p.answer(replies[0]); a.Code != code {
		p.t.Errorf("%s: %+v, want %s", name, a, code)
	}
	p.puback(replies[0].id)
}

// The largest packets of filters that there can be cost what any packet costs, whatever is in them.
func TestN10AFloodOfFiltersCostsLittle(t *testing.T) {
	h := build(t, nil)
	const own = "bank/replies/c"
	largest := mqtt.DefaultMessage - 16
	many := func(filter string, options ...byte) []byte {
		each := join(text(filter), options)
		return []byte(strings.Repeat(string(each), largest/len(each)))
	}
	for _, c := range []struct {
		name    string
		kind    byte
		filters []byte
	}{
		{"one deep filter", tSubscribe, many(own+strings.Repeat("/", largest-len(own)-3), 1)},
		{"one deep filter of wildcards", tSubscribe, many(own+strings.Repeat("/+", (largest-len(own)-3)/2), 1)},
		{"many filters of others", tSubscribe, many("#", 1)},
		{"one filter many times", tSubscribe, many(own, 1)},
		{"a deep filter given up", tUnsubscribe, many(own + strings.Repeat("/", largest-len(own)-3))},
		{"many filters given up", tUnsubscribe, many(own + "/+/+/+/+/+/+/+/+/+/+/+/+/#")},
	} {
		p, _ := enter(t, h.address, hello{id: "c"})
		p.subscribeAll(own, own+"/+/+/+/+/+/+/+/+/+/+/+/+/#")
		packet := framed(c.kind<<4|2, []byte{0, 1}, withLength(5, nil), c.filters)
		filters, best := 0, time.Hour
		for range 10 {
			began := time.Now()
			p.send(packet)
			filters = len(p.expect(c.kind + 1).granted)
			best = min(best, time.Since(began))
		}
		t.Logf("%s: %d filters, %v, %v each", c.name, filters, best, best/time.Duration(max(filters, 1)))
	}
}

func TestN13AliasesAreRefused(t *testing.T) {
	h := build(t, nil)
	for _, number := range []uint16{1, 77, 65535} {
		for qos := byte(0); qos <= 2; qos++ {
			for _, topic := range []string{"", "bank/ops", "bank/replies/c", "bank/replies/alice", "$SYS/broker"} {
				p, ack := enter(t, h.address, hello{id: "c", properties: property(0x22, uint16(10))})
				if ack.properties[0x22] != nil {
					t.Fatalf("CONNACK allows %v aliases", ack.properties[0x22])
				}
				head := byte(tPublish<<4) | qos<<1
				id := []byte{0, 1}
				p.send(framed(head, text(topic), id[:2*min(qos, 1)], withLength(5, property(0x23, number)), []byte(deposit("1", 1))))
				p.gone(0x94)
			}
		}
	}
	p, _ := enter(t, h.address, hello{id: "c"})
	p.send(framed(tPublish<<4, text(""), withLength(5, nil), []byte(deposit("1", 1)))) // and without one, no topic is none
	p.gone(0x82)
	if h.entries() != 0 {
		t.Errorf("%d operations were executed by an alias", h.entries())
	}
}

func TestN14RetainedMessagesAreRefused(t *testing.T) {
	k := keep(t, nil)
	for _, topic := range []string{"bank/ops", "bank/replies/c4", "bank/replies/c5", "bank/replies/alice", "other"} {
		for qos := byte(0); qos <= 2; qos++ {
			for level := byte(4); level <= 5; level++ {
				p := listening(t, k.address, hello{id: fmt.Sprint("c", level), level: level})
				p.publish(note{qos: qos, id: 1, retain: 1, topic: topic, payload: deposit("1", 1)})
				acks, replies := p.harvest(int(min(qos, 1)), 1)
				if a := p.answer(replies[0]); a.Code != "forbidden" {
					t.Errorf("level %d on %q at QoS %d: %+v", level, topic, qos, a)
				}
				if level == 5 && qos > 0 && acks[0].reason != 0x87 {
					t.Errorf("on %q at QoS %d: acknowledged with 0x%02x", topic, qos, acks[0].reason)
				}
				if level == 5 {
					p.gone(0x9a)
				}
			}
		}
	}
	if k.entries() != 0 {
		t.Errorf("%d retained operations were executed", k.entries())
	}
	k = k.killed()
	for level := byte(3); level <= 5; level++ { // nothing was kept for whoever subscribes
		p, _ := enter(t, k.address, hello{id: fmt.Sprint("c", level), level: level})
		p.subscribe(1, p.own(), 1)
		p.subscribe(2, p.own()+"/#", 1)
		p.quiet()
	}
}

// own returns the client's replies topic.
func (p *peer) own() string { return "bank/replies/" + p.id }

func TestN15WillsAreRefused(t *testing.T) {
	h := build(t, nil)
	alice := listening(t, h.address, hello{id: "alice"})
	tried := 0
	for level, code := range map[byte]byte{3: 5, 4: 5, 5: 0x87} {
		for _, topic := range []string{"bank/ops", "bank/replies/alice", "bank/replies/eve", "$SYS/broker", "x"} {
			for _, words := range []string{"", `{"status":true}`, deposit("1", 1)} {
				for _, flags := range []byte{0, 1 << 3, 2 << 3, 1 << 5, 1<<5 | 1<<3, 1<<5 | 2<<3} {
					eve := call(t, h.address)
					will := hello{id: "eve", level: level, will: true, willTopic: topic, willFlags: flags, lastWords: words}
					if level == 5 {
						will.willAfter = uint32(flags) * 60 // some at once
					}
					if ack := eve.greet(will); ack.reason != code {
						t.Errorf("level %d, will %q on %q, flags 0x%02x: 0x%02x", level, words, topic, flags, ack.reason)
					}
					eve.gone(0)
					tried++
				}
			}
		}
	}
	alice.quiet()
	if tried != 270 || h.entries() != 0 {
		t.Errorf("%d wills, %d entries", tried, h.entries())
	}
}

// A packet of any type that comes first, and a second CONNECT, end the connection; so does what a server sends.
func TestN17PacketsOutOfOrder(t *testing.T) {
	h := build(t, nil)
	other := listening(t, h.address, hello{id: "other"})
	for level := byte(3); level <= 5; level++ {
		for kind := range byte(16) {
			packet := framed(kind<<4, []byte{0, 1}, withLength(level, nil), text("bank/replies/c"), []byte{1})
			first := call(t, h.address)
			first.conn.Write(packet)
			first.gone(0)
			switch kind {
			case tPublish, tPuback, tPubrel, tSubscribe, tUnsubscribe, tPingreq, tDisconnect:
				continue // a client's
			}
			p, _ := enter(t, h.address, hello{id: "c", level: level})
			if kind == tConnect {
				packet = hello{id: "c", level: level}.bytes()
			}
			p.send(packet)
			p.over(level)
		}
	}
	other.quiet()
}

// over expects the end of the connection, which a client of MQTT 5 is told.
func (p *peer) over(level byte) {
	p.t.Helper()
	if k, err := p.read(); level == 5 && (err != nil || k.kind != tDisconnect || k.reason < 0x80) {
		p.t.Errorf("packet type %d with 0x%02x, %v; want DISCONNECT", k.kind, k.reason, err)
	}
	p.gone(0)
}

// twoParties is how many random scripts TestN17TwoParties plays; FuzzSession goes on from there.
const twoParties = 2000

func TestN17TwoParties(t *testing.T) {
	a := newArena(t)
	random := rand.New(rand.NewPCG(1, 2))
	seeds := duelScripts()
	var b []byte
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("script %x", b)
		}
	})
	for range twoParties {
		b = nil
		for range 1 + random.IntN(4) {
			b = append(b, seeds[random.IntN(len(seeds))]...)
		}
		for range random.IntN(8) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		if a.play(t, b); t.Failed() {
			return
		}
	}
	a.close(t)
	if a.entries < twoParties {
		t.Errorf("%d entries", a.entries)
	}
}
