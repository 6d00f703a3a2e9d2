package mqtt_test

import (
	"fmt"
	"testing"

	"gateway/transport/mqtt"
)

func TestNothingIsSaidBeforeTheSync(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := build(t, nil)
			release := h.engine.hold()
			p := listening(t, h.address, hello{id: "c", level: level})
			const each = 30
			for id := uint16(1); id <= each; id++ {
				p.publish(
					note{qos: 0, payload: deposit("1", 1)},
					note{qos: 1, id: id, payload: deposit("1", 1)},
					note{qos: 2, id: id + 1000, payload: deposit("1", 1)},
				)
			}
			<-h.engine.entered
			p.quiet() // all are read, none is durable
			release()
			for n := 0; n < 5*each; n++ {
				switch k := p.next(); k.kind {
				case tPublish:
					if k.qos() == 1 {
						p.puback(k.id)
					}
				case tPuback, tPubrec:
					if k.reason != 0 {
						t.Errorf("reason 0x%02x", k.reason)
					}
				default:
					t.Fatalf("packet type %d", k.kind)
				}
			}
			if h.entries() != 3*each || h.engine.syncs() > 2 {
				t.Errorf("%d entries in %d syncs; pipelined operations must share them", h.entries(), h.engine.syncs())
			}
		})
	}
}

func TestAcknowledgementsAndRepliesKeepTheOrder(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c"})
	const count = 200
	var notes []note
	for id := uint16(1); id <= count; id++ {
		payload := deposit("1", 1)
		if id%5 == 0 {
			payload = "refused at once"
		}
		notes = append(notes, note{qos: 1, id: id, payload: payload})
	}
	p.publish(notes...)
	acked, last := uint16(0), uint64(0)
	for n := 0; n < 2*count; n++ {
		k := p.next()
		if k.kind == tPuback {
			if acked++; k.id != acked {
				t.Fatalf("PUBACK of %d after %d", k.id, acked-1)
			}
			continue
		}
		p.puback(k.id)
		if a := p.answer(k); a.Seq != 0 && a.Seq <= last {
			t.Fatalf("reply of entry %d after that of %d", a.Seq, last)
		} else if a.Seq != 0 {
			last = a.Seq
		}
	}
}

func TestAClientOfMQTT5MayNotExceedItsReceiveMaximum(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.InFlight = 5 })
	h.engine.hold()
	p, hello5 := enter(t, h.address, hello{id: "c"})
	if hello5.properties[0x21] != uint16(5) {
		t.Fatalf("Receive Maximum %v", hello5.properties[0x21])
	}
	for id := uint16(1); id <= 5; id++ {
		p.publish(note{qos: 1 + byte(id)%2, id: id, payload: deposit("1", 1)})
	}
	p.quiet()
	p.publish(note{qos: 1, id: 6, payload: deposit("1", 1)})
	p.gone(0x93)
}

func TestAnUnreleasedQoS2CountsAgainstTheReceiveMaximum(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.InFlight = 2 })
	p, _ := enter(t, h.address, hello{id: "c"})
	for id := uint16(1); id <= 2; id++ {
		p.publish(note{qos: 2, id: id, payload: deposit("1", 1)})
		p.ack(tPubrec, id, 0)
	}
	p.pubrel(1)
	p.ack(tPubcomp, 1, 0)
	p.publish(note{qos: 2, id: 3, payload: "refused, and no more in flight"})
	p.ack(tPubrec, 3, 0x99)
	p.publish(note{qos: 2, id: 4, payload: deposit("1", 1)})
	p.ack(tPubrec, 4, 0)
	p.publish(note{qos: 2, id: 5, payload: deposit("1", 1)})
	p.gone(0x93)
}

func TestAClientOfMQTT3IsSlowedDown(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.InFlight = 5 })
	release := h.engine.hold()
	p := listening(t, h.address, hello{id: "c", level: 4})
	const count = 300
	for id := uint16(1); id <= count; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
	}
	p.send([]byte{tPingreq << 4, 0})
	<-h.engine.entered
	release()
	acked, replied := 0, 0
	for acked < count || replied < count {
		switch k := p.next(); k.kind {
		case tPuback:
			acked++
		case tPublish:
			replied++
			p.puback(k.id)
		case tPingresp:
			// It was behind the operations, so it is answered when the last of them has been read.
			if acked < count-6 {
				t.Errorf("the ping overtook operations: %d acknowledged", acked)
			}
		}
	}
	if h.entries() != count {
		t.Errorf("%d entries", h.entries())
	}
}

func TestQoS0IsSlowedDownToo(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.InFlight = 5 })
	release := h.engine.hold()
	p := listening(t, h.address, hello{id: "c"})
	for range 100 {
		p.publish(note{payload: deposit("1", 1)})
	}
	<-h.engine.entered
	release()
	for i := range 100 {
		if a, _ := p.reply(0); a.Balance != fmt.Sprintf("%d.00", i+1) {
			t.Fatalf("reply %d: %+v", i, a)
		}
	}
}
