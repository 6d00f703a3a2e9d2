package journal

import "io"

// FS is the one directory a journal lives in, and the seam at which a test puts a disk that forgets: see package disktest.
// Names have no separators. What Create, Rename and Remove did is durable after SyncDir, and nothing before it.
//
// Errors that say that there is no space are [syscall.ENOSPC], [syscall.EDQUOT] or [syscall.EFBIG] to errors.Is; a missing
// file is [fs.ErrNotExist].
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
