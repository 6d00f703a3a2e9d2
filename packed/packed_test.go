package packed_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gateway/packed"

	"pgregory.net/rapid"
)

func TestWhatWasPutTogetherReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, v := rapid.Uint64().Draw(t, "u"), rapid.Int64().Draw(t, "v")
		text := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "text")
		b := binary.AppendUvarint([]byte{7}, u)
		b = binary.AppendVarint(b, v)
		b = packed.AppendText(b, text)
		b = append(b, 0x12, 0x34, 'x', 'y')
		r := packed.Reader{Rest: b}
		ok := r.Byte() == 7 && r.Uvarint() == u && r.Varint() == v && bytes.Equal(r.Text(len(text)), text) && r.Uint16() == 0x1234 &&
			string(r.Bytes(2)) == "xy"
		if !ok || r.Bad || len(r.Rest) > 0 {
			t.Fatalf("%x: bad %v, %d bytes left", b, r.Bad, len(r.Rest))
		}
		for cut := range b {
			r := packed.Reader{Rest: b[:cut:cut]}
			r.Byte()
			r.Uvarint()
			r.Varint()
			r.Text(len(text))
			r.Uint16()
			if r.Bytes(2); !r.Bad || len(r.Rest) > 0 {
				t.Fatalf("%d of %d bytes are not bad", cut, len(b))
			}
		}
	})
}

func TestAfterAFaultEveryFieldIsZero(t *testing.T) {
	faults := map[string]func(*packed.Reader){
		"told":             (*packed.Reader).Fail,
		"too few":          func(r *packed.Reader) { r.Bytes(100) },
		"a length of all":  func(r *packed.Reader) { r.Bytes(1<<64 - 1) },
		"a longer form":    func(r *packed.Reader) { r.Rest = []byte{0x81, 0x00, 1, 2, 3}; r.Uvarint() },
		"no end of it":     func(r *packed.Reader) { r.Rest = bytes.Repeat([]byte{0x81}, 20); r.Uvarint() },
		"beyond 64 bits":   func(r *packed.Reader) { r.Rest = append(bytes.Repeat([]byte{0xff}, 9), 2, 9); r.Varint() },
		"a text too long":  func(r *packed.Reader) { r.Text(0) },
		"a text cut short": func(r *packed.Reader) { r.Text(100) },
		"less than a word": func(r *packed.Reader) { r.Rest = r.Rest[:1]; r.Uint16() },
	}
	for name, fault := range faults {
		r := packed.Reader{Rest: []byte{9, 8, 7, 6}}
		fault(&r)
		if !r.Bad || r.Byte() != 0 || r.Bytes(1) != nil || r.Uint16() != 0 || r.Uvarint() != 0 || r.Varint() != 0 || r.Text(9) != nil || len(r.Rest) > 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := (packed.Reader{}); r.Byte() != 0 || !r.Bad {
		t.Error("a byte of nothing")
	}
}

func TestBytesHaveNoRoomBehindThem(t *testing.T) {
	b := []byte{1, 2, 3, 4}
	r := packed.Reader{Rest: b}
	if first := append(r.Bytes(2), 9); first[2] != 9 || b[2] != 3 {
		t.Errorf("%v", b)
	}
}
