package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Unfinished ends the name of a file that is not whole yet. Who opens a directory of its own may remove such files.
const Unfinished = ".tmp"

const (
	copyBytes = 1 << 20 // read and written at once
	// zeroBytes is how much is filled between two syncs: a sync of another file beside them waits for so much. With 4 MiB
	// such a sync took 200 ms.
	zeroBytes = 256 << 10
)

// Publish gives a synced file its name, and makes that durable.
func Publish(fsys FS, draft, name string) error {
	if err := fsys.Rename(draft, name); err != nil {
		return err
	}
	return fsys.SyncDir()
}

// DropDraft removes a file that could not be finished for want of space, so that it takes none. It returns err, or what
// went worse.
func DropDraft(fsys FS, draft string, err error) error {
	if LacksSpace(err) {
		if worse := fsys.Remove(draft); worse != nil && !errors.Is(worse, fs.ErrNotExist) {
			return errors.Join(worse, fmt.Errorf("after %v", err))
		}
	}
	return err
}

// Zero writes zeros from one offset of a file to another and syncs them as it goes. A file that was filled and synced before
// it is written takes a sync that has nothing to do but the bytes, and cannot run out of space.
func Zero(file File, from, to int64) error {
	zeros := make([]byte, min(zeroBytes, max(to-from, 0)))
	for from < to {
		n, err := file.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
		if err := file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Copy makes in one directory a synced copy of the first bytes of a file of another, until ctx ends. It syncs as it goes, as
// [Zero] does, so that who works on the same disk waits for little. The copy's name is durable after SyncDir.
func Copy(ctx context.Context, from, to FS, name string, bytes int64) error {
	source, err := from.Open(name)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := to.Create(name)
	if err != nil {
		return err
	}
	defer copied.Close()
	buf := make([]byte, min(zeroBytes, bytes))
	for at := int64(0); at < bytes; at += int64(len(buf)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		buf = buf[:min(int64(len(buf)), bytes-at)]
		if n, err := source.ReadAt(buf, at); n < len(buf) {
			return fmt.Errorf("read %s at %d: %w", name, at, err)
		}
		if _, err := copied.WriteAt(buf, at); err != nil {
			return err
		}
		if err := copied.Sync(); err != nil {
			return err
		}
	}
	return copied.Sync()
}

// CopyWhole is Copy of all bytes that the file has when it begins, and returns how many.
func CopyWhole(ctx context.Context, from, to FS, name string) (bytes int64, err error) {
	file, err := from.Open(name)
	if err != nil {
		return 0, err
	}
	bytes, err = file.Size()
	file.Close()
	if err != nil {
		return 0, err
	}
	return bytes, Copy(ctx, from, to, name, bytes)
}

// Renew writes the first bytes of a file into new blocks, without what is behind them, and puts the copy in its place. It is
// for what a start finds: the system may show bytes that the disk has not, those of a process that was killed before its
// sync, and, after a failed sync, those that it holds to be clean. When there is no space for another file, the same bytes
// are written into the old one, and inPlace is true.
func Renew(fsys FS, name string, bytes int64) (inPlace bool, err error) {
	old, err := fsys.Edit(name)
	if err != nil {
		return false, err
	}
	defer old.Close()
	switch err = copyAnew(fsys, old, name, bytes); {
	case err == nil:
		return false, Publish(fsys, name+Unfinished, name)
	case !LacksSpace(err):
		return false, err
	}
	if err := fsys.Remove(name + Unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	if err := copyFirst(old, old, bytes); err != nil {
		return true, err
	}
	if err := old.Truncate(bytes); err != nil {
		return true, err
	}
	return true, old.Sync()
}

// copyAnew makes a synced draft of the first bytes of a file.
func copyAnew(fsys FS, old File, name string, bytes int64) error {
	file, err := fsys.Create(name + Unfinished)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := copyFirst(file, old, bytes); err != nil {
		return err
	}
	return file.Sync()
}

// copyFirst writes the first bytes of one file into another, which may be the same.
func copyFirst(to io.WriterAt, from io.ReaderAt, bytes int64) error {
	buf := make([]byte, min(copyBytes, bytes))
	for at := int64(0); at < bytes; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), bytes-at)]
		if n, err := from.ReadAt(buf, at); n < len(buf) {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		if _, err := to.WriteAt(buf, at); err != nil {
			return err
		}
	}
	return nil
}
