package mqtt_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// The traps in which deliveries are lost, done twice or put out of order.

// clientIDs is where the packet ids of clients begin that are to meet none of the broker's, which begin at 1.
const clientIDs = 30000

// tryPacketIDs publishes with the id of a reply that is not acknowledged. That reply is still owed.
func tryPacketIDs(s *stand) {
	for _, level := range []byte{5, 4, 3} {
		for qos := byte(1); qos <= 2; qos++ {
			id := fmt.Sprintf("c%d-%d", level, qos)
			p := s.listening(keeps(level, id))
			p.publish(note{qos: 1, id: clientIDs, payload: deposit(id, 1)})
			_, first := p.harvest(1, 1)
			p.publish(note{qos: qos, id: first[0].id, payload: deposit(id, 1)})
			acks, second := p.harvest(1, 1)
			if acks[0].id != first[0].id || acks[0].reason != 0 {
				s.Fatalf("%s: acknowledged %d with 0x%02x", id, acks[0].id, acks[0].reason)
			}
			if second[0].id == first[0].id {
				s.Fatalf("%s: the id of a reply that is not acknowledged was used again", id)
			}
			p.conn.Close()
			p, _ = s.enter(keeps(level, id))
			_, again := p.harvest(0, 2)
			for i, k := range []packet{first[0], second[0]} {
				if again[i].id != k.id || string(again[i].payload) != string(k.payload) {
					s.Fatalf("%s: resent %d %s, want %d %s", id, again[i].id, again[i].payload, k.id, k.payload)
				}
			}
		}
	}
}

// trySubscribeIDs subscribes with such an id, before and after it comes back: libraries begin at 1 each time.
func trySubscribeIDs(s *stand) {
	for _, level := range []byte{5, 4, 3} {
		id := fmt.Sprint("c", level)
		p := s.listening(keeps(level, id))
		p.publish(note{qos: 1, id: clientIDs, payload: deposit(id, 1)})
		_, replies := p.harvest(1, 1)
		inUse := []byte{byte(replies[0].id >> 8), byte(replies[0].id)}
		for range 2 {
			p.send(framed(tSubscribe<<4|2, inUse, withLength(level, nil), text("bank/replies/"+id), []byte{1}))
			if k := p.until(tSuback); k.id != replies[0].id || k.granted[0] != 1 {
				s.Fatalf("%s: SUBACK of %d: %x", id, k.id, k.granted)
			}
			p.send(framed(tUnsubscribe<<4|2, inUse, withLength(level, nil), text("bank/replies/"+id+"/x")))
			if k := p.until(tUnsuback); k.id != replies[0].id || level == 5 && k.granted[0] >= 0x80 {
				s.Fatalf("%s: UNSUBACK of %d: %x", id, k.id, k.granted)
			}
			p.conn.Close()
			p, _ = s.enter(keeps(level, id))
		}
	}
}

// tryReceiveMaximum asks for 400 replies and takes so many at once.
func tryReceiveMaximum(s *stand, window int) {
	p, _ := s.enter(hello{id: "c", properties: property(0x21, uint16(window))})
	p.subscribe(1, "bank/replies/c", 1)
	const count = 400
	sent, acked, last := 0, 0, uint64(0)
	var open []uint16
	for acked < count || last < count {
		if sent < count && sent-acked < 200 {
			sent++
			p.publish(note{qos: 1, id: clientIDs + uint16(sent), payload: deposit("1", 1)})
			continue
		}
		acks, replies := p.harvestOne()
		acked += len(acks)
		for _, k := range replies {
			if a := p.answer(k); a.Seq != last+1 {
				s.Fatalf("reply of entry %d after %d", a.Seq, last)
			}
			last++
			if open = append(open, k.id); len(open) > window {
				s.Fatalf("%d replies are not acknowledged, the client allows %d", len(open), window)
			}
		}
		if len(open) == window || last == count {
			for i := len(open) - 1; i >= 0; i-- { // the last first
				p.puback(open[i])
			}
			open = nil
		}
	}
	p.quiet()
}

// harvestOne reads an acknowledgement or a reply.
func (p *peer) harvestOne() (acked, replied []packet) {
	p.t.Helper()
	k := p.next()
	switch {
	case k.kind == tPublish:
		return nil, []packet{k}
	case k.kind == tPuback && k.reason == 0:
		return []packet{k}, nil
	}
	p.t.Fatalf("%s: packet type %d with 0x%02x", p.id, k.kind, k.reason)
	return nil, nil
}

// tryTraffic has four clients work at once, each of which takes a few replies at a time and acknowledges them.
func tryTraffic(s *stand) {
	const count, window = 500, 20
	var working sync.WaitGroup
	for i := range 4 {
		p, _ := s.enter(hello{id: fmt.Sprint("c", i), properties: property(0x21, uint16(window))})
		p.subscribe(1, "bank/replies/"+p.id, 1)
		working.Go(func() {
			for sent, acked, replied := 0, 0, 0; acked < count || replied < count; {
				for ; sent < count && sent-acked < window; sent++ {
					p.publish(note{qos: 1, id: clientIDs + uint16(sent), payload: deposit(p.id, 1)})
				}
				acks, replies := p.harvestOne()
				acked += len(acks)
				for _, k := range replies {
					p.puback(k.id)
					replied++
				}
			}
		})
	}
	working.Wait()
	s.serves()
}

// tryBrokenLinks has devices lose their connections while they work: nothing is lost, done twice or out of order.
func tryBrokenLinks(s *stand) {
	seed := rand.Uint64()
	s.Logf("seed %d", seed)
	devices := make([]*device, 6)
	failures := make([]error, len(devices))
	var running sync.WaitGroup
	for i := range devices {
		devices[i] = &device{stand: s, level: byte(3 + i%3), id: fmt.Sprint("device", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		running.Go(func() { failures[i] = devices[i].run() })
	}
	running.Wait()
	if err := errors.Join(failures...); err != nil {
		s.Fatal(err)
	}
	for _, d := range devices {
		if n := s.executed(d.id); n != deviceOperations {
			s.Errorf("%s asked for %d deposits, %d were made", d.id, deviceOperations, n)
		}
	}
}

// tryOrderAfterResume acknowledges no reply: they all come again, as they were and in their order, marked DUP.
func tryOrderAfterResume(s *stand) {
	for _, level := range []byte{5, 4, 3} {
		id := fmt.Sprint("c", level)
		p := s.listening(keeps(level, id))
		const count = 100
		for i := uint16(1); i <= count; i++ {
			p.publish(note{qos: 1, id: clientIDs + i, payload: deposit(id, 1)})
		}
		_, first := p.harvest(count, count)
		p.conn.Close()
		p, _ = s.enter(keeps(level, id))
		_, again := p.harvest(0, count)
		for i, k := range again {
			if k.id != first[i].id || string(k.payload) != string(first[i].payload) || !k.dup() {
				s.Fatalf("%s: resent %d is id %d %s, flags %x; it was id %d %s", id, i, k.id, k.payload, k.flags, first[i].id, first[i].payload)
			}
		}
	}
}

// tryFirstSendAfterResume lets replies wait for a window that opens on the next connection only: they are no duplicates.
func tryFirstSendAfterResume(s *stand) {
	const count, window = 20, 5
	allowing := func(window uint16) hello {
		h := keeps(5, "c")
		h.properties = join(h.properties, property(0x21, window))
		return h
	}
	p := s.listening(allowing(window))
	for i := uint16(1); i <= count; i++ {
		p.publish(note{qos: 1, id: clientIDs + i, payload: deposit("1", 1)})
	}
	p.harvest(count, window)
	p.conn.Close()
	p, _ = s.enter(allowing(count))
	_, replies := p.harvest(0, count)
	for _, k := range replies {
		if a := p.answer(k); k.dup() != (a.Seq <= window) {
			s.Fatalf("the reply of entry %d comes with flags %x", a.Seq, k.flags)
		}
	}
}

// tryUnacknowledged goes on without acknowledging a reply: what is executed is answered in the end, the rest is refused.
func tryUnacknowledged(s *stand) {
	const count, pipelined = 9000, 200
	p := s.listening(hello{id: "c", level: 4})
	var open []uint16
	answers := map[string]int{}
	take := func(replies []packet) {
		for _, k := range replies {
			answers[p.answer(k).Code]++
			if k.qos() > 0 {
				open = append(open, k.id)
			}
		}
	}
	for sent := 0; sent < count; {
		p.conn.SetDeadline(time.Now().Add(s.patience))
		for range pipelined {
			sent++
			p.publish(note{qos: 1, id: clientIDs + uint16(sent), payload: deposit("1", 1)})
		}
		_, replies := p.harvest(pipelined, 0)
		take(replies)
	}
	for answers["ok"]+answers["overloaded"] < count {
		p.conn.SetDeadline(time.Now().Add(s.patience))
		for _, id := range open {
			p.puback(id)
		}
		open = nil
		k, err := p.read()
		if err != nil {
			s.Fatalf("%d operations, answered %v, then: %v", count, answers, err)
		}
		take([]packet{k})
	}
	if n := s.executed("1"); n != answers["ok"] {
		s.Errorf("%d operations were executed, answered %v", n, answers)
	}
}

// tryQoS2Again delivers an operation of QoS 2 again and again: each time the same success, and one execution.
func tryQoS2Again(s *stand) {
	for _, level := range []byte{5, 4, 3} {
		id := fmt.Sprint("c", level)
		p := s.listening(keeps(level, id))
		n := note{qos: 2, id: 7, payload: deposit(id, 1)}
		p.publish(n)
		_, replies := p.harvest(1, 1)
		p.puback(replies[0].id)
		n.dup = 1
		for range 2 {
			for range 3 {
				p.publish(n)
				p.ack(tPubrec, 7, 0)
			}
			p.conn.Close()
			p, _ = s.enter(keeps(level, id))
			p.quiet() // nobody asks for a PUBREC
		}
		p.pubrel(7)
		p.ack(tPubcomp, 7, 0)
		if n := s.executed(id); n != 1 {
			s.Fatalf("%s: executed %d times", id, n)
		}
	}
}

// tryQoS1Again loses the link with what came back on it, and delivers the operation again.
func tryQoS1Again(s *stand) {
	for _, level := range []byte{5, 4, 3} {
		id := fmt.Sprint("c", level)
		p := s.listening(keeps(level, id))
		n := note{qos: 1, id: 7, payload: deposit(id, 1)}
		p.publish(n)
		p.harvest(1, 1)
		p.conn.Close()
		p, _ = s.enter(keeps(level, id))
		n.dup = 1
		p.publish(n)
		p.until(tPuback)
		if n := s.executed(id); n != 1 {
			s.Fatalf("%s: executed %d times", id, n)
		}
	}
}

// trySharedSync holds the sync under pipelined operations: the client is still heard, and they share the next one.
func trySharedSync(s *stand) {
	const count = 30
	p := s.listening(hello{id: "c"})
	release := s.hold()
	defer release()
	for i := uint16(1); i <= count; i++ {
		p.publish(note{qos: 1, id: i, payload: deposit("1", 1)})
	}
	p.quiet()
	release()
	p.harvest(count, count)
}

// tryAckBeforeSync holds the sync under one operation of each kind: until then nothing is said.
func tryAckBeforeSync(s *stand) {
	for qos := byte(0); qos <= 2; qos++ {
		p := s.listening(hello{id: fmt.Sprint("c", qos)})
		release := s.hold()
		defer release()
		p.publish(note{qos: qos, id: 1, payload: deposit("1", 1)})
		p.conn.SetReadDeadline(time.Now().Add(impatience / 4))
		if k, err := p.read(); err == nil {
			s.Fatalf("packet type %d of QoS %d before the sync", k.kind, qos)
		}
		p.conn.SetDeadline(time.Now().Add(s.patience))
		release()
		p.harvest(int(min(qos, 1)), 1)
	}
}
