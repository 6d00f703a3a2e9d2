package mqtt

import (
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What a client sends is held against the standard before anybody acts on it, mochi included: its decoders let much pass, and
// some bytes bring them down. A packet is malformed (0x81) when it cannot be read: a length, an encoding, a reserved bit, a
// property of another packet. It is a protocol error (0x82) when it can be read and the standard does not allow it, unless
// the standard has a reason of its own for that. MQTT 3 knows no reasons: the connection is closed. Numbers in brackets are
// those of MQTT 5, or of 3.1.1 where that is said.

// checkHeader holds the fixed header against the standard. The flags of a PUBLISH are its own.
func (p *packet) checkHeader(level byte) error {
	if size := len(p.all) - len(p.body); level == 5 && size > 2 && p.all[size-1] == 0 {
		return malformedPacket // [MQTT-1.5.5-1]; older clients may write the length as they like
	}
	flags := byte(0)
	switch p.kind() {
	case packets.Publish:
		return nil
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		flags = 2
		if level == 3 {
			p.head &^= 1 << 3 // MQTT 3.1 repeats these with DUP (section 2.1), which mochi need not know
			p.all[0] = p.head
		}
	}
	if p.head&0x0f != flags {
		return malformedPacket // [MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1]
	}
	return nil
}

// reasonsFrom are the reason codes that a client may give, by packet type.
var reasonsFrom = [16]string{
	packets.Puback:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	packets.Pubrel:     "\x00\x92",
	packets.Disconnect: "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99",
}

// reason reads the reason code that p ends with, if it has one.
func (f *fields) reason(p *packet) {
	if len(f.rest) > 0 && strings.IndexByte(reasonsFrom[p.kind()], f.byte()) < 0 {
		f.fail(protocolError) // [MQTT-3.4.2-1], [MQTT-3.6.2-1], [MQTT-3.14.2-1]
	}
}

// checkAck reads the packet id of a PUBACK or PUBREL. Its reason and its properties mean nothing to a bank.
func checkAck(p *packet, level byte) (id uint16, err error) {
	f := fields{rest: p.body}
	id = f.packetID()
	if level == 5 {
		f.reason(p)
		if len(f.rest) > 0 {
			f.skip(places(1) << p.kind())
		}
	}
	return id, f.end()
}

// checkSubscribe holds a SUBSCRIBE against the standard. What the CONNACK calls off is an error with a reason of its own.
func checkSubscribe(p *packet, level byte) error {
	f := fields{rest: p.body}
	f.packetID()
	identified := false
	if level == 5 {
		var v property
		all := f.properties(inSubscribe)
		for all.next(&v) {
			identified = identified || v.id == propertySubscriptionID
		}
		f.fail(all.fault)
	}
	if len(f.rest) == 0 {
		f.fail(protocolError) // [MQTT-3.8.3-2]; in 3.1.1 [MQTT-3.8.3-3]
	}
	for len(f.rest) > 0 && f.fault == success {
		f.subscription(level, f.filter(level))
	}
	switch {
	case f.fault != success:
		return f.fault
	case identified:
		return subscriptionIDsNotSup // section 3.2.2.3.12
	}
	return nil // a shared subscription is nobody's own, and the SUBACK says so: section 3.2.2.3.13 would end the connection
}

// subscription reads the options of a subscription.
func (f *fields) subscription(level byte, shared bool) {
	options := f.byte()
	qos, noLocal, retain := options&3, options>>2&1, options>>4&3
	switch {
	case level < 5 && options > 2, options&0xc0 != 0:
		f.fail(malformedPacket) // [MQTT-3.8.3-5]; in 3.1.1 [MQTT-3-8.3-4]
	case qos == 3, retain == 3, shared && noLocal == 1:
		f.fail(protocolError) // section 3.8.3.1, [MQTT-3.8.3-4]
	}
}

// checkUnsubscribe holds an UNSUBSCRIBE against the standard.
func checkUnsubscribe(p *packet, level byte) error {
	f := fields{rest: p.body}
	f.packetID()
	if level == 5 {
		f.skip(inUnsubscribe)
	}
	if len(f.rest) == 0 {
		f.fail(protocolError) // [MQTT-3.10.3-2]
	}
	for len(f.rest) > 0 && f.fault == success {
		f.filter(level)
	}
	return f.end()
}

// sharePrefix begins the filter of a shared subscription of MQTT 5. mochi takes it in any case, and so it is refused in any.
const sharePrefix = "$share/"

// filter reads a topic filter and reports whether it is that of a shared subscription.
func (f *fields) filter(level byte) (shared bool) {
	filter := string(f.name()) // [MQTT-3.8.3-1], [MQTT-3.10.3-1]
	if shared = level == 5 && len(filter) >= len(sharePrefix) && strings.EqualFold(filter[:len(sharePrefix)], sharePrefix); shared {
		share, rest, _ := strings.Cut(filter[len(sharePrefix):], "/")
		if share == "" || strings.ContainsAny(share, "+#") {
			f.fail(protocolError) // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
		}
		filter = rest
	}
	if filter == "" || !wellFormed(filter) {
		f.fail(protocolError) // [MQTT-4.7.3-1], [MQTT-4.8.2-2], [MQTT-4.7.1-1], [MQTT-4.7.1-2]
	}
	return shared
}

// checkPing holds a PINGREQ, which says nothing, against the standard.
func checkPing(p *packet) error {
	f := fields{rest: p.body}
	return f.end() // section 3.12.1
}

// checkDisconnect reads from a DISCONNECT how long the session is to be kept, in seconds, when it says so.
func checkDisconnect(p *packet, level byte) (expiry uint32, given bool, err error) {
	f := fields{rest: p.body}
	if level == 5 {
		f.reason(p)
	}
	if level == 5 && len(f.rest) > 0 {
		var v property
		all := f.properties(inDisconnect)
		for all.next(&v) {
			if v.id == propertySessionExpiry {
				expiry, given = v.number, true
			}
		}
		f.fail(all.fault)
	}
	return expiry, given, f.end()
}
