package mqtt_test

import (
	"fmt"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

// keeps is a CONNECT of a session that outlives its connection.
func keeps(level byte, id string) hello {
	h := hello{id: id, level: level, stored: true}
	if level == 5 {
		h.properties = property(0x11, uint32(3600))
	}
	return h
}

func TestARedeliveryMovesNoMoneyTwice(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := build(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			first := note{qos: 1, id: 7, payload: deposit("1", 20)}
			again := first
			again.dup = 1
			p.publish(first)
			p.ack(tPuback, 7, 0)
			k := p.expect(tPublish) // and is not acknowledged
			for range 3 {
				p.publish(again)
				p.ack(tPuback, 7, 0)
				if copied, _ := p.reply(1); copied != p.answer(k) {
					t.Errorf("redelivery answered %+v, first %+v", copied, p.answer(k))
				}
			}
			p.conn.Close()
			p, ack := enter(t, h.address, keeps(level, "c"))
			if ack.present != (level > 3) {
				t.Errorf("level %d: session present %v", level, ack.present)
			}
			if a, k := p.reply(1); a.Balance != "20.00" || !k.dup() {
				t.Errorf("resent %+v, flags %x", a, k.flags)
			}
			p.publish(again)
			p.ack(tPuback, 7, 0)
			if a, _ := p.reply(1); a.Balance != "20.00" {
				t.Errorf("redelivery after reconnecting answered %+v", a)
			}
			if h.entries() != 1 {
				t.Fatalf("level %d: %d entries", level, h.entries())
			}
			// Another payload, or no DUP, is another operation.
			again.payload = deposit("1", 21)
			p.publish(again)
			p.ack(tPuback, 7, 0)
			p.reply(1)
			again.dup = 0
			p.publish(again)
			p.ack(tPuback, 7, 0)
			if a, _ := p.reply(1); a.Balance != "62.00" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// Who acknowledges a reply has the acknowledgements that were written before it, and only those: not what was written on an
// earlier connection, and not what was written after the reply.
func TestAnAcknowledgedReplyProvesOnlyWhatWasBeforeIt(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, keeps(4, "c"))
	const count = 100
	var notes, again []note
	for id := uint16(1); id <= count; id++ {
		n := note{qos: 1, id: id, payload: deposit("1", 1)}
		notes = append(notes, n)
		n.dup = 1
		again = append(again, n)
	}
	p.publish(notes...)
	for range 2 * count {
		p.next()
	}
	p.conn.Close() // the client lost it all
	redeliver := func() {
		t.Helper()
		p.publish(again...)
		for acks := 0; acks < count; {
			if k := p.next(); k.kind == tPuback {
				acks++
			}
		}
		if n := h.entries(); n != count {
			t.Fatalf("%d entries, %d redeliveries were executed", n, n-count)
		}
	}
	resent := func(want int) (replies []packet) {
		t.Helper()
		p, _ = enter(t, h.address, keeps(4, "c"))
		for range want {
			replies = append(replies, p.expect(tPublish))
		}
		return replies
	}
	acknowledge := func(replies []packet) {
		t.Helper()
		for _, k := range replies {
			p.puback(k.id)
		}
		p.settle()
	}
	acknowledge(resent(count)[:40]) // of operations that were acknowledged on the connection before
	p.conn.Close()
	replies := resent(count - 40)
	redeliver()
	acknowledge(replies[:40]) // sent before the acknowledgements were, which are lost again
	p.conn.Close()
	p, _ = enter(t, h.address, keeps(4, "c"))
	redeliver()
}

func TestQoS2IsDoneOnce(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := build(t, nil)
			release := h.engine.hold()
			p := listening(t, h.address, keeps(level, "c"))
			n := note{qos: 2, id: 7, payload: deposit("1", 20)}
			p.publish(n)
			n.dup = 1
			p.publish(n, n) // while the first is being written
			<-h.engine.entered
			p.quiet()
			release()
			for range 3 {
				p.ack(tPubrec, 7, 0)
			}
			p.reply(1)
			for range 3 {
				p.publish(n)
				p.ack(tPubrec, 7, 0)
			}
			p.conn.Close()
			p, _ = enter(t, h.address, keeps(level, "c"))
			for range 3 {
				p.publish(n)
				p.ack(tPubrec, 7, 0)
			}
			p.pubrel(7)
			p.ack(tPubcomp, 7, 0)
			p.pubrel(7) // its PUBCOMP was lost
			unknown := byte(0)
			if level == 5 {
				unknown = 0x92
			}
			p.ack(tPubcomp, 7, unknown)
			if h.entries() != 1 {
				t.Fatalf("level %d: %d entries", level, h.entries())
			}
			n.dup = 0 // released: the id is a new one
			p.publish(n)
			p.ack(tPubrec, 7, 0)
			if a, _ := p.reply(1); a.Balance != "40.00" {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestAFailingPubrecEndsTheExchange(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c"})
	p.publish(note{qos: 2, id: 7, payload: "nonsense"})
	p.ack(tPubrec, 7, 0x99)
	p.reply(1)
	p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
	p.ack(tPubrec, 7, 0)
	if a, _ := p.reply(1); a.Balance != "20.00" {
		t.Errorf("%+v", a)
	}
}

// A connection that ends while its operations are being written must not lose their outcome.
func TestOperationsUnderWayAreAnsweredOnTheNextConnection(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := build(t, nil)
			release := h.engine.hold()
			p := listening(t, h.address, keeps(level, "c"))
			notes := []note{
				{qos: 1, id: 1, payload: deposit("1", 1)}, {qos: 2, id: 2, payload: deposit("1", 1)}, {qos: 1, id: 3, payload: deposit("1", 1)},
			}
			p.publish(notes...)
			p.publish(note{qos: 0, payload: deposit("1", 1)})
			<-h.engine.entered
			p.quiet()
			p.conn.Close()
			p, _ = enter(t, h.address, keeps(level, "c"))
			for i := range notes {
				notes[i].dup = 1
			}
			p.publish(notes[0], notes[1]) // the third is delivered again when it is answered
			p.quiet()
			release()
			acks, replies := p.harvest(2, 3)
			if acks[0].kind != tPuback || acks[0].id != 1 || acks[1].kind != tPubrec || acks[1].id != 2 {
				t.Errorf("acknowledged %+v", acks)
			}
			for i, k := range replies {
				p.puback(k.id)
				if a := p.answer(k); a.Seq != uint64(i+1) || k.qos() != 1 || k.dup() {
					t.Errorf("reply %+v, flags %x", a, k.flags)
				}
			}
			if a, _ := p.reply(0); a.Seq != 4 { // the client is the same and listens
				t.Errorf("reply %+v", a)
			}
			p.publish(notes[2])
			p.ack(tPuback, 3, 0)
			p.reply(1)
			if h.entries() != 4 {
				t.Errorf("%d entries", h.entries())
			}
		})
	}
}

func TestRepliesWaitForASessionThatPersists(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := build(t, nil)
			release := h.engine.hold()
			p := listening(t, h.address, keeps(level, "c"))
			const count = 50
			for id := uint16(1); id <= count; id++ {
				p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
			}
			<-h.engine.entered
			p.quiet()
			p.conn.Close()
			release()
			p, _ = enter(t, h.address, keeps(level, "c"))
			seen := uint64(0)
			for ; seen < count/2; seen++ {
				if a, _ := p.reply(1); a.Seq != seen+1 {
					t.Fatalf("reply %d, want %d", a.Seq, seen+1)
				}
			}
			p.settle() // the acknowledgements have been read
			p.conn.Close()
			p, _ = enter(t, h.address, keeps(level, "c"))
			for ; seen < count; seen++ {
				if a, _ := p.reply(1); a.Seq != seen+1 {
					t.Fatalf("after reconnecting: reply %d, want %d", a.Seq, seen+1)
				}
			}
			p.quiet()
		})
	}
}

// TestRepliesComeAgainBeforeTheRest breaks a link with as many replies on their way as the client takes, and others behind them:
// all come in the order of their entries.
func TestRepliesComeAgainBeforeTheRest(t *testing.T) {
	h := build(t, nil)
	takesThree := keeps(5, "c")
	takesThree.properties = append(takesThree.properties, property(0x21, uint16(3))...)
	p := listening(t, h.address, takesThree)
	const count = 8
	for id := uint16(1); id <= count; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
	}
	for range count + 3 { // the acknowledgements, and three replies, which are not acknowledged
		p.next()
	}
	p.quiet()
	p.conn.Close()
	h.server.AwaitDetached("c")
	p, _ = enter(t, h.address, takesThree)
	for seq := uint64(1); seq <= count; seq++ {
		if a, k := p.reply(1); a.Seq != seq || k.dup() != (seq <= 3) {
			t.Fatalf("reply %d, DUP %v; want %d", a.Seq, k.dup(), seq)
		}
	}
	p.quiet()
}

func TestACleanStartForgets(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := build(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)}, note{qos: 2, id: 2, payload: deposit("1", 1)})
			for range 4 {
				p.next()
			}
			p.conn.Close()
			p, ack := enter(t, h.address, hello{id: "c", level: level})
			if ack.present {
				t.Error("session present after a clean start")
			}
			p.quiet() // no reply is resent
			p.publish(note{qos: 1, dup: 1, id: 1, payload: deposit("1", 1)}, note{qos: 2, dup: 1, id: 2, payload: deposit("1", 1)})
			p.ack(tPuback, 1, 0)
			p.ack(tPubrec, 2, 0)
			p.quiet() // nor is anybody subscribed
			if h.entries() != 4 {
				t.Errorf("%d entries", h.entries())
			}
			p.send([]byte{tDisconnect << 4, 0})
			p.gone(0)
			// The clean session has ended with its connection.
			if _, ack := enter(t, h.address, keeps(level, "c")); ack.present {
				t.Error("a clean session was kept")
			}
		})
	}
}

func TestTheExpiryOfASession(t *testing.T) {
	h := build(t, nil)
	_, ack := enter(t, h.address, hello{id: "c", properties: property(0x11, uint32(1<<32-1))})
	if ack.properties[0x11] != uint32(7*24*3600) {
		t.Errorf("expiry %v", ack.properties[0x11])
	}
	p, ack := enter(t, h.address, hello{id: "d", properties: property(0x11, uint32(60))})
	if _, told := ack.properties[0x11]; told {
		t.Error("an expiry was told that is the one asked for")
	}
	// A DISCONNECT may change it, to nothing for instance.
	p.send(framed(tDisconnect<<4, []byte{0}, withLength(5, property(0x11, uint32(0)))))
	p.gone(0)
	if _, ack := enter(t, h.address, hello{id: "d", stored: true}); ack.present {
		t.Error("the session was kept")
	}
	// But not from nothing to something.
	p, _ = enter(t, h.address, hello{id: "e"})
	p.send(framed(tDisconnect<<4, []byte{0}, withLength(5, property(0x11, uint32(60)))))
	p.gone(0x82)
}

func TestATakeoverEndsTheFirstConnection(t *testing.T) {
	h := build(t, nil)
	for _, level := range []byte{3, 4, 5} {
		first := listening(t, h.address, keeps(level, "c"))
		second, _ := enter(t, h.address, keeps(level, "c"))
		if level == 5 {
			first.gone(0x8e)
		} else {
			first.gone(0) // a server of MQTT 3 says nothing
		}
		second.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		second.ack(tPuback, 1, 0)
		second.reply(1) // the subscription is the session's
		second.quiet()  // the reply is acknowledged before the next comes
	}
	if n := h.server.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestN7ATakeoverDoesNotWaitForAStuckWrite(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.WriteTimeout = time.Minute })
	stuck := listening(t, h.address, hello{id: "c"})
	stuck.subscribe(2, "bank/replies/c", 0)
	stuck.clog()
	began := time.Now()
	enter(t, h.address, hello{id: "c"})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPersistentSubscriptionsCanBeGivenUp(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	p.conn.Close()
	p, _ = enter(t, h.address, keeps(5, "c"))
	p.send(framed(tUnsubscribe<<4|2, []byte{0, 3}, withLength(5, nil), text("bank/replies/c")))
	if k := p.expect(tUnsuback); k.granted[0] != 0 {
		t.Errorf("UNSUBACK 0x%02x: the subscription was not there", k.granted[0])
	}
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.quiet()
}
