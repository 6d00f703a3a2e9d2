package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"gateway/wire"
)

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false},
		{"a/+", "a/", true}, {"a/+", "a/b/c", false}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"a/+/c", "a/b/c", true},
		{"a/+/c", "a/b/d", false}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true}, {"a/", "a/", true}, {"a/", "a", false}, {"+/b", "a/b", true},
		{"a//c", "a//c", true}, {"a/+/c", "a//c", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

func TestAnAllowedFilterMatchesOwnTopicsOnly(t *testing.T) {
	const own = "bank/replies/c"
	for _, filter := range []string{own, own + "/#", own + "/+", own + "/x", own + "/+/#", own + "/"} {
		if !filterAllowed(filter, own) {
			t.Errorf("%q is refused", filter)
		}
		for _, topic := range []string{"bank/ops", "bank/replies", "bank/replies/d", "bank/replies/cc", "bank/replies/d/x", "bank"} {
			if matches(filter, topic) {
				t.Errorf("%q matches %q", filter, topic)
			}
		}
	}
	for _, filter := range []string{"", "#", own + "#", own + strings.Repeat("/a", 16)} {
		if filterAllowed(filter, own) {
			t.Errorf("%q is allowed", filter)
		}
	}
}

func TestADeliveryReadsBack(t *testing.T) {
	for _, level := range []byte{4, 5} {
		for _, size := range []int{0, 1, 100, 127, 128, 16384} {
			d := delivery{
				topic: "bank/replies/c", id: 7, dup: true, contentType: "application/json", correlated: true,
				correlation: bytes.Repeat([]byte{1}, min(size, maxCorrelation)), payload: bytes.Repeat([]byte{'x'}, size),
			}
			b := d.append(nil, level)
			p, err := cut(b, 1<<20)
			var m publish
			if err != nil || len(p.all) != len(b) || m.parse(&p, level) != nil {
				t.Fatalf("level %d, %d bytes: %v", level, size, err)
			}
			if string(m.topic) != d.topic || m.id != 7 || m.qos != 1 || m.dup != 1 || !bytes.Equal(m.payload, d.payload) {
				t.Errorf("level %d, %d bytes: %+v", level, size, m)
			}
			if level == 5 && (!bytes.Equal(m.correlation, d.correlation) || string(m.contentType) != d.contentType) {
				t.Errorf("properties %q %q", m.correlation, m.contentType)
			}
		}
	}
}

func TestTheFormatOfAPayload(t *testing.T) {
	for kind, want := range map[string]wire.Format{
		"": wire.JSON, "application/json": wire.JSON, "Application/JSON; charset=utf-8": wire.JSON, "application/msgpack": wire.Msgpack,
		"application/vnd.msgpack": wire.Msgpack, "text/plain": wire.JSON,
	} {
		if how := mannerOf(&publish{payload: []byte("{"), contentType: []byte(kind)}); how.format != want {
			t.Errorf("%q: %v", kind, how.format)
		}
	}
}

// FuzzCut: a packet is cut off whole, or more is asked for, or the bytes are refused; what is behind it changes nothing.
func FuzzCut(f *testing.F) {
	f.Add([]byte{0x30, 3, 0, 1, 'a'})
	f.Add([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1})
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 4096
		p, err := cut(b, limit)
		var why reason
		switch {
		case err == nil:
			if len(p.all) > limit || !bytes.Equal(p.all, b[:len(p.all)]) || p.head != b[0] {
				t.Fatalf("cut %x off %x", p.all, b)
			}
			if _, err := cut(p.all[:len(p.all)-1], limit); err != errIncomplete {
				t.Fatalf("a prefix of %x: %v", p.all, err)
			}
		case err != errIncomplete && !errors.As(err, &why):
			t.Fatalf("%x: %v", b, err)
		}
	})
}

// FuzzPublish: whatever a PUBLISH is read as, it is within its packet, and its id, topic and QoS are legal.
func FuzzPublish(f *testing.F) {
	full := delivery{topic: "bank/ops", id: 7, contentType: "application/json", correlation: []byte("x"), correlated: true, payload: []byte("{}")}
	f.Add(full.append(nil, 5), true)
	f.Add(full.append(nil, 4), false)
	f.Add([]byte{0x32, 6, 0, 1, 'a', 0, 1, 0xff}, true)
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		p, err := cut(b, 1<<16)
		if err != nil {
			return
		}
		level := byte(4)
		if five {
			level = 5
		}
		var m publish
		if err := m.parse(&p, level); err != nil {
			var why reason
			if !errors.As(err, &why) {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		if len(m.topic) == 0 || wild(m.topic) || m.qos > 2 || (m.qos == 0) != (m.id == 0) || !strings.HasSuffix(string(p.all), string(m.payload)) {
			t.Fatalf("%x: %+v", b, m)
		}
	})
}
