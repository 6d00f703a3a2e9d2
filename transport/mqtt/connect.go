package mqtt

import (
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

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
	case !assigned && !validClientID(cl.ID):
		return badClientID
	}
	if err := s.admit(c, cl, pk); err != nil {
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
		id: cl.ID, principal: c.principal, own: s.options.ownTopic(cl.ID), clean: pk.Connect.Clean,
		mayUse: s.options.Access.MayUse,
	}
	var err error
	c.session, c.present, err = s.sessions.attach(c, want)
	return err
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

// connackMQTT3 returns the return code of MQTT 3 (section 3.2.2.3) that says most of why.
func connackMQTT3(why reason) byte {
	switch {
	case why < 0x80:
		return byte(why) // mochi has translated it
	case why == badClientID:
		return 2
	case why == badCredentials:
		return 4
	case why == notAuthorized:
		return 5
	}
	return 3
}
