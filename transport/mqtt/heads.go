package mqtt

import "github.com/mochi-mqtt/server/v2/packets"

// HeadTopic is where auditors are told the signed heads of the journal.
const HeadTopic = "bank/head"

// Heads are the signed heads of the journal.
type Heads interface {
	// Head returns the newest, nil before the first, and a channel that is closed when there is a newer one. Nobody changes it.
	// Any goroutine may call it.
	Head() (signed []byte, newer <-chan struct{})
}

// headFeed is what a connection knows of the heads that it is told. They are sent at QoS 0, and only the newest is: each stands
// for all before it. Only the reading goroutine uses it.
type headFeed struct {
	running bool
	due     headDue      // of the newest, once the client knows that it listens
	asked   chan headDue // what is due at once, for the goroutine that tells
}

// headDue says whether the newest head is to be sent though it is not new, and how.
type headDue byte

const (
	notDue      headDue = iota
	duePlain            // to a session that comes back
	dueRetained         // with the RETAIN flag: to a SUBSCRIBE
)

// hearHeads makes c tell its session the heads, if it is subscribed to them.
func (c *conn) hearHeads() {
	f := &c.heads
	due := f.due
	f.due = notDue
	if c.server.options.Heads == nil || !c.session.hearsHeads() {
		return
	}
	if !f.running {
		f.running, f.asked = true, make(chan headDue, 1)
		_, newer := c.server.options.Heads.Head()
		c.writer.Go(func() {
			defer c.server.contain(c)
			c.tellHeads(newer)
		})
	}
	if due == notDue {
		return
	}
	select {
	case f.asked <- due:
	default: // the newest is about to be sent
	}
}

// tellHeads tells heads, from the one that closes newer on, until the connection ends or its client may not hear them any more.
func (c *conn) tellHeads(newer <-chan struct{}) {
	for {
		due := duePlain
		select {
		case due = <-c.heads.asked:
		case <-newer:
		case <-c.ctx.Done():
			return
		}
		var signed []byte
		signed, newer = c.server.options.Heads.Head()
		if signed == nil || !c.session.hearsHeads() {
			continue
		}
		if !c.server.auditor(c.session.principal) {
			c.disconnect(notAuthorized)
			return
		}
		d := delivery{topic: HeadTopic, retain: due == dueRetained || c.session.keepsRetain(), payload: signed}
		out := d.append(nil, c.level)
		if len(out) > c.maxPacket { // [MQTT-3.1.2-25]
			c.server.options.Logger.Warn("head larger than its auditor takes", "client", c.session.id)
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// hearsHeads reports whether the session is subscribed to heads.
func (s *session) hearsHeads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, heard := s.grantedLocked(HeadTopic)
	return heard
}

// keepsRetain reports whether the session wants the RETAIN flag as heads are published, which is set.
func (s *session) keepsRetain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.subscriptions {
		if sub := &s.subscriptions[i]; sub.RetainAsPublished && matches(sub.Filter, HeadTopic) {
			return true
		}
	}
	return false
}

// wantsHead reports whether a SUBSCRIBE asks for the newest head at once: by a filter that was granted, new or not as its
// Retain Handling says.
func wantsHead(filters packets.Subscriptions, granted []byte, before []packets.Subscription) bool {
	for i, sub := range filters {
		if i >= len(granted) || granted[i] > 2 || !matches(sub.Filter, HeadTopic) {
			continue
		}
		known := false
		for _, old := range before {
			known = known || old.Filter == sub.Filter
		}
		if sub.RetainHandling == 0 || sub.RetainHandling == 1 && !known {
			return true
		}
	}
	return false
}
