package mqtt

import "gateway/wire"

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
	for c.ctx.Err() == nil {
		if c.flush() && c.server.draining.Load() && c.session.quiet(c) {
			c.disconnect(shuttingDown)
		}
		<-c.awake
	}
}

// flush writes until nothing is ready. It returns false when the connection is no more. The writer calls it, and whoever says
// farewell: one after the other, so that what was collected first is written first.
func (c *conn) flush() bool {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	for c.ctx.Err() == nil { // else a reply would count as sent that cannot be
		b := c.server.batches.Get().(*batch)
		places := 0
		if c.session.collect(c, b) {
			places = c.encode(b)
		} else if b.bytes = c.ear.Load().take(b.bytes); len(b.bytes) == 0 {
			c.server.batches.Put(b)
			return true
		} else if !c.server.auditor(c.session.principal) {
			c.disconnect(notAuthorized)
			return false
		}
		if len(b.bytes) > 0 {
			if _, err := c.Write(b.bytes); err != nil {
				return false
			}
		}
		c.give(places)
		b.reset()
		c.server.batches.Put(b)
	}
	return false
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
		return
	}
	c.server.mirror.reply(c, &d)
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
