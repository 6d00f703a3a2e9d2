package mqtt

import (
	"errors"
	"sync"
	"time"

	"gateway/bank"

	"github.com/mochi-mqtt/server/v2/packets"
)

// session is what the gateway owes one client id, whether it is connected or not. It is plain state: nothing in it blocks,
// and a connection reaches it only through the methods of this file.
type session struct {
	id          string
	principal   string
	own         string // its replies topic
	registry    *registry
	owner       *owner // the principal's; set when the registry has the session
	incarnation uint64 // what it is called in the store; 0: it is not kept there

	mu            sync.Mutex // guards all below
	conn          *conn      // nil while none is connected
	link          link
	subscriptions []packets.Subscription
	arrivals      uint64   // the number of the last exchange
	settled       uint64   // that of the last whose answer was handed out
	touched       bool     // acknowledgements came that are not recorded
	clock         uint64   // counts acknowledgements and replies, in the order of their writing
	since         uint64   // the clock when conn came
	pending       line     // accepted and not acknowledged, in order of arrival
	ready         []answer // for the writer
	inbound       inbound
	outbound      outbound
	feed          feed
}

// answer is what the writer sends besides replies that wait their turn.
type answer struct {
	kind   byte // Puback, Pubrec, Pubcomp; 0: nothing
	id     uint16
	reason reason
	places int       // given back once it is written
	atOnce *exchange // its reply goes out at QoS 0 with it
}

// admit counts a PUBLISH of QoS 1 or 2 against what the client may send: packet ids of QoS 2 that it does not release, and the
// connection's Receive Maximum, which is told in MQTT 5 only. Its error says of which there are too many. Redeliveries are not
// counted: they were.
func (s *session) admit(c *conn, x *exchange, dup bool) error {
	limit := c.server.options.InFlight
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.knownLocked(x, dup):
		return nil
	case x.qos == 2 && len(s.inbound.unreleased) >= max(maxUnreleased, limit):
		return quotaExceeded
	case c.level < 5:
		return nil
	case s.inbound.unacknowledged >= limit:
		return receiveMaximum // [MQTT-3.3.4-7] allows it
	}
	s.inbound.unacknowledged++
	return nil
}

// knownLocked reports whether x was here before.
func (s *session) knownLocked(x *exchange, dup bool) bool {
	if x.qos == 2 {
		_, known := s.inbound.unreleased[x.id]
		return known
	}
	if x.qos == 0 || !dup {
		return false
	}
	if p := s.pendingLocked(x.id); p != nil {
		return p.mark == x.mark
	}
	r := s.inbound.find(x.id)
	return r != nil && r.mark == x.mark
}

// pendingLocked returns the last QoS 1 exchange of that id that is not acknowledged, or nil.
func (s *session) pendingLocked(id uint16) *exchange {
	for p := s.pending.last; p != nil; p = p.prev {
		if p.qos == 1 && p.id == id {
			return p
		}
	}
	return nil
}

// begin takes x in on connection c, where it holds a place. It returns true when x is to be submitted to the bank;
// otherwise it has been dealt with: it is a redelivery, or is refused already, or comes too late. op is what x asks.
func (s *session) begin(c *conn, x *exchange, op *bank.Operation, dup bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c || c.server.draining.Load() {
		c.give(1)
		return false
	}
	if s.knownLocked(x, dup) {
		s.repeatLocked(c, x)
		c.rouse()
		return false
	}
	if x.qos > 0 {
		s.arrivals++
		x.number = s.arrivals
	}
	x.from, x.level, x.acks = c.serial, c.level, 1
	x.kept = x.qos > 0 && s.keptLocked()
	s.pending.push(x)
	s.inbound.begin(x)
	if room := s.addressLocked(x); !room && !x.judged {
		x.judged, x.reply = true, bank.Refusal(op, bank.Overloaded)
		x.reply.Detail = "acknowledge the replies that wait for you, then ask again"
	}
	if x.judged {
		s.registry.observe(&x.reply, x.began)
		s.answerLocked(x, false)
		c.rouse()
		return false
	}
	if x.kept {
		op.Origin.Delivery = string(appendNote(nil, x, x.owed))
	}
	return true
}

// addressLocked decides who is to have the reply of x: whoever is subscribed when the operation comes. It returns false when
// the reply has no room to wait; then it goes out at QoS 0, at once.
func (s *session) addressLocked(x *exchange) (room bool) {
	topic := x.manner.topic
	if topic == "" {
		topic = s.own
	}
	granted, heard := s.grantedLocked(topic)
	x.heard, x.grant = heard, min(x.qos, 1, granted)
	if heard && !s.reserveLocked(x) {
		x.grant = 0
		return false
	}
	x.owed = x.grant == 1
	return true
}

// keptLocked reports whether what the session is owed must survive this process.
func (s *session) keptLocked() bool { return s.incarnation != 0 && s.link.persists }

// answerLocked hands out the answer of x, x.reply, when it is durable. It is already when it is in an entry; in a session
// that is kept, an answer that left none, or may have left none, becomes a record of its own, which an entry corrects. An answer
// that nobody is to hear again needs none.
func (s *session) answerLocked(x *exchange, durable bool) {
	x.judged = true
	known := x.qos > 0 && x.reason() == success
	if durable || !x.kept || !s.keptLocked() || !x.owed && !known {
		x.answered = true
		s.settleLocked()
		return
	}
	s.registry.append(appendAnswer(nil, recordAnswer, x, known, x.owed, true), x.stored)
}

// stored is the store's callback. When the store has failed, an acknowledgement that says yes stays away: a restart would not
// know of the operation, and the client is to deliver it again then.
func (x *exchange) stored(err error) {
	s := x.session
	s.mu.Lock()
	if err != nil && !errors.Is(err, ErrNoSpace) {
		x.reply, x.unknown = bank.Reply{Code: bank.Unavailable, Kind: x.reply.Kind, ID: x.reply.ID}, true
		x.silent = x.reason() == success
	}
	x.answered = true
	s.settleLocked()
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.rouse()
	}
}

// repeatLocked deals with x, which was here before: it is acknowledged as the first was, or when that is.
func (s *session) repeatLocked(c *conn, x *exchange) {
	first := s.inbound.unreleased[x.id].pending
	if x.qos == 1 {
		first = s.pendingLocked(x.id)
	}
	if first != nil {
		if first.from != c.serial {
			first.from, first.level, first.acks = c.serial, c.level, 0
		}
		first.acks++
		return
	}
	x.from = c.serial
	if last := s.pending.lastFrom(c); last != nil {
		last.behind = append(last.behind, x) // acknowledgements go out in the order of the packets
		return
	}
	s.acknowledgeAgainLocked(x)
}

// acknowledgeAgainLocked acknowledges the redelivery of an operation that was answered, and answers it again.
func (s *session) acknowledgeAgainLocked(x *exchange) {
	if s.conn == nil || x.from != s.conn.serial {
		return
	}
	s.ready = append(s.ready, answer{kind: ackOf[x.qos], id: x.id, places: 1})
	r := s.inbound.find(x.id)
	if x.qos == 2 || r == nil {
		return
	}
	r.acked = s.tickLocked()
	// A reply that waits is about to be sent anyway, and one that was sent again on this connection is on its way.
	if x = r.answer; x != nil && !x.waits && !(x.sentAgain && s.outbound.ids[x.outID()] == x) {
		s.arrivals++
		repeat := &exchange{
			session: s, number: s.arrivals, qos: x.qos, id: x.id, manner: x.manner, reply: x.reply, answered: true, again: true,
		}
		s.addressLocked(repeat)
		s.replyLocked(repeat)
	}
}

// done is the bank's callback. After an error the outcome is unknown.
func (x *exchange) done(reply bank.Reply, err error) {
	s := x.session
	s.mu.Lock()
	x.reply, x.unknown = reply, err != nil
	s.answerLocked(x, reply.Recorded)
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.rouse()
	}
	s.registry.observe(&reply, x.began)
}

// refuse answers an exchange that the bank did not take.
func (x *exchange) refuse(op *bank.Operation, code bank.Code) {
	x.done(bank.Refusal(op, code), nil)
}

// withdraw takes back an exchange that was never submitted.
func (s *session) withdraw(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.remove(x)
	s.releaseLocked(x)
	if x.qos == 2 {
		delete(s.inbound.unreleased, x.id)
	}
	s.settleLocked()
}

// settleLocked hands out the acknowledgements and replies of the answered exchanges at the front of pending: a client's
// acknowledgements go out in the order of its packets.
func (s *session) settleLocked() {
	for x := s.pending.first; x != nil && x.answered; x = s.pending.first {
		s.pending.remove(x)
		why := x.reason()
		here := s.conn != nil && x.from == s.conn.serial
		if here {
			x.acked = s.tickLocked()
		}
		s.inbound.settle(x, why)
		switch {
		case here && x.silent:
			s.conn.give(x.acks)
		case here:
			for range x.acks {
				s.ready = append(s.ready, answer{kind: ackOf[x.qos], id: x.id, reason: why, places: 1})
			}
		}
		for _, again := range x.behind {
			s.acknowledgeAgainLocked(again)
		}
		x.behind = nil
		x.from = 0
		s.settled = max(s.settled, x.number)
		s.replyLocked(x)
	}
}

func (s *session) tickLocked() uint64 {
	s.clock++
	return s.clock
}

// ackOf is the first answer to a PUBLISH, by its QoS.
var ackOf = [3]byte{0, packets.Puback, packets.Pubrec}

// replyLocked queues the reply of x, if there is anybody to take it.
func (s *session) replyLocked(x *exchange) {
	switch {
	case !x.heard, s.conn == nil && !(x.owed && s.link.persists):
		s.releaseLocked(x)
	case x.reserved:
		x.waits = true
		s.outbound.queue.push(x)
	default: // there is no room to wait
		s.ready = append(s.ready, answer{atOnce: x})
	}
}

// reserveLocked counts x as a reply that may wait, or returns false: there is no room.
func (s *session) reserveLocked(x *exchange) bool {
	if s.outbound.reserved >= s.registry.limits.waiting {
		s.registry.observer.Limited(LimitWaiting)
		return false
	}
	if limit := s.registry.reserve(s); limit != "" {
		s.registry.observer.Limited(limit)
		return false
	}
	s.outbound.reserved++
	x.reserved = true
	return true
}

func (s *session) releaseLocked(x *exchange) {
	if x.reserved {
		x.reserved = false
		s.outbound.reserved--
		s.registry.release(s)
	}
}

// released takes a PUBREL in on connection c, where it holds a place. PUBCOMP says that the packet id is free again, which
// must still be so after a restart.
func (s *session) released(c *conn, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	u, known := s.inbound.unreleased[id]
	switch {
	case !known || u.pending != nil:
		why := success
		if c.level == 5 {
			why = packetIDNotFound
		}
		s.completeLocked(c, id, why)
	case u.asking != nil: // again, and the first is not on stable storage
		if u.asking != c {
			u.asking, u.asked = c, 0
		}
		u.asked++
		s.inbound.unreleased[id] = u
	case !u.kept || !s.keptLocked():
		s.inbound.acknowledged()
		delete(s.inbound.unreleased, id)
		s.completeLocked(c, id, success)
	default:
		s.inbound.acknowledged()
		u.asking, u.asked = c, 1
		s.inbound.unreleased[id] = u
		s.registry.insist(appendNumbered(nil, recordRelease, s, u.number), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			u := s.inbound.unreleased[id]
			delete(s.inbound.unreleased, id)
			for range u.asked {
				s.completeLocked(u.asking, id, success)
			}
		})
	}
}

// completeLocked sends a PUBCOMP, if its connection is still there.
func (s *session) completeLocked(c *conn, id uint16, why reason) {
	if s.conn == c {
		s.ready = append(s.ready, answer{kind: packets.Pubcomp, id: id, reason: why, places: 1})
		c.rouse()
	}
}

// delivered takes a PUBACK for a reply in on connection c.
func (s *session) delivered(c *conn, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	defer s.wakeFeedLocked()
	x, onThisConnection := s.outbound.delivered(id)
	if x == nil {
		if s.feed.delivered(id, c.serial); s.outbound.queue.first != nil {
			c.rouse()
		}
		return
	}
	s.releaseLocked(x)
	s.touchLocked(x)
	if onThisConnection && !x.again {
		s.inbound.confirm(x.number, s.since, x.sent)
	}
	if s.outbound.queue.first != nil {
		c.rouse()
	}
}

// skip gives up a reply that cannot be sent.
func (s *session) skip(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, _ := s.outbound.delivered(id); x != nil {
		s.releaseLocked(x)
		s.touchLocked(x)
	}
}

// touchLocked has it recorded, before long, that the reply of x needs not be sent again.
func (s *session) touchLocked(x *exchange) {
	if x.kept && !s.touched && s.keptLocked() {
		s.touched = true
		s.registry.touch(s)
	}
}

// ackedLocked returns up to which number the session has all its replies.
func (s *session) ackedLocked() uint64 {
	if oldest := s.outbound.oldest(); oldest > 0 {
		return oldest - 1
	}
	return s.settled
}

// collect moves what can be written on c into b, and returns false when that is nothing.
func (s *session) collect(c *conn, b *batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return false
	}
	b.answers, s.ready = s.ready, b.answers[:0]
	for x := s.outbound.queue.first; x != nil && len(b.replies) < maxBatch; x = s.outbound.queue.first {
		if _, taken := s.feed.sent[x.outID()]; taken && x.grant == 1 || !s.outbound.send(x, c.window-s.feed.here) {
			break
		}
		if x.grant == 0 {
			s.releaseLocked(x)
		}
		out := sending{exchange: x}
		if x.grant > 0 {
			out.id, out.dup = x.outID(), x.sent > 0
			x.sentAgain = out.dup
			s.link.sent = max(s.link.sent, x.number)
		}
		b.replies = append(b.replies, out)
		x.sent = s.tickLocked()
	}
	if s.outbound.queue.first == nil {
		s.wakeFeedLocked()
	}
	return len(b.answers)+len(b.replies) > 0
}

// quiet reports whether c owes its client nothing more. Replies of a session that is kept can wait until it comes back.
func (s *session) quiet(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.outbound.queue.count > 0 && !s.keptLocked()
	return s.conn != c || s.pending.count == 0 && len(s.ready) == 0 && !waiting
}

// attachLocked gives the session to c, which sends everything again that was not acknowledged.
func (s *session) attachLocked(c *conn) {
	s.conn, s.since = c, s.clock
	s.link = link{connected: true, persists: c.expiry > 0, expiry: c.expiry, sent: s.link.sent}
	s.inbound.limit = c.remembers()
}

// detachLocked takes the session from its connection, and keeps it until it expires.
func (s *session) detachLocked(expires time.Time, persists bool) {
	s.conn = nil
	s.link.connected, s.link.persists, s.link.expires = false, persists, expires
	s.ready = nil
	s.inbound.unacknowledged = 0
	s.feed.stop()
	s.outbound.rewind()
	for x := s.outbound.queue.first; x != nil; {
		next := x.next
		if x.grant == 0 || !persists {
			s.outbound.drop(x)
			s.releaseLocked(x)
		}
		x = next
	}
}
