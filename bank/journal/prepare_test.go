package journal

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/disk"
	"gateway/disk/disktest"
)

// roomy returns a disk of that many bytes, of which so many are free above the reserve.
func roomy(total, above int64) *disktest.Disk {
	d := disktest.New(1)
	d.Limit(total)
	if taken := total - disk.Reserve(total) - above; taken > 0 {
		d.Put("others", make([]byte, taken))
	}
	return d
}

// TestASegmentLeavesTheDiskAsMuchAsItTakes: it has the wanted size, or that of the reserve when that is less, or half of what is
// above the reserve, in whole blocks; and none is made that would be too small.
func TestASegmentLeavesTheDiskAsMuchAsItTakes(t *testing.T) {
	const large = 32 << 20 // its reserve is 2 MiB
	for _, c := range []struct {
		total, above, want int64
		size               int64 // 0: there is no space
	}{
		{large, 16 << 20, 1 << 20, 1 << 20},
		{large, 16 << 20, 2 << 20, 2 << 20},
		{large, 16 << 20, 4 << 20, 2 << 20},
		{large, 4 << 20, 4 << 20, 2 << 20},
		{large, 4<<20 - 1, 4 << 20, 2<<20 - 4096},
		{large, 2<<20 + 8191, 4 << 20, 1 << 20},
		{large, 2 << 20, 4 << 20, 1 << 20},
		{large, 128 << 10, 4 << 20, 64 << 10},
		{large, 128<<10 - 1, 4 << 20, 0},
		{large, 0, 4 << 20, 0},
		{large, -1, 4 << 20, 0},
		{large, 2 * 5000, 5000, 5000},
		{large, 2*5000 - 1, 5000, 0},
		{1 << 20, 512 << 10, 512 << 10, 64 << 10},
		{512 << 10, 256 << 10, 512 << 10, 64 << 10},
		{512 << 10, 256 << 10, 8 << 10, 8 << 10},
	} {
		d := roomy(c.total, c.above)
		made, err := prepare(d, 7, c.want)
		what := fmt.Sprintf("%d bytes of %d, %d wanted", c.above, c.total, c.want)
		if c.size == 0 {
			if !errors.Is(err, ErrNoSpace) || made != nil || d.Ops() != 0 {
				t.Errorf("%s: %+v, %v, %d operations", what, made, err, d.Ops())
			}
			continue
		}
		if err != nil || made.capacity != c.size || made.number != 7 {
			t.Errorf("%s: %+v, %v; want %d", what, made, err, c.size)
			continue
		}
		if size, _ := made.file.Size(); size != c.size || int64(len(d.Bytes(segmentName(7)))) != c.size {
			t.Errorf("%s: the file has %d bytes", what, size)
		}
	}
}

// TestRoomForALargeEntryIsMadeOrNot makes a prepared segment larger on disks with exactly the space, a byte less, and none that works.
func TestRoomForALargeEntryIsMadeOrNot(t *testing.T) {
	const capacity = 64 << 10
	fails := func(kind disktest.Kind, err error) func(disktest.Op) error {
		return func(op disktest.Op) error {
			if op.Kind == kind || kind == disktest.Truncate && op.Kind == disktest.Write {
				return err
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		need, above int64
		before      func(disktest.Op) error
		size        int64
		want        error
	}{
		"it has the room":            {capacity, -1, fails(disktest.Write, syscall.EIO), capacity, nil},
		"exactly the space is there": {capacity + 700, 700, nil, capacity + 700, nil},
		"a byte too little":          {capacity + 700, 699, nil, capacity, ErrNoSpace},
		"the space is not there":     {capacity + 700, 1 << 20, fails(disktest.Write, syscall.ENOSPC), capacity, ErrNoSpace},
		"a write fails":              {capacity + 700, 1 << 20, fails(disktest.Write, syscall.EIO), 0, syscall.EIO},
		"nor can what was made go":   {capacity + 700, 1 << 20, fails(disktest.Truncate, syscall.ENOSPC), 0, syscall.ENOSPC},
		"a sync fails":               {capacity + 700, 1 << 20, fails(disktest.Sync, syscall.EIO), 0, syscall.EIO},
	} {
		d := roomy(8<<20, 4<<20)
		p, err := prepare(d, 2, capacity)
		if err != nil {
			t.Fatal(err)
		}
		free, total, _ := d.Space()
		d.Put("more", make([]byte, free-disk.Reserve(total)-c.above))
		d.Before = c.before
		err = extend(d, p, c.need)
		if !errors.Is(err, c.want) || (c.want == ErrNoSpace) != errors.Is(err, ErrNoSpace) || c.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if size, _ := p.file.Size(); c.size > 0 && (size != c.size || p.capacity != c.size) {
			t.Errorf("%s: the file has %d bytes, the segment %d; want %d", name, size, p.capacity, c.size)
		}
	}
	d := roomy(8<<20, 4<<20)
	p, err := prepare(d, 2, capacity)
	if err != nil {
		t.Fatal(err)
	}
	silent := &untold{FS: d}
	silent.silent.Store(true)
	if err := extend(silent, p, capacity+1); !errors.Is(err, syscall.EIO) || !errors.Is(err, ErrNoSpace) {
		t.Errorf("when nobody tells the space: %v", err)
	}
	if err := CheckRoom(silent, 1<<60); err != nil {
		t.Errorf("a copy, when nobody tells the space: %v", err)
	}
}

// TestACopyAndASnapshotAskForBlocks, to the byte.
func TestACopyAndASnapshotAskForBlocks(t *testing.T) {
	for bytes, want := range map[int64]int64{0: 0, 1: 4096, 4096: 4096, 4097: 8192, 3 * 4096: 3 * 4096} {
		if blocks := inBlocks(bytes); blocks != want {
			t.Errorf("%d bytes take %d, want %d", bytes, blocks, want)
		}
	}
	d := roomy(8<<20, 8192)
	free, _, _ := d.Space()
	if err := CheckRoom(d, 1, 4096); err != nil {
		t.Error(err)
	}
	if err := CheckRoom(d, 1, 4097); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), fmt.Sprint(free, " are free")) {
		t.Error(err)
	}
	for more := range 2 {
		d := roomy(8<<20, 8192)
		file, err := d.Create(snapshotDraft)
		if err != nil {
			t.Fatal(err)
		}
		s := &draft{s: &snapshots{e: &Engine{fsys: d}}, file: file, offset: sector, buf: make([]byte, 8192-sector+more)}
		if err := s.flush(); errors.Is(err, syscall.ENOSPC) != (more > 0) || more == 0 && err != nil {
			t.Errorf("%d bytes more than two blocks: %v", more, err)
		}
	}
}

// untold is a disk that does not say how much space it has while it is silent.
type untold struct {
	disk.FS
	silent atomic.Bool
}

func (u *untold) Space() (free, total int64, err error) {
	if u.silent.Load() {
		return 0, 0, syscall.EIO
	}
	return u.FS.Space()
}

// TestSpaceThatIsNotToldIsAskedForAgain: a preparer that cannot learn how much there is waits as for space, and a snapshot is left out;
// nothing fails.
func TestSpaceThatIsNotToldIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &untold{FS: disktest.New(1)}
		d.silent.Store(true)
		p := newPreparer(d, false, func(err error) error { t.Error(err); return err })
		p.request(2, 4096)
		synctest.Wait()
		if _, err := p.take(4096); !errors.Is(err, ErrNoSpace) || !p.starved() {
			t.Fatalf("take: %v, starved %v", err, p.starved())
		}
		d.silent.Store(false)
		<-time.After(retryAfter + 1)
		synctest.Wait()
		if taken, err := p.take(4096); err != nil || taken.number != 2 || p.starved() {
			t.Fatalf("when it is told: %+v, %v, starved %v", taken, err, p.starved())
		}
		p.close()
	})
	d := &untold{FS: disktest.New(1)}
	engine, err := Open("", Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2, FS: d, Inline: true, SnapshotEvery: 1})
	if err != nil {
		t.Fatal(err)
	}
	d.silent.Store(true)
	for range 4 { // commits that a snapshot takes
		ops := []bank.Operation{{Kind: bank.KindDeposit, Principal: "p", Account: "ana", Amount: 1}}
		if err := engine.Commit(t.Context(), ops, make([]bank.Reply, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := engine.Close(); err != nil {
		t.Error(err)
	}
}

// TestAPreparerDoesWhatItIsAskedFor: nothing before, one segment, and nothing more until it is asked again.
func TestAPreparerDoesWhatItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New(1)
		p := newPreparer(d, false, func(err error) error { return err })
		synctest.Wait()
		if d.Ops() != 0 {
			t.Fatalf("%d operations before it was asked", d.Ops())
		}
		for number := uint64(2); number < 4; number++ {
			p.request(number, 4096)
			synctest.Wait()
			before := d.Ops()
			taken, err := p.take(4096)
			if err != nil || taken.number != number || taken.capacity != 4096 {
				t.Fatalf("%+v, %v", taken, err)
			}
			synctest.Wait()
			if after := d.Ops(); after != before {
				t.Errorf("%d operations after it was taken", after-before)
			}
		}
		if unused := p.close(); unused != nil {
			t.Errorf("%+v is left", unused)
		}
	})
}

// TestAStarvedPreparerLooksAgainAndEndsAtOnce: it finds space within retryAfter, and its end waits for nothing.
func TestAStarvedPreparerLooksAgainAndEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := roomy(8<<20, 0)
		p := newPreparer(d, false, func(err error) error { return err })
		p.request(2, 4096)
		synctest.Wait()
		if _, err := p.take(4096); !errors.Is(err, ErrNoSpace) || !p.starved() {
			t.Fatalf("take: %v, starved %v", err, p.starved())
		}
		d.Delete("others")
		<-time.After(retryAfter + 1) // of the clock of the bubble
		synctest.Wait()
		if taken, err := p.take(4096); err != nil || taken.number != 2 || p.starved() {
			t.Fatalf("with space: %+v, %v, starved %v", taken, err, p.starved())
		}
		d.Put("others", make([]byte, 8<<20))
		p.request(3, 4096)
		synctest.Wait()
		began := time.Now()
		p.close()
		if took := time.Since(began); took != 0 {
			t.Errorf("the end took %v", took)
		}
	})
}

// TestAFailedPreparerSaysSoToEveryone who asks it later.
func TestAFailedPreparerSaysSoToEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New(1)
		d.Before = func(disktest.Op) error { return syscall.EIO }
		stopped := errors.New("the engine has stopped")
		p := newPreparer(d, false, func(err error) error {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("it failed with %v", err)
			}
			return stopped
		})
		p.request(2, 4096)
		for range 2 {
			if _, err := p.take(4096); err != stopped || p.starved() {
				t.Errorf("take: %v, starved %v", err, p.starved())
			}
		}
		p.close()
	})
}
