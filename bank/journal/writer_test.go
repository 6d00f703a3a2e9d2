package journal

import (
	"testing"

	"gateway/disk/disktest"
)

// TestEachSegmentIsFourTimesTheOneBefore, up to the largest there may be.
func TestEachSegmentIsFourTimesTheOneBefore(t *testing.T) {
	for capacity, want := range map[int64]int64{4096: 16384, 16 << 20: 64 << 20, 16<<20 + 1: 64 << 20, 64 << 20: 64 << 20} {
		ahead := newPreparer(disktest.New(1), true, nil)
		w := writer{identity: &identity{}, ahead: ahead, largest: 64 << 20, end: position{segment: 7}}
		if w.use(nil, capacity); ahead.number != 8 || ahead.want != want {
			t.Errorf("after one of %d bytes: segment %d of %d, want %d", capacity, ahead.number, ahead.want, want)
		}
	}
}
