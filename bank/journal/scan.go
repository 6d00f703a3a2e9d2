package journal

import (
	"fmt"

	"gateway/bank"
	"gateway/disk"
)

// smallestFrame is the least that can be told from its neighbours: a header, the format and a seq.
const smallestFrame = frameHeader + smallestEntry

// frameReader reads the frames of a segment from one place on.
type frameReader struct {
	*disk.Reader
	seed  uint32
	entry bank.Entry // of who only wants to know whether one can be read
}

func newFrameReader(file disk.File, seed uint32, offset int64) (*frameReader, error) {
	r, err := disk.NewReader(file, offset)
	return &frameReader{Reader: r, seed: seed}, err
}

// frame returns the next frame without taking it, whole and with its checksum holding, and whether it begins a batch; or
// why what is there is no frame. The frame is valid until the next call.
func (r *frameReader) frame() (frame []byte, first bool, reason string, err error) {
	head, err := r.Peek(frameHeader)
	if err != nil {
		return nil, false, "", err
	}
	if len(head) < frameHeader {
		return nil, false, "the file ends", nil
	}
	size, first, ok := frameSize(head)
	if !ok || size > r.Left() {
		return nil, false, "the length cannot be", nil
	}
	frame, err = r.Peek(int(size))
	if err != nil {
		return nil, false, "", err
	}
	if int64(len(frame)) < size || !intact(frame, r.seed) {
		return nil, false, "the checksum does not hold", nil
	}
	return frame, first, "", nil
}

// scan is what a segment holds.
type scan struct {
	end   position // after the last entry
	batch position // before the last batch: all that is before it was durable when that was written
	size  int64    // of the file
	// reason says why there is no entry at the end; it is empty when only zeros follow.
	reason string
	// used is the place after the last byte that is not zero; it is not before end.offset.
	used int64
	// laterBatch says that after the end there is a whole frame that begins a batch, so that what is between was durable.
	laterBatch bool
	// other is the last entry when it is not the one that was durable, or 0: then it is the first that is wrong.
	other uint64
	// definite says that the reason cannot come from a torn write.
	definite bool
}

// scanSegment reads the frames behind the header h and follows seq and hash. The positions in checks, which are in this
// segment and in order, must be met on the way.
func scanSegment(file disk.File, h *segmentHeader, checks []position) (*scan, error) {
	r, err := newFrameReader(file, h.seed(h.number), sector)
	if err != nil {
		return nil, err
	}
	s := &scan{size: r.Size(), end: position{segment: h.number, offset: sector, seq: h.first - 1, hash: h.before}}
	s.batch = s.end
	for {
		checks = s.check(checks)
		if s.definite {
			return s, nil
		}
		frame, first, reason, err := r.frame()
		if err != nil {
			return nil, err
		}
		if reason != "" {
			s.reason = reason
			break
		}
		if !follows(frame, &s.end.hash, s.end.seq) {
			s.fail("the entry does not follow from the one before")
			return s, nil
		}
		if first {
			s.batch = s.end
		}
		s.end.seq++
		s.end.hash = hashOf(frame, &s.end.hash)
		s.end.offset += int64(len(frame))
		r.Take(len(frame))
	}
	if err := s.tail(r); err != nil {
		return nil, err
	}
	if s.used == s.end.offset {
		s.reason = ""
	}
	if len(checks) > 0 {
		s.definite = true
		if s.reason == "" {
			s.reason = fmt.Sprintf("the journal ends, but was durable up to entry %d", checks[len(checks)-1].seq)
		}
	}
	return s, nil
}

func (s *scan) fail(reason string) { s.reason, s.definite = reason, true }

// check drops the positions that are met at the end so far.
func (s *scan) check(checks []position) []position {
	for len(checks) > 0 && checks[0].offset <= s.end.offset {
		if checks[0] != s.end {
			if checks[0].seq == s.end.seq {
				s.other = s.end.seq
			}
			s.fail(fmt.Sprintf("there is another entry %d than was durable", checks[0].seq))
			return checks
		}
		checks = checks[1:]
	}
	return checks
}

// tail looks through what is behind the last entry: for the last byte that is not zero, and then, up to there, for a later batch,
// at every offset, because nothing says where one would begin.
//
// A frame's first bytes may be zero by chance: those of its checksum and the lowest of its length.
func (s *scan) tail(r *frameReader) (err error) {
	const zerosInFront = 7
	from := r.Offset()
	s.used, err = r.Tail(zerosInFront, func() error { return nil })
	if err != nil || s.used == from {
		return err
	}
	again := &frameReader{Reader: r.Part(from, min(r.Size(), s.used+zerosBehind)), seed: r.seed}
	_, err = again.Tail(zerosInFront, func() (err error) {
		if !s.laterBatch {
			s.laterBatch, err = again.beginsBatch(s.end.seq + 1)
		}
		return err
	})
	return err
}

// zerosBehind is more zeros than any entry ends with.
const zerosBehind = 4 << 10

// beginsBatch reports whether there is a whole frame at the reader's place that begins a batch with an entry after seq. What is
// there may have been put there by a client, in a memo or in what it wants back with its reply, to look like a long frame: it is
// no entry, which shows sooner than that its checksum does not hold.
func (r *frameReader) beginsBatch(seq uint64) (bool, error) {
	head, err := r.Peek(smallestFrame)
	if err != nil || len(head) < smallestFrame {
		return false, err
	}
	size, first, ok := frameSize(head)
	found := seqOf(head)
	if !ok || !first || size > r.Left() || found <= seq || found-seq > uint64(r.Size())/smallestFrame {
		return false, nil
	}
	frame, err := r.Peek(int(size))
	if err != nil || int64(len(frame)) < size || bank.ParseEntry(frame[frameHeader:], &r.entry) != nil {
		return false, err
	}
	return intact(frame, r.seed), nil
}
