package client

import (
	"bytes"
	"io"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// What is written is what another reader reads.
func TestPublishIsWrittenByTheStandard(t *testing.T) {
	for _, redelivery := range []bool{false, true} {
		for _, length := range []int{0, 1, 100, 101, 300, 20000} {
			p := publish{
				topic: "bank/ops", packetID: 0x1234, redelivery: redelivery, correlation: "0123456789abcdef", payload: bytes.Repeat([]byte("x"), length),
			}
			b := p.append(nil)
			if n, err := packetLength(b); err != nil || n != len(b) || n != p.size() {
				t.Errorf("length %d, %v of %d", n, err, len(b))
			}
			r := bytes.NewReader(b)
			packet, err := packets.ReadPacket(r)
			if err != nil || r.Len() != 0 {
				t.Fatalf("%v, %d bytes left", err, r.Len())
			}
			got := packet.Content.(*packets.Publish)
			if got.Topic != p.topic || got.QoS != 1 || got.PacketID != p.packetID || got.Duplicate != redelivery || got.Retain ||
				string(got.Properties.CorrelationData) != p.correlation || !bytes.Equal(got.Payload, p.payload) {
				t.Errorf("%s", got)
			}
		}
	}
}

// replySamples are PUBLISH packets with every property that one may have.
func replySamples() [][]byte {
	one, four, varint, two := byte(1), uint32(7), 300, uint16(2)
	var samples [][]byte
	for _, properties := range []*packets.Properties{
		{}, {CorrelationData: []byte("correlation")},
		{
			PayloadFormat: &one, MessageExpiry: &four, ContentType: "application/json", ResponseTopic: "a/b", CorrelationData: []byte("c"),
			SubscriptionIdentifier: &varint, TopicAlias: &two, User: []packets.User{{Key: "k", Value: "v"}, {Key: "k", Value: ""}},
		},
	} {
		for qos := range byte(3) {
			p := &packets.Publish{Topic: "bank/replies/x", QoS: qos, PacketID: 9, Payload: []byte("payload"), Properties: properties}
			var b bytes.Buffer
			p.WriteTo(&b)
			samples = append(samples, b.Bytes())
		}
	}
	return samples
}

// parsePublish never reads past the packet, and what it takes is what another reader takes. Of packets of that reader's it
// refuses QoS 2, packet id 0 and properties that a PUBLISH cannot have.
func FuzzParsePublish(f *testing.F) {
	for _, sample := range replySamples() {
		f.Add(sample)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := packetLength(b)
		if err != nil || n == 0 || n > len(b) || b[0]>>4 != packets.PUBLISH {
			return
		}
		b = b[:n:n]
		p, err := parsePublish(b)
		if err != nil {
			return
		}
		packet, err := packets.ReadPacket(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("taken, but: %v", err)
		}
		theirs := packet.Content.(*packets.Publish)
		if theirs.QoS != p.qos || theirs.PacketID != p.packetID || string(theirs.Properties.CorrelationData) != p.correlation ||
			!bytes.Equal(theirs.Payload, p.payload) {
			t.Errorf("%+v is not %s", p, theirs)
		}
	})
}

// Every sample is taken whole, unless it is of QoS 2, and no prefix of one is.
func TestParsePublish(t *testing.T) {
	taken := 0
	for _, sample := range replySamples() {
		p, err := parsePublish(sample)
		if (err == nil) != (sample[0]>>1&3 < 2) {
			t.Errorf("QoS %d: %v", sample[0]>>1&3, err)
		}
		if err == nil && string(p.payload) == "payload" {
			taken++
		}
		for n := range len(sample) {
			if length, err := packetLength(sample[:n]); err != nil || length != 0 && length != len(sample) {
				t.Errorf("%d of %d bytes: length %d, %v", n, len(sample), length, err)
			}
			b, err := readPacket(bytes.NewReader(sample[:n]))
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Errorf("%d of %d bytes: %x, %v", n, len(sample), b, err)
			}
			if n < len(sample)-len("payload") {
				if _, err := parsePublish(sample[:n]); err == nil {
					t.Errorf("%d of %d bytes were taken", n, len(sample))
				}
			}
		}
	}
	if taken != 6 {
		t.Errorf("%d taken", taken)
	}
}

func TestParsePuback(t *testing.T) {
	for _, c := range []struct {
		bytes  string
		id     uint16
		reason byte
		bad    bool
	}{
		{"\x40\x02\x12\x34", 0x1234, 0, false},
		{"\x40\x03\x12\x34\x97", 0x1234, 0x97, false},
		{"\x40\x04\x12\x34\x97\x00", 0x1234, 0x97, false},
		{"\x40\x01\x12", 0, 0, true},
		{"\x40\x00", 0, 0, true},
	} {
		id, reason, err := parsePuback([]byte(c.bytes))
		if id != c.id || reason != c.reason || (err != nil) != c.bad {
			t.Errorf("%x: %d, %d, %v", c.bytes, id, reason, err)
		}
	}
}

// A length that is longer than any message, or that does not end, ends the connection before it is believed.
func TestPacketLength(t *testing.T) {
	for _, b := range []string{"\x30\xff\xff\xff\x7f", "\x30\x80\x80\x80\x80\x01", "\x30\x80\x80\x04"} {
		if n, err := packetLength([]byte(b)); err == nil {
			t.Errorf("%x: %d", b, n)
		}
	}
}
