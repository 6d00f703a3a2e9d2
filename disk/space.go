package disk

// The reserve is what the files of a bank leave free of the disk that they share: below it the journal refuses what writes, and
// nothing is written that can be done without.
const (
	// LargestReserve is the reserve of a disk of 1 GiB or more, in bytes.
	LargestReserve = 64 << 20
	// ReserveShare is which part of a smaller disk its reserve is.
	ReserveShare = 16
)

// Reserve returns the reserve of a disk of so many bytes.
func Reserve(total int64) int64 { return min(LargestReserve, total/ReserveShare) }
