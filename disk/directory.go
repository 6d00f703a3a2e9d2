//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Permissions: what is kept is nobody else's to read.
const (
	directoryMode = 0o700
	fileMode      = 0o600
)

// directory is the [FS] of a real directory.
type directory string

// Dir returns the directory at path. It makes it and its parents, if they are missing, and makes their names durable, also that of
// one which a process made that was killed before it could. An empty path is nobody's choice of the working directory.
func Dir(path string) (FS, error) {
	if path == "" {
		return nil, errors.New("disk: the path of a directory is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeDir(path, func(dir string) error { return directory(dir).SyncDir() }); err != nil {
		return nil, err
	}
	return directory(path), nil
}

// makeDir makes what is missing of an absolute path, one directory after the other, and each name is durable before the next is
// made. So of what it finds only the last may be without: it begins with the name of that.
func makeDir(path string, sync func(dir string) error) error {
	existing, missing := path, []string(nil)
	found, err := os.Stat(existing)
	for errors.Is(err, os.ErrNotExist) && existing != filepath.Dir(existing) {
		missing = append(missing, existing)
		existing = filepath.Dir(existing)
		found, err = os.Stat(existing)
	}
	if err == nil && found.IsDir() {
		if err := sync(filepath.Dir(existing)); err != nil && !othersToSync(err) {
			return err
		}
	}
	for _, dir := range slices.Backward(missing) {
		if err := os.MkdirAll(dir, directoryMode); err != nil {
			return err
		}
		if err := sync(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return os.MkdirAll(path, directoryMode) // or there is something else
}

// othersToSync reports whether err says that a directory is not this user's to sync, who has then made nothing in it; or that it
// is of a kind that nobody can sync, like that of a system that cannot be written.
func othersToSync(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS)
}

// Existing returns the directory at path, which it does not make.
func Existing(path string) (FS, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return directory(path), nil
}

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

func (d directory) Create(name string) (File, error) {
	return openFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d directory) Open(name string) (File, error) { return openFile(d.path(name), os.O_RDONLY) }

func (d directory) Edit(name string) (File, error) { return openFile(d.path(name), os.O_RDWR) }

func (d directory) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d directory) Remove(name string) error { return os.Remove(d.path(name)) }

func (d directory) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func (d directory) SyncDir() error {
	dir, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (d directory) Space() (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(string(d), &s); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", string(d), err)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}

func (d directory) Lock(name string) (io.Closer, error) {
	file, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, string(d))
	}
	return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
}

// diskFile is a [File] of a real directory.
type diskFile struct{ *os.File }

func openFile(path string, flags int) (File, error) {
	file, err := os.OpenFile(path, flags, fileMode)
	if err != nil {
		return nil, err
	}
	return diskFile{file}, nil
}

func (f diskFile) Sync() error {
	if err := datasync(f.File); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	return nil
}

func (f diskFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}
