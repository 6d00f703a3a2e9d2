package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/disk/disktest"
)

// TestWhatIsWrittenIsReadBack: a header of a segment and of a snapshot, and a mark, behind something else too.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	at := position{segment: 3, offset: 700, seq: 12, hash: hash{1, 2, 3}}
	segment := segmentHeader{identity: identity{decimals: 2, id: [16]byte{4}, key: [16]byte{5}}, number: 3, first: 11, before: hash{6}}
	snapshot := snapshotHeader{id: [16]byte{7}, start: at, end: position{segment: 4, offset: 512, seq: 13}, bytes: 99,
		time: time.UnixMicro(1_234_567).UTC()}
	written := mark{id: [16]byte{8}, generation: 9, position: at}
	const prefix = "before it"
	b := segment.append([]byte(prefix))
	reason, err := checkSector(b[len(prefix):], segmentMagic)
	var readSegment segmentHeader
	if readSegment.parse(b[len(prefix):]); len(b) != len(prefix)+sector || reason != "" || err != nil || readSegment != segment {
		t.Errorf("a segment: %+v, %q, %v", readSegment, reason, err)
	}
	b = snapshot.append([]byte(prefix))
	var readSnapshot snapshotHeader
	if reason := readSnapshot.parse(b[len(prefix):]); len(b) != len(prefix)+sector || reason != "" || readSnapshot != snapshot {
		t.Errorf("a snapshot: %+v, %q", readSnapshot, reason)
	}
	b = written.append([]byte(prefix))
	var readMark mark
	if whole := readMark.parse((*[markBytes]byte)(b[len(prefix):])); len(b) != len(prefix)+markBytes || !whole || readMark != written {
		t.Errorf("a mark: %+v, %v", readMark, whole)
	}
}

// TestAMarkOfAnotherFormatIsNone, though its checksum holds.
func TestAMarkOfAnotherFormatIsNone(t *testing.T) {
	b := (&mark{generation: 1}).append(nil)
	b[6]++
	binary.LittleEndian.PutUint32(b[88:], crc32.Checksum(b[:88], castagnoli))
	var m mark
	if m.parse((*[markBytes]byte)(b)) {
		t.Errorf("it was read as %+v", m)
	}
}

// TestTheNewerOfTwoMarksIsTaken, in whichever slot it is, and the one that is whole when the other is torn.
func TestTheNewerOfTwoMarksIsTaken(t *testing.T) {
	for _, c := range [][3]uint64{{1, 2, 2}, {3, 2, 3}, {0, 2, 2}, {3, 0, 3}, {0, 0, 0}} {
		file := make([]byte, 2*markSlot)
		for slot, generation := range c[:2] {
			if generation > 0 {
				copy(file[slot*markSlot:], (&mark{generation: generation}).append(nil))
			}
		}
		d := disktest.New(1)
		d.Put(markName, file)
		got, err := readMark(d)
		if err != nil || (got == nil) != (c[2] == 0) || got != nil && got.generation != c[2] {
			t.Errorf("of %v: %+v, %v", c[:2], got, err)
		}
	}
}

// TestPlacesComeOneAfterAnother by their segment first, and their offset then.
func TestPlacesComeOneAfterAnother(t *testing.T) {
	ordered := []position{{segment: 1, offset: 512}, {segment: 1, offset: 513}, {segment: 2, offset: 512}, {segment: 3, offset: 1}}
	for i := range ordered {
		for k := range ordered {
			if got := ordered[i].after(&ordered[k]); got != (i > k) {
				t.Errorf("%+v after %+v: %v", ordered[i], ordered[k], got)
			}
		}
	}
}

// TestAJournalWithoutChanceIsNotMade: its id and its key must be drawn whole.
func TestAJournalWithoutChanceIsNotMade(t *testing.T) {
	for _, drawn := range []int{0, 15, 16, 31} {
		d := disktest.New(1)
		random := io.MultiReader(bytes.NewReader(make([]byte, drawn)), failing{})
		_, err := Open("", Options{FS: d, Random: random})
		if names, _ := d.List(); !errors.Is(err, syscall.EIO) || len(names) != 0 {
			t.Errorf("after %d bytes: %v, there are %v", drawn, err, names)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, syscall.EIO }

// TestNamesOfSegmentsAreReadBack, and no other names.
func TestNamesOfSegmentsAreReadBack(t *testing.T) {
	for _, number := range []uint64{1, 15, 16, 1 << 40} {
		if got, ok := segmentNumber(segmentName(number)); !ok || got != number {
			t.Errorf("%d became %d, %v", number, got, ok)
		}
	}
	for _, name := range []string{
		"", "mark", "journal-1.seg", "journal-000000000000000G.seg", "journal-000000000000000A.seg", "journal-0000000000000001.seg.tmp",
		" journal-0000000000000001.seg",
	} {
		if number, ok := segmentNumber(name); ok {
			t.Errorf("%q is segment %d", name, number)
		}
	}
}

// framed returns a frame of a segment whose checksum holds.
func framed(seed uint32, first bool, canonical []byte) []byte {
	frame := append(make([]byte, frameHeader), canonical...)
	seal(frame, seed, first, new(hash))
	return frame
}

// TestALaterBatchIsToldFromWhatLooksLikeOne puts a frame behind a bad place: only one that is whole, begins a batch and has a seq that
// so many bytes can have led to says that the bad place was durable.
func TestALaterBatchIsToldFromWhatLooksLikeOne(t *testing.T) {
	header := segmentHeader{number: 1, first: 1}
	seed := header.seed(1)
	const size = 64 * smallestFrame
	canonical := func(seq uint64) []byte {
		e := bank.Entry{Seq: seq, Time: time.Unix(1, 0), Kind: bank.KindOpen, Principal: "p", Account: "z"}
		e.Origin.Door = bank.DoorSocket
		return e.AppendCanonical(nil)
	}
	bad := []byte{0xff, 0xee, 0xdd}
	for name, c := range map[string]struct {
		seq    uint64
		first  bool
		change func(frame []byte) []byte
		later  bool
	}{
		"the second batch":           {2, true, nil, true},
		"the first batch":            {1, true, nil, false},
		"within a batch":             {2, false, nil, false},
		"as far as can be":           {1 + size/smallestFrame, true, nil, true},
		"further than can be":        {2 + size/smallestFrame, true, nil, false},
		"its last bit is flipped":    {2, true, func(f []byte) []byte { f[len(f)-1] ^= 1; return f }, false},
		"its length is beyond":       {2, true, func(f []byte) []byte { f[6] = 1; return f }, false},
		"its last byte is missing":   {2, true, func(f []byte) []byte { return f[:len(f)-1] }, false},
		"its entry has another form": {2, true, func(f []byte) []byte { f = framed(seed, true, append([]byte{9}, f[frameHeader+1:]...)); return f }, false},
	} {
		frame := framed(seed, c.first, canonical(c.seq))
		if c.change != nil {
			frame = c.change(frame)
		}
		for _, at := range []int{0, 1, len(bad)} { // what is bad may be zeros
			segment := append(append(header.append(nil), bad[:at]...), make([]byte, 8)...)
			if behind := make([]byte, size-len(segment)-len(frame)); strings.HasSuffix(name, "missing") {
				segment = append(append(segment, behind...), frame...)
			} else {
				segment = append(append(segment, frame...), behind...)
			}
			d := disktest.New(1)
			d.Put("x", segment)
			file, _ := d.Open("x")
			found, err := scanSegment(file, &header, nil)
			if err != nil || found.laterBatch != c.later || found.definite || found.end.seq != 0 {
				t.Errorf("%s, %d bytes before: %+v, %v", name, at, found, err)
			}
		}
	}
}

// TestAFrameIsAsLongAsAnEntryMayBe: shorter than any entry, or longer than the file, is no frame, whatever its checksum says.
func TestAFrameIsAsLongAsAnEntryMayBe(t *testing.T) {
	header := segmentHeader{number: 1, first: 1}
	for bytes, want := range map[int]uint64{smallestEntry - 1: 0, smallestEntry: 1, smallestEntry + 1: 1} {
		canonical := append([]byte{1, 1}, make([]byte, bytes-2)...)
		d := disktest.New(1)
		d.Put("x", append(header.append(nil), framed(header.seed(1), true, canonical)...))
		file, _ := d.Open("x")
		found, err := scanSegment(file, &header, nil)
		if reason := "the length cannot be"; err != nil || found.end.seq != want || want == 0 && found.reason != reason {
			t.Errorf("%d bytes: %+v, %v", bytes, found, err)
		}
	}
	frame := framed(header.seed(1), true, append([]byte{1, 1}, make([]byte, 40)...))
	for left, want := range map[int]string{
		len(frame): "", len(frame) - 1: "the length cannot be", frameHeader: "the length cannot be", frameHeader - 1: "the file ends",
	} {
		d := disktest.New(1)
		d.Put("x", append(header.append(nil), frame[:left]...))
		file, _ := d.Open("x")
		found, err := scanSegment(file, &header, nil)
		if err != nil || found.reason != want || found.end.seq != uint64(left/len(frame)) {
			t.Errorf("%d bytes are left of %d: %+v, %v", left, len(frame), found, err)
		}
	}
}
