package mqtt_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"gateway/transport/mqtt"
)

// ruling is one packet and what the standard says of it. A level is 3 for MQTT 3.1, 4 for 3.1.1 and 5.
type ruling struct {
	name   string
	levels string
	packet recipe
	clause string // of MQTT 5, or its section
	older  string // of MQTT 3.1.1 and, where that is said, of 3.1
	want   verdict
	in3    verdict // in MQTT 3, when it does not follow from want
	moment moment
}

// moment is when a packet comes. That it comes then is what may be wrong with it: it takes a connection to see that.
type moment byte

const (
	whenever  moment = iota
	connected        // behind the CONNECT
	first            // instead of it
)

// rule returns a row. Of a row without a clause of MQTT 5, want is what MQTT 3 wants.
func rule(name, levels string, packet recipe, clause, older string, want verdict, in3 ...verdict) ruling {
	r := ruling{name: name, levels: levels, packet: packet, clause: clause, older: older, want: want}
	if clause == "" {
		in3 = []verdict{want}
	}
	if len(in3) > 0 {
		r.in3 = in3[0]
	}
	return r
}

func (r ruling) on(m moment) ruling {
	r.moment = m
	return r
}

// recipe makes a packet for a client of a protocol level.
type recipe func(level byte) []byte

// verdict is what becomes of a packet. The zero verdict is that the connection is closed without a word.
type verdict struct {
	legal  bool // it may pass
	open   bool // the connection goes on
	kind   byte // of the packet that answers it; 0: none
	reason byte
}

var (
	closed   = verdict{}
	accepted = verdict{legal: true, open: true}
	left     = verdict{legal: true} // a DISCONNECT
)

func disconnected(reason byte) verdict { return verdict{kind: tDisconnect, reason: reason} }
func refused(reason byte) verdict      { return verdict{kind: tConnack, reason: reason} }
func welcomed(reason byte) verdict {
	return verdict{legal: true, open: reason == 0, kind: tConnack, reason: reason}
}
func answered(kind, reason byte) verdict {
	return verdict{legal: true, open: true, kind: kind, reason: reason}
}

// at returns what becomes of r's packet at a protocol level.
func (r *ruling) at(level byte) (verdict, string) {
	switch {
	case level == 5:
		return r.want, r.clause
	case r.in3 != verdict{}:
		return r.in3, r.older
	case !r.want.legal:
		return closed, r.older
	case r.want.kind == tConnack || r.want.kind == tSuback:
		return r.want, r.older
	}
	want := r.want
	want.reason = 0
	return want, r.older
}

// of is the recipe of a packet of these parts: bytes, and recipes of bytes.
func of(head byte, parts ...any) recipe {
	return func(level byte) []byte {
		var body []byte
		for _, part := range parts {
			switch part := part.(type) {
			case []byte:
				body = append(body, part...)
			case recipe:
				body = append(body, part(level)...)
			case string:
				body = append(body, text(part)...)
			case int:
				body = append(body, byte(part))
			default:
				panic("no such part")
			}
		}
		return framed(head, body)
	}
}

// with is the recipe of properties, which MQTT 3 does not have.
func with(properties ...[]byte) recipe {
	return func(level byte) []byte { return withLength(level, join(properties...)) }
}

// flagged is the recipe of a packet with other flags in its fixed header.
func flagged(flags byte, packet recipe) recipe {
	return func(level byte) []byte {
		b := packet(level)
		b[0] ^= flags
		return b
	}
}

// stretched is the recipe of a short packet whose length has a byte too many.
func stretched(packet recipe) recipe {
	return func(level byte) []byte {
		b := packet(level)
		return join([]byte{b[0], b[1] | 0x80, 0}, b[2:])
	}
}

func id(n byte) []byte { return []byte{0, n} }

// user is a user property.
func user(key, value string) []byte { return join([]byte{0x26}, text(key), text(value)) }

// hi is the recipe of a CONNECT with these flags and whatever is behind the keep-alive and the properties.
func hi(flags byte, rest ...any) recipe { return hiWith(nil, flags, rest...) }

func hiWith(properties []byte, flags byte, rest ...any) recipe {
	return func(level byte) []byte {
		name := "MQTT"
		if level == 3 {
			name = "MQIsdp"
		}
		return of(tConnect<<4, append([]any{name, []byte{level, flags, 0, 0}, with(properties)}, rest...)...)(level)
	}
}

// rulings are all rows of all tables.
func rulings() (all []ruling) {
	for _, table := range [][]ruling{
		connectRulings(), connectPropertyRulings(), credentialRulings(), willRulings(), publishRulings(), publishPropertyRulings(),
		ackRulings(), subscribeRulings(), filterRulings(), unsubscribeRulings(), endRulings(), foreignRulings(), stringRulings(),
	} {
		all = append(all, table...)
	}
	return all
}

// eachRuling runs a test for every row at each of its levels.
func eachRuling(t *testing.T, test func(t *testing.T, r *ruling, level byte, want verdict)) {
	rows := 0
	for _, r := range rulings() {
		for _, level := range []byte(r.levels) {
			level -= '0'
			want, clause := r.at(level)
			if clause == "" {
				t.Errorf("%s: no clause at level %d", r.name, level)
			}
			rows++
			t.Run(fmt.Sprint(r.name, "/", level), func(t *testing.T) { test(t, &r, level, want) })
		}
	}
	if rows < 150 {
		t.Errorf("only %d rows", rows)
	}
}

// The checks judge as the table says, whatever stands behind the packet in the buffer.
func TestTheStandardIsChecked(t *testing.T) {
	eachRuling(t, func(t *testing.T, r *ruling, level byte, want verdict) {
		if r.moment != whenever {
			return
		}
		whole := r.packet(level)
		for _, b := range [][]byte{bytes.Clone(whole), append(bytes.Clone(whole), 0x82, 0xff, 0)} {
			passed, refusal, err := mqtt.Check(level, b)
			if (err == nil) != want.legal {
				t.Fatalf("%x: %v, want %+v [%s]", whole, err, want, r.clause)
			}
			switch {
			case want.legal:
				if len(passed) != len(whole) {
					t.Errorf("%x passed as %x", whole, passed)
				}
			case want.kind == tConnack:
				if reason := refusal[3]; len(refusal) != int(refusal[1])+2 || reason != want.reason {
					t.Errorf("%x: CONNACK %x, want 0x%02x [%s]", whole, refusal, want.reason, r.clause)
				}
			case len(refusal) > 0:
				t.Errorf("%x: CONNACK %x, want none", whole, refusal)
			case want.kind == tDisconnect:
				if why := mqtt.ReasonOf(err); why != want.reason {
					t.Errorf("%x: 0x%02x, want 0x%02x [%s]", whole, why, want.reason, r.clause)
				}
			}
		}
	})
}

// The same table over connections: each client is answered as the standard has it, and goes on when it did nothing wrong.
func TestTheStandardIsKept(t *testing.T) {
	h := build(t, nil)
	executed := 0
	eachRuling(t, func(t *testing.T, r *ruling, level byte, want verdict) {
		b := r.packet(level)
		var p *peer
		if r.moment == first || r.moment == whenever && b[0]>>4 == tConnect {
			p = call(t, h.address)
			p.level = level
		} else {
			p, _ = enter(t, h.address, hello{id: "c", level: level})
		}
		p.conn.Write(b)
		switch {
		case !want.legal && want.kind == tDisconnect:
			p.gone(want.reason)
			return
		case want.kind != 0:
			p.told(want)
		}
		if !want.open {
			p.gone(0)
			return
		}
		for _, k := range p.settle() {
			if k.kind == tDisconnect || k.kind == tConnack {
				t.Fatalf("packet type %d with 0x%02x", k.kind, k.reason)
			}
		}
		if b[0]>>4 == tPublish && want.reason == 0 {
			executed++
		}
	})
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if h.entries() != executed {
		t.Errorf("%d operations were executed, %d were legal", h.entries(), executed)
	}
}

// told expects the packet that answers.
func (p *peer) told(want verdict) {
	p.t.Helper()
	k := p.expect(want.kind)
	reason := k.reason
	if k.kind == tSuback {
		reason = k.granted[len(k.granted)-1]
	}
	if reason != want.reason {
		p.t.Fatalf("answered 0x%02x, want 0x%02x", reason, want.reason)
	}
}

// Every clause that the code names has a row: a check without one would be nobody's.
func TestEveryClauseOfTheCodeHasARow(t *testing.T) {
	clause := regexp.MustCompile(`\[MQTT-[\d.-]+\]|section \d[\d.]*\d`)
	rows := map[string]bool{}
	for _, r := range rulings() {
		for _, c := range clause.FindAllString(r.clause+" "+r.older, -1) {
			rows[c] = true
		}
	}
	found := 0
	for _, file := range []string{"fields.go", "standard.go", "standard_connect.go", "packets.go", "conn.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(source), "\n") {
			code, comment, _ := strings.Cut(line, "//")
			if strings.TrimSpace(code) == "" {
				continue // prose
			}
			for _, c := range clause.FindAllString(comment, -1) {
				found++
				if !rows[c] {
					t.Errorf("%s: %s has no row", file, c)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("the code names %d clauses", found)
	}
}
