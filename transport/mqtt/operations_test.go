package mqtt_test

import (
	"fmt"
	"strings"
	"testing"

	"gateway/wire"
)

// msgpack returns a deposit of 20 in msgpack.
func msgpack(t *testing.T) string {
	t.Helper()
	client := wire.NewClient(wire.Msgpack)
	return string(client.AppendRequest(nil, &wire.Request{Op: "deposit", Account: "1", Amount: "20"}))
}

func TestEveryVersionAndQoSDeposits(t *testing.T) {
	h := build(t, nil)
	for _, level := range []byte{3, 4, 5} {
		for qos := byte(0); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("level %d QoS %d", level, qos), func(t *testing.T) {
				account := fmt.Sprintf("%d-%d", level, qos)
				p := listening(t, h.address, hello{id: "c" + account, level: level})
				p.publish(note{qos: qos, id: 7, payload: deposit(account, 20)})
				switch qos {
				case 1:
					p.ack(tPuback, 7, 0)
				case 2:
					p.ack(tPubrec, 7, 0)
				}
				a, k := p.reply(min(qos, 1))
				if !a.Status || a.Code != "ok" || a.Balance != "20.00" || a.Msg != 20.0 || a.Seq == 0 {
					t.Errorf("reply %+v", a)
				}
				if k.topic != "bank/replies/c"+account || k.dup() || k.flags&1 != 0 {
					t.Errorf("reply to %q, flags %x", k.topic, k.flags)
				}
				if qos == 2 {
					p.pubrel(7)
					p.ack(tPubcomp, 7, 0)
				}
			})
		}
	}
}

func TestTheReplySpeaksTheFormatOfTheOperation(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c"})
	for i, kind := range []string{"", "application/msgpack", "application/vnd.msgpack", "application/octet-stream"} {
		var properties []byte
		if kind != "" {
			properties = property(0x03, kind)
		}
		p.publish(note{qos: 1, id: 1, properties: properties, payload: msgpack(t)})
		p.ack(tPuback, 1, 0)
		k := p.expect(tPublish)
		p.puback(k.id)
		answer, _, err := wire.NewClient(wire.Msgpack).DecodeAnswer(k.payload)
		if err != nil || !answer.Status || answer.Balance != fmt.Sprintf("%d.00", 20*(i+1)) {
			t.Errorf("%q: %+v, %v", kind, answer, err)
		}
		if back, _ := k.properties[0x03].(string); back != kind && kind != "application/octet-stream" {
			t.Errorf("content type %q came back as %q", kind, back)
		}
	}
	// The content type wins over the first byte.
	p.publish(note{qos: 1, id: 2, properties: property(0x03, "application/json"), payload: msgpack(t)})
	p.ack(tPuback, 2, 0x99)
	if a, _ := p.reply(1); a.Code != "malformed" {
		t.Errorf("msgpack called JSON: %+v", a)
	}
}

func TestReasonsAndReplies(t *testing.T) {
	h := build(t, nil)
	cases := []struct {
		name   string
		note   note
		reason byte
		code   string
	}{
		{"not an operation", note{payload: "hello"}, 0x99, "malformed"},
		{"nothing", note{}, 0x99, "malformed"},
		{"cut short", note{payload: `{"op":"deposit"`}, 0x99, "malformed"},
		{"two operations", note{payload: deposit("1", 1) + deposit("1", 1)}, 0x99, "malformed"},
		{"unknown field", note{payload: `{"op":"balance","account":"1","colour":"red"}`}, 0x99, "malformed"},
		{"another topic", note{topic: "bank/other", payload: deposit("1", 1)}, 0x87, "forbidden"},
		{"another's replies", note{topic: "bank/replies/alice", payload: deposit("1", 1)}, 0x87, "forbidden"},
		{"its own replies", note{topic: "bank/replies/c", payload: deposit("1", 1)}, 0x87, "forbidden"},
		{"$SYS", note{topic: "$SYS/broker/version", payload: deposit("1", 1)}, 0x87, "forbidden"},
		{"an operation below", note{topic: "bank/ops/deposit", payload: deposit("1", 1)}, 0x87, "forbidden"},
		{"refused by the bank", note{payload: `{"op":"withdraw","account":"1","amount":5}`}, 0, "insufficient_funds"},
		{"no account", note{payload: `{"op":"withdraw","account":"@cash","amount":5}`}, 0, "invalid_account"},
		{"unknown operation", note{payload: `{"op":"steal","account":"1"}`}, 0, "unknown_operation"},
	}
	for _, level := range []byte{3, 4, 5} {
		p := listening(t, h.address, hello{id: "c", level: level})
		for qos := byte(0); qos <= 2; qos++ {
			for i, c := range cases {
				entries := h.entries()
				c.note.qos, c.note.id = qos, uint16(i+1)
				p.publish(c.note)
				if c.note.qos > 0 {
					reason := c.reason
					if level < 5 {
						reason = 0
					}
					p.ack(tPuback+qos-1, c.note.id, reason)
				}
				a, k := p.reply(min(qos, 1))
				if a.Status || a.Code != c.code || k.topic != "bank/replies/c" {
					t.Errorf("level %d QoS %d, %s: %+v on %s", level, qos, c.name, a, k.topic)
				}
				if text, _ := a.Msg.(string); c.code != "insufficient_funds" && !strings.HasPrefix(text, c.code) {
					t.Errorf("%s: message %q does not begin with its code", c.name, text)
				}
				if h.entries() != entries {
					t.Errorf("%s: something was executed", c.name)
				}
				if qos == 2 && (c.reason == 0 || level < 5) {
					p.pubrel(c.note.id)
					p.ack(tPubcomp, c.note.id, 0)
				}
			}
		}
	}
}

func TestAReplyGoesWhereItWasAskedFor(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c"})
	p.subscribe(2, "bank/replies/c/+", 0)
	for i, c := range []struct {
		topic string
		back  string // where the reply is; "" is refused
		qos   byte
	}{
		{"bank/replies/c", "bank/replies/c", 1},
		{"bank/replies/c/7", "bank/replies/c/7", 0}, // never above the subscription
		{"bank/replies/cc", "", 1},
		{"bank/replies", "", 1},
		{"bank/replies/c/#", "", 1},
		{"bank/replies/+", "", 1},
		{"bank/replies/alice", "", 1},
		{"bank/ops", "", 1},
		{"$SYS/broker", "", 1},
		{"bank/replies/c/" + strings.Repeat("x", 250), "", 1},
		{"", "", 1},
	} {
		id := uint16(i + 1)
		entries := h.entries()
		p.publish(note{qos: 1, id: id, properties: join(property(0x08, c.topic), property(0x09, "\x00order 7")), payload: deposit("1", 1)})
		if c.back == "" {
			p.ack(tPuback, id, 0x87)
			if a, k := p.reply(1); a.Code != "forbidden" || k.topic != "bank/replies/c" || h.entries() != entries {
				t.Errorf("response topic %q: %+v on %q", c.topic, a, k.topic)
			}
			continue
		}
		p.ack(tPuback, id, 0)
		if a, k := p.reply(c.qos); !a.Status || k.topic != c.back || k.properties[0x09] != "\x00order 7" {
			t.Errorf("response topic %q: %+v on %q with %q", c.topic, a, k.topic, k.properties)
		}
	}
}

func TestCorrelationDataThatAreTooMuch(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c"})
	most := strings.Repeat("x", 512)
	p.publish(note{qos: 1, id: 1, properties: property(0x09, most), payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	if a, k := p.reply(1); !a.Status || k.properties[0x09] != most {
		t.Errorf("%+v", a)
	}
	p.publish(note{qos: 1, id: 2, properties: property(0x09, most+"x"), payload: deposit("1", 1)})
	p.ack(tPuback, 2, 0x99)
	if a, _ := p.reply(1); a.Code != "too_large" {
		t.Errorf("%+v", a)
	}
}

func TestTheQoSOfAReplyIsNeverAboveTheSubscription(t *testing.T) {
	h := build(t, nil)
	for granted := byte(0); granted <= 2; granted++ {
		p, _ := enter(t, h.address, hello{id: fmt.Sprint("c", granted), level: 4})
		if k := p.subscribe(1, "bank/replies/"+p.id+"/#", granted); k.granted[0] != granted {
			t.Fatalf("granted %v", k.granted)
		}
		for qos := byte(0); qos <= 2; qos++ {
			p.publish(note{qos: qos, id: 9, payload: deposit("1", 1)})
			if qos > 0 {
				p.ack(tPuback+qos-1, 9, 0)
			}
			p.reply(min(granted, qos, 1))
			if qos == 2 {
				p.pubrel(9)
				p.ack(tPubcomp, 9, 0)
			}
		}
	}
}

func TestWhoIsNotSubscribedGetsTheAcknowledgementOnly(t *testing.T) {
	h := build(t, nil)
	p, _ := enter(t, h.address, hello{id: "c"})
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.quiet()
	p.subscribe(2, "bank/replies/c", 1)
	p.send(framed(tUnsubscribe<<4|2, []byte{0, 3}, withLength(5, nil), text("bank/replies/c")))
	if k := p.expect(tUnsuback); k.granted[0] != 0 {
		t.Errorf("UNSUBACK 0x%02x", k.granted[0])
	}
	p.publish(note{qos: 1, id: 2, payload: deposit("1", 1)})
	p.ack(tPuback, 2, 0)
	p.quiet()
}
