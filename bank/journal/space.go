package journal

import (
	"fmt"

	"gateway/disk"
)

const (
	// firstSegment is the size of a new journal's first segment and of the room a start makes in the last, in bytes. Each
	// further segment is segmentGrowth times as large, up to Options.SegmentBytes, so that a small journal is a small file.
	firstSegment  = 4 << 20
	segmentGrowth = 4
	// smallestSegment is the least that is worth preparing on a disk that fills up, in bytes.
	smallestSegment = 64 << 10

	blockBytes = 4096     // sizes of segments are multiples of it
	keptBuffer = 16 << 20 // a batch's buffer that outgrows this is not kept
)

// spare returns how many bytes the disk has above the reserve, and the reserve: below it, operations that write are answered
// [bank.Unavailable], and balances go on. It is there so that a disk is refused before it is full, and so that a recovery,
// which writes the last segment anew, has room. No segment is prepared that is larger than the reserve. A disk that does not
// say is no disk that fails: the error wraps [ErrNoSpace], so that who needs to know asks again.
func spare(fsys disk.FS) (above, kept int64, err error) {
	free, total, err := fsys.Space()
	if err != nil {
		return 0, 0, fmt.Errorf("%w, or does not say: %w", ErrNoSpace, err)
	}
	kept = disk.Reserve(total)
	return free - kept, kept, nil
}

// inBlocks returns how much of a disk so many bytes take.
func inBlocks(bytes int64) int64 { return (bytes + blockBytes - 1) / blockBytes * blockBytes }

// CheckRoom makes sure that files of these sizes leave the disk of fsys its reserve, also where no journal is: what disk a
// directory shares with one is not for certain, and a copy that is refused harms less than a bank that is stopped by it. An
// error wraps [ErrNoSpace]. A disk that does not say how much it has is not in the way.
func CheckRoom(fsys disk.FS, sizes ...int64) error {
	needed := int64(0)
	for _, bytes := range sizes {
		needed += inBlocks(bytes)
	}
	if above, kept, err := spare(fsys); err == nil && above < needed {
		return fmt.Errorf("%w: a copy takes %d bytes, and %d are free, of which %d stay so", ErrNoSpace, needed, above+kept, kept)
	}
	return nil
}
