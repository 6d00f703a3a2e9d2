package statelog

import (
	"errors"
	"fmt"
)

// Errors of Open. A log that another process has open is [disk.ErrLocked].
var (
	// ErrDamaged says that the log is not what was written. The error is a [*DamageError].
	ErrDamaged = errors.New("statelog: damaged")
	// ErrOwner says that the log was made for another owner.
	ErrOwner = errors.New("statelog: the log belongs to another owner")
	// ErrFormat says that the files are of a format that this program does not read.
	ErrFormat = errors.New("statelog: unknown format")
)

// Errors of Append, Checkpoint and Close.
var (
	// ErrFailed says that a write or a sync failed. The [Log] does nothing more, and only a restart, which reads the disk,
	// knows what became of the records that waited.
	ErrFailed = errors.New("statelog: a write or a sync failed")
	// ErrNoSpace says that the disk is full. The record was not kept, and the log goes on.
	ErrNoSpace = errors.New("statelog: the disk is full")
	// ErrOverloaded says that [MaxGatheredBytes] were waiting. The record was not kept.
	ErrOverloaded = errors.New("statelog: too much is waiting to be written")
	// ErrTooLarge says that a record has more than [MaxRecordBytes]. It was not kept.
	ErrTooLarge = errors.New("statelog: the record is too large")
	// ErrClosed says that the log was closed before.
	ErrClosed = errors.New("statelog: closed")
)

// DamageError tells where a log is not what was written. It is an [ErrDamaged].
type DamageError struct {
	File   string // its name within the directory
	Offset int64  // in bytes; of the first byte that cannot be vouched for
	Reason string
}

// Error says all of it in one line.
func (d *DamageError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrDamaged, d.File, d.Offset, d.Reason)
}

// Is makes errors.Is(err, ErrDamaged) true.
func (d *DamageError) Is(target error) bool { return target == ErrDamaged }
