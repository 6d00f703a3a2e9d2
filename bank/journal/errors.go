package journal

import (
	"errors"
	"fmt"

	"gateway/disk"
)

// Errors of Open, Verify and Dump.
var (
	// ErrLocked says that another process has the directory open.
	ErrLocked = disk.ErrLocked
	// ErrDamaged says that the journal is not what was written. The error is a [*DamageError].
	ErrDamaged = errors.New("journal: damaged")
	// ErrDecimals says that the journal keeps another number of decimals than was asked for.
	ErrDecimals = errors.New("journal: the number of decimals cannot be changed")
	// ErrFormat says that the files are of a format that this program does not read.
	ErrFormat = errors.New("journal: unknown format")
)

// ErrFailed says that a write or a sync failed. The [Engine] does nothing more, and only a restart, which reads the disk,
// knows what became of the operations that waited.
var ErrFailed = errors.New("journal: a write or a sync failed")

// ErrNoSpace says that the disk has less than the reserve left: see [Reserve].
var ErrNoSpace = errors.New("journal: the disk is nearly full")

// DamageError tells where a journal is not what was written. It is an [ErrDamaged].
type DamageError struct {
	File   string // its name within the directory
	Offset int64  // in bytes; of the first byte that cannot be vouched for
	Seq    uint64 // the first entry that cannot be vouched for; 0 when what should tell it has rotted too
	Reason string
}

// Error says all of it in one line.
func (d *DamageError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d, entry %d: %s", ErrDamaged, d.File, d.Offset, d.Seq, d.Reason)
}

// Is makes errors.Is(err, ErrDamaged) true.
func (d *DamageError) Is(target error) bool { return target == ErrDamaged }

// lacksSpace reports whether err says that the disk, the quota or the file is full.
func lacksSpace(err error) bool {
	return disk.LacksSpace(err) || errors.Is(err, ErrNoSpace)
}

// orNil returns d as an error that is nil when d is.
func (d *DamageError) orNil() error {
	if d == nil {
		return nil
	}
	return d
}
