package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// fields takes a packet's fields off its front. After a fault, which is the reason to end the connection, it gives zero
// values.
type fields struct {
	rest  []byte
	fault reason
}

// fail notes a fault, unless why is success; the first one counts.
func (f *fields) fail(why reason) {
	if f.fault == success {
		f.fault = why
	}
}

// end returns the fault of a packet that ends here.
func (f *fields) end() error {
	if len(f.rest) > 0 {
		f.fail(malformedPacket)
	}
	if f.fault != success {
		return f.fault
	}
	return nil
}

func (f *fields) bytes(n int) []byte {
	if f.fault != success || n > len(f.rest) {
		f.fail(malformedPacket)
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) byte() byte {
	if b := f.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if b := f.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a variable byte integer of MQTT 5, which has no byte too many.
func (f *fields) varint() int {
	n := 0
	for shift := 0; shift <= 21; shift += 7 {
		b := f.byte()
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			if b == 0 && shift > 0 {
				f.fail(malformedPacket) // [MQTT-1.5.5-1]
			}
			return n
		}
	}
	f.fail(malformedPacket)
	return 0
}

// binary reads bytes that mean nothing to MQTT.
func (f *fields) binary() []byte { return f.bytes(int(f.uint16())) }

// text reads a UTF-8 string. It has no surrogates and no U+0000.
func (f *fields) text() []byte {
	b := f.binary()
	if !plain(b) && (!utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0) {
		f.fail(malformedPacket) // [MQTT-1.5.4-1], [MQTT-1.5.4-2]
	}
	return b
}

// name reads a text that names something: a topic, a filter, a user. Control characters and non-characters, which the
// standard lets a receiver refuse, are refused here: no honest name has them, and in a log or on a terminal they make one
// name look like another. Text that names nothing may have them.
func (f *fields) name() []byte {
	b := f.text()
	if !plain(b) && bytes.ContainsFunc(b, unfit) {
		f.fail(malformedPacket) // section 1.5.4
	}
	return b
}

// plain reports whether b is printable ASCII, which needs no closer look.
func plain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || 0x7f <= c {
			return false
		}
	}
	return true
}

// unfit reports whether r is a control character or a non-character.
func unfit(r rune) bool {
	return r < 0x20 || 0x7f <= r && r < 0xa0 || 0xfdd0 <= r && r <= 0xfdef || r&0xfffe == 0xfffe
}

// topic reads the name of a topic.
func (f *fields) topic() []byte {
	b := f.name()
	if len(b) == 0 || wild(b) {
		f.fail(protocolError) // [MQTT-4.7.3-1], [MQTT-4.7.0-1]
	}
	return b
}

// packetID reads the packet id of a packet that has one.
func (f *fields) packetID() uint16 {
	id := f.uint16()
	if id == 0 {
		f.fail(protocolError) // [MQTT-2.2.1-3], [MQTT-2.2.1-5]
	}
	return id
}

// places are packets of a client that have properties, a bit for each type.
type places uint16

const (
	inWill        places = 1 // of a CONNECT
	inConnect     places = 1 << packets.Connect
	inPublish     places = 1 << packets.Publish
	inPuback      places = 1 << packets.Puback
	inPubrel      places = 1 << packets.Pubrel
	inSubscribe   places = 1 << packets.Subscribe
	inUnsubscribe places = 1 << packets.Unsubscribe
	inDisconnect  places = 1 << packets.Disconnect
	anywhere             = inWill | inConnect | inPublish | inPuback | inPubrel | inSubscribe | inUnsubscribe | inDisconnect
)

// shape is how a property's value is written.
type shape byte

const (
	ofByte shape = iota + 1
	ofTwoBytes
	ofFourBytes
	ofVarint
	ofText
	ofName
	ofBinary
	ofTexts // two
)

// propertyRule is what the standard says of a property. A number of most 0 has no upper bound.
type propertyRule struct {
	shape       shape
	client      places // where it may be
	server      places // where a server's packet may have it, and a client's may not
	least, most uint32
	many        bool // may come more than once
}

// The properties of MQTT 5 (section 2.2.2.2) that a client's packets may have, or a server's of the same type.
const (
	propertyPayloadFormat     = 0x01
	propertyExpiry            = 0x02
	propertyContentType       = 0x03
	propertyResponseTopic     = 0x08
	propertyCorrelation       = 0x09
	propertySubscriptionID    = 0x0b
	propertySessionExpiry     = 0x11
	propertyAuthMethod        = 0x15
	propertyAuthData          = 0x16
	propertyProblemInfo       = 0x17
	propertyWillDelay         = 0x18
	propertyResponseInfo      = 0x19
	propertyServerReference   = 0x1c
	propertyReasonString      = 0x1f
	propertyReceiveMaximum    = 0x21
	propertyTopicAliasMaximum = 0x22
	propertyTopicAlias        = 0x23
	propertyUser              = 0x26
	propertyMaximumPacket     = 0x27
)

// propertyRules has no rule for an identifier that no packet of a client may have.
var propertyRules = [...]propertyRule{
	propertyPayloadFormat:     {shape: ofByte, client: inPublish | inWill, most: 1},
	propertyExpiry:            {shape: ofFourBytes, client: inPublish | inWill},
	propertyContentType:       {shape: ofText, client: inPublish | inWill},
	propertyResponseTopic:     {shape: ofName, client: inPublish | inWill},
	propertyCorrelation:       {shape: ofBinary, client: inPublish | inWill},
	propertySubscriptionID:    {shape: ofVarint, client: inSubscribe, server: inPublish, least: 1},
	propertySessionExpiry:     {shape: ofFourBytes, client: inConnect | inDisconnect},
	propertyAuthMethod:        {shape: ofText, client: inConnect},
	propertyAuthData:          {shape: ofBinary, client: inConnect},
	propertyProblemInfo:       {shape: ofByte, client: inConnect, most: 1},
	propertyWillDelay:         {shape: ofFourBytes, client: inWill},
	propertyResponseInfo:      {shape: ofByte, client: inConnect, most: 1},
	propertyServerReference:   {shape: ofText, server: inDisconnect},
	propertyReasonString:      {shape: ofText, client: inPuback | inPubrel | inDisconnect},
	propertyReceiveMaximum:    {shape: ofTwoBytes, client: inConnect, least: 1},
	propertyTopicAliasMaximum: {shape: ofTwoBytes, client: inConnect},
	propertyTopicAlias:        {shape: ofTwoBytes, client: inPublish},
	propertyUser:              {shape: ofTexts, client: anywhere, many: true},
	propertyMaximumPacket:     {shape: ofFourBytes, client: inConnect, least: 1},
}

// property is one property: a number or bytes, as its shape has it. Of two texts the second is kept.
type property struct {
	id     byte
	number uint32
	bytes  []byte
}

// properties goes through the properties of a packet.
type properties struct {
	fields
	where places
	seen  uint64 // a bit per identifier
}

// properties takes the properties of a packet off. Whoever goes through them hands their fault on to f.
func (f *fields) properties(where places) properties {
	return properties{fields: fields{rest: f.bytes(f.varint())}, where: where}
}

// next reads the next property into v. It returns false at their end, and at a fault.
func (p *properties) next(v *property) bool {
	if len(p.rest) == 0 {
		return false
	}
	rule := &propertyRule{}
	v.id = p.byte()
	if int(v.id) < len(propertyRules) {
		rule = &propertyRules[v.id]
	}
	switch {
	case (rule.client|rule.server)&p.where == 0:
		p.fail(malformedPacket) // section 2.2.2.2
	case rule.server&p.where != 0:
		p.fail(protocolError) // [MQTT-3.3.4-6], section 3.14.2.2.5
	case !rule.many && p.seen&(1<<v.id) != 0:
		p.fail(protocolError) // each property's section says so
	}
	p.seen |= 1 << (v.id & 63)
	p.value(rule, v)
	return p.fault == success
}

// value reads a value and looks at its bounds.
func (p *properties) value(rule *propertyRule, v *property) {
	v.number, v.bytes = 0, nil
	switch rule.shape {
	case ofByte:
		v.number = uint32(p.byte())
	case ofTwoBytes:
		v.number = uint32(p.uint16())
	case ofFourBytes:
		v.number = p.uint32()
	case ofVarint:
		v.number = uint32(p.varint())
	case ofText:
		v.bytes = p.text()
	case ofName:
		v.bytes = p.name()
	case ofBinary:
		v.bytes = p.binary()
	case ofTexts:
		p.text() // [MQTT-1.5.7-1]
		v.bytes = p.text()
	}
	if v.number < rule.least || rule.most > 0 && v.number > rule.most {
		p.fail(protocolError) // zero is no maximum and no identifier, and a flag is 0 or 1
	}
}

// skip reads properties of which nothing is needed.
func (f *fields) skip(where places) {
	var v property
	all := f.properties(where)
	for all.next(&v) {
	}
	f.fail(all.fault)
}
