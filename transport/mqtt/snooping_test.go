package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/transport/mqtt"
	"gateway/wire"
)

// snoop is a subscription that somebody tries. ME in its filter stands for the client's own id.
type snoop struct {
	filter string
	own    bool // anybody may have it
	never  bool // nobody may, not even an auditor
	// What an auditor hears of two deposits of w, and of a head before and one behind them: o(perations), r(eply), s(lip: the
	// reply below), j(ournal), h(eads).
	hears string
}

var snoops = []snoop{
	{filter: "#", hears: "oorsjjhh"}, {filter: "+/#", hears: "oorsjjhh"}, {filter: "bank/#", hears: "oorsjjhh"},
	{filter: "bank/+", hears: "oojjhh"}, {filter: "+/+", hears: "oojjhh"}, {filter: "+/ops", hears: "oo"},
	{filter: "bank/ops", hears: "oo"}, {filter: "bank/ops/#", hears: "oo"}, {filter: "bank/ops/+"},
	{filter: "bank/replies/#", hears: "rs"}, {filter: "bank/replies/+", hears: "r"}, {filter: "bank/replies/+/#", hears: "rs"},
	{filter: "bank/replies/w", hears: "r"}, {filter: "bank/replies/w/#", hears: "rs"}, {filter: "bank/replies/w/+", hears: "s"},
	{filter: "bank/replies/w/slip", hears: "s"}, {filter: "bank/replies/+/slip", hears: "s"}, {filter: "+/+/w", hears: "r"},
	{filter: "+/+/+", hears: "r"}, {filter: "+/+/+/+", hears: "s"}, {filter: "bank/+/w/#", hears: "rs"},
	{filter: mqtt.JournalTopic, hears: "jj"}, {filter: "bank/journal/#", hears: "jj"}, {filter: "+/journal", hears: "jj"},
	{filter: mqtt.HeadTopic, hears: "hh"}, {filter: "bank/head/#", hears: "hh"}, {filter: "+/head", hears: "hh"}, {filter: "bank/head/+"},
	{filter: "bank/replies/MEx"}, {filter: "bank/replies/M"}, {filter: "/bank/ops"}, {filter: "bank"}, {filter: "+"},
	{filter: "/#"}, {filter: "BANK/OPS"}, {filter: "bank/ops "},
	{filter: "bank/replies/ME", own: true}, {filter: "bank/replies/ME/#", own: true}, {filter: "bank/replies/ME/../w", own: true},
	{filter: "$SYS/#", never: true}, {filter: "$SYS/broker/clients/connected", never: true}, {filter: "$share/g/bank/ops", never: true},
	{filter: "$SHARE/g/#", never: true}, {filter: "$share/g/bank/replies/ME", never: true}, {filter: "$queue/bank/journal", never: true},
	{filter: "$share/g/bank/head", never: true},
	{filter: strings.Repeat("+/", 16) + "#", never: true}, {filter: "bank/" + strings.Repeat("x", 252), never: true},
}

// heardOf are the topics that a snoop's letters stand for.
var heardOf = map[rune]string{'o': "bank/ops", 'r': "bank/replies/w", 's': "bank/replies/w/slip", 'j': mqtt.JournalTopic, 'h': mqtt.HeadTopic}

// TestN11Snooping tries every filter in every role while another client works: only an auditor hears others, and it hears
// exactly what its filter says.
func TestN11Snooping(t *testing.T) {
	heads := newHeadStand("first")
	a := auditing(t, func(o *mqtt.Options) {
		o.Heads = heads
		o.Auditor = func(principal string) bool { return principal == "auditor" }
		o.Access = newVillage("auditor")
		o.IdleTimeout = time.Hour
	})
	w, _ := enter(t, a.address, hello{id: "w"})
	w.subscribe(1, "bank/replies/w/#", 1)
	tried := 0
	var others []*peer
	for _, role := range []string{bank.AnonymousPrincipal, "ana", "auditor"} {
		for i, s := range snoops {
			for _, level := range []byte{4, 5} {
				h := hello{id: fmt.Sprintf("%s-%d-%d", role, i, level), level: level}
				if role != bank.AnonymousPrincipal {
					h.user = role
				}
				p, _ := enter(t, a.address, h)
				s := s
				s.filter = strings.ReplaceAll(s.filter, "ME", p.id)
				auditor := role == "auditor"
				s.try(p, auditor)
				w.depositTwice()
				heads.set(p.id)
				s.listens(p, auditor)
				if tried++; !auditor {
					others = append(others, p)
				}
				p.conn.SetDeadline(time.Now().Add(6 * patience))
				w.conn.SetDeadline(time.Now().Add(patience))
			}
		}
	}
	for _, p := range others {
		p.quiet() // late leaks are leaks
	}
	t.Logf("%d filters in 3 roles, %d subscriptions", len(snoops), tried)
}

// try subscribes and checks the answer.
func (s *snoop) try(p *peer, auditor bool) {
	p.t.Helper()
	want := byte(1)
	if s.never || !s.own && !auditor {
		want = 0x87
		if p.level < 5 {
			want = 0x80
		}
	}
	if k := p.subscribe(1, s.filter, 1); !slices.Equal(k.granted, []byte{want}) {
		p.t.Errorf("%s: %q: SUBACK %x, want %x", p.id, s.filter, k.granted, want)
	}
	if before := strings.TrimSuffix(s.hears, "h"); auditor && before != s.hears { // the next head could take its place
		s.hears = before
		if k := p.expect(tPublish); k.topic != mqtt.HeadTopic {
			p.t.Errorf("%s: %q: %s before the head there is", p.id, s.filter, k.topic)
		}
	}
}

// depositTwice makes two deposits at QoS 1, of which the second has a response topic.
func (p *peer) depositTwice() {
	p.t.Helper()
	p.publish(
		note{qos: 1, id: 1, payload: deposit("w", 1)},
		note{qos: 1, id: 2, payload: deposit("w", 1), properties: property(0x08, "bank/replies/w/slip")},
	)
	_, replied := p.harvest(2, 2)
	for _, k := range replied {
		p.puback(k.id)
	}
}

// listens checks what came of the deposits.
func (s *snoop) listens(p *peer, auditor bool) {
	p.t.Helper()
	var want, got []string
	for _, letter := range s.hears {
		if auditor {
			want = append(want, heardOf[letter])
		}
	}
	for range want {
		k := p.expect(tPublish)
		if k.qos() == 1 {
			p.puback(k.id)
		}
		got = append(got, k.topic)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		p.t.Errorf("%s: %q: heard %q, want %q", p.id, s.filter, got, want)
	}
	p.quiet()
}

// A copy has the payload and the content type of what was published, and nothing else; a reply is what its client got.
func TestAuditorsGetCopies(t *testing.T) {
	a := auditing(t, nil)
	p5, _ := enter(t, a.address, hello{id: "audit"})
	p4, _ := enter(t, a.address, hello{id: "audit4", level: 4})
	deaf, _ := enter(t, a.address, hello{id: "deaf", properties: property(0x27, uint32(30))}) // takes no packet as large
	for _, p := range []*peer{p5, p4, deaf} {
		p.subscribe(1, "bank/ops", 2)
		p.subscribe(2, "bank/replies/#", 2)
	}
	w, _ := enter(t, a.address, hello{id: "w"})
	w.subscribe(1, "bank/replies/w/#", 1)
	w.subscribe(2, "bank/replies/w", 1)
	properties := join(property(0x01, byte(1)), property(0x02, uint32(9)), property(0x08, "bank/replies/w/slip"), property(0x09, "31"),
		[]byte{0x26}, text("user"), text("property"))
	long := strings.Repeat("x", 257)
	missed := uint64(0)
	for i, sent := range []note{
		{qos: 0, payload: deposit("1", 1)},
		{qos: 1, id: 1, payload: deposit("1", 1), properties: join(property(0x03, "application/json"), properties)},
		{qos: 2, id: 2, payload: "no operation", properties: property(0x03, "x/y")},
		{qos: 1, id: 3, payload: deposit("1", 1), properties: property(0x03, long)},
		{qos: 0, payload: ""},
	} {
		w.publish(sent)
		var reply packet
		for reply.kind != tPublish {
			reply = w.next()
		}
		if reply.qos() == 1 {
			w.puback(reply.id)
		}
		contentType := []any{nil, "application/json", "x/y", nil, nil}[i]
		for _, p := range []*peer{p5, p4} {
			for range 2 {
				k := p.expect(tPublish)
				want := packet{topic: "bank/ops", payload: []byte(sent.payload), properties: map[byte]any{0x03: contentType}}
				if k.topic != want.topic {
					want = reply
				}
				if k.flags != 0 || k.topic != want.topic || string(k.payload) != string(want.payload) {
					t.Errorf("copy %x on %s: %q, want %q on %s", k.flags, k.topic, k.payload, want.payload, want.topic)
				}
				if p == p5 && (k.properties[0x03] != want.properties[0x03] || k.properties[0x09] != want.properties[0x09]) ||
					len(k.properties) > len(want.properties) {
					t.Errorf("copy on %s: properties %v, want %v", k.topic, k.properties, want.properties)
				}
			}
		}
		missed += 2
		if i == 4 {
			missed-- // nothing of nothing is small enough
		}
	}
	deaf.settle()
	if got := a.server.Missed(); got != missed {
		t.Errorf("%d copies were missed, want %d", got, missed)
	}
}

// An auditor is told its own operations as everybody's, unless it asks not to be, and its replies once.
func TestAnAuditorHearsItself(t *testing.T) {
	a := auditing(t, nil)
	for _, noLocal := range []byte{0, 1 << 2} {
		p, _ := enter(t, a.address, hello{id: fmt.Sprint("audit", noLocal)})
		p.subscribe(1, "#", 1|noLocal)
		p.publish(note{qos: 1, id: 9, payload: `{"op":"balance","account":"1"}`})
		heard := map[string]int{}
		for _, k := range p.settleFor(3 - int(noLocal>>2)) {
			heard[k.topic]++
		}
		want := map[string]int{"": 1, "bank/replies/" + p.id: 1, "bank/ops": 1 - int(noLocal>>2)}
		for topic, n := range want {
			if heard[topic] != n {
				t.Errorf("NoLocal %d: %q came %d times, want %d", noLocal, topic, heard[topic], n)
			}
		}
	}
}

// settleFor reads so many packets, and makes sure that there are no more.
func (p *peer) settleFor(n int) (all []packet) {
	p.t.Helper()
	for range n {
		all = append(all, p.next())
	}
	p.quiet()
	return all
}

// An auditor that does not read is cut like anybody. Until then nobody waits for it.
func TestNobodyWaitsForAnAuditor(t *testing.T) {
	a := auditing(t, impatient)
	padding := strings.Repeat(" ", 8<<10)
	for _, c := range []struct {
		filter  string
		payload string
		bursts  int // make far more than sockets hold
	}{
		{"bank/ops", deposit("w", 1) + padding, 100},
		{mqtt.JournalTopic, fmt.Sprintf(`{"op":"deposit","account":"w","amount":1,"memo":%q}`, padding[:140]), 800},
	} {
		p, _ := enter(t, a.address, hello{id: "audit"})
		p.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		p.subscribe(1, c.filter, 0)
		w := listening(t, a.address, hello{id: "w"})
		burst := make([]note, 16)
		for i := range burst {
			burst[i] = note{qos: 1, id: uint16(1 + i), payload: c.payload}
		}
		for range c.bursts {
			w.conn.SetDeadline(time.Now().Add(patience))
			w.publish(burst...)
			_, replied := w.harvest(len(burst), len(burst))
			for _, k := range replied {
				w.puback(k.id)
			}
		}
		if missed := a.server.Missed(); missed == 0 {
			t.Error("no copy was missed")
		}
		a.awaitSessions(1)
		w.send([]byte{tDisconnect << 4, 0})
		w.gone(0)
		a.awaitSessions(0)
	}
}

// awaitSessions waits until there are so many sessions.
func (a *audited) awaitSessions(n int) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for a.server.Sessions() != n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			a.t.Fatalf("%d sessions, want %d", a.server.Sessions(), n)
		}
	}
}

// Who is no auditor any more hears nothing more: nothing is delivered, nothing is granted, and a session that comes back has
// lost the subscriptions, for good.
func TestAnAuditorNoMore(t *testing.T) {
	for _, filter := range []string{mqtt.JournalTopic, "bank/ops"} {
		a := auditingKept(t)
		h := keeps(5, "audit")
		p, _ := enter(t, a.address, h)
		p.subscribe(1, filter, 1)
		p.subscribe(2, "bank/replies/audit", 1)
		a.trusted.Store(false)
		w, _ := enter(t, a.address, hello{id: "w"})
		w.publish(note{payload: deposit("w", 1)})
		p.gone(0x87)
		a.server.AwaitDetached("audit")
		p, _ = enter(t, a.address, h)
		if k := w.subscribe(3, filter, 1); k.granted[0] != 0x87 {
			t.Errorf("%s: granted %x", filter, k.granted)
		}
		a.trusted.Store(true)
		for range 2 {
			w.publish(note{payload: deposit("w", 1)})
			w.quiet()
			a.work(1)
			p.publish(note{qos: 1, id: 1, payload: `{"op":"balance","account":"w"}`})
			p.ack(tPuback, 1, 0)
			if _, k := p.reply(1); k.topic != "bank/replies/audit" {
				t.Errorf("%s: heard %s", filter, k.topic)
			}
			p.quiet()
			a.server.Record()
			a.killed() // and so it is after a restart
			p, _ = enter(t, a.address, h)
			w, _ = enter(t, a.address, hello{id: "w"})
		}
	}
}

// Without a journal its topic is refused, and it is said that it is not for want of rights.
func TestWithoutAJournal(t *testing.T) {
	a := auditing(t, func(o *mqtt.Options) { o.Journal, o.Heads = nil, nil })
	for level, want := range map[byte]byte{3: 0x80, 4: 0x80, 5: 0x83} {
		p, _ := enter(t, a.address, hello{id: fmt.Sprint("audit", level), level: level})
		p.send(framed(tSubscribe<<4|2, []byte{0, 1}, withLength(level, nil), text("bank/journal"), []byte{1}, text("bank/head"), []byte{1},
			text("bank/#"), []byte{1}))
		if k := p.expect(tSuback); !slices.Equal(k.granted, []byte{want, want, 1}) {
			t.Errorf("level %d: granted %x", level, k.granted)
		}
		a.work(1)
		p.quiet()
	}
	a.trusted.Store(false)
	p, _ := enter(t, a.address, hello{id: "c"})
	if k := p.subscribe(1, "bank/journal", 1); k.granted[0] != 0x87 {
		t.Errorf("granted %x to a stranger", k.granted)
	}
}

// An entry that is larger than its auditor takes is passed over, as the standard demands; those beside it are not.
func TestAnEntryLargerThanItsAuditorTakes(t *testing.T) {
	a := auditing(t, nil)
	p, _ := enter(t, a.address, hello{id: "audit", properties: join(property(0x27, uint32(480)), property(0x21, uint16(1)))})
	p.subscribe(1, mqtt.JournalTopic, 1)
	w := listening(t, a.address, hello{id: "w"})
	for i := range uint16(3) {
		op := deposit("w", 1)
		if i == 1 {
			op = fmt.Sprintf(`{"op":"deposit","account":"w","amount":1,"memo":%q,"id":%q}`, strings.Repeat("m", 140), strings.Repeat("i", 64))
		}
		w.publish(note{qos: 1, id: 1 + i, payload: op})
		w.harvest(1, 1)
	}
	p.puback(p.entry(1).id)
	p.puback(p.entry(3).id)
	p.quiet()
}

// mosquitto_sub reads the journal as its dump has it.
func TestMosquittoReadsTheJournal(t *testing.T) {
	a := auditing(t, nil)
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		sub := a.mosquitto(t, "mosquitto_sub", "-V", version, "-i", "audit", "-q", "1", "-t", mqtt.JournalTopic, "-C", "50")
		var out strings.Builder
		sub.Stdout = &out
		if err := sub.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- sub.Wait() }()
		for err, running := error(nil), true; running; {
			select {
			case err = <-ended:
				running = false
			default:
				a.work(1)
			}
			if err != nil {
				t.Fatalf("mosquitto_sub: %v", err)
			}
		}
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		var first wire.Entry
		if err := json.Unmarshal([]byte(got[0]), &first); err != nil || len(got) != 50 {
			t.Fatalf("%s: %d entries, %v", version, len(got), err)
		}
		if want := a.lines(first.Seq, first.Seq+49); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
	}
}
