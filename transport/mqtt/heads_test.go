package mqtt_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"gateway/transport/mqtt"
)

// headStand tells heads that a test makes.
type headStand struct {
	mu     sync.Mutex // guards all below
	head   []byte
	newer  chan struct{}
	looks  int        // how often it was asked for the newest
	looked *sync.Cond // tells that it was
}

func newHeadStand(head string) *headStand {
	s := &headStand{newer: make(chan struct{})}
	s.looked = sync.NewCond(&s.mu)
	if head != "" {
		s.head = []byte(head)
	}
	return s
}

func (s *headStand) Head() ([]byte, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	s.looked.Broadcast()
	return s.head, s.newer
}

// awaitLooks waits until it was asked so often.
func (s *headStand) awaitLooks(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.looks < n {
		s.looked.Wait()
	}
}

func (s *headStand) set(head string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = []byte(head)
	close(s.newer)
	s.newer = make(chan struct{})
}

// headsHouse is a house for auditors that tells heads.
func headsHouse(t *testing.T, head string) (*audited, *headStand) {
	heads := newHeadStand(head)
	return auditing(t, func(o *mqtt.Options) { o.Heads = heads }), heads
}

// isHead reads a head.
func (p *peer) isHead(head string, retained byte) {
	p.t.Helper()
	k := p.expect(tPublish)
	if k.topic != mqtt.HeadTopic || string(k.payload) != head || k.flags != retained {
		p.t.Fatalf("%s: %q on %s with flags %x, want head %q with %x", p.id, k.payload, k.topic, k.flags, head, retained)
	}
}

// The newest head is retained: it comes with the flag to each SUBSCRIBE, and later ones come as they are made, without.
func TestTheNewestHeadIsRetained(t *testing.T) {
	a, heads := headsHouse(t, "")
	for _, level := range []byte{3, 4, 5} {
		p, _ := enter(t, a.address, hello{id: fmt.Sprint("audit", level), level: level})
		first, second := fmt.Sprint("first ", level), fmt.Sprint("second ", level)
		if level == 3 {
			p.subscribe(1, mqtt.HeadTopic, 1)
			p.quiet()
			heads.awaitLooks(2) // when it begins to listen, and for what is retained: there is none
			heads.set(first)
			p.isHead(first, 0)
		} else {
			heads.set(first)
			p.subscribe(1, mqtt.HeadTopic, 1)
			p.isHead(first, 1)
		}
		heads.set(second)
		p.isHead(second, 0)
		p.subscribe(2, mqtt.HeadTopic, 0)
		p.isHead(second, 1)
		p.quiet()
		p.send([]byte{tDisconnect << 4, 0})
	}
}

// MQTT 5 lets who subscribes say whether it wants what is retained, and whether the flag stays.
func TestRetainOptionsOfAnAuditor(t *testing.T) {
	a, heads := headsHouse(t, "first")
	p, _ := enter(t, a.address, hello{id: "audit"})
	p.subscribe(1, mqtt.HeadTopic, 2<<4) // never at once
	p.quiet()
	heads.set("second")
	p.isHead("second", 0)
	p.subscribe(2, mqtt.HeadTopic, 1<<4) // only when it is new, which it is not
	p.quiet()
	p.subscribe(3, "bank/+", 1<<4|1<<3) // new, and retained as published
	p.isHead("second", 1)
	heads.set("third")
	p.isHead("third", 1)
	p.quiet()
}

// Nobody but the gateway publishes a head, and a session that comes back is sent the newest.
func TestHeadsOfASessionThatComesBack(t *testing.T) {
	a, heads := headsHouse(t, "first")
	h := keeps(5, "audit")
	p, _ := enter(t, a.address, h)
	p.subscribe(1, mqtt.HeadTopic, 1)
	p.isHead("first", 1)
	p.publish(note{qos: 1, id: 7, topic: mqtt.HeadTopic, payload: "forged"})
	p.ack(tPuback, 7, 0x87)
	p.quiet()
	p.conn.Close()
	a.server.AwaitDetached("audit")
	heads.set("second")
	p, _ = enter(t, a.address, h)
	p.isHead("second", 0)
	p.quiet()
	a.trusted.Store(false)
	heads.set("third")
	p.gone(0x87)
}

// An auditor that does not read misses heads, and is sent the newest; one that takes no packet as large is sent none.
func TestAHeadLargerThanItsAuditorTakes(t *testing.T) {
	a, heads := headsHouse(t, strings.Repeat("x", 500))
	p, _ := enter(t, a.address, hello{id: "audit", properties: property(0x27, uint32(100))})
	p.subscribe(1, mqtt.HeadTopic, 0)
	p.quiet()
	heads.set("small")
	p.isHead("small", 0)
}

// mosquitto_sub is given the newest head at once, and knows that it is a retained message.
func TestMosquittoReadsTheHead(t *testing.T) {
	a, _ := headsHouse(t, "gateway head 1\nand so on\n")
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		sub := a.mosquitto(t, "mosquitto_sub", "-V", version, "-i", "audit", "-t", mqtt.HeadTopic, "-C", "1", "-F", "%r %p", "--retained-only")
		out, err := sub.CombinedOutput()
		if want := "1 gateway head 1\nand so on\n\n"; err != nil || string(out) != want {
			t.Errorf("%s: %q, %v", version, out, err)
		}
	}
}
