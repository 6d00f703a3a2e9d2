package journal

import (
	"encoding/binary"
	"fmt"
	"io"

	"gateway/disk"
)

const (
	readBytes = 1 << 20 // read at once
	// smallestFrame is the least that can be told from its neighbours: a header, the format and a seq.
	smallestFrame = frameHeader + smallestEntry
)

// frameReader reads a segment from one place to its end, with a bounded buffer that grows only for an entry that needs it.
type frameReader struct {
	file   disk.File
	size   int64 // of the file
	seed   uint32
	offset int64  // of the next byte
	buf    []byte // what is read from offset on
	spare  []byte // the whole buffer, of which buf is the end
}

func newFrameReader(file disk.File, seed uint32, offset int64) (*frameReader, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	return &frameReader{file: file, size: size, seed: seed, offset: offset}, nil
}

// peek returns the next n bytes without taking them, or fewer at the end of the file. They are valid until the next call.
func (r *frameReader) peek(n int) ([]byte, error) {
	if left := r.size - r.offset; int64(n) > left {
		n = int(max(left, 0))
	}
	if len(r.buf) >= n {
		return r.buf[:n], nil
	}
	want := int(min(int64(max(n, readBytes)), r.size-r.offset))
	if cap(r.spare) < want {
		grown := make([]byte, want)
		copy(grown, r.buf)
		r.spare = grown
	} else {
		r.spare = r.spare[:cap(r.spare)]
		copy(r.spare, r.buf)
	}
	held := len(r.buf)
	got, err := r.file.ReadAt(r.spare[held:want], r.offset+int64(held))
	if err != nil && err != io.EOF {
		return nil, err
	}
	r.buf = r.spare[:held+got]
	return r.buf[:min(n, len(r.buf))], nil
}

// window returns what is read already, when that is enough to go on with, or reads on.
func (r *frameReader) window() ([]byte, error) {
	const enough = 4096
	if len(r.buf) >= enough {
		return r.buf, nil
	}
	return r.peek(readBytes)
}

func (r *frameReader) take(n int) {
	r.buf = r.buf[n:]
	r.offset += int64(n)
}

// frame returns the next frame without taking it, whole and with its checksum holding, and whether it begins a batch; or
// why what is there is no frame. The frame is valid until the next call.
func (r *frameReader) frame() (frame []byte, first bool, reason string, err error) {
	head, err := r.peek(frameHeader)
	if err != nil {
		return nil, false, "", err
	}
	if len(head) < frameHeader {
		return nil, false, "the file ends", nil
	}
	size, first, ok := frameSize(head)
	if !ok || size > r.size-r.offset {
		return nil, false, "the length cannot be", nil
	}
	frame, err = r.peek(int(size))
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
	end  position // after the last entry
	size int64    // of the file
	// reason says why there is no entry at the end; it is empty when only zeros follow.
	reason string
	// used is the place after the last byte that is not zero; it is not before end.offset.
	used int64
	// laterBatch says that after the end there is a whole frame that begins a batch, so that what is between was durable.
	laterBatch bool
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
	s := &scan{size: r.size, end: position{segment: h.number, offset: sector, seq: h.first - 1, hash: h.before}}
	for {
		checks = s.check(checks)
		if s.definite {
			return s, nil
		}
		frame, _, reason, err := r.frame()
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
		s.end.seq++
		s.end.hash = hashOf(frame, &s.end.hash)
		s.end.offset += int64(len(frame))
		r.take(len(frame))
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
			s.fail(fmt.Sprintf("there is another entry %d than was durable", checks[0].seq))
			return checks
		}
		checks = checks[1:]
	}
	return checks
}

// tail looks through what is behind the last entry: for the last byte that is not zero, and for a later batch, at every
// offset, because nothing says where one would begin.
//
// A frame's first bytes may be zero by chance: those of its checksum and the lowest of its length.
func (s *scan) tail(r *frameReader) error {
	const zerosInFront = 7
	s.used = s.end.offset
	for {
		chunk, err := r.window()
		if err != nil {
			return err
		}
		zeros := leadingZeros(chunk)
		if int64(zeros) == r.size-r.offset {
			return nil
		}
		if zeros == len(chunk) {
			r.take(len(chunk) - zerosInFront)
			continue
		}
		if zeros > zerosInFront {
			r.take(zeros - zerosInFront)
			continue
		}
		if r.offset > s.end.offset && !s.laterBatch {
			if s.laterBatch, err = r.beginsBatch(s.end.seq + 1); err != nil {
				return err
			}
		}
		if zeros == 0 {
			s.used = r.offset + 1
		}
		r.take(1)
	}
}

// beginsBatch reports whether there is a whole frame at the reader's place that begins a batch with an entry after seq.
func (r *frameReader) beginsBatch(seq uint64) (bool, error) {
	head, err := r.peek(smallestFrame)
	if err != nil || len(head) < smallestFrame {
		return false, err
	}
	size, first, ok := frameSize(head)
	found := seqOf(head)
	if !ok || !first || size > r.size-r.offset || found <= seq || found-seq > uint64(r.size)/smallestFrame {
		return false, nil
	}
	frame, err := r.peek(int(size))
	return err == nil && int64(len(frame)) == size && intact(frame, r.seed), err
}

func leadingZeros(b []byte) int {
	n := 0
	for len(b)-n >= 8 && binary.LittleEndian.Uint64(b[n:]) == 0 {
		n += 8
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}
