package mqtt

import (
	"context"
	"errors"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// publish takes a PUBLISH in. Its error ends the connection.
func (c *conn) publish(p *packet) error {
	var m publish
	if err := m.parse(p, c.level); err != nil {
		return err
	}
	if c.server.draining.Load() {
		return nil // too late, and not the client's fault
	}
	x := &exchange{session: c.session, began: time.Now(), qos: m.qos, id: m.id}
	if m.qos == 1 {
		x.mark = markOf(m.payload)
	}
	if m.qos > 0 && c.level == 5 && !c.session.admit(x, m.dup == 1, c.server.options.InFlight) {
		return receiveMaximum // [MQTT-3.3.4-7] allows it
	}
	if !c.hold() {
		return errGone
	}
	var op bank.Operation
	x.reply, x.answered = c.server.judge(c.session, &m, &op, &x.manner)
	op.Principal = c.session.principal
	op.Origin = bank.Origin{Door: bank.DoorMQTT, Peer: c.peer}
	if c.session.begin(c, x, &op, m.dup == 1) {
		c.submit(x, &op)
	} else if x.answered {
		c.server.sessions.observe(&x.reply, x.began)
	}
	if m.retain == 1 && c.level == 5 {
		return retainNotSupported // [MQTT-3.2.2-14]
	}
	return nil
}

func (c *conn) submit(x *exchange, op *bank.Operation) {
	err := c.server.bank.Submit(c.ctx, *op, x.done)
	switch {
	case err == nil:
	case errors.Is(err, bank.ErrOverloaded):
		x.refuse(op, bank.Overloaded)
	case errors.Is(err, context.Canceled):
		// The connection ended while the bank had no room. Nothing was promised: an acknowledgement would have nowhere to go
		// and a refusal must not be remembered.
		c.session.withdraw(x)
	default:
		x.refuse(op, bank.Unavailable)
	}
}

// judge reads the operation of m into op and how its reply is to be delivered into how. It returns true with the reply
// when the bank is not to be asked. Of two reasons to refuse, the first in the order of the codes is told.
func (s *Server) judge(client *session, m *publish, op *bank.Operation, how *manner) (bank.Reply, bool) {
	refuse := func(code bank.Code, detail string) (bank.Reply, bool) {
		reply := bank.Refusal(op, code)
		reply.Detail = detail
		return reply, true
	}
	foreign := m.answerTo && (len(m.responseTopic) > maxTopic || wild(m.responseTopic) || !below(m.responseTopic, client.own))
	if foreign {
		m.responseTopic = nil
	}
	tooMuch := len(m.correlation) > maxCorrelation
	if tooMuch {
		m.correlation, m.correlated = nil, false
	}
	*how = mannerOf(m)
	if string(m.topic) != s.options.OperationsTopic {
		return refuse(bank.Forbidden, "publish operations to "+s.options.OperationsTopic)
	}
	if fault := s.decode(how.format, m.payload, op); fault != nil {
		return fault.Reply(op), true
	}
	switch {
	case tooMuch:
		return refuse(bank.TooLarge, "correlation data have at most 512 bytes")
	case foreign:
		return refuse(bank.Forbidden, "a response topic is your replies topic or one below it, of at most 256 bytes")
	case m.retain == 1:
		return refuse(bank.Forbidden, "publish operations without retain")
	}
	return bank.Reply{}, false
}

// decode reads the one operation that payload is.
func (s *Server) decode(format wire.Format, payload []byte, op *bank.Operation) *wire.Fault {
	codec := s.codecs[format]
	payload = payload[codec.Space(payload):]
	if len(payload) > codec.MaxMessage() {
		return &wire.Fault{Code: bank.TooLarge, Detail: "send one operation, which needs a few hundred bytes"}
	}
	n, err := codec.Decode(payload, op)
	if err == wire.ErrIncomplete {
		return &wire.Fault{Code: bank.Malformed, Detail: "the operation is cut short"}
	}
	if fault := (*wire.Fault)(nil); errors.As(err, &fault) {
		return fault
	}
	if err != nil {
		return &wire.Fault{Code: bank.Malformed, Detail: "this is no operation"}
	}
	if rest := payload[n:]; codec.Space(rest) < len(rest) {
		*op = bank.Operation{Kind: op.Kind}
		return &wire.Fault{Code: bank.Malformed, Detail: "there is something behind the operation"}
	}
	return nil
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

// skip gives up a reply that cannot be sent.
func (s *session) skip(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, _ := s.outbound.delivered(id); x != nil {
		s.releaseLocked(x)
	}
}

// batch is what one write sends. Batches are pooled.
type batch struct {
	answers []answer
	replies []sending
	bytes   []byte
	payload []byte
}

// sending is a reply on its way.
type sending struct {
	*exchange
	id  uint16 // 0: QoS 0
	dup bool
}

// write is the writer: it sends what is ready, all of it at once, whenever there is something. It ends with the connection.
func (c *conn) write() {
	for {
		if c.flush() && c.server.draining.Load() && c.session.quiet(c) {
			c.disconnect(shuttingDown)
		}
		select {
		case <-c.awake:
		case <-c.ctx.Done():
			return
		}
	}
}

// flush writes until nothing is ready. It returns false when the connection is no more.
func (c *conn) flush() bool {
	for {
		b := c.server.batches.Get().(*batch)
		if !c.session.collect(c, b) {
			c.server.batches.Put(b)
			return true
		}
		places := c.encode(b)
		if len(b.bytes) > 0 {
			if _, err := c.Write(b.bytes); err != nil {
				return false
			}
		}
		c.give(places)
		b.reset()
		c.server.batches.Put(b)
	}
}

// encode turns the batch into bytes and returns how many places its writing gives back. Acknowledgements stand before the
// replies: who has a reply has the acknowledgement.
func (c *conn) encode(b *batch) (places int) {
	for i := range b.answers {
		a := &b.answers[i]
		places += a.places
		if a.kind != 0 {
			b.bytes = appendAck(b.bytes, a.kind, a.id, a.reason, c.level)
		}
		if a.atOnce != nil {
			c.encodeReply(b, &sending{exchange: a.atOnce})
		}
	}
	for i := range b.replies {
		c.encodeReply(b, &b.replies[i])
	}
	return places
}

// encodeReply appends a reply. One larger than the client takes is passed over, as if the client had it: [MQTT-3.1.2-25].
func (c *conn) encodeReply(b *batch, s *sending) {
	b.payload = c.server.codecs[s.manner.format].AppendReply(b.payload[:0], &s.reply)
	if last := len(b.payload) - 1; s.manner.format == wire.JSON && b.payload[last] == '\n' {
		b.payload = b.payload[:last] // it ends a reply on a socket; here the packet does
	}
	d := delivery{
		topic: s.manner.topic, id: s.id, dup: s.dup, contentType: s.manner.contentType,
		correlation: s.manner.correlation, correlated: s.manner.correlated, payload: b.payload,
	}
	if d.topic == "" {
		d.topic = c.session.own
	}
	before := len(b.bytes)
	b.bytes = d.append(b.bytes, c.level)
	if len(b.bytes)-before > c.maxPacket {
		b.bytes = b.bytes[:before]
		c.server.options.Logger.Warn("reply larger than its client takes", "client", c.session.id, "seq", s.reply.Seq)
		if s.id != 0 {
			c.session.skip(s.id)
		}
	}
}

// reset empties the batch for its next use.
func (b *batch) reset() {
	clear(b.answers)
	clear(b.replies)
	b.answers, b.replies, b.bytes = b.answers[:0], b.replies[:0], b.bytes[:0]
	if cap(b.bytes) > keptBuffer {
		b.bytes = nil
	}
}
