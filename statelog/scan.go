package statelog

import (
	"fmt"

	"gateway/disk"
)

// position is a place between two frames.
type position struct {
	offset int64  // of the next frame
	seq    uint64 // of the frame before
}

// frameReader reads the frames of a file from one place on.
type frameReader struct {
	*disk.Reader
	seed uint32
}

// frame returns the header of the next frame and the record in it, or why what is there is no frame. The record is valid
// until the next call.
func (r *frameReader) frame() (h frameHead, record []byte, reason string, err error) {
	b, err := r.Peek(frameHeader)
	if err != nil {
		return h, nil, "", err
	}
	if len(b) < frameHeader {
		return h, nil, "the file ends", nil
	}
	h, ok := parseHead(b)
	if !ok || h.size > r.Left() {
		return h, nil, "the length cannot be", nil
	}
	if b, err = r.Peek(int(h.size)); err != nil {
		return h, nil, "", err
	}
	if int64(len(b)) < h.size || !intact(b, r.seed) {
		return h, nil, "the checksum does not hold", nil
	}
	return h, b[frameHeader:], "", nil
}

// scan is what a file holds.
type scan struct {
	name   string
	header *header
	end    position // behind the last record
	size   int64    // of the file
	marked bool     // a mark stands at the end
	reason string   // why there is no frame at the end; empty when there is a mark
	// used is the place after the last byte that is not zero; it is not before end.offset.
	used int64
	// sealed says that after the end there is a whole frame that was written when all before it was durable.
	sealed bool
}

// scanFile reads the file of that name behind its header and calls replay with each record in it. An error of replay's is
// returned as it is.
func scanFile(fsys disk.FS, name string, h *header, replay func([]byte) error) (*scan, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader, err := disk.NewReader(file, sector)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	s := &scan{name: name, header: h, size: reader.Size(), end: position{sector, h.first - 1}}
	r := &frameReader{reader, h.seed()}
	if err := s.records(r, replay); err != nil {
		return nil, err
	}
	if err := s.tail(r); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return s, nil
}

// records reads the frames that follow one another from the start.
func (s *scan) records(r *frameReader, replay func([]byte) error) error {
	for {
		h, record, reason, err := r.frame()
		if err != nil {
			return fmt.Errorf("read %s: %w", s.name, err)
		}
		if reason == "" && h.seq != s.end.seq+1 {
			reason = fmt.Sprintf("frame %d stands in the place of frame %d", h.seq, s.end.seq+1)
		}
		if s.reason, s.marked = reason, reason == "" && h.mark; reason != "" || h.mark {
			return nil
		}
		if err := replay(record); err != nil {
			return err
		}
		r.Take(int(h.size))
		s.end = position{r.Offset(), h.seq}
	}
}

// tail looks through what is behind the last record: for the last byte that is not zero, and for a sealed frame that cannot
// be next, at every offset, because nothing says where one would begin.
//
// A frame's first bytes may be zero by chance: those of its checksum and the lowest of its length.
func (s *scan) tail(r *frameReader) (err error) {
	const zerosInFront = 7
	s.used, err = r.Tail(zerosInFront, func() error {
		if s.sealed {
			return nil
		}
		b, err := r.Peek(frameHeader)
		if err != nil {
			return err
		}
		next := s.end.seq + 1
		h, ok := parseHead(b)
		if !ok || !h.sealed || h.seq <= next || h.seq-next > uint64(s.size)/frameHeader {
			return nil
		}
		_, _, reason, err := r.frame()
		s.sealed = reason == "" && err == nil
		return err
	})
	return err
}

// clean reports whether the mark stands at the end and nothing is behind it, so that all of the file is durable.
func (s *scan) clean() bool { return s.marked && s.used <= s.end.offset+frameHeader }

// whole reports whether a mark stands at the end and the file ends with it.
func (s *scan) whole() bool { return s.marked && s.size == s.end.offset+frameHeader }

// damage tells that the file is wrong at the end of its last record.
func (s *scan) damage(reason string) error {
	return &DamageError{File: s.name, Offset: s.end.offset, Reason: reason}
}
