package mqtt_test

import "strings"

func connectRulings() []ruling {
	named := func(name string, level byte) recipe {
		return of(tConnect<<4, name, []byte{level, 2, 0, 0}, with(), "c")
	}
	return []ruling{
		rule("CONNECT", "345", hi(2, "c"), "[MQTT-3.1.4-1]", "[MQTT-3.1.4-1]", welcomed(0)),
		rule("a keep-alive", "345", hi(2, "c"), "section 3.1.2.10", "section 3.1.2.10", welcomed(0)),
		rule("no clean start", "345", hi(0, "c"), "[MQTT-3.1.2-4]", "[MQTT-3.1.2-4]", welcomed(0)),
		rule("no id", "45", hi(2, ""), "[MQTT-3.1.3-6]", "[MQTT-3.1.3-6]", welcomed(0)),
		rule("no id in 3.1", "3", hi(2, ""), "", "MQTT 3.1 section 3.1", refused(2)),
		rule("no id, no clean session", "4", hi(0, ""), "", "[MQTT-3.1.3-8]", refused(2)),
		rule("no id, no clean start", "5", hi(0, ""), "[MQTT-3.1.3-6]", "", welcomed(0)),
		rule("an id that is none", "345", hi(2, "a/b"), "[MQTT-3.1.3-5]", "[MQTT-3.1.3-9]", welcomed(0x85), welcomed(2)),
		rule("an id with a control character", "345", hi(2, "a\tb"), "section 1.5.4", "section 1.5.3", welcomed(0x85), welcomed(2)),
		rule("no such protocol", "45", named("MQTX", 5), "[MQTT-3.1.2-1]", "[MQTT-3.1.2-1]", closed),
		rule("no name", "5", named("", 5), "[MQTT-3.1.2-1]", "", closed),
		rule("the name in other letters", "5", named("mqtt", 5), "[MQTT-3.1.2-1]", "", closed),
		rule("the name of 3.1 at level 5", "5", named("MQIsdp", 5), "[MQTT-3.1.2-2]", "", refused(0x84)),
		rule("the name of 3.1 at level 4", "4", named("MQIsdp", 4), "", "[MQTT-3.1.2-2]", refused(1)),
		rule("the name of 3.1.1 at level 3", "4", named("MQTT", 3), "", "[MQTT-3.1.2-2]", refused(1)),
		rule("level 0", "4", named("MQTT", 0), "", "[MQTT-3.1.2-2]", refused(1)),
		rule("level 2", "4", named("MQTT", 2), "", "[MQTT-3.1.2-2]", refused(1)),
		rule("level 6", "5", named("MQTT", 6), "[MQTT-3.1.2-2]", "", refused(0x84)),
		rule("a bridge of 3.1.1", "4", named("MQTT", 0x84), "", "[MQTT-3.1.2-2]", refused(1)),
		rule("the reserved flag", "345", hi(3, "c"), "[MQTT-3.1.2-3]", "[MQTT-3.1.2-3]", refused(0x81)),
		rule("flags in the header", "345", flagged(1, hi(2, "c")), "[MQTT-2.1.3-1]", "[MQTT-2.2.2-2]", refused(0x81)),
		rule("a length with a byte too many", "5", stretched(hi(2, "c")), "[MQTT-1.5.5-1]", "", refused(0x81)),
		rule("that length in MQTT 3", "34", stretched(hi(2, "c")), "", "section 2.2.3", welcomed(0)),
		rule("no level", "4", of(tConnect<<4, "MQTT"), "", "[MQTT-3.1.4-1]", closed),
		rule("nothing", "4", of(tConnect<<4), "", "[MQTT-3.1.4-1]", closed),
		rule("no flags", "5", of(tConnect<<4, "MQTT", 5), "[MQTT-3.1.4-1]", "", refused(0x81)),
		rule("no keep-alive", "5", of(tConnect<<4, "MQTT", 5, 2), "[MQTT-3.1.4-1]", "", refused(0x81)),
		rule("no properties", "5", of(tConnect<<4, "MQTT", []byte{5, 2, 0, 0}), "[MQTT-2.2.2-1]", "", refused(0x81)),
		rule("no payload", "345", hi(2), "[MQTT-3.1.3-3]", "[MQTT-3.1.3-3]", refused(0x81)),
		rule("an id longer than the packet", "345", hi(2, []byte{0, 9, 'c'}), "[MQTT-3.1.3-3]", "[MQTT-3.1.3-3]", refused(0x81)),
		rule("an id that is no UTF-8", "345", hi(2, "c\xff"), "[MQTT-3.1.3-4]", "[MQTT-3.1.3-4]", refused(0x81)),
		rule("U+0000 in the id", "345", hi(2, "c\x00"), "[MQTT-1.5.4-2]", "[MQTT-1.5.3-2]", refused(0x81)),
		rule("a byte too many", "345", hi(2, "c", 0), "[MQTT-3.1.4-1]", "[MQTT-3.1.4-1]", refused(0x81)),
	}
}

func connectPropertyRulings() (rows []ruling) {
	row := func(name, clause string, want verdict, properties ...[]byte) {
		rows = append(rows, rule("CONNECT: "+name, "5", hiWith(join(properties...), 2, "c"), clause, "", want))
	}
	row("all properties", "section 3.1.2.11", welcomed(0), property(0x11, uint32(60)), property(0x21, uint16(1)),
		property(0x27, uint32(1024)), property(0x22, uint16(0)), property(0x19, byte(1)), property(0x17, byte(0)), user("k", "v"))
	row("session expiry for ever", "section 3.1.2.11.2", welcomed(0), property(0x11, uint32(1<<32-1)))
	row("user properties repeated", "section 3.1.2.11.8", welcomed(0), user("k", "v"), user("k", "v"), user("", ""))
	row("user property with a newline", "section 1.5.4", welcomed(0), user("k", "a\nb"))
	row("user property that is no UTF-8", "[MQTT-1.5.7-1]", refused(0x81), user("k", "\xc0\x80"))
	row("user property cut short", "[MQTT-1.5.7-1]", refused(0x81), []byte{0x26, 0, 1, 'k', 0})
	row("receive maximum 0", "section 3.1.2.11.3", refused(0x82), property(0x21, uint16(0)))
	row("maximum packet size 0", "section 3.1.2.11.4", refused(0x82), property(0x27, uint32(0)))
	row("request response information 2", "section 3.1.2.11.6", refused(0x82), property(0x19, byte(2)))
	row("request problem information 2", "section 3.1.2.11.7", refused(0x82), property(0x17, byte(2)))
	row("authentication", "[MQTT-4.12.0-1]", welcomed(0x8c), property(0x15, "SCRAM"), property(0x16, "x"))
	row("authentication data without a method", "section 3.1.2.11.10", refused(0x82), property(0x16, "x"))
	row("session expiry cut short", "section 2.2.2.2", refused(0x81), []byte{0x11, 0, 0})
	row("an unknown property", "section 2.2.2.2", refused(0x81), []byte{0x7f, 1})
	row("a property of a PUBLISH", "section 2.2.2.2", refused(0x81), property(0x23, uint16(1)))
	row("an identifier of two bytes", "section 2.2.2.2", refused(0x81), []byte{0xa6, 0, 0, 0, 0, 0})
	row("session expiry twice", "section 3.1.2.11.2", refused(0x82), property(0x11, uint32(1)), property(0x11, uint32(1)))
	for name, length := range map[string][]byte{
		"properties longer than the packet": {9}, "a length that does not end": {0x80}, "a length of five bytes": {0x80, 0x80, 0x80, 0x80, 1},
	} {
		rows = append(rows, rule(name, "5", of(tConnect<<4, "MQTT", []byte{5, 2, 0, 0}, length, "c"),
			"section 2.2.2.1", "", refused(0x81)))
	}
	return append(rows, rule("a property length with a byte too many", "5", of(tConnect<<4, "MQTT", []byte{5, 2, 0, 0, 0x80, 0}, "c"),
		"[MQTT-1.5.5-1]", "", refused(0x81)))
}

func credentialRulings() []ruling {
	return []ruling{
		rule("a user name", "345", hi(0x82, "c", "ana"), "[MQTT-3.1.2-17]", "[MQTT-3.1.2-19]", welcomed(0x86), welcomed(4)),
		rule("both", "345", hi(0xc2, "c", "ana", "x"), "[MQTT-3.1.2-19]", "[MQTT-3.1.2-21]", welcomed(0x86), welcomed(4)),
		rule("an empty user name", "345", hi(0x82, "c", ""), "[MQTT-3.1.3-12]", "[MQTT-3.1.3-11]", welcomed(0x86), welcomed(4)),
		rule("an empty password", "345", hi(0xc2, "c", "ana", ""), "section 3.1.3.6", "section 3.1.3.5", welcomed(0x86), welcomed(4)),
		rule("a password of any bytes", "345", hi(0xc2, "c", "ana", "\x00\xff"),
			"section 3.1.3.6", "section 3.1.3.5", welcomed(0x86), welcomed(4)),
		rule("a password alone", "5", hi(0x42, "c", "x"), "[MQTT-3.1.2-19]", "", welcomed(0x86)),
		rule("a password alone in MQTT 3", "34", hi(0x42, "c", "x"), "", "[MQTT-3.1.2-22]", closed),
		rule("no user name", "45", hi(0x82, "c"), "[MQTT-3.1.2-17]", "[MQTT-3.1.2-19]", refused(0x81)),
		rule("no password", "45", hi(0xc2, "c", "ana"), "[MQTT-3.1.2-19]", "[MQTT-3.1.2-21]", refused(0x81)),
		rule("3.1: no user name", "3", hi(0x82, "c"), "", "MQTT 3.1 section 3.1", welcomed(0)),
		rule("3.1: neither", "3", hi(0xc2, "c"), "", "MQTT 3.1 section 3.1", welcomed(0)),
		rule("3.1: no password", "3", hi(0xc2, "c", "ana"), "", "MQTT 3.1 section 3.1", welcomed(4)),
		rule("a user name without its flag", "345", hi(2, "c", "ana"), "[MQTT-3.1.2-16]", "[MQTT-3.1.2-18]", refused(0x81)),
		rule("a password without its flag", "345", hi(0x82, "c", "ana", "x"), "[MQTT-3.1.2-18]", "[MQTT-3.1.2-20]", refused(0x81)),
		rule("a user name cut short", "345", hi(0x82, "c", []byte{0, 4, 'a'}), "[MQTT-3.1.2-17]", "[MQTT-3.1.2-19]", refused(0x81)),
		rule("a password cut short", "345", hi(0xc2, "c", "ana", []byte{0, 4, 'a'}), "[MQTT-3.1.2-19]", "[MQTT-3.1.2-21]", refused(0x81)),
		rule("a user name that is no UTF-8", "345", hi(0x82, "c", "\xed\xa0\x80"), "[MQTT-3.1.3-12]", "[MQTT-3.1.3-11]", refused(0x81)),
		rule("a user name with a control character", "345", hi(0x82, "c", "ana\x1b"), "section 1.5.4", "section 1.5.3", refused(0x81)),
	}
}

func willRulings() []ruling {
	return []ruling{
		rule("a will", "345", hi(6, "c", with(), "a", "x"), "section 3.1.2.5", "section 3.1.2.5", welcomed(0x87), welcomed(5)),
		rule("a will of nothing", "345", hi(6, "c", with(), "a", ""), "section 3.1.3.4", "section 3.1.3.3", welcomed(0x87), welcomed(5)),
		rule("all properties of a will", "5", hi(0x36, "c", with(property(0x18, uint32(1)), property(1, byte(1)), property(2, uint32(1)),
			property(3, "a"), property(8, "a"), property(9, "\xff"), user("k", "v"), user("k", "v")), "a", "x"),
			"section 3.1.3.2", "", welcomed(0x87)),
		rule("will QoS 3", "345", hi(0x1e, "c", with(), "a", "x"), "[MQTT-3.1.2-12]", "[MQTT-3.1.2-14]", refused(0x81)),
		rule("QoS 3 of no will", "45", hi(0x1a, "c"), "[MQTT-3.1.2-12]", "[MQTT-3.1.2-14]", refused(0x81)),
		rule("QoS of no will", "45", hi(0x0a, "c"), "[MQTT-3.1.2-11]", "[MQTT-3.1.2-13]", refused(0x82)),
		rule("retain of no will", "45", hi(0x22, "c"), "[MQTT-3.1.2-13]", "[MQTT-3.1.2-15]", refused(0x82)),
		rule("3.1: QoS and retain of no will", "3", hi(0x3a, "c"), "", "MQTT 3.1 section 3.1", welcomed(0)),
		rule("no will topic", "345", hi(6, "c"), "[MQTT-3.1.2-9]", "[MQTT-3.1.2-9]", refused(0x81)),
		rule("no will payload", "345", hi(6, "c", with(), "a"), "[MQTT-3.1.2-9]", "[MQTT-3.1.2-9]", refused(0x81)),
		rule("a will without its flag", "345", hi(2, "c", with(), "a", "x"), "[MQTT-3.1.2-11]", "[MQTT-3.1.2-11]", refused(0x81)),
		rule("an empty will topic", "345", hi(6, "c", with(), "", "x"), "[MQTT-4.7.3-1]", "[MQTT-4.7.3-1]", refused(0x82)),
		rule("a will topic with a wildcard", "345", hi(6, "c", with(), "a/#", "x"), "[MQTT-4.7.0-1]", "[MQTT-4.7.1-1]", refused(0x82)),
		rule("a will topic that is no UTF-8", "345", hi(6, "c", with(), "\xff", "x"),
			"[MQTT-3.1.3-11]", "[MQTT-3.1.3-10]", refused(0x81)),
		rule("a will topic with a control character", "345", hi(6, "c", with(), "a\n", "x"),
			"section 1.5.4", "section 1.5.3", refused(0x81)),
		rule("a property that no will has", "5", hi(6, "c", with(property(0x23, uint16(1))), "a", "x"),
			"section 2.2.2.2", "", refused(0x81)),
		rule("will delay twice", "5", hi(6, "c", with(property(0x18, uint32(1)), property(0x18, uint32(1))), "a", "x"),
			"section 3.1.3.2.2", "", refused(0x82)),
		rule("payload format 2 of a will", "5", hi(6, "c", with(property(1, byte(2))), "a", "x"), "section 3.1.3.2.3", "", refused(0x82)),
	}
}

// good is an operation; goodMsgpack is the same.
var (
	good        = []byte(deposit("1", 1))
	goodMsgpack = []byte("\x83\xa2op\xa7deposit\xa7account\xa11\xa6amount\x01")
)

func publishRulings() []ruling {
	ops := func(head byte, parts ...any) recipe { return of(head, append([]any{"bank/ops"}, parts...)...) }
	return []ruling{
		rule("PUBLISH at QoS 0", "345", ops(0x30, with(), good), "[MQTT-3.3.1-2]", "[MQTT-3.3.1-2]", accepted),
		rule("at QoS 1", "345", ops(0x32, id(1), with(), good), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", answered(tPuback, 0)),
		rule("at QoS 2", "345", ops(0x34, id(1), with(), good), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", answered(tPubrec, 0)),
		rule("DUP at QoS 1", "345", ops(0x3a, id(1), with(), good), "[MQTT-3.3.1-1]", "[MQTT-3.3.1-1]", answered(tPuback, 0)),
		rule("DUP at QoS 0", "345", ops(0x38, with(), good), "[MQTT-3.3.1-2]", "[MQTT-3.3.1-2]", disconnected(0x81)),
		rule("QoS 3", "345", ops(0x36, id(1), with(), good), "[MQTT-3.3.1-4]", "[MQTT-3.3.1-4]", disconnected(0x81)),
		rule("packet id 0", "345", ops(0x32, id(0), with(), good), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", disconnected(0x82)),
		rule("packet id cut short", "345", ops(0x32, 0), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", disconnected(0x81)),
		rule("no topic", "345", of(0x30), "[MQTT-3.3.2-1]", "[MQTT-3.3.2-1]", disconnected(0x81)),
		rule("an empty topic", "345", of(0x30, "", with(), good), "[MQTT-4.7.3-1]", "[MQTT-4.7.3-1]", disconnected(0x82)),
		rule("a topic longer than the packet", "345", of(0x30, []byte{0xff, 0xff, 'a'}),
			"[MQTT-3.3.2-1]", "[MQTT-3.3.2-1]", disconnected(0x81)),
		rule("# in the topic", "345", of(0x30, "bank/#", with(), good), "[MQTT-3.3.2-2]", "[MQTT-3.3.2-2]", disconnected(0x82)),
		rule("+ in the topic", "345", of(0x30, "bank/+", with(), good), "[MQTT-3.3.2-2]", "[MQTT-4.7.1-1]", disconnected(0x82)),
		rule("a topic that is no UTF-8", "345", of(0x30, "bank/\xff", with(), good),
			"[MQTT-3.3.2-1]", "[MQTT-3.3.2-1]", disconnected(0x81)),
		rule("U+0000 in the topic", "345", of(0x30, "bank\x00ops", with(), good), "[MQTT-4.7.3-2]", "[MQTT-4.7.3-2]", disconnected(0x81)),
		rule("a control character in the topic", "345", of(0x30, "bank/ops\n", with(), good),
			"section 1.5.4", "section 1.5.3", disconnected(0x81)),
		rule("a length with a byte too many", "5", stretched(ops(0x30, with(), good)), "[MQTT-1.5.5-1]", "", disconnected(0x81)),
		rule("no properties", "5", ops(0x30), "[MQTT-2.2.2-1]", "", disconnected(0x81)),
		rule("properties longer than the packet", "5", ops(0x30, 9, 1), "section 2.2.2.1", "", disconnected(0x81)),
		rule("a property longer than the properties", "5", ops(0x30, []byte{3, 3, 0, 9}, good),
			"section 2.2.2.1", "", disconnected(0x81)),
		rule("retained", "5", ops(0x31, with(), good), "section 3.2.2.3.5", "", verdict{legal: true, kind: tDisconnect, reason: 0x9a}),
	}
}

func publishPropertyRulings() (rows []ruling) {
	row := func(name, clause string, want verdict, payload []byte, properties ...[]byte) {
		rows = append(rows, rule("PUBLISH: "+name, "5", of(0x32, "bank/ops", id(1), with(properties...), payload), clause, "", want))
	}
	row("all properties", "section 3.3.2.3", answered(tPuback, 0), good, property(1, byte(1)), property(2, uint32(0)),
		property(3, "application/json"), property(8, "bank/replies/c"), property(9, "\x00\xff"), user("k", "v"))
	row("user properties repeated", "section 3.3.2.3.7", answered(tPuback, 0), good, user("k", "v"), user("k", "v"))
	row("payload format 0", "section 3.3.2.3.2", answered(tPuback, 0), good, property(1, byte(0)))
	row("payload format 2", "section 3.3.2.3.2", disconnected(0x82), good, property(1, byte(2)))
	row("payload format twice", "section 3.3.2.3.2", disconnected(0x82), good, property(1, byte(1)), property(1, byte(1)))
	row("a payload that is no UTF-8", "section 3.3.2.3.2", answered(tPuback, 0), goodMsgpack, property(1, byte(0)))
	row("a payload that is not the UTF-8 it claims", "section 3.3.2.3.2", answered(tPuback, 0x99), goodMsgpack, property(1, byte(1)))
	row("message expiry twice", "section 3.3.2.3.3", disconnected(0x82), good, property(2, uint32(1)), property(2, uint32(1)))
	row("topic alias", "[MQTT-3.3.2-9]", disconnected(0x94), good, property(0x23, uint16(1)))
	row("topic alias 0", "[MQTT-3.3.2-8]", disconnected(0x94), good, property(0x23, uint16(0)))
	row("topic alias twice", "section 3.3.2.3.4", disconnected(0x82), good, property(0x23, uint16(1)), property(0x23, uint16(1)))
	row("a response topic that is no UTF-8", "[MQTT-3.3.2-13]", disconnected(0x81), good, property(8, "\xff"))
	row("a control character in the response topic", "section 1.5.4", disconnected(0x81), good, property(8, "bank/replies/c\x7f"))
	row("a wildcard in the response topic", "[MQTT-3.3.2-14]", answered(tPuback, 0x87), good, property(8, "bank/replies/c/#"))
	row("response topic twice", "section 3.3.2.3.5", disconnected(0x82), good, property(8, "bank/replies/c"), property(8, "bank/replies/c"))
	row("correlation data twice", "section 3.3.2.3.6", disconnected(0x82), good, property(9, "a"), property(9, "a"))
	row("correlation data cut short", "section 2.2.2.2", disconnected(0x81), good, []byte{9, 0, 9, 1})
	row("a user property that is no UTF-8", "[MQTT-1.5.7-1]", disconnected(0x81), good, user("\xff", "v"))
	row("a subscription identifier", "[MQTT-3.3.4-6]", disconnected(0x82), good, []byte{0x0b, 1})
	row("a content type that is no UTF-8", "[MQTT-3.3.2-19]", disconnected(0x81), good, property(3, "\xff"))
	row("content type twice", "section 3.3.2.3.9", disconnected(0x82), good, property(3, "a"), property(3, "a"))
	row("a property of a CONNECT", "section 2.2.2.2", disconnected(0x81), good, property(0x11, uint32(1)))
	row("an unknown property", "section 2.2.2.2", disconnected(0x81), good, []byte{0x7f, 1})
	return append(rows, rule("an alias and no topic", "5", of(0x30,
		"", with(property(0x23, uint16(1))), good), "[MQTT-3.3.2-9]", "", disconnected(0x94)))
}

func ackRulings() (rows []ruling) {
	for _, ack := range []struct {
		name            string
		head            byte
		clause, flags   string
		reason, reason2 byte
		want            verdict
	}{
		{"PUBACK", tPuback << 4, "[MQTT-3.4.2-1]", "[MQTT-2.1.3-1]", 0x10, 0x92, accepted},
		{"PUBREL", tPubrel<<4 | 2, "[MQTT-3.6.2-1]", "[MQTT-3.6.1-1]", 0x92, 0x10, answered(tPubcomp, 0x92)},
	} {
		row := func(name, levels string, packet recipe, clause, older string, want verdict) {
			rows = append(rows, rule(ack.name+": "+name, levels, packet, clause, older, want))
		}
		row("an id that nobody knows", "345", of(ack.head, id(9)), "[MQTT-2.2.1-5]", "[MQTT-2.3.1-6]", ack.want)
		row("a reason", "5", of(ack.head, id(9), int(ack.reason)), ack.clause, "", ack.want)
		row("a reason and no properties", "5", of(ack.head, id(9), 0, 0), ack.clause, "", ack.want)
		row("all properties", "5", of(ack.head, id(9), 0, with(property(0x1f, "why\n"), user("k", "v"), user("k", "v"))),
			"section 3.4.2.2", "", ack.want)
		row("nothing", "345", of(ack.head), "[MQTT-2.2.1-5]", "[MQTT-2.3.1-6]", disconnected(0x81))
		row("half an id", "345", of(ack.head, 1), "[MQTT-2.2.1-5]", "[MQTT-2.3.1-6]", disconnected(0x81))
		row("id 0", "345", of(ack.head, id(0)), "[MQTT-2.2.1-5]", "[MQTT-2.3.1-6]", disconnected(0x82))
		row("a byte too many", "34", of(ack.head, id(9), 0), "", "section 3.4.1", closed)
		row("no reason of its", "5", of(ack.head, id(9), int(ack.reason2)), ack.clause, "", disconnected(0x82))
		row("reason string twice", "5", of(ack.head, id(9), 0, with(property(0x1f, "a"), property(0x1f, "a"))),
			"section 3.4.2.2.2", "", disconnected(0x82))
		row("a property of a PUBLISH", "5", of(ack.head, id(9), 0, with(property(9, "a"))), "section 2.2.2.2", "", disconnected(0x81))
		row("a reason string cut short", "5", of(ack.head, id(9), 0, with([]byte{0x1f, 0})), "section 2.2.2.2", "", disconnected(0x81))
		row("bytes behind the properties", "5", of(ack.head, id(9), 0, 0, 0), "section 2.1.4", "", disconnected(0x81))
		for _, bit := range []byte{1, 2, 4, 8} {
			levels := "345"
			if ack.head&2 != 0 && bit == 8 {
				levels = "45"
			}
			row("flag "+string('0'+rune(bit)), levels, of(ack.head^bit, id(9)), ack.flags, "[MQTT-2.2.2-2] [MQTT-3.6.1-1]", disconnected(0x81))
		}
	}
	return append(rows,
		rule("3.1: PUBREL again", "3", of(tPubrel<<4|10, id(9)), "", "MQTT 3.1 section 2.1", answered(tPubcomp, 0)),
		rule("PUBREC", "345", of(tPubrec<<4, id(1)), "section 4.13", "[MQTT-4.8.0-1]", disconnected(0x82)),
		rule("PUBREC with a refusal", "5", of(tPubrec<<4, id(1), 0x80), "section 4.13", "", disconnected(0x82)),
		rule("PUBCOMP", "345", of(tPubcomp<<4, id(1)), "section 4.13", "[MQTT-4.8.0-1]", disconnected(0x82)),
		rule("PUBREC with flags", "345", of(tPubrec<<4|2, id(1)), "[MQTT-2.1.3-1]", "[MQTT-2.2.2-2]", disconnected(0x81)))
}

// own is the replies topic of the tables' client.
const own = "bank/replies/c"

func subscribeRulings() []ruling {
	sub := func(parts ...any) recipe { return of(0x82, append([]any{id(1)}, parts...)...) }
	return []ruling{
		rule("SUBSCRIBE", "345", sub(with(), own, 1), "[MQTT-3.8.3-2]", "[MQTT-3.8.3-3]", answered(tSuback, 1)),
		rule("many filters", "345", sub(with(), own, 0, own+"/+", 1, own+"/#", 2),
			"[MQTT-3.8.3-2]", "[MQTT-3.8.3-3]", answered(tSuback, 2)),
		rule("all options", "5", sub(with(user("k", "v"), user("k", "v")), own, 0x2d), "section 3.8.3.1", "", answered(tSuback, 1)),
		rule("a filter of others", "345", sub(with(), "#", 1), "section 3.9.3",
			"section 3.9.3", answered(tSuback, 0x87), answered(tSuback, 0x80)),
		rule("3.1: again", "3", of(0x8a, id(1), own, 1), "", "MQTT 3.1 section 2.1", answered(tSuback, 1)),
		rule("DUP", "45", of(0x8a, id(1), with(), own, 1), "[MQTT-3.8.1-1]", "[MQTT-3.8.1-1]", disconnected(0x81)),
		rule("flags 0", "345", of(0x80, id(1), with(), own, 1), "[MQTT-3.8.1-1]", "[MQTT-3.8.1-1]", disconnected(0x81)),
		rule("flags 3", "345", of(0x83, id(1), with(), own, 1), "[MQTT-3.8.1-1]", "[MQTT-3.8.1-1]", disconnected(0x81)),
		rule("packet id 0", "345", of(0x82, id(0), with(), own, 1), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", disconnected(0x82)),
		rule("nothing", "345", of(0x82), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", disconnected(0x81)),
		rule("no filter", "345", sub(with()), "[MQTT-3.8.3-2]", "[MQTT-3.8.3-3]", disconnected(0x82)),
		rule("no options", "345", sub(with(), own), "[MQTT-3.8.3-2]", "[MQTT-3.8.3-3]", disconnected(0x81)),
		rule("no options for the second filter", "345", sub(with(), own, 1, own), "[MQTT-3.8.3-2]", "[MQTT-3.8.3-3]", disconnected(0x81)),
		rule("a filter longer than the packet", "345", sub(with(), []byte{0, 5, 'a', 'b', 'c', 'd'}),
			"[MQTT-3.8.3-1]", "[MQTT-3.8.3-1]", disconnected(0x81)),
		rule("a second filter longer than the packet", "345", sub(with(), own, 1, []byte{0, 2, 'a'}),
			"[MQTT-3.8.3-1]", "[MQTT-3.8.3-1]", disconnected(0x81)),
		rule("QoS 3", "345", sub(with(), own, 3), "section 3.8.3.1", "[MQTT-3-8.3-4]", disconnected(0x82)),
		rule("reserved option bit 6", "345", sub(with(), own, 0x41), "[MQTT-3.8.3-5]", "[MQTT-3-8.3-4]", disconnected(0x81)),
		rule("reserved option bit 7", "345", sub(with(), own, 0x81), "[MQTT-3.8.3-5]", "[MQTT-3-8.3-4]", disconnected(0x81)),
		rule("options of MQTT 5", "34", sub(own, 0x04), "", "[MQTT-3-8.3-4]", closed),
		rule("retain handling 3", "5", sub(with(), own, 0x31), "section 3.8.3.1", "", disconnected(0x82)),
		rule("subscription identifier", "5", sub(with([]byte{0x0b, 1}), own, 1), "section 3.2.2.3.12", "", disconnected(0xa1)),
		rule("subscription identifier 0", "5", sub(with([]byte{0x0b, 0}), own, 1), "section 3.8.2.1.2", "", disconnected(0x82)),
		rule("subscription identifier twice", "5", sub(with([]byte{0x0b, 1, 0x0b, 2}), own, 1),
			"section 3.8.2.1.2", "", disconnected(0x82)),
		rule("subscription identifier of five bytes", "5", sub(with([]byte{0x0b, 0x80, 0x80, 0x80, 0x80, 1}), own, 1),
			"section 1.5.5", "", disconnected(0x81)),
		rule("subscription identifier with a byte too many", "5", sub(with([]byte{0x0b, 0x81, 0}), own, 1),
			"[MQTT-1.5.5-1]", "", disconnected(0x81)),
		rule("a reason string", "5", sub(with(property(0x1f, "a")), own, 1), "section 2.2.2.2", "", disconnected(0x81)),
		rule("no properties", "5", of(0x82, id(1)), "[MQTT-2.2.2-1]", "", disconnected(0x81)),
		rule("a user property that is no UTF-8", "5", sub(with(user("k", "\xff")), own, 1), "[MQTT-1.5.7-1]", "", disconnected(0x81)),
	}
}

func filterRulings() (rows []ruling) {
	for _, c := range []struct {
		filter, levels, clause, older string
		want                          verdict
	}{
		{own + "/#", "345", "[MQTT-4.7.1-1]", "[MQTT-4.7.1-2]", answered(tSuback, 1)},
		{own + "/+/x", "345", "[MQTT-4.7.1-2]", "[MQTT-4.7.1-3]", answered(tSuback, 1)},
		{own + "//", "345", "section 4.7.1.1", "section 4.7.1.1", answered(tSuback, 1)},
		{"", "345", "[MQTT-4.7.3-1]", "[MQTT-4.7.3-1]", disconnected(0x82)},
		{own + "#", "345", "[MQTT-4.7.1-1]", "[MQTT-4.7.1-2]", disconnected(0x82)},
		{own + "/#/x", "345", "[MQTT-4.7.1-1]", "[MQTT-4.7.1-2]", disconnected(0x82)},
		{own + "/##", "345", "[MQTT-4.7.1-1]", "[MQTT-4.7.1-2]", disconnected(0x82)},
		{own + "+", "345", "[MQTT-4.7.1-2]", "[MQTT-4.7.1-3]", disconnected(0x82)},
		{own + "/+x/y", "345", "[MQTT-4.7.1-2]", "[MQTT-4.7.1-3]", disconnected(0x82)},
		{own + "/++", "345", "[MQTT-4.7.1-2]", "[MQTT-4.7.1-3]", disconnected(0x82)},
		{own + "/\xff", "345", "[MQTT-3.8.3-1]", "[MQTT-3.8.3-1]", disconnected(0x81)},
		{own + "/\x00", "345", "[MQTT-4.7.3-2]", "[MQTT-4.7.3-2]", disconnected(0x81)},
		{own + "/\x01", "345", "section 1.5.4", "section 1.5.3", disconnected(0x81)},
		{"$share/g/" + own, "5", "section 3.2.2.3.13", "", answered(tSuback, 0x87)},
		{"$SHARE/g/#", "5", "section 3.2.2.3.13", "", answered(tSuback, 0x87)},
		{"$share/g/a+", "5", "[MQTT-4.7.1-2]", "", disconnected(0x82)},
		{"$share", "5", "section 4.7", "", answered(tSuback, 0x8f)}, // an ordinary filter, which mochi takes for none
		{"$share/", "5", "[MQTT-4.8.2-1]", "", disconnected(0x82)},
		{"$share//" + own, "5", "[MQTT-4.8.2-1]", "", disconnected(0x82)},
		{"$Share//#", "5", "[MQTT-4.8.2-1]", "", disconnected(0x82)},
		{"$share/g", "5", "[MQTT-4.8.2-2]", "", disconnected(0x82)},
		{"$share/g/", "5", "[MQTT-4.8.2-2]", "", disconnected(0x82)},
		{"$share/+/" + own, "5", "[MQTT-4.8.2-2]", "", disconnected(0x82)},
		{"$share/g#/" + own, "5", "[MQTT-4.8.2-2]", "", disconnected(0x82)},
	} {
		rows = append(rows, rule("filter "+strings.ToValidUTF8(c.filter, "?"), c.levels, of(0x82, id(1), with(), c.filter, 1),
			c.clause, c.older, c.want))
	}
	for _, filter := range []string{"$share/g/" + own, "$share/g", "$share", "$SHARE//x"} {
		rows = append(rows, rule("MQTT 3: filter "+filter, "34", of(0x82, id(1), filter, 1), "", "section 4.7", answered(tSuback, 0x80)))
	}
	return append(rows,
		rule("No Local", "5", of(0x82, id(1), with(), own, 0x05), "[MQTT-3.8.3-3]", "", answered(tSuback, 1)),
		rule("No Local on a shared subscription", "5", of(0x82, id(1), with(), "$share/g/"+own, 0x05),
			"[MQTT-3.8.3-4]", "", disconnected(0x82)),
	)
}

func unsubscribeRulings() []ruling {
	return []ruling{
		rule("UNSUBSCRIBE", "345", of(0xa2, id(1), with(), own), "[MQTT-3.10.3-2]", "[MQTT-3.10.3-2]", answered(tUnsuback, 0)),
		rule("UNSUBSCRIBE from many", "345", of(0xa2, id(1), with(), own, own+"/#"),
			"[MQTT-3.10.3-2]", "[MQTT-3.10.3-2]", answered(tUnsuback, 0)),
		rule("UNSUBSCRIBE with user properties", "5", of(0xa2, id(1), with(user("k", "v"), user("k", "v")), own),
			"section 3.10.2.1.2", "", answered(tUnsuback, 0)),
		rule("UNSUBSCRIBE from a shared one", "5", of(0xa2, id(1), with(), "$share/g/"+own),
			"section 3.10.4", "", answered(tUnsuback, 0)),
		rule("3.1: UNSUBSCRIBE again", "3", of(0xaa, id(1), own), "", "MQTT 3.1 section 2.1", answered(tUnsuback, 0)),
		rule("UNSUBSCRIBE with DUP", "45", of(0xaa, id(1), with(), own), "[MQTT-3.10.1-1]", "[MQTT-3.10.1-1]", disconnected(0x81)),
		rule("UNSUBSCRIBE with flags 0", "345", of(0xa0, id(1), with(), own), "[MQTT-3.10.1-1]", "[MQTT-3.10.1-1]", disconnected(0x81)),
		rule("UNSUBSCRIBE of id 0", "345", of(0xa2, id(0), with(), own), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", disconnected(0x82)),
		rule("UNSUBSCRIBE from nothing", "345", of(0xa2, id(1), with()), "[MQTT-3.10.3-2]", "[MQTT-3.10.3-2]", disconnected(0x82)),
		rule("UNSUBSCRIBE without an id", "345", of(0xa2, 0), "[MQTT-2.2.1-3]", "[MQTT-2.3.1-1]", disconnected(0x81)),
		rule("UNSUBSCRIBE from an empty filter", "345", of(0xa2, id(1), with(), ""),
			"[MQTT-4.7.3-1]", "[MQTT-4.7.3-1]", disconnected(0x82)),
		rule("UNSUBSCRIBE from no UTF-8", "345", of(0xa2, id(1), with(), "\xff"),
			"[MQTT-3.10.3-1]", "[MQTT-3.10.3-1]", disconnected(0x81)),
		rule("UNSUBSCRIBE from a filter cut short", "345", of(0xa2, id(1), with(), []byte{0, 9, 'a'}),
			"[MQTT-3.10.3-1]", "[MQTT-3.10.3-1]", disconnected(0x81)),
		rule("UNSUBSCRIBE from a#", "345", of(0xa2, id(1), with(), "a#"), "[MQTT-4.7.1-1]", "[MQTT-4.7.1-2]", disconnected(0x82)),
		rule("UNSUBSCRIBE from $share/g", "5", of(0xa2, id(1), with(), "$share/g"), "[MQTT-4.8.2-2]", "", disconnected(0x82)),
		rule("UNSUBSCRIBE with a subscription identifier", "5", of(0xa2, id(1), with([]byte{0x0b, 1}), own),
			"section 2.2.2.2", "", disconnected(0x81)),
	}
}

func endRulings() []ruling {
	return []ruling{
		rule("PINGREQ", "345", of(0xc0), "section 3.12.1", "section 3.12", answered(tPingresp, 0)),
		rule("PINGREQ with a body", "345", of(0xc0, 0), "section 3.12.1", "section 3.12", disconnected(0x81)),
		rule("PINGREQ with flags", "345", of(0xc1), "[MQTT-2.1.3-1]", "[MQTT-2.2.2-2]", disconnected(0x81)),
		rule("DISCONNECT", "345", of(0xe0), "[MQTT-3.14.1-1]", "[MQTT-3.14.1-1]", left),
		rule("DISCONNECT 0x00", "5", of(0xe0, 0), "[MQTT-3.14.2-1]", "", left),
		rule("DISCONNECT with a will", "5", of(0xe0, 4), "[MQTT-3.14.2-1]", "", left),
		rule("DISCONNECT for an error", "5", of(0xe0, 0x95, 0), "[MQTT-3.14.2-1]", "", left),
		rule("DISCONNECT with all properties", "5", of(0xe0, 0, with(property(0x11, uint32(0)), property(0x1f, "bye"), user("k", "v"),
			user("k", "v"))),
			"section 3.14.2.2", "", left),
		rule("DISCONNECT with a session expiry that the CONNECT ruled out", "5", of(0xe0, 0, with(property(0x11, uint32(1)))),
			"section 3.14.2.2.2", "", disconnected(0x82)).on(connected),
		rule("DISCONNECT with a body", "34", of(0xe0, 0), "", "section 3.14", closed),
		rule("DISCONNECT with flags", "345", of(0xe1), "[MQTT-3.14.1-1]", "[MQTT-3.14.1-1]", disconnected(0x81)),
		rule("DISCONNECT for a server's reason", "5", of(0xe0, 0x8b), "[MQTT-3.14.2-1]", "", disconnected(0x82)),
		rule("DISCONNECT for no reason", "5", of(0xe0, 0x01), "[MQTT-3.14.2-1]", "", disconnected(0x82)),
		rule("DISCONNECT with a server reference", "5", of(0xe0, 0, with(property(0x1c, "a"))),
			"section 3.14.2.2.5", "", disconnected(0x82)),
		rule("DISCONNECT with session expiry twice", "5", of(0xe0, 0, with(property(0x11, uint32(0)), property(0x11, uint32(0)))),
			"section 3.14.2.2.2", "", disconnected(0x82)),
		rule("DISCONNECT with a property of another packet", "5", of(0xe0, 0, with(property(0x21, uint16(1)))),
			"section 2.2.2.2", "", disconnected(0x81)),
		rule("DISCONNECT with properties cut short", "5", of(0xe0, 0, 5, 0x11), "section 2.2.2.1", "", disconnected(0x81)),
		rule("DISCONNECT with a byte too many", "5", of(0xe0, 0, 0, 0), "section 2.1.4", "", disconnected(0x81)),
	}
}

// foreignRulings are of packets that no client may send, or not now.
func foreignRulings() (rows []ruling) {
	for name, packet := range map[string]recipe{
		"CONNACK": of(0x20, 0, 0, with()), "SUBACK": of(0x90, id(1), with(), 1), "UNSUBACK": of(0xb0, id(1), with()),
		"PINGRESP": of(0xd0), "type 0": of(0),
	} {
		rows = append(rows, rule(name, "345", packet, "section 2.1.2", "section 2.2.1 [MQTT-4.8.0-1]", disconnected(0x82)))
	}
	return append(rows,
		rule("PINGREQ before the CONNECT", "345", of(0xc0), "[MQTT-3.1.0-1]", "[MQTT-3.1.0-1]", closed).on(first),
		rule("a second CONNECT", "345", hi(2, "c"), "[MQTT-3.1.0-2]", "[MQTT-3.1.0-2]", disconnected(0x82)).on(connected),
		rule("AUTH", "5", of(0xf0, 0x19, with(property(0x15, "SCRAM"))), "[MQTT-4.12.0-7]", "", disconnected(0x82)),
		rule("AUTH with flags", "5", of(0xf1), "[MQTT-3.15.1-1]", "", disconnected(0x81)),
		rule("type 15", "34", of(0xf0), "", "section 2.2.1", closed))
}

// stringRulings are of the characters that a name may have.
func stringRulings() (rows []ruling) {
	for name, c := range map[string]struct {
		characters string
		bad        bool
	}{
		"U+0001": {"\x01", true}, "U+001F": {"\x1f", true}, "U+007F": {"\x7f", true}, "U+0080": {"\u0080", true}, "U+009F": {"\u009f", true},
		"U+FDD0": {"\ufdd0", true}, "U+FDEF": {"\ufdef", true}, "U+FFFE": {"\ufffe", true}, "U+FFFF": {"\uffff", true},
		"U+10FFFF": {"\U0010ffff", true}, "U+D800": {"\xed\xa0\x80", true}, "U+DFFF": {"\xed\xbf\xbf", true},
		"U+0000 in two bytes": {"\xc0\x80", true},
		"half a character":    {"\xe2\x82", true}, "above U+10FFFF": {"\xf4\x90\x80\x80", true},
		"U+0020": {" ", false}, "U+007E": {"~", false}, "U+00A0": {"\u00a0", false}, "U+FDCF": {"\ufdcf", false}, "U+FDF0": {"\ufdf0", false},
		"U+FEFF": {"\ufeff", false}, "U+FFFD": {"\ufffd", false}, "U+1F4B6": {"\U0001f4b6", false},
	} {
		want, clause, older := answered(tSuback, 1), "[MQTT-1.5.4-3]", "[MQTT-1.5.3-3]"
		if c.bad {
			want, clause, older = disconnected(0x81), "[MQTT-1.5.4-1] section 1.5.4", "[MQTT-1.5.3-1]"
		}
		rows = append(rows, rule(name, "345", of(0x82, id(1), with(), own+"/"+c.characters, 1), clause, older, want))
	}
	return rows
}
