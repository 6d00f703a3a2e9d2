package statelog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"gateway/disk"
)

// copyAgain bounds how often Copy begins anew, because the log in use changed while it was read.
const copyAgain = 10

// Read calls replay with every record that is kept, as [Open] does, and changes nothing. It takes no lock; beside an open log
// it may meet what looks like damage and is none. In a directory without a log there are no records.
func Read(fsys disk.FS, owner [16]byte, replay func(record []byte) error) error {
	s, err := takeSurvey(fsys)
	if err == nil {
		_, err = s.scan(fsys, owner, replay)
	}
	if err != nil {
		return fmt.Errorf("read the state log: %w", err)
	}
	return nil
}

// Copy copies the log in from, which may be open and at work, into to, which must be empty, makes the copy durable and
// returns its bytes. It holds every record that was durable when Copy was called, and those appended since up to some place.
// The copy is a log as [Log.Close] leaves it. Where there is no log there is nothing to copy.
//
// It takes no lock and changes nothing in from. A checkpoint replaces files while they are read, and what is written
// meanwhile may be there without what is before it: then Copy begins anew. What is wrong each time is an [ErrDamaged] of
// from's. After an error to holds what nobody should take for a log.
func Copy(ctx context.Context, from, to disk.FS, owner [16]byte) (bytes int64, err error) {
	for range copyAgain {
		bytes, err = copyOnce(ctx, from, to, owner)
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if worse := empty(to); worse != nil {
			return 0, fmt.Errorf("copy the state log: %w, after %w", worse, err)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("copy the state log: %w", err)
	}
	return bytes, nil
}

// copyOnce copies all files that count as they are found, and then sees what the copies hold.
func copyOnce(ctx context.Context, from, to disk.FS, owner [16]byte) (bytes int64, err error) {
	s, err := takeSurvey(from)
	if err != nil {
		return 0, err
	}
	if s.checkpoint {
		if _, err := disk.CopyWhole(ctx, from, to, checkName(s.base)); err != nil {
			return 0, err
		}
	}
	for generation := max(s.base, 1); generation <= s.last; generation++ {
		if _, err := disk.CopyWhole(ctx, from, to, logName(generation)); err != nil {
			return 0, err
		}
	}
	scans, err := s.scan(to, owner, func([]byte) error { return nil })
	if err != nil {
		return 0, err
	}
	for _, found := range scans {
		if err := found.settle(to); err != nil {
			return 0, err
		}
		bytes += found.end.offset + frameHeader
	}
	return bytes, to.SyncDir()
}

// settle leaves a copied file with a mark behind its last record and nothing else.
func (s *scan) settle(fsys disk.FS) error {
	if s.whole() {
		return nil
	}
	file, err := fsys.Edit(s.name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(s.end.offset); err != nil {
		return err
	}
	if _, err := file.WriteAt(markFrame(s.header.seed(), s.end.seq+1), s.end.offset); err != nil {
		return err
	}
	return file.Sync()
}

func empty(fsys disk.FS) error {
	names, err := fsys.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := fsys.Remove(name); err != nil {
			return err
		}
	}
	return nil
}
