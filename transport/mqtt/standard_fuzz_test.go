package mqtt_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"gateway/transport/mqtt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// mochiReads decodes and validates a whole packet as mochi does.
func mochiReads(level byte, b []byte) (err error) {
	pk := packets.Packet{ProtocolVersion: level}
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		return err
	}
	length, n, err := packets.DecodeLength(bytes.NewReader(b[1:]))
	if err != nil {
		return err
	}
	pk.FixedHeader.Remaining = length
	body := b[1+n:]
	validated := packets.CodeSuccess
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err, validated = pk.ConnectDecode(body), pk.ConnectValidate()
	case packets.Publish:
		err, validated = pk.PublishDecode(body), pk.PublishValidate(0)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Subscribe:
		err, validated = pk.SubscribeDecode(body), pk.SubscribeValidate()
	case packets.Unsubscribe:
		err, validated = pk.UnsubscribeDecode(body), pk.UnsubscribeValidate()
	case packets.Pingreq:
		err = pk.PingreqDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	default:
		return packets.ErrProtocolViolation
	}
	if err == nil && validated != packets.CodeSuccess {
		err = validated
	}
	return err
}

// mochisOwn are faults that mochi finds where the standard has none. Wills and empty passwords are refused anyway.
var mochisOwn = []error{packets.ErrProtocolViolationFlagNoPassword, packets.ErrProtocolViolationWillFlagNoPayload}

// FuzzStandard: whatever comes, it is judged without a panic and by its own bytes alone, and what passes mochi can read.
func FuzzStandard(f *testing.F) {
	rows := rulings()
	if len(rows) == 0 {
		f.Fatal("no seeds")
	}
	for _, r := range rows {
		for _, level := range []byte(r.levels) {
			f.Add(level-'0', r.packet(level-'0'))
		}
	}
	f.Fuzz(func(t *testing.T, level byte, b []byte) {
		if level = 3 + level%3; len(b) < 2 {
			return
		}
		alone := slices.Clip(bytes.Clone(b))
		passed, refusal, err := mqtt.Check(level, alone)
		followed := append(bytes.Clone(b), 0xff, 0xff, 0, 1, 'a')
		passed2, refusal2, err2 := mqtt.Check(level, followed)
		if whole := err != mqtt.ErrIncomplete; whole && (err != err2 || !bytes.Equal(passed, passed2) || !bytes.Equal(refusal, refusal2)) {
			t.Fatalf("level %d %x: %v alone, %v with bytes behind it", level, b, err, err2)
		}
		if err != nil {
			return
		}
		if alone[0]>>4 == tConnect {
			level = 0 // it says so itself
		}
		if err := mochiReads(level, passed); err != nil && !slices.Contains(mochisOwn, err) {
			t.Fatalf("level %d: %x passes, and mochi says %v", level, passed, err)
		}
	})
}

// mochisCases are those of mochi's own packets that we judge otherwise, and why.
var mochisCases = map[string]string{
	"Disconnect: shutting down":               "only a server gives that reason",
	"Disconnect: takeover":                    "only a server gives that reason",
	"Publish: deny publishing to $SYS topics": "it is well-formed; the topic is closed",
	"Publish: dup":                            "DUP at QoS 0, which mochi refuses before it decodes",
	"Publish: mqtt basic v5":                  "topic aliases are off",
	"Publish: mqtt v5":                        "a subscription identifier, which a server sends",
	"Publish: mqtt v5 topic alias only":       "topic aliases are off",
	"Publish: subscription identifiers":       "subscription identifiers, which a server sends",
	"Subscribe: mqtt5":                        "subscription identifiers are off",
}

// Of mochi's own test packets, those of a client that it takes and we do not, and the reverse, are listed.
func TestMochisPacketsAreJudgedAsMochiDoesOrBetter(t *testing.T) {
	differ := map[string]string{}
	cases := 0
	for _, kind := range []byte{
		packets.Connect, packets.Publish, packets.Puback, packets.Pubrel, packets.Subscribe, packets.Unsubscribe, packets.Pingreq, packets.Disconnect,
	} {
		for _, c := range packets.TPacketData[kind] {
			if len(c.RawBytes) < 2 || c.Group == "encode" {
				continue
			}
			level := byte(4)
			if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
				level = c.Packet.ProtocolVersion
			}
			cases++
			_, _, ours := mqtt.Check(level, bytes.Clone(c.RawBytes))
			theirs := c.FailFirst
			if theirs == nil {
				theirs = c.Expect
			}
			if (ours == nil) != (theirs == nil) {
				differ[fmt.Sprint(packets.PacketNames[kind], ": ", c.Desc)] = fmt.Sprint("we say ", ours, ", mochi ", theirs)
			}
		}
	}
	if cases < 60 {
		t.Errorf("only %d cases", cases)
	}
	for _, name := range slices.Sorted(maps.Keys(differ)) {
		if mochisCases[name] == "" {
			t.Errorf("%s: %s", name, differ[name])
		}
	}
	for name := range mochisCases {
		if differ[name] == "" {
			t.Errorf("%s: no difference any more", name)
		}
	}
}
