package mqtt

import (
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"
)

// JournalTopic is where auditors are told the entries of the journal.
const JournalTopic = "bank/journal"

// auditor reports whether a principal may listen to the bank.
func (s *Server) auditor(principal string) bool {
	return s.options.Auditor != nil && s.options.Auditor(principal)
}

// mayHear reports whether a session may have a subscription of that filter, which is well-formed.
func (s *Server) mayHear(client *session, filter string) bool {
	switch {
	case filterAllowed(filter, client.own):
		return true
	case filter == JournalTopic && s.options.Journal == nil, filter == HeadTopic && s.options.Heads == nil:
		return false
	}
	return auditable(filter) && s.auditor(client.principal)
}

// prune drops the subscriptions that a session may not have any more: its principal was an auditor.
func (s *Server) prune(client *session) {
	all := client.subscribed()
	kept := slices.DeleteFunc(slices.Clone(all), func(sub packets.Subscription) bool { return !s.mayHear(client, sub.Filter) })
	if len(kept) < len(all) {
		client.keepOnly(kept)
	}
}

// listen makes c hear what its session is subscribed to as an auditor's. It holds that back until [conn.hear].
func (c *conn) listen() {
	s := c.server
	if s.options.Auditor == nil {
		return
	}
	if s.options.Journal != nil {
		c.session.tune(s.options.Journal.Seq())
	}
	copied := slices.DeleteFunc(c.session.subscribed(), func(sub packets.Subscription) bool {
		return sub.Filter == JournalTopic || sub.Filter == HeadTopic || filterAllowed(sub.Filter, c.session.own) // these are not the mirror's
	})
	e := c.ear.Load()
	if e == nil && len(copied) > 0 {
		e = &ear{conn: c}
		c.ear.Store(e)
	}
	if e != nil {
		e.hold(true)
		s.mirror.set(e, copied)
	}
}

// hear lets what an auditor hears be written, now that the packet is sent by which its client knows.
func (c *conn) hear() {
	if e := c.ear.Load(); e != nil {
		e.hold(false)
	}
	c.hearHeads()
	if c.server.options.Journal == nil {
		return
	}
	if after, start := c.session.startFeed(c); start {
		c.writer.Go(func() {
			defer c.server.contain(c)
			c.feed(after)
		})
	}
}
