package journal

import (
	"errors"
	"fmt"
	"slices"

	"gateway/bank"
	"gateway/disk"
)

// Entries calls visit with every entry after the one with that seq, in order. It reads the segments from the one that holds
// the first of them. The entry is visit's until it returns; an error of visit's ends it and is returned as it is.
//
// It is for whoever keeps what follows from entries and has to catch up at a start: it may only be called before the first
// Commit, and not beside it.
func (e *Engine) Entries(after uint64, visit func(*bank.Entry) error) error {
	if err := e.stopped(); err != nil {
		return err
	}
	s := e.found
	if s == nil {
		return errors.New("journal: entries are told before the first commit only")
	}
	if after >= s.end.seq {
		return nil
	}
	later := slices.IndexFunc(s.segments, func(seg *segment) bool { return seg.first > after+1 })
	if later < 0 {
		later = len(s.segments)
	}
	holds := s.segments[later-1]
	from := position{segment: holds.number, offset: sector, seq: holds.first - 1}
	return s.walk(e.fsys, from, func(entry *bank.Entry, _ []byte, _ uint64) error {
		if entry.Seq <= after {
			return nil
		}
		return visit(entry)
	})
}

// walk reads the entries of a surveyed journal again, from a position to its end, and calls f with each, its frame and its
// reference. The entry and the frame are f's until it returns. An error of f's is returned as it is; a frame that is no
// entry's canonical form is damage, and so is one that is none any more, unless nobody else can have written: see errOther.
func (s *survey) walk(fsys disk.FS, from position, f func(e *bank.Entry, frame []byte, ref uint64) error) error {
	var e bank.Entry
	at := from
	for _, seg := range s.segments[from.segment-1:] {
		if err := s.walkSegment(fsys, seg, &at, &e, f); err != nil {
			return err
		}
		at.offset = sector
	}
	if at.seq != s.end.seq {
		return fmt.Errorf("the journal changed while it was read: entry %d is missing", at.seq+1)
	}
	return nil
}

func (s *survey) walkSegment(
	fsys disk.FS, seg *segment, at *position, e *bank.Entry, f func(*bank.Entry, []byte, uint64) error,
) error {
	file, err := fsys.Open(seg.name)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := newFrameReader(file, s.identity.seed(seg.number), at.offset)
	if err != nil {
		return err
	}
	for r.Offset() < seg.scan.end.offset {
		frame, _, reason, err := r.frame()
		if err != nil {
			return fmt.Errorf("read %s: %w", seg.name, err)
		}
		damage := DamageError{File: seg.name, Offset: r.Offset(), Seq: at.seq + 1, Reason: reason}
		if reason != "" && s.locked {
			return fmt.Errorf("%w: %s at byte %d: %s", errOther, seg.name, r.Offset(), reason)
		}
		if reason != "" {
			return &damage
		}
		if err := bank.ParseEntry(frame[frameHeader:], e); err != nil {
			damage.Reason = err.Error()
			return &damage
		}
		at.seq++
		if err := f(e, frame, refTo(seg.number, r.Offset())); err != nil {
			return err
		}
		r.Take(len(frame))
	}
	return nil
}
