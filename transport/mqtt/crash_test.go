package mqtt_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// crash is a row of PROTOCOL.md's tables of what a device does after a crash at every point of its exchange.
type crash struct {
	qos   byte
	point string
	has   string // of the gateway's packets
	sends string // when it is connected again
}

// crashes returns the rows of one QoS.
func crashes(t *testing.T, qos byte) (rows []crash) {
	t.Helper()
	page, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), fmt.Sprintf("\n### QoS %d, and a crash at every point\n", qos))
	section, _, _ = strings.Cut(section, "\n### ")
	for _, row := range regexp.MustCompile(`(?m)^\| (\d) \| (.+?) \| (.+?) \|`).FindAllStringSubmatch(section, -1) {
		rows = append(rows, crash{qos: qos, point: row[1], has: row[2], sends: row[3]})
	}
	drawn := regexp.MustCompile(`(?m)^      \|.*  \d  [ |]`).FindAllString(section, -1)
	if len(rows) < 6 || len(rows) != len(drawn) {
		t.Fatalf("PROTOCOL.md: QoS %d: %d points are drawn, and %d told of", qos, len(drawn), len(rows))
	}
	return rows
}

// The link breaks at every point of PROTOCOL.md's diagrams, and the device does what stands there: money moves once.
func TestALinkThatBreaksAtAnyPoint(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		for qos := range byte(2) {
			for _, c := range crashes(t, qos+1) {
				t.Run(fmt.Sprintf("level %d QoS %d point %s", level, c.qos, c.point), func(t *testing.T) { c.run(t, level) })
			}
		}
	}
}

func (c *crash) run(t *testing.T, level byte) {
	h := build(t, nil)
	release := h.engine.hold()
	first := listening(t, h.address, keeps(level, "c"))
	op := note{qos: c.qos, id: 7, payload: deposit("1", 20)}
	replyID := c.breakLink(h, first, op, release)
	h.server.AwaitDetached("c")
	if c.point == "3" {
		release()
	}
	p, _ := enter(t, h.address, keeps(level, "c"))
	var awaited byte
	switch {
	case c.sends == "PUBLISH 7 again, DUP":
		op.dup = 1
		p.publish(op)
		awaited = ackOf[c.qos]
	case strings.HasPrefix(c.sends, "PUBREL 7"):
		p.pubrel(7)
		awaited = tPubcomp
	case c.sends != "nothing" && c.sends != "PUBACK 1, when the reply comes again":
		t.Fatalf("PROTOCOL.md: QoS %d: at %s the device sends %q", c.qos, c.point, c.sends)
	}
	if c.point == "2" {
		p.quiet() // it is being decided
	}
	release()
	c.finish(p, awaited, replyID)
	if n := h.entries(); n != 1 {
		t.Errorf("%d entries", n)
	}
	op.dup, op.payload = 0, deposit("1", 1)
	p.publish(op)
	p.ack(ackOf[c.qos], 7, 0)
	if a, _ := p.reply(1); a.Balance != "21.00" {
		t.Errorf("the next operation with that packet id: %+v", a)
	}
}

// ackOf is what answers an operation, by its QoS.
var ackOf = [3]byte{1: tPuback, 2: tPubrec}

// breakLink goes as far as the point and ends the connection. It returns the packet id of a reply that was sent and not
// acknowledged.
func (c *crash) breakLink(h *house, p *peer, op note, release func()) (replyID uint16) {
	p.t.Helper()
	defer p.conn.Close()
	whole := op.bytes(p.level)
	switch c.point {
	case "1":
		p.send(whole[:len(whole)-1])
		return 0
	case "2", "3":
		p.send(whole)
		<-h.engine.entered
		p.quiet()
		return 0
	}
	release()
	p.send(whole)
	p.ack(ackOf[c.qos], 7, 0)
	reply := p.expect(tPublish)
	if c.qos == 1 && c.point < "6" {
		return reply.id
	}
	p.puback(reply.id)
	if c.qos == 2 && c.point > "5" {
		p.pubrel(7)
		p.ack(tPubcomp, 7, 0)
	}
	p.quiet()
	if c.qos == 2 && c.point == "5" {
		p.send([]byte{tPubrel<<4 | 2, 2, 0}) // and the rest is lost
	}
	return 0
}

// finish reads what the gateway says to the device that is back, to the end of the exchange.
func (c *crash) finish(p *peer, awaited byte, replyID uint16) {
	p.t.Helper()
	replied := c.has != "nothing" && replyID == 0
	for awaited != 0 || !replied {
		k := p.next()
		switch {
		case k.kind == tPublish:
			if a := p.answer(k); a.Balance != "20.00" || k.dup() != (replyID != 0) || replyID != 0 && k.id != replyID {
				p.t.Errorf("reply %d with flags %x: %+v", k.id, k.flags, a)
			}
			p.puback(k.id)
			replied = true
		case k.kind != awaited || k.id != 7 || k.reason != c.reason(p.level):
			p.t.Fatalf("packet type %d of %d with 0x%02x", k.kind, k.id, k.reason)
		case k.kind == tPubrec:
			p.pubrel(7)
			awaited = tPubcomp
		default:
			awaited = 0
		}
	}
	for _, k := range p.settle() {
		if c.qos == 2 || k.kind != tPublish || p.answer(k).Balance != "20.00" {
			p.t.Errorf("and packet type %d of %d: %q", k.kind, k.id, k.payload)
		}
		p.puback(k.id)
	}
}

// reason is that of the acknowledgement which ends the exchange.
func (c *crash) reason(level byte) byte {
	if c.qos == 2 && c.point == "6" && level == 5 {
		return 0x92
	}
	return 0
}
