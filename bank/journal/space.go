package journal

// The reserve is what the journal leaves of a disk: below it, operations that write are answered [bank.Unavailable], and
// balances go on. It is there so that a disk is refused before it is full, and so that a recovery, which writes the last
// segment anew, has room. No segment is prepared that is larger than the reserve.
const (
	// LargestReserve is the reserve of a disk of 1 GiB or more, in bytes.
	LargestReserve = 64 << 20
	// ReserveShare is which part of a smaller disk its reserve is.
	ReserveShare = 16

	// firstSegment is the size of a new journal's first segment and of the room a start makes in the last, in bytes. Each
	// further segment is segmentGrowth times as large, up to Options.SegmentBytes, so that a small journal is a small file.
	firstSegment  = 4 << 20
	segmentGrowth = 4
	// smallestSegment is the least that is worth preparing on a disk that fills up, in bytes.
	smallestSegment = 64 << 10

	blockBytes = 4096     // sizes of segments are multiples of it
	zeroBytes  = 1 << 20  // written at once
	syncBytes  = 4 << 20  // filled between two syncs, so that a batch's sync beside them waits for little
	keptBuffer = 16 << 20 // a batch's buffer that outgrows this is not kept
)

func reserve(total int64) int64 { return min(LargestReserve, total/ReserveShare) }

// spare returns how many bytes the disk has above the reserve, and the reserve.
func spare(disk FS) (above, kept int64, err error) {
	free, total, err := disk.Space()
	if err != nil {
		return 0, 0, err
	}
	kept = reserve(total)
	return free - kept, kept, nil
}

// fill writes zeros from one offset of a file to another and syncs them.
func fill(file File, from, to int64) error {
	zeros := make([]byte, min(zeroBytes, max(to-from, 0)))
	for unsynced := int64(0); from < to; {
		n, err := file.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
		if unsynced += int64(n); unsynced >= syncBytes && from < to {
			if err := file.Sync(); err != nil {
				return err
			}
			unsynced = 0
		}
	}
	return file.Sync()
}
