package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gateway/transport/mqtt"
)

// propertyPlaces are the packets of a client that have properties, each with the given ones in it.
var propertyPlaces = map[string]func(properties ...[]byte) recipe{
	"CONNECT":     func(p ...[]byte) recipe { return hiWith(join(p...), 2, "c") },
	"will":        func(p ...[]byte) recipe { return hi(6, "c", with(p...), "a", "x") },
	"PUBLISH":     func(p ...[]byte) recipe { return of(0x32, "bank/ops", id(1), with(p...), good) },
	"PUBACK":      func(p ...[]byte) recipe { return of(tPuback<<4, id(1), 0, with(p...)) },
	"PUBREL":      func(p ...[]byte) recipe { return of(tPubrel<<4|2, id(1), 0, with(p...)) },
	"SUBSCRIBE":   func(p ...[]byte) recipe { return of(0x82, id(1), with(p...), own, 1) },
	"UNSUBSCRIBE": func(p ...[]byte) recipe { return of(0xa2, id(1), with(p...), own) },
	"DISCONNECT":  func(p ...[]byte) recipe { return of(0xe0, 0, with(p...)) },
}

// standardProperties are all properties of MQTT 5 (table 2-4), each with a value and where it may be. What a client may send but
// is answered with a reason of its own has that reason here.
var standardProperties = map[byte]struct {
	bytes  []byte
	places string
	reason map[string]byte
}{
	0x01: {property(0x01, byte(1)), "PUBLISH will", nil},
	0x02: {property(0x02, uint32(1)), "PUBLISH will", nil},
	0x03: {property(0x03, "a"), "PUBLISH will", nil},
	0x08: {property(0x08, "a"), "PUBLISH will", nil},
	0x09: {property(0x09, "a"), "PUBLISH will", nil},
	0x0b: {[]byte{0x0b, 1}, "SUBSCRIBE", map[string]byte{"PUBLISH": 0x82, "SUBSCRIBE": 0xa1}},
	0x11: {property(0x11, uint32(1)), "CONNECT DISCONNECT", nil},
	0x12: {property(0x12, "a"), "", nil},
	0x13: {property(0x13, uint16(1)), "", nil},
	0x15: {property(0x15, "a"), "CONNECT", nil},
	0x16: {property(0x16, "a"), "CONNECT", map[string]byte{"CONNECT": 0x82}}, // not without a method
	0x17: {property(0x17, byte(1)), "CONNECT", nil},
	0x18: {property(0x18, uint32(1)), "will", nil},
	0x19: {property(0x19, byte(1)), "CONNECT", nil},
	0x1a: {property(0x1a, "a"), "", nil},
	0x1c: {property(0x1c, "a"), "", map[string]byte{"DISCONNECT": 0x82}},
	0x1f: {property(0x1f, "a"), "PUBACK PUBREL DISCONNECT", nil},
	0x21: {property(0x21, uint16(1)), "CONNECT", nil},
	0x22: {property(0x22, uint16(1)), "CONNECT", nil},
	0x23: {property(0x23, uint16(1)), "PUBLISH", map[string]byte{"PUBLISH": 0x94}},
	0x24: {property(0x24, byte(1)), "", nil},
	0x25: {property(0x25, byte(1)), "", nil},
	0x26: {user("k", "v"), "CONNECT will PUBLISH PUBACK PUBREL SUBSCRIBE UNSUBSCRIBE DISCONNECT", nil},
	0x27: {property(0x27, uint32(1)), "CONNECT", nil},
	0x28: {property(0x28, byte(1)), "", nil},
	0x29: {property(0x29, byte(1)), "", nil},
	0x2a: {property(0x2a, byte(1)), "", nil},
}

// Every identifier in every packet: once where it may be, twice, cut short, and elsewhere.
func TestEveryPropertyInEveryPacket(t *testing.T) {
	for place, packet := range propertyPlaces {
		expect := func(id int, how string, want byte, properties ...[]byte) {
			t.Helper()
			_, _, err := mqtt.Check(5, packet(properties...)(5))
			if got := mqtt.ReasonOf(err); got != want || (err == nil) != (want == 0) {
				t.Errorf("0x%02x in a %s, %s: 0x%02x, want 0x%02x", id, place, how, got, want)
			}
		}
		for id := range 256 {
			p, known := standardProperties[byte(id)]
			reason, special := p.reason[place]
			switch {
			case !known:
				expect(id, "which is none", 0x81, []byte{byte(id), 0, 0, 0, 0})
				continue
			case special:
				expect(id, "once", reason, p.bytes)
			case !strings.Contains(" "+p.places+" ", " "+place+" "):
				expect(id, "where it may not be", 0x81, p.bytes)
				continue
			default:
				expect(id, "once", 0, p.bytes)
			}
			for n := 1; n < len(p.bytes); n++ {
				if reason != 0x82 || id == 0x16 {
					expect(id, fmt.Sprint("cut to ", n), 0x81, p.bytes[:n])
				}
			}
			if id == 0x26 {
				expect(id, "twice", 0, p.bytes, p.bytes)
			} else {
				expect(id, "twice", 0x82, p.bytes, p.bytes)
			}
		}
	}
}

// A packet that is cut anywhere is refused, and so is one with a byte more; none of the checks fails otherwise.
func TestNoPartOfAPacketIsOne(t *testing.T) {
	for _, r := range rulings() {
		for _, level := range []byte(r.levels) {
			level -= '0'
			whole := r.packet(level)
			if want, _ := r.at(level); !want.legal || len(whole) > 127 || whole[0]>>4 == tPublish {
				continue // a PUBLISH may end anywhere in its payload
			}
			body := whole[2:]
			for n := range body {
				part := framed(whole[0], body[:n])
				if _, _, err := mqtt.Check(level, part); err == nil && !endsEarly(part, level) {
					t.Errorf("%s: %x is a part of %x", r.name, part, whole)
				}
			}
			if _, _, err := mqtt.Check(level, framed(whole[0], body, []byte{0})); err == nil && whole[0] != 0xe0 && len(body) > 3 {
				t.Errorf("%s: %x and a byte", r.name, whole)
			}
			if _, _, err := mqtt.Check(level, bytes.Clone(whole[:len(whole)-1])); !errors.Is(err, mqtt.ErrIncomplete) {
				t.Errorf("%s: %x is not incomplete: %v", r.name, whole[:len(whole)-1], err)
			}
		}
	}
}

// endsEarly reports whether a packet may end where part does: behind a packet id, a reason, a filter, or, in MQTT 3.1, before
// the credentials.
func endsEarly(part []byte, level byte) bool {
	switch kind := part[0] >> 4; kind {
	case tConnect:
		return level == 3
	case tPuback, tPubrel:
		return len(part) <= 5
	case tDisconnect:
		return len(part) <= 3
	case tSubscribe:
		return part[len(part)-1] <= 2
	case tUnsubscribe:
		return true
	}
	return false
}
