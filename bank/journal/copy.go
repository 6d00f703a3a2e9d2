package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"gateway/disk"
)

// Copied is what [Copy] has copied.
type Copied struct {
	Entries uint64 // the seq of the last
	Bytes   int64
	// LeftOut is how many entries of a last batch were whole but not known to be durable. A gateway beside us knows in a
	// moment; after a power cut only a start does, which makes them durable.
	LeftOut uint64
}

// Copy copies the journal in from, which a gateway may be writing, into to, which must be empty, and makes the copy durable.
// It holds every entry that was answered before Copy was called, and none that is not known to be durable: one that was in
// the copy and then lost in a power cut would leave two histories. After a power cut the mark may be too old to tell of the
// last batch; what is left out for it is counted.
//
// It takes no lock and changes nothing in from. The copy is a journal as [Engine.Close] leaves it, with the newest snapshot
// that is whole. What a checksum or a hash can tell is checked before anything is written: an error that wraps
// [ErrDamaged] is from's. The disk of to keeps its reserve: see [CheckRoom]. Whoever relies on the copy calls [Verify] on it.
// After an error to holds what nobody should take for a journal.
func Copy(ctx context.Context, from, to disk.FS) (Copied, error) {
	s, err := surveyBeside(from)
	if err != nil {
		return Copied{}, err
	}
	if len(s.segments) == 0 {
		return Copied{}, fmt.Errorf("copy a journal: there is none: %w", fs.ErrNotExist)
	}
	end := s.known()
	copied := Copied{Entries: end.seq, LeftOut: s.end.seq - end.seq}
	if err := s.checkRoom(to, &end); err != nil {
		return copied, err
	}
	if copied.Bytes, err = s.copySnapshot(ctx, from, to); err != nil {
		return copied, fmt.Errorf("copy a snapshot: %w", err)
	}
	for _, seg := range s.segments[:end.segment] {
		bytes := seg.bytesTo(&end)
		if err := CheckRoom(to, bytes); err != nil { // others may have taken it meanwhile
			return copied, err
		}
		if err := disk.Copy(ctx, from, to, seg.name, bytes); err != nil {
			return copied, fmt.Errorf("copy %s: %w", seg.name, err)
		}
		copied.Bytes += bytes
	}
	if err := beginMarks(to, s.identity.id, end); err != nil {
		return copied, fmt.Errorf("write %s: %w", markName, err)
	}
	copied.Bytes += 2 * markSlot
	return copied, to.SyncDir()
}

// known returns the last place that is known to be durable: that of the mark, the end of a snapshot, or, because a batch is
// written only after the one before is durable, the beginning of the last.
func (s *survey) known() position {
	last := s.segments[len(s.segments)-1].scan.batch
	for _, p := range s.durable() {
		if p.after(&last) || p.seq == last.seq {
			last = p
		}
	}
	return last
}

// bytesTo returns how many bytes of a segment hold what is before end, which is not before the segment.
func (seg *segment) bytesTo(end *position) int64 {
	if seg.number == end.segment {
		return end.offset
	}
	return seg.scan.end.offset
}

// checkRoom makes sure that there is space for all before end, so that a disk that is too small is told in a moment.
func (s *survey) checkRoom(to disk.FS, end *position) error {
	sizes := []int64{2 * markSlot}
	for _, seg := range s.segments[:end.segment] {
		sizes = append(sizes, seg.bytesTo(end))
	}
	if len(s.snapshots) > 0 {
		sizes = append(sizes, s.snapshots[0].bytes)
	}
	return CheckRoom(to, sizes...)
}

// copySnapshot copies the newest snapshot that is whole, if there is one, and returns its bytes. One that a gateway beside us
// has just removed is followed by a newer one; the one before will do.
func (s *survey) copySnapshot(ctx context.Context, from, to disk.FS) (int64, error) {
	for _, snapshot := range s.snapshots {
		err := snapshot.read(from, &s.identity, func(int, uint64, []byte) error { return ctx.Err() })
		if err == nil {
			err = disk.Copy(ctx, from, to, snapshot.name, snapshot.bytes)
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errSnapshot) {
			return snapshot.bytes, err
		}
	}
	return 0, nil
}

// beginMarks makes the file of the marks with one that stands at end, and syncs it.
func beginMarks(fsys disk.FS, id [16]byte, end position) error {
	file, err := fsys.Create(markName)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := disk.Zero(file, 0, 2*markSlot); err != nil {
		return err
	}
	marks := markFile{file: file, last: mark{id: id}}
	if err := marks.write(end); err != nil {
		return err
	}
	return file.Sync()
}

// ReadID returns what tells the journal in fsys from all others, as [Engine.ID] does. It takes no lock.
func ReadID(fsys disk.FS) (id [16]byte, err error) {
	b, err := disk.Head(fsys, segmentName(1), sector)
	if err != nil {
		return id, err
	}
	reason, err := checkSector(b, segmentMagic)
	if err != nil {
		return id, fmt.Errorf("%s: %w", segmentName(1), err)
	}
	if reason != "" {
		return id, &DamageError{File: segmentName(1), Seq: 1, Reason: reason}
	}
	var header segmentHeader
	header.parse(b)
	return header.id, nil
}
