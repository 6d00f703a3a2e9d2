package simulation

import (
	"fmt"
	"slices"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// device is a client of the MQTT door that keeps to the protocol: it delivers again what was not acknowledged, in order, and
// forgets it when its session is gone.
type device struct {
	w         *world
	number    int
	id        string
	user      string // "": anonymous
	level     byte
	relearned bool // it was another once
	persists  bool
	expiry    uint32 // of its session, in seconds
	format    *wire.Client
	below     bool // it subscribes to what is below its topic, and has some replies there
	link      *link
	stage     stage
	clean     bool            // the last CONNECT asked for a new session
	fresh     bool            // and the gateway has not said yes: until then it is asked for again
	used      map[uint16]bool // packet ids that are not used again on this connection
	brief     bool            // the session of this connection ends with it
	kept      bool            // the gateway has said that there is a session
	greeted   time.Time       // when the last CONNACK was written
	alive     time.Time       // when the last that said yes was
	doubt     bool            // there may be one all the same
	granted   bool            // and that it is subscribed
	deaf      bool            // and, on this connection, that it is no longer
	exchanges []*exchange     // not finished, in the order of their first sending
	unknown   []*asked        // with an id, and nobody knows what became of them
	acks      []uint16        // of replies, not sent yet
	ordered   uint64          // the seq of the last reply that was heard for the first time
}

type stage uint8

const (
	away stage = iota
	greeting
	subscribing
	unsubscribing
	ready
	leaving
)

// exchange is an operation that the device has published at QoS 1 or 2 and not finished.
type exchange struct {
	note
	asked    *asked
	received bool // PUBREC has come
	level    byte // of MQTT, when it was sent first
}

func newDevice(w *world, number int) *device {
	r := w.random
	d := &device{
		w: w, number: number, id: fmt.Sprint("d", number), level: pick[byte](r, 3, 4, 4, 5, 5, 5), persists: r.IntN(4) > 0,
		format: pick(r, asJSON, asMsgpack), below: r.IntN(3) == 0, user: pick(r, "", "", "ana"), expiry: forever,
	}
	if d.level == 5 && w.chances.expire {
		d.expiry = uint32(1 + r.IntN(5))
	}
	return d
}

// The formats keep no state but their pools.
var asJSON, asMsgpack = wire.NewClient(wire.JSON), wire.NewClient(wire.Msgpack)

func (d *device) principal() string {
	if d.user == "" {
		return bank.AnonymousPrincipal
	}
	return d.user
}

func (d *device) topic() string { return "bank/replies/" + d.id }

func (d *device) note(what string, n, m int) {
	d.w.trace.add(line{what: what, who: d.id, n: int64(n), m: int64(m)})
}

func (d *device) send(b []byte) {
	d.link.outgoing = append(d.link.outgoing, outgoing{bytes: b})
}

// dial connects.
func (d *device) dial() {
	w := d.w
	w.links++
	l := newLink(w.links)
	if w.process.door.call(l) != nil {
		return
	}
	if d.persists && d.expiry == forever && !w.ending && w.chance(w.chances.relearn) {
		d.relearn()
	}
	l.reading.level = d.level
	w.wires = append(w.wires, wired{l, d})
	d.link, d.stage = l, greeting
	d.clean = !d.persists || d.fresh || !w.ending && w.chance(w.chances.cleanStart)
	d.fresh = d.clean
	d.brief = d.level == 5 && d.persists && !w.ending && w.chance(w.chances.brief)
	expiry := d.expiry
	if !d.persists || d.brief {
		expiry = 0
	}
	if d.clean && d.persists {
		d.forget() // whether the gateway hears of it or not: it is gone for the device
	}
	d.used = map[uint16]bool{}
	for _, x := range d.exchanges {
		d.used[x.id] = w.chances.impatient > 0
	}
	d.note("dial", int(d.level), len(d.exchanges))
	if d.level == 5 {
		l.window = w.chances.window
	}
	d.send(connect(d.level, d.id, d.user, d.clean, expiry, l.window))
}

// relearn makes the device speak another version of the protocol from now on, in the session that it has. Which reply is whose
// cannot be told by the correlation data any more, which only one of the versions has.
func (d *device) relearn() {
	level := pick[byte](d.w.random, 3, 4, 5)
	if level == d.level || level == 5 && len(d.exchanges) > d.windowOf(level) {
		return
	}
	d.note("relearn", int(level), 0)
	d.w.figures.relearned++
	d.level, d.relearned = level, true
	for _, a := range d.w.book.asked {
		if a.device == d {
			a.confirmed = false
		}
	}
}

// forget gives up what was under way in a session.
func (d *device) forget() {
	for _, x := range d.exchanges {
		x.asked.abandoned = true
	}
	for _, a := range d.w.book.asked {
		if a.device == d {
			a.owed = false
		}
	}
	d.exchanges, d.kept, d.granted = nil, false, false
}

// lose is the end of the link as the device sees it. What was to be acknowledged was not.
func (d *device) lose() {
	if d.link == nil {
		return
	}
	d.link.left = true
	d.doubt = d.stage == greeting // did the gateway take it?
	// What the gateway may have answered to a CONNECT that was the session's last, or came when it may have expired, is that there is a
	// new one; the next answer would not say so.
	d.fresh = d.fresh || d.doubt && (d.brief || d.expired())
	d.link, d.stage, d.acks, d.deaf = nil, away, nil, false
	if d.passing() {
		d.forget()
	}
}

// passing reports whether the session ends with its connection.
func (d *device) passing() bool { return !d.persists || d.brief || d.clean && d.level < 5 }

// leave ends the connection and, with it, the session. The gateway may not hear of that: the next CONNECT asks for a new one.
func (d *device) leave() {
	d.note("leave", 0, 0)
	d.send([]byte{tDisconnect << 4, 7, 0, 5, 0x11, 0, 0, 0, 0})
	d.forget()
	d.stage, d.fresh = leaving, true
}

// hear takes a packet in.
func (d *device) hear(p *packet) {
	d.note("hear", int(p.kind), int(p.id))
	if d.stage == leaving {
		return
	}
	switch p.kind {
	case tConnack:
		d.welcomed(p)
	case tSuback:
		if p.granted != 1 {
			d.lose() // the gateway cannot keep it now
			return
		}
		d.granted, d.stage = true, ready
	case tUnsuback:
		d.deaf, d.stage = true, ready
	case tPuback, tPubrec:
		d.acknowledged(p)
	case tPubcomp:
		if i := d.find(p.id); i >= 0 && d.exchanges[i].received {
			d.exchanges = slices.Delete(d.exchanges, i, i+1)
		}
	case tPublish:
		d.replied(p)
	case tDisconnect:
		d.lose()
	}
}

// welcomed goes on in the session there is: it delivers again, or subscribes to a new one's replies.
func (d *device) welcomed(p *packet) {
	if p.reason != 0 { // then the session is there that was, or an empty one; only a log that has failed may have the end of it
		if !d.w.process.failed() {
			d.brief = false
		}
		d.lose()
		return
	}
	switch {
	case d.level == 3:
		p.present = d.kept
	case d.kept && !p.present && !d.expired():
		d.w.fail("the session of %s is lost", d.id)
	case p.present && (d.clean || !d.kept && !d.doubt):
		d.w.fail("the session of %s was to be new", d.id)
	}
	if !p.present {
		d.forget()
	}
	d.kept, d.doubt, d.fresh, d.alive = true, false, false, d.greeted
	for _, x := range d.exchanges {
		d.again(x)
	}
	if d.stage = ready; !d.granted {
		d.listen()
	}
}

// expired reports whether the session may have expired. It had not when a connection was accepted last.
func (d *device) expired() bool { return time.Since(d.alive) >= time.Duration(d.expiry)*time.Second }

// listen subscribes to the replies.
func (d *device) listen() {
	d.stage, d.deaf = subscribing, false
	d.send(subscribe(d.level, 1<<15, d.filter()))
}

// ignore gives the subscription up. What is under way may come again when it is over, and gets no reply then.
func (d *device) ignore() {
	d.note("ignore", 0, 0)
	d.w.figures.deaf++
	for _, x := range d.exchanges {
		x.asked.owed, x.asked.late = false, true
	}
	d.stage, d.granted = unsubscribing, false
	d.send(unsubscribe(d.level, 1<<15, d.filter()))
}

func (d *device) filter() string {
	if d.below {
		return d.topic() + "/#"
	}
	return d.topic()
}

// again delivers an exchange once more.
func (d *device) again(x *exchange) {
	d.w.figures.redeliveries++
	if x.received {
		d.send(numbered(tPubrel, x.id))
		return
	}
	x.dup = 1
	d.send(x.bytes(d.level))
}

// find returns which of the exchanges has that packet id, or -1.
func (d *device) find(id uint16) int {
	return slices.IndexFunc(d.exchanges, func(x *exchange) bool { return x.id == id })
}

// acknowledged takes a PUBACK or a PUBREC in.
func (d *device) acknowledged(p *packet) {
	i := d.find(p.id)
	if i < 0 {
		return
	}
	x := d.exchanges[i]
	x.asked.confirmed = x.asked.confirmed || d.level == 5 && !d.relearned && p.reason < 0x80 // its correlation data tell its reply from others
	if refused := p.reason >= 0x80; refused || p.kind == tPuback {
		d.exchanges = slices.Delete(d.exchanges, i, i+1)
		if refused && bank.ValidID(x.asked.op.ID) {
			d.unknown = append(d.unknown, x.asked)
		}
		return
	}
	x.received = true
	d.send(numbered(tPubrel, x.id))
}

// replied takes a reply in.
func (d *device) replied(p *packet) {
	if p.qos() == 1 {
		d.acks = append(d.acks, p.id)
		if !d.w.chance(d.w.chances.lateAcks) {
			d.sendAcks()
		}
	}
	answer, _, err := d.format.DecodeAnswer(p.payload)
	if err != nil {
		d.w.fail("%s was sent %q: %v", d.id, p.payload, err)
		return
	}
	d.note("reply", int(answer.Code), int(answer.Seq))
	if !d.w.checkTopic(d, p) {
		return
	}
	if answer.Code == bank.Overloaded { // nothing was done, and the reply may come again or be lost
		if d.w.figures.overloaded++; !d.w.limited() {
			d.w.fail("%s was refused, and there is room", d.id)
		}
		return
	}
	a := d.recognize(p, &answer)
	if a == nil && answer.Code == bank.Unavailable {
		d.excuse()
	}
	if a == nil {
		return
	}
	if a.device != d {
		d.w.fail("I9: %s was sent the reply to m%d, which is not its own", d.id, a.tag)
		return
	}
	if d.level == 5 && d.deaf && a.unheard == d.link {
		d.w.fail("%s was sent the reply to m%d, which it asked when it was not subscribed", d.id, a.tag)
	}
	if a.replies++; a.replies == 1 {
		d.w.checkFirst(d, a, &answer)
	}
	d.w.book.heard(a, &answer)
}

// excuse notes that one of the operations that have no answer was told to be unavailable, and that nobody knows which. That is
// its reply; what became of it is for who gave it an id to ask.
func (d *device) excuse() {
	for _, a := range d.w.book.asked {
		if a.device == d && !a.decided() {
			a.owed = false
		}
	}
}

func (d *device) sendAcks() {
	for _, id := range d.acks {
		d.send(numbered(tPuback, id))
	}
	d.acks = d.acks[:0]
}

// recognize returns what a reply answers: by its correlation data, its entry or its id. A refusal in MQTT 3 that has none of
// them could be any.
func (d *device) recognize(p *packet, answer *wire.Answer) *asked {
	b := d.w.book
	if p.tag > 0 && p.tag <= len(b.asked) {
		return b.asked[p.tag-1]
	}
	if answer.Seq > 0 && answer.Seq <= uint64(len(b.facts)) && answer.ID == "" {
		f := &b.facts[answer.Seq-1]
		if a := b.find(f.op.Memo); a != nil && a.device == d && a.says(answer) {
			return a
		}
	}
	if answer.ID == "" {
		return nil
	}
	var known *asked
	ours := false // an operation's id is in its reply, whatever that says
	for _, a := range b.asked {
		if a.device == d && a.op.ID == answer.ID {
			if ours = true; a.says(answer) && (known == nil || known.replies > 0) {
				known = a
			}
		}
	}
	if !ours {
		d.w.fail("I9: %s was sent the reply to %q, which it never asked", d.id, answer.ID)
	}
	return known
}

// act does something new: it publishes, or delivers again, or acknowledges.
func (d *device) act() {
	w := d.w
	switch {
	case d.link == nil:
		d.dial()
		return
	case len(d.acks) > 0 && (w.ending || w.random.IntN(2) == 0):
		d.sendAcks()
		return
	case w.ending:
		return
	case d.stage == leaving:
		return
	case d.stage == ready && d.level == 5 && d.persists && w.chance(w.chances.goodbye):
		d.leave()
		return
	case d.stage == ready && d.granted && w.chance(w.chances.deaf):
		d.ignore()
		return
	case d.deaf && d.stage == ready && w.random.IntN(6) == 0:
		d.listen()
		return
	case w.chance(w.chances.loss):
		d.note("drop", 0, 0)
		w.figures.drops++
		d.lose()
		return
	}
	if d.stage != ready || len(d.exchanges) >= d.window() {
		return
	}
	if len(d.exchanges) > 0 && d.level < 5 && w.chance(w.chances.impatient) {
		d.again(d.exchanges[0])
		return
	}
	if len(d.unknown) > 0 && !d.deaf && w.random.IntN(2) == 0 {
		a := d.unknown[0]
		d.unknown = d.unknown[1:]
		a.unheard = nil
		d.publish(a)
		return
	}
	a := w.book.ask(w.operation(d.principal()), d)
	if d.deaf {
		a.unheard, a.late = d.link, true
	}
	d.publish(a)
}

// window is how many exchanges the device begins: as many as it likes, and of MQTT 5 no more than the gateway takes.
func (d *device) window() int { return d.windowOf(d.level) }

func (d *device) windowOf(level byte) int {
	most := d.w.chances.most
	if limit := d.w.chances.inFlight; level == 5 && limit > 0 {
		return min(most, limit)
	}
	return most
}

// publish asks for something.
func (d *device) publish(a *asked) {
	n := note{qos: byte(d.w.random.IntN(3)), tag: a.tag, payload: d.encode(&a.op)}
	if d.w.chance(d.w.chances.favoured) {
		n.qos = d.w.chances.favourite
	}
	if a.owed {
		n.qos = max(n.qos, 1) // or the reply to what was asked first may be lost
	}
	if d.below && d.level == 5 && d.w.random.IntN(2) == 0 {
		n.answerTo = d.topic() + "/x"
	}
	for n.id = 1; d.used[n.id] || d.find(n.id) >= 0; n.id++ {
	}
	d.used[n.id] = d.w.chances.impatient > 0 // who is acknowledged twice cannot tell which of two operations is meant
	if garbled := d.w.chance(d.w.chances.refused); garbled {
		n.payload = n.payload[:len(n.payload)-3]
		a.refused = true
	}
	d.note("publish", int(n.qos), a.tag)
	d.send(n.bytes(d.level))
	if n.qos == 0 {
		return
	}
	d.exchanges = append(d.exchanges, &exchange{note: n, asked: a, level: d.level})
	a.owed = a.owed || d.granted && !d.passing() && !a.refused
}

func (d *device) encode(op *bank.Operation) []byte {
	request := wire.Request{
		Op: op.Kind.String(), Account: string(op.Account), To: string(op.To), ID: op.ID, Memo: op.Memo,
	}
	if op.Kind.Moves() {
		request.Amount = op.Amount.Format(2)
	}
	return d.format.AppendRequest(nil, &request)
}

// busy reports whether there is something that the device waits for.
func (d *device) busy() bool {
	if d.link == nil || d.stage != ready || len(d.exchanges) > 0 || len(d.acks) > 0 || len(d.link.outgoing)+len(d.link.incoming) > 0 {
		return true
	}
	for _, a := range d.w.book.asked {
		if a.device == d && d.missing(a) {
			return true
		}
	}
	return false
}

// missing reports whether a reply is owed that has not come. While a disk lacks space, an answer that left no entry may be lost.
func (d *device) missing(a *asked) bool {
	decided := a.entry > 0 || a.confirmed && !d.w.lacksSpace
	return a.owed && !a.abandoned && a.replies == 0 && decided
}
