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
		mochi.OnDisconnect, mochi.OnPacketRead, mochi.OnPacketEncode, mochi.OnSubscribed, mochi.OnUnsubscribed:
		return true
	}
	return false
}

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
	case errors.As(err, &why):
	case errors.Is(err, errSessions):
		why = quotaExceeded
	case errors.Is(err, errOwner):
		why = notAuthorized
	}
	h.server.options.Observer.Rejected(RejectedConnect)
	h.server.broker.SendConnack(cl, why.code(), false, nil)
	return err
}

// welcome checks a CONNECT and attaches its session.
func (s *Server) welcome(c *conn, cl *mochi.Client, pk *packets.Packet) error {
	c.level = cl.Properties.ProtocolVersion
	assigned := cl.Properties.Props.AssignedClientID != ""
	c.arriving.Store(true) // before it looks whether the server drains, which looks at this afterwards
	switch {
	case s.draining.Load():
		return shuttingDown
	case pk.Connect.WillFlag:
		return notAuthorized
	case cl.Properties.Props.AuthenticationMethod != "":
		return badAuthentication
	case assigned && c.level == 3, !assigned && !validClientID(cl.ID):
		return badClientID
	}
	principal, err := s.principal(c, pk)
	if err != nil {
		return err
	}
	c.asked = cl.Properties.Props.SessionExpiryInterval
	c.expiry = s.expiryOf(cl)
	c.window, c.maxPacket = windowMQTT3, 1<<28
	if c.level == 5 {
		c.window = maxWindow
		if granted := int(cl.Properties.Props.ReceiveMaximum); granted > 0 {
			c.window = min(c.window, granted)
		}
		if takes := cl.Properties.Props.MaximumPacketSize; takes > 0 {
			c.maxPacket = int(takes)
		}
	}
	s.setSilence(c, cl)
	want := claim{
		id: cl.ID, principal: principal, own: s.options.ownTopic(cl.ID), clean: pk.Connect.Clean, persists: c.expiry > 0,
	}
	c.session, c.present, err = s.sessions.attach(c, want)
	return err
}

// principal returns who asks on c. There are no users yet: whoever shows credentials shows wrong ones.
func (s *Server) principal(c *conn, pk *packets.Packet) (string, error) {
	switch {
	case pk.Connect.UsernameFlag || pk.Connect.PasswordFlag:
		return "", badCredentials
	case !s.options.Anonymous || !c.peer.Addr().IsLoopback():
		return "", notAuthorized
	}
	return anonymous, nil
}

// expiryOf returns how long a session is kept after its connection.
func (s *Server) expiryOf(cl *mochi.Client) time.Duration {
	if cl.Properties.ProtocolVersion == 5 {
		return min(time.Duration(cl.Properties.Props.SessionExpiryInterval)*time.Second, maxExpiry)
	}
	if cl.Properties.Clean {
		return 0
	}
	return maxExpiry
}

// setSilence decides how long the client may be silent: one and a half times its keep-alive, which is at most IdleTimeout.
// MQTT 5 clients are told when it is not what they asked for. MQTT 3 has no way to tell, and to refuse would shut out
// clients that ping often enough whatever they asked for; those that do not are cut off and may come back.
func (s *Server) setSilence(c *conn, cl *mochi.Client) {
	longest := uint16(min(max((s.options.IdleTimeout+time.Second-1)/time.Second, 1), 1<<16-1))
	if asked := cl.State.Keepalive; asked == 0 || asked > longest {
		cl.State.Keepalive = longest
		cl.State.ServerKeepalive = c.level == 5
	}
	c.silence = time.Duration(cl.State.Keepalive) * time.Second * 3 / 2
}

// OnConnectAuthenticate has nothing left to ask.
func (h *hook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnSessionEstablish makes mochi know what is stored of the session, and forget it at the end of the connection: what
// outlives that is ours.
func (h *hook) OnSessionEstablish(cl *mochi.Client, _ packets.Packet) {
	c := connOf(cl)
	stored := c.session.subscribed()
	for _, sub := range stored {
		h.server.broker.Topics.Subscribe(cl.ID, sub)
		cl.State.Subscriptions.Add(sub.Filter, sub)
	}
	cl.Properties.Clean = true
	cl.Properties.Props.SessionExpiryInterval = 0
	cl.Properties.Props.SessionExpiryIntervalFlag = false
}

// OnSessionEstablished starts the writer, now that the CONNACK is out.
func (h *hook) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	c := connOf(cl)
	c.fresh = true
	c.accepted.Store(true)
	c.writer.Go(func() {
		defer h.server.contain(c)
		c.write()
	})
}

// OnDisconnect comes before mochi throws the subscriptions away, which the session keeps.
func (h *hook) OnDisconnect(cl *mochi.Client, _ error, _ bool) { connOf(cl).ended = true }

// OnPacketRead sees the packets that mochi is to deal with.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	c := connOf(cl)
	switch {
	case pk.FixedHeader.Type == packets.Subscribe && len(pk.Properties.SubscriptionIdentifier) > 0:
		return pk, c.giveUp(subscriptionIDsNotSup)
	case pk.FixedHeader.Type == packets.Disconnect && pk.Properties.SessionExpiryIntervalFlag:
		asked := min(time.Duration(pk.Properties.SessionExpiryInterval)*time.Second, maxExpiry)
		if asked > 0 && c.expiry == 0 {
			return pk, c.giveUp(protocolError) // section 3.14.2.2.2
		}
		c.expiry = asked
		pk.Properties.SessionExpiryIntervalFlag = false
	}
	return pk, nil
}

// OnACLCheck says whether a client may subscribe. No PUBLISH reaches mochi.
func (h *hook) OnACLCheck(cl *mochi.Client, filter string, write bool) bool {
	c := connOf(cl)
	if write || c.session == nil || !filterAllowed(filter, c.session.own) {
		return false
	}
	_, again := cl.State.Subscriptions.Get(filter)
	return again || cl.State.Subscriptions.Len() < maxSubscriptions
}

// OnSubscribed keeps what was granted.
func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, granted []byte) {
	connOf(cl).session.subscribe(pk.Filters, granted)
}

// OnUnsubscribed forgets what the client gave up.
func (h *hook) OnUnsubscribed(cl *mochi.Client, pk packets.Packet) {
	if c := connOf(cl); !c.ended {
		c.session.unsubscribe(pk.Filters)
	}
}

// OnPacketEncode completes the CONNACK.
func (h *hook) OnPacketEncode(cl *mochi.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type != packets.Connack {
		return pk
	}
	c := connOf(cl)
	if pk.ReasonCode != 0 && cl.Properties.Will.Flag != 0 {
		pk.ReasonCode = byte(notAuthorized) // whatever else mochi found wrong with the will
		pk.Properties.ReasonString = "wills are not accepted"
	}
	if pk.ProtocolVersion != 5 {
		if pk.ReasonCode != 0 {
			pk.ReasonCode = connackMQTT3(c, reason(pk.ReasonCode), cl)
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

// connackMQTT3 returns the return code of MQTT 3 (section 3.2.2.3) that says most of why. A CONNECT that is wrong in itself
// is answered with the close of its connection.
func connackMQTT3(c *conn, why reason, cl *mochi.Client) byte {
	switch {
	case why < 0x80:
		return byte(why) // mochi has translated it
	case cl.Properties.ProtocolVersion < 3 || cl.Properties.ProtocolVersion > 5 || why == 0x84:
		return 1
	case why == badClientID, why == 0x80 && cl.Properties.Props.AssignedClientID != "":
		return 2 // mochi calls a missing id without a clean session an unspecified error
	case why == badCredentials:
		return 4
	case why == notAuthorized:
		return 5
	case why == malformedPacket || why == protocolError:
		c.hangUp()
	}
	return 3
}
