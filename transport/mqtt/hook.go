package mqtt

import (
	"errors"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook is what mochi asks. It runs on the connection's reading goroutine.
type hook struct {
	mochi.HookBase
	server *Server
}

// ID names the hook.
func (h *hook) ID() string { return "gateway" }

// Provides says which questions are answered here.
func (h *hook) Provides(question byte) bool {
	switch question {
	case mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnSessionEstablish, mochi.OnSessionEstablished,
		mochi.OnDisconnect, mochi.OnPacketEncode, mochi.OnPacketSent, mochi.OnSubscribed, mochi.OnUnsubscribed:
		return true
	}
	return false
}

// subackFailure is how MQTT 3 refuses a subscription (section 3.9.3).
const subackFailure = 0x80

// connOf returns our side of a client of mochi's.
func connOf(cl *mochi.Client) *conn { return cl.Net.Conn.(*conn) }

// OnConnect accepts a CONNECT, or refuses it: then the CONNACK has been sent.
func (h *hook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	c := connOf(cl)
	err := h.server.welcome(c, cl, &pk)
	if err == nil {
		return nil
	}
	why := implementationError
	switch {
	case errors.Is(err, errGone):
		c.hangUp() // there is nobody to tell, or another connection of its client has come
		return err
	case errors.As(err, &why):
	case errors.Is(err, errSessions):
		why = quotaExceeded
	case errors.Is(err, errOwner):
		why = notAuthorized
	case errors.Is(err, errStore):
		why = serverUnavailable
	}
	h.server.rejectFor(c.peer, RejectedConnect, why)
	h.server.broker.SendConnack(cl, why.code(), false, nil)
	return err
}

// OnConnectAuthenticate has nothing left to ask.
func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnSessionEstablish makes mochi know what is stored of the session, and forget it at the end of the connection: what
// outlives that is ours.
func (h *hook) OnSessionEstablish(cl *mochi.Client, _ packets.Packet) {
	c := connOf(cl)
	h.server.prune(c.session)
	c.listen()
	h.know(cl, c.session.subscribed())
	cl.Properties.Clean = true
	cl.Properties.Props.SessionExpiryInterval = 0
	cl.Properties.Props.SessionExpiryIntervalFlag = false
}

// know makes mochi know of subscriptions. What it knows are those of the session, and they are counted by it.
func (h *hook) know(cl *mochi.Client, subscriptions []packets.Subscription) {
	for _, sub := range subscriptions {
		h.server.broker.Topics.Subscribe(cl.ID, sub)
		cl.State.Subscriptions.Add(sub.Filter, sub)
	}
}

// OnSessionEstablished starts the writer, now that the CONNACK is out.
func (h *hook) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	c := connOf(cl)
	c.fresh = true
	c.visitor.settle()
	c.accepted.Store(true)
	c.heads.due = duePlain
	c.writer.Go(func() {
		defer h.server.contain(c)
		c.write()
	})
	c.hear()
}

// OnDisconnect comes before mochi throws the subscriptions away, which the session keeps.
func (h *hook) OnDisconnect(cl *mochi.Client, _ error, _ bool) { connOf(cl).ended = true }

// OnACLCheck says whether a client may subscribe. No PUBLISH reaches mochi.
func (h *hook) OnACLCheck(cl *mochi.Client, filter string, write bool) bool {
	c := connOf(cl)
	if write || c.session == nil {
		return false
	}
	limited := h.server.options.Observer.Limited
	switch c.filters++; {
	case c.filters > maxFilters:
		if c.filters == maxFilters+1 { // once for a SUBSCRIBE
			limited(LimitFilters)
		}
		return false
	case !shallow(filter, maxLevels):
		limited(LimitFilterSize)
		return false
	case !h.server.mayHear(c.session, filter):
		return false
	}
	if _, again := cl.State.Subscriptions.Get(filter); again || cl.State.Subscriptions.Len() < maxSubscriptions {
		return true
	}
	limited(LimitSubscriptions)
	return false
}

// OnSubscribed keeps what was granted, before the SUBACK: granted is what that will say.
func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, granted []byte) {
	c := connOf(cl)
	h.explain(c, pk.Filters, granted)
	before := c.session.subscribed()
	err := c.session.subscribe(pk.Filters, granted)
	if err == nil {
		if wantsHead(pk.Filters, granted, before) {
			c.heads.due = dueRetained
		}
		c.listen()
		return
	}
	h.server.options.Logger.Warn("subscriptions not kept", "client", c.session.id, "err", err)
	for i, sub := range pk.Filters {
		if granted[i] <= 2 {
			h.server.broker.Topics.Unsubscribe(sub.Filter, cl.ID)
			cl.State.Subscriptions.Delete(sub.Filter)
			granted[i] = byte(quotaExceeded)
			if c.level < 5 {
				granted[i] = subackFailure
			}
		}
	}
	h.know(cl, before) // of which some were asked for again
}

// explain tells an auditor of MQTT 5 that it is not for want of rights that it cannot have the journal or its heads.
func (h *hook) explain(c *conn, filters packets.Subscriptions, granted []byte) {
	for i, sub := range filters {
		missing := sub.Filter == JournalTopic && h.server.options.Journal == nil || sub.Filter == HeadTopic && h.server.options.Heads == nil
		if missing && granted[i] == byte(notAuthorized) && h.server.auditor(c.session.principal) {
			granted[i] = byte(implementationError)
		}
	}
}

// OnUnsubscribed forgets what the client gave up, before the UNSUBACK. When there is no space to keep that, a restart may bring the
// subscriptions back until there is; when the store has failed, no UNSUBACK comes.
func (h *hook) OnUnsubscribed(cl *mochi.Client, pk packets.Packet) {
	c := connOf(cl)
	if c.ended {
		return
	}
	err := c.session.unsubscribe(pk.Filters)
	if err != nil {
		h.server.options.Logger.Warn("subscriptions given up are not forgotten yet", "client", c.session.id, "err", err)
	}
	if err != nil && !errors.Is(err, ErrNoSpace) {
		c.hangUp()
	}
	c.listen()
}

// OnPacketSent lets an auditor hear what it asked for, once it knows.
func (h *hook) OnPacketSent(cl *mochi.Client, pk packets.Packet, _ []byte) {
	if kind := pk.FixedHeader.Type; kind == packets.Suback || kind == packets.Unsuback {
		connOf(cl).hear()
	}
}

// OnPacketEncode completes the CONNACK.
func (h *hook) OnPacketEncode(cl *mochi.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type != packets.Connack {
		return pk
	}
	c := connOf(cl)
	switch {
	case pk.ReasonCode != 0 && cl.Properties.Will.Flag != 0:
		pk.ReasonCode = byte(notAuthorized) // whatever else mochi found wrong with the will
		pk.Properties.ReasonString = "wills are not accepted"
	case pk.ReasonCode == byte(protocolError):
		pk.ReasonCode = byte(badCredentials) // mochi takes an empty password, which nobody has, for none
		pk.Properties.ReasonString = badCredentials.Error()
	}
	if pk.ProtocolVersion != 5 {
		if pk.ReasonCode != 0 {
			pk.ReasonCode = connackMQTT3(reason(pk.ReasonCode))
		}
		pk.SessionPresent = pk.ReasonCode == 0 && c.present && pk.ProtocolVersion == 4
		return pk
	}
	p := &pk.Properties
	if pk.ReasonCode != 0 {
		p.ReceiveMaximum, p.ServerKeepAliveFlag = 0, false
		return pk
	}
	pk.SessionPresent = c.present
	p.ReceiveMaximum = uint16(h.server.options.InFlight)
	p.MaximumPacketSize = uint32(h.server.options.Message)
	p.RetainAvailableFlag = true    // and 0: not available
	p.SubIDAvailableFlag = true     // the same
	p.SharedSubAvailableFlag = true // the same
	p.ResponseInfo = c.session.own  // mochi sends it when asked
	if asked := c.asked; time.Duration(asked)*time.Second > c.expiry {
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = uint32(c.expiry/time.Second), true
	}
	return pk
}
