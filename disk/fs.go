// Package disk is what lies under those who keep promises across a power cut: one directory of files, and the few steps
// that make a change of it whole. [Dir] is a real directory; package disktest has one that forgets what was not synced.
package disk

import (
	"errors"
	"io"
	"syscall"
)

// ErrLocked says that another process has the directory open.
var ErrLocked = errors.New("disk: another process has the directory")

// FS is one directory, and the seam at which a test puts a disk that forgets: see package disktest. Names have no
// separators. What Create, Rename and Remove did is durable after SyncDir, and nothing before it.
//
// Errors that say that there is no space are those of [LacksSpace]; a missing file is [fs.ErrNotExist].
type FS interface {
	// Create makes an empty file, or empties the one there is, and opens it for reading and writing.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Edit opens a file for reading and writing.
	Edit(name string) (File, error)
	// Rename replaces the file called to, if there is one, in one step.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names of all files, in no order.
	List() ([]string, error)
	SyncDir() error
	// Space returns how much this user can still write and how much the file system holds, in bytes.
	Space() (free, total int64, err error)
	// Lock takes the lock of that name until it is closed or the process ends, or returns [ErrLocked].
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt are as package io has them.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes all that was written durable, and the size.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// LacksSpace reports whether err says that the disk, the quota or the file is full.
func LacksSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
