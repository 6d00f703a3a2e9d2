package mqtt

import "github.com/mochi-mqtt/server/v2/packets"

// The flags of a CONNECT.
const (
	flagReserved   = 1 << 0
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUser       = 1 << 7
)

// connectFlags is where the flags are in the CONNECT of MQTT 3.1.
const connectFlags = 2 + len("MQIsdp") + 1

// checkConnect holds a CONNECT against the standard of the protocol level that it names, and returns that level and what is
// wrong, if anything is.
func checkConnect(p *packet) (level byte, why reason) {
	f := fields{rest: p.body}
	name := string(f.binary())
	level = f.byte()
	switch {
	case f.fault != success:
		return level, f.fault
	case name != "MQTT" && name != "MQIsdp":
		return 0, protocolError // [MQTT-3.1.2-1]: it means another protocol, which knows no CONNACK
	case (name == "MQIsdp") != (level == 3) || level < 3 || level > 5:
		return level, unsupportedVersion // [MQTT-3.1.2-2]
	}
	if p.checkHeader(level) != nil {
		return level, malformedPacket
	}
	flags := f.flags(level)
	f.uint16() // the keep-alive
	if level == 5 {
		f.connectProperties()
	}
	id := f.text() // [MQTT-3.1.3-3], [MQTT-3.1.3-4]; which characters it may have, welcome knows
	if flags&flagWill != 0 {
		if level == 5 {
			f.skip(inWill)
		}
		f.topic() // [MQTT-3.1.3-11]
		f.binary()
	}
	flags = f.credentials(flags, level)
	switch {
	case f.end() != nil:
	case len(id) == 0 && (level == 3 || level == 4 && flags&flagClean == 0):
		f.fail(badClientID) // 3.1.1 [MQTT-3.1.3-8]; MQTT 3.1 has no assigned ids
	case level == 3:
		p.body[connectFlags] = flags // mochi is not to look for what is not there
	}
	return level, f.fault
}

// flags reads the flags of a CONNECT.
func (f *fields) flags(level byte) byte {
	flags := f.byte()
	if level == 3 && flags&flagWill == 0 {
		flags &^= flagWillQoS | flagWillRetain // MQTT 3.1 disregards them (section 3.1)
	}
	switch {
	case flags&flagReserved != 0, flags&flagWillQoS == flagWillQoS:
		f.fail(malformedPacket) // [MQTT-3.1.2-3], [MQTT-3.1.2-12]; in 3.1.1 [MQTT-3.1.2-14]
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0:
		f.fail(protocolError) // [MQTT-3.1.2-11], [MQTT-3.1.2-13]; in 3.1.1 [MQTT-3.1.2-15]
	case level < 5 && flags&(flagUser|flagPassword) == flagPassword:
		f.fail(protocolError) // 3.1.1 [MQTT-3.1.2-22]
	}
	return flags
}

// credentials reads the user name and the password that flags announce. In MQTT 3.1 the packet may end before them (section
// 3.1): what is returned are the flags of what is there.
func (f *fields) credentials(flags, level byte) byte {
	if level == 3 && len(f.rest) == 0 {
		flags &^= flagUser | flagPassword
	}
	if flags&flagUser != 0 {
		f.name() // [MQTT-3.1.2-17], [MQTT-3.1.3-12]; in 3.1.1 [MQTT-3.1.2-19], [MQTT-3.1.3-11]
	}
	if level == 3 && len(f.rest) == 0 {
		flags &^= flagPassword
	}
	if flags&flagPassword != 0 {
		f.binary() // [MQTT-3.1.2-19]; in 3.1.1 [MQTT-3.1.2-21]
	}
	return flags
}

// connectProperties reads the properties of a CONNECT.
func (f *fields) connectProperties() {
	var v property
	method, data := false, false
	all := f.properties(inConnect)
	for all.next(&v) {
		method = method || v.id == propertyAuthMethod
		data = data || v.id == propertyAuthData
	}
	f.fail(all.fault)
	if data && !method {
		f.fail(protocolError) // section 3.1.2.11.10
	}
}

// appendRefusal appends the CONNACK for a CONNECT that breaks the standard, if there is one. MQTT 3.1.1 wants the connection
// closed without, but for two codes ([MQTT-3.1.4-1]).
func appendRefusal(dst []byte, level byte, why reason) []byte {
	switch {
	case level >= 5 && level < 0x80: // the later ones will know it; the highest bit is a bridge's, of MQTT 3
		return append(dst, packets.Connack<<4, 3, 0, byte(why), 0)
	case why == unsupportedVersion:
		return append(dst, packets.Connack<<4, 2, 0, 1)
	case why == badClientID:
		return append(dst, packets.Connack<<4, 2, 0, 2)
	}
	return dst
}
