package mqtt

import (
	"sync"
	"time"

	"gateway/bank"

	"github.com/mochi-mqtt/server/v2/packets"
)

// session is what the gateway owes one client id, whether it is connected or not. It is plain state: nothing in it blocks,
// and a connection reaches it only through the methods of this file.
type session struct {
	id        string
	principal string
	own       string // its replies topic
	registry  *registry
	expires   time.Time // while no connection has it; the registry's lock guards it

	mu            sync.Mutex // guards all below
	conn          *conn      // nil while none is connected
	persists      bool       // outlives its connection
	subscriptions []packets.Subscription
	arrivals      uint64
	clock         uint64   // counts acknowledgements and replies, in the order of their writing
	since         uint64   // the clock when conn came
	pending       line     // accepted and not acknowledged, in order of arrival
	ready         []answer // for the writer
	inbound       inbound
	outbound      outbound
}

// answer is what the writer sends besides replies that wait their turn.
type answer struct {
	kind   byte // Puback, Pubrec, Pubcomp; 0: nothing
	id     uint16
	reason reason
	places int       // given back once it is written
	atOnce *exchange // its reply goes out at QoS 0 with it
}

// admit counts a PUBLISH of QoS 1 or 2 against the connection's Receive Maximum. It returns false when the client sent
// more than it may. Redeliveries are not counted: they were.
func (s *session) admit(x *exchange, dup bool, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.knownLocked(x, dup) {
		return true
	}
	if s.inbound.unacknowledged >= limit {
		return false
	}
	s.inbound.unacknowledged++
	return true
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
	s.arrivals++
	x.number = s.arrivals
	x.from, x.level, x.owed = c.serial, c.level, 1
	s.pending.push(x)
	s.inbound.begin(x)
	if !x.answered && !s.reserveLocked(x) {
		x.answered, x.reply = true, bank.Refusal(op, bank.Overloaded)
		x.reply.Detail = "acknowledge the replies that wait for you, then ask again"
	}
	if x.answered {
		s.settleLocked()
		c.rouse()
	}
	return !x.answered
}

// repeatLocked deals with x, which was here before: it is acknowledged as the first was, or when that is.
func (s *session) repeatLocked(c *conn, x *exchange) {
	first := s.inbound.unreleased[x.id]
	if x.qos == 1 {
		first = s.pendingLocked(x.id)
	}
	if first != nil {
		if first.from != c.serial {
			first.from, first.level, first.owed = c.serial, c.level, 0
		}
		first.owed++
		return
	}
	s.ready = append(s.ready, answer{kind: ackOf[x.qos], id: x.id, places: 1})
	if x.qos == 2 {
		return
	}
	r := s.inbound.find(x.id)
	r.acked = s.tickLocked()
	if x = r.answer; x != nil && !x.waits { // a reply that waits is about to be sent anyway
		s.replyLocked(&exchange{
			session: s, number: x.number, qos: x.qos, id: x.id, manner: x.manner, reply: x.reply, answered: true,
		})
	}
}

// done is the bank's callback.
func (x *exchange) done(reply bank.Reply, _ error) {
	s := x.session
	s.mu.Lock()
	x.answered, x.reply = true, reply
	s.settleLocked()
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
		why := reasonFor(x.reply.Code, x.level)
		here := s.conn != nil && x.from == s.conn.serial
		if here {
			x.acked = s.tickLocked()
		}
		s.inbound.settle(x, why)
		if here {
			for range x.owed {
				s.ready = append(s.ready, answer{kind: ackOf[x.qos], id: x.id, reason: why, places: 1})
			}
		}
		x.from = 0
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
	topic := x.manner.topic
	if topic == "" {
		topic = s.own
	}
	granted, subscribed := s.grantedLocked(topic)
	x.grant = min(x.qos, 1, granted)
	switch {
	case !subscribed, s.conn == nil && (x.grant == 0 || !s.persists):
		s.releaseLocked(x)
	case x.reserved || s.reserveLocked(x):
		x.waits = true
		s.outbound.queue.push(x)
	case s.conn != nil: // a refusal for which there is no room to wait
		x.grant = 0
		s.ready = append(s.ready, answer{atOnce: x})
	}
}

// grantedLocked returns the greatest QoS of the subscriptions that match topic.
func (s *session) grantedLocked(topic string) (granted byte, subscribed bool) {
	for i := range s.subscriptions {
		if sub := &s.subscriptions[i]; matches(sub.Filter, topic) {
			granted, subscribed = max(granted, sub.Qos), true
		}
	}
	return granted, subscribed
}

// reserveLocked counts x as a reply that may wait, or returns false: there is no room.
func (s *session) reserveLocked(x *exchange) bool {
	if s.outbound.reserved >= s.registry.limits.waiting || !s.registry.reserve() {
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
		s.registry.release()
	}
}

// released takes a PUBREL in on connection c, where it holds a place.
func (s *session) released(c *conn, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	why := success
	if pending, known := s.inbound.unreleased[id]; known && pending == nil {
		delete(s.inbound.unreleased, id)
		s.inbound.acknowledged()
	} else if c.level == 5 {
		why = packetIDNotFound
	}
	s.ready = append(s.ready, answer{kind: packets.Pubcomp, id: id, reason: why, places: 1})
	c.rouse()
}

// delivered takes a PUBACK for a reply in on connection c.
func (s *session) delivered(c *conn, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	x, onThisConnection := s.outbound.delivered(id)
	if x == nil {
		return
	}
	s.releaseLocked(x)
	if onThisConnection {
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
	}
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
		if !s.outbound.send(x, c.window) {
			break
		}
		if x.grant == 0 {
			s.releaseLocked(x)
		}
		b.replies = append(b.replies, sending{exchange: x, id: x.outID, dup: x.sent > 0 && x.grant > 0})
		x.sent = s.tickLocked()
	}
	return len(b.answers)+len(b.replies) > 0
}

// quiet reports whether c owes its client nothing more.
func (s *session) quiet(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != c || s.pending.count == 0 && len(s.ready) == 0 && s.outbound.queue.count == 0
}

// attachLocked gives the session to c, which sends everything again that was not acknowledged.
func (s *session) attachLocked(c *conn, persists bool) {
	s.conn, s.persists, s.since = c, persists, s.clock
	s.inbound.limit = c.remembers()
}

// detachLocked takes the session from its connection.
func (s *session) detachLocked() {
	s.conn = nil
	s.ready = nil
	s.inbound.unacknowledged = 0
	s.outbound.rewind()
	for x := s.outbound.queue.first; x != nil; {
		next := x.next
		if x.grant == 0 || !s.persists {
			s.outbound.drop(x)
			s.releaseLocked(x)
		}
		x = next
	}
}

// subscribe remembers the subscriptions of a SUBSCRIBE that were granted.
func (s *session) subscribe(filters packets.Subscriptions, granted []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sub := range filters {
		if i >= len(granted) || granted[i] > 2 {
			continue
		}
		s.dropFilterLocked(sub.Filter)
		sub.Qos = granted[i]
		s.subscriptions = append(s.subscriptions, sub)
	}
}

// unsubscribe forgets subscriptions; replies that wait already are still sent.
func (s *session) unsubscribe(filters packets.Subscriptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range filters {
		s.dropFilterLocked(sub.Filter)
	}
}

func (s *session) dropFilterLocked(filter string) {
	for i := range s.subscriptions {
		if s.subscriptions[i].Filter == filter {
			s.subscriptions = append(s.subscriptions[:i], s.subscriptions[i+1:]...)
			return
		}
	}
}

// subscribed returns the subscriptions.
func (s *session) subscribed() []packets.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]packets.Subscription(nil), s.subscriptions...)
}
