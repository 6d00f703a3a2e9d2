package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// heard is what one follower was told.
type heard struct {
	entries []bank.Entry
	hashes  [][32]byte
	err     error
}

// follow follows an engine until there are entries up to last, and fails when one comes early or out of order.
func follow(ctx context.Context, engine *journal.Engine, after, last uint64) *heard {
	h := new(heard)
	enough := errors.New("enough")
	seq := after
	h.err = engine.Follow(ctx, after, func(e *bank.Entry, hash [32]byte) error {
		if seq++; e.Seq != seq || engine.Seq() < seq {
			return fmt.Errorf("entry %d came for %d, %d are durable", e.Seq, seq, engine.Seq())
		}
		h.entries, h.hashes = append(h.entries, *e), append(h.hashes, hash)
		h.entries[len(h.entries)-1].Postings = nil // they are the journal's again
		if seq == last {
			return enough
		}
		return nil
	})
	if h.err == enough {
		h.err = nil
	}
	return h
}

// TestFollowersAreToldWhatTheDumpTells lets many follow from many places while the journal is written, over many segments and
// beside its snapshots.
func TestFollowersAreToldWhatTheDumpTells(t *testing.T) {
	const last = 600
	o := options()
	o.SegmentBytes = journal.LeastSegmentBytes
	dir := t.TempDir()
	engine := open(t, dir, o)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var running sync.WaitGroup
	afters := []uint64{0, 1, 7, 100, 250, 599}
	all := make([]*heard, 0, 3*len(afters))
	start := func() {
		for _, after := range afters {
			h := new(heard)
			all = append(all, h)
			running.Go(func() { *h = *follow(ctx, engine, after, last) })
		}
	}
	start() // at the beginning, some from places that are not there yet
	for i := 0; engine.Seq() < last; i++ {
		ops := make([]bank.Operation, min(1+i%9, last-int(engine.Seq())))
		for k := range ops {
			ops[k] = deposit("a", bank.Amount(1+i), "")
		}
		commit(t, engine, ops...)
		if i == 60 {
			start()
		}
	}
	start()
	running.Wait()
	closeEngine(t, engine)
	want := new(heard)
	report, err := journal.Dump(dir, func(e *bank.Entry, hash [32]byte) error {
		want.entries, want.hashes = append(want.entries, *e), append(want.hashes, hash)
		return nil
	})
	if err != nil || report.Segments < 10 {
		t.Fatalf("%d segments, %v", report.Segments, err)
	}
	for i, h := range all {
		after := afters[i%len(afters)]
		if h.err != nil || len(h.entries) != int(last-after) {
			t.Fatalf("follower %d after %d: %d entries, %v", i, after, len(h.entries), h.err)
		}
		for k := range h.entries {
			got, truth := &h.entries[k], &want.entries[int(after)+k]
			if got.Reply() != truth.Reply() || got.Account != truth.Account || h.hashes[k] != want.hashes[int(after)+k] {
				t.Fatalf("follower %d after %d: %+v %x, want %+v %x", i, after, *got, h.hashes[k], *truth, want.hashes[int(after)+k])
			}
		}
	}
}

// TestNothingIsToldBeforeItIsDurable fails the sync of a batch whose bytes are written. The batch before is told, that one is
// not, and the reason is what ends the following; so it is for who comes later.
func TestNothingIsToldBeforeItIsDurable(t *testing.T) {
	o := options()
	disk := disktest.New(1)
	o.FS, o.Inline = disk, true
	var failing atomic.Bool
	disk.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Sync && failing.Load() {
			return syscall.EIO
		}
		return nil
	}
	engine := open(t, "", o)
	commit(t, engine, deposit("a", 1, ""), deposit("a", 2, ""))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	early := make(chan *heard, 1)
	go func() { early <- follow(ctx, engine, 0, 99) }()
	failing.Store(true)
	if _, err := bankCommit(engine, deposit("a", 3, "")); !errors.Is(err, journal.ErrFailed) {
		t.Fatalf("commit: %v", err)
	}
	for name, h := range map[string]*heard{"early": <-early, "late": follow(ctx, engine, 1, 99)} {
		if told := map[string]int{"early": 2, "late": 1}[name]; len(h.entries) != told || !errors.Is(h.err, syscall.EIO) {
			t.Errorf("%s: %d entries, %v", name, len(h.entries), h.err)
		}
	}
	closeEngine(t, engine)
}

// TestAWaitingFollowerEnds with its context, and when the engine is closed.
func TestAWaitingFollowerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.FS, o.Inline = disktest.New(1), true
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, ""))
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, closed := new(heard), new(heard)
		go func() { cancelled = follow(ctx, engine, 0, 99) }()
		go func() { closed = follow(t.Context(), engine, 5, 99) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(cancelled.err, context.Canceled) || len(cancelled.entries) != 1 || closed.err != nil {
			t.Errorf("cancelled: %v, %v", cancelled, closed.err)
		}
		closeEngine(t, engine)
		synctest.Wait()
		if !errors.Is(closed.err, bank.ErrClosed) {
			t.Errorf("closed: %v", closed.err)
		}
	})
}

// TestAWaitingFollowerIsToldOfAFailure, at once, and of nothing that was not durable.
func TestAWaitingFollowerIsToldOfAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		disk := disktest.New(1)
		o.FS, o.Inline = disk, true
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, ""))
		h := new(heard)
		go func() { h = follow(t.Context(), engine, 0, 99) }()
		synctest.Wait()
		disk.Before = func(disktest.Op) error { return syscall.EIO }
		if _, err := bankCommit(engine, deposit("a", 2, "")); !errors.Is(err, syscall.EIO) {
			t.Errorf("commit: %v", err)
		}
		synctest.Wait()
		if !errors.Is(h.err, journal.ErrFailed) || len(h.entries) != 1 {
			t.Errorf("told of %d entries, and then %v", len(h.entries), h.err)
		}
		closeEngine(t, engine)
	})
}

// TestFollowEnds with the engine, and with an error of the visitor.
func TestFollowEnds(t *testing.T) {
	engine := open(t, t.TempDir(), options())
	commit(t, engine, deposit("a", 1, ""), deposit("a", 2, ""))
	ended := make(chan *heard, 1)
	own := errors.New("mine")
	if err := engine.Follow(context.Background(), 1, func(*bank.Entry, [32]byte) error { return own }); err != own {
		t.Errorf("the visitor's error: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	within := make(chan struct{})
	go func() {
		h := new(heard)
		h.err = engine.Follow(ctx, 1, func(*bank.Entry, [32]byte) error { close(within); return nil })
		ended <- h
	}()
	<-within
	closeEngine(t, engine)
	if h := <-ended; !errors.Is(h.err, bank.ErrClosed) {
		t.Errorf("closed: %v", h.err)
	}
	if h := follow(ctx, engine, 0, 1); !errors.Is(h.err, bank.ErrClosed) {
		t.Errorf("after Close: %v", h.err)
	}
}

// TestAFollowerAtTheEndReadsNothing until there is something new.
func TestAFollowerAtTheEndReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, engine := followed(t)
		disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read {
				t.Errorf("%v", op)
			}
			return nil
		}
		h := new(heard)
		go func() { h = follow(t.Context(), engine, engine.Seq(), engine.Seq()+1) }()
		synctest.Wait()
		disk.Before = nil
		commit(t, engine, deposit("a", 1, ""))
		synctest.Wait()
		if len(h.entries) != 1 || h.err != nil {
			t.Errorf("told of %d entries, %v", len(h.entries), h.err)
		}
		closeEngine(t, engine)
	})
}

// TestALateFollowerReadsOneSegment of a long journal, besides some headers.
func TestALateFollowerReadsOneSegment(t *testing.T) {
	o := options()
	disk := disktest.New(1)
	o.FS, o.Inline, o.SegmentBytes = disk, true, journal.LeastSegmentBytes
	engine := open(t, "", o)
	const last = 500
	for range last {
		commit(t, engine, deposit("a", 1, ""))
	}
	closeEngine(t, engine)
	engine = open(t, "", o)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	headers, bodies := 0, map[string]bool{}
	disk.Before = func(op disktest.Op) error {
		switch {
		case op.Kind != disktest.Read:
		case op.Offset == 0 && op.Bytes == 512:
			headers++
		default:
			bodies[op.File] = true
		}
		return nil
	}
	segments := len(segmentsOf(disk))
	for after := range uint64(last) {
		headers = 0
		clear(bodies)
		if h := follow(ctx, engine, after, after+1); h.err != nil {
			t.Fatalf("after %d: %v", after, h.err)
		}
		if len(bodies) > 2 || headers > 8 { // two when the segment before ends with the entry before
			t.Errorf("after %d of %d segments: read %d headers and %v", after, segments, headers, bodies)
		}
	}
	if segments < 20 {
		t.Errorf("there are only %d segments", segments)
	}
	disk.Before = nil
	closeEngine(t, engine)
}

// TestAFollowerFindsDamage where a byte has changed since it was written, and names the entry.
func TestAFollowerFindsDamage(t *testing.T) {
	disk, engine := followed(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seq := uint64(0)
	for _, name := range segmentsOf(disk)[:2] {
		whole := disk.Bytes(name)
		frames, err := journal.Frames(disk, name)
		if err != nil {
			t.Fatal(err)
		}
		begin := []int{headerBytes} // of each frame
		for _, frame := range frames {
			begin = append(begin, begin[len(begin)-1]+len(frame))
		}
		for i, at := range map[int]int{-1: 20, 0: headerBytes + 1, 1: begin[1] + 20, len(frames) - 1: begin[len(frames)] - 1} {
			want := journal.DamageError{File: name, Seq: seq + 1}
			if i >= 0 {
				want.Offset, want.Seq = int64(begin[i]), seq+uint64(i)+1
			}
			mustFollowTo(t, fmt.Sprintf("%s, byte %d", name, at), followChanged(ctx, engine, disk, name, flip(at*8)(slices.Clone(whole))), want)
		}
		seq += uint64(len(frames))
	}
	disk.Kill()
}

// followed returns an open journal of a hundred entries in some segments.
func followed(t *testing.T) (*disktest.Disk, *journal.Engine) {
	t.Helper()
	o := options()
	disk := disktest.New(1)
	o.FS, o.Inline, o.SegmentBytes = disk, true, 2048
	engine := open(t, "", o)
	for range 100 {
		commit(t, engine, deposit("a", 1, ""))
	}
	return disk, engine
}

// followChanged follows a journal of which a file is changed: the first segment before it is read, and another after the first entry
// is told. The file is as it was in the end.
func followChanged(ctx context.Context, engine *journal.Engine, disk *disktest.Disk, name string, content []byte) error {
	before := disk.Bytes(name)
	defer disk.Put(name, before)
	if name == firstSegment {
		disk.Put(name, content)
	}
	return engine.Follow(ctx, 0, func(e *bank.Entry, _ [32]byte) error {
		if e.Seq == 1 {
			disk.Put(name, content)
		}
		return nil
	})
}

// mustFollowTo makes sure that a follower has ended with damage at a place.
func mustFollowTo(t *testing.T, what string, err error, want journal.DamageError) {
	t.Helper()
	var damage *journal.DamageError
	if !errors.As(err, &damage) {
		t.Errorf("%s: %v", what, err)
		return
	}
	if got := *damage; got.File != want.File || got.Offset != want.Offset || got.Seq != want.Seq || !strings.Contains(got.Reason, want.Reason) ||
		got.Reason == "" {
		t.Errorf("%s: %v; want %v", what, err, &want)
	}
}

// TestAFollowerIsNotLedElsewhere: by an entry that does not follow from the one before, one that is none though its checksum holds, or a
// header that is another segment's, another journal's, of another entry or another history. It names the place.
func TestAFollowerIsNotLedElsewhere(t *testing.T) {
	disk, engine := followed(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	names := segmentsOf(disk)
	frames, err := journal.Frames(disk, names[0])
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(len(frames) + 1)
	end := int64(headerBytes)
	for _, frame := range frames {
		end += int64(len(frame))
	}
	rewrite := func(t *testing.T, chain bool, change func(frames [][]byte) [][]byte) []byte {
		b, err := journal.Rewrite(disk, names[0], change(slices.Clone(frames)), chain)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, make([]byte, max(0, int(end)-len(b)))...)
	}
	header := func(change func(b []byte)) []byte {
		b := disk.Bytes(names[1])
		change(b)
		journal.ResealHeader(b)
		return b
	}
	first := int64(headerBytes + len(frames[0]))
	for what, c := range map[string]struct {
		name    string
		content []byte
		want    journal.DamageError
	}{
		"an entry is left out": {names[0], rewrite(t, false, func(f [][]byte) [][]byte { return slices.Delete(f, 1, 2) }),
			journal.DamageError{File: names[0], Offset: first, Seq: 2, Reason: "does not follow"}},
		"an entry is none": {names[0], rewrite(t, true, func(f [][]byte) [][]byte {
			e, _ := journal.EntryOf(f[1])
			e.Kind = 9
			f[1] = journal.WithEntry(f[1], &e)
			return f
		}), journal.DamageError{File: names[0], Offset: first, Seq: 2}},
		"the last entry is gone": {names[0], rewrite(t, false, func(f [][]byte) [][]byte { return f[:len(f)-1] }),
			journal.DamageError{File: names[0], Offset: end - int64(len(frames[len(frames)-1])), Seq: next - 1, Reason: "the length cannot be"}},
		"another segment's header":  {names[1], disk.Bytes(names[2]), journal.DamageError{File: names[1], Seq: next, Reason: "another segment's"}},
		"another journal's header":  {names[1], header(func(b []byte) { b[16]++ }), journal.DamageError{File: names[1], Seq: next, Reason: "another segment's"}},
		"a header of another entry": {names[1], header(func(b []byte) { b[56]++ }), journal.DamageError{File: names[0], Offset: end, Seq: next}},
		"of another history":        {names[1], header(func(b []byte) { b[64]++ }), journal.DamageError{File: names[0], Offset: end, Seq: next}},
	} {
		mustFollowTo(t, what, followChanged(ctx, engine, disk, c.name, c.content), c.want)
	}
	err = followChanged(ctx, engine, disk, names[1], header(func(b []byte) { b[8]++ }))
	if !errors.Is(err, journal.ErrFormat) || !strings.Contains(err.Error(), names[1]) {
		t.Errorf("another format: %v", err)
	}
	disk.Kill()
}

// TestAFollowerThatCannotReadIsTold, wherever it begins: at the first entry, behind a waypoint or at the end.
func TestAFollowerThatCannotReadIsTold(t *testing.T) {
	const last = 4400
	looking := &blind{FS: disktest.New(1), at: -1}
	o := options()
	o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery = looking, true, 64<<10, 1_000_000
	engine := open(t, "", o)
	for engine.Seq() < last {
		commit(t, engine, slices.Repeat([]bank.Operation{deposit("a", 1, "")}, 100)...)
	}
	if h := follow(t.Context(), engine, 0, last); h.err != nil {
		t.Fatal(h.err)
	}
	for after, until := range map[uint64]uint64{0: 800, 4200: last, last: last + 1} {
		for k := int64(0); ; k++ {
			first := looking.looks.Load()
			looking.at = first + k
			ctx, cancel := context.WithCancel(t.Context())
			if after == last && k > 0 {
				cancel() // it would wait
			}
			h := follow(ctx, engine, after, until)
			cancel()
			if looking.looks.Load() <= first+k {
				break
			}
			if !errors.Is(h.err, syscall.EIO) {
				t.Errorf("after %d, look %d, %s: %v", after, k, looking.failed, h.err)
			}
		}
	}
	looking.at = -1
	closeEngine(t, engine)
}

// TestAFollowerBeginsWhereAnotherCameBy follows from every place near a waypoint, within segments and at their ends, and then
// from one place a second time, for which only what is behind the waypoint is read.
func TestAFollowerBeginsWhereAnotherCameBy(t *testing.T) {
	const every = 4096 // entries from one waypoint to the next
	for _, segmentBytes := range []int64{1 << 16, journal.DefaultSegmentBytes} {
		disk := disktest.New(1)
		o := options()
		o.FS, o.Inline, o.SegmentBytes = disk, true, segmentBytes
		var read atomic.Int64 // bytes
		disk.Before = func(op disktest.Op) error {
			if op.Kind == disktest.Read {
				read.Add(int64(op.Bytes))
			}
			return nil
		}
		engine := open(t, "", o)
		for engine.Seq() < 3*every+100 {
			ops := make([]bank.Operation, 100)
			for i := range ops {
				ops[i] = deposit("a", 1, "")
			}
			commit(t, engine, ops...)
		}
		last := engine.Seq()
		all := follow(t.Context(), engine, 0, last)
		near := []uint64{1, every - 1, every, every + 1, 2*every - 1, 2 * every, 2*every + 1, 3 * every, 3*every + 1, last - 1}
		for _, after := range near {
			before := read.Load()
			h := follow(t.Context(), engine, after, last)
			if h.err != nil || len(h.hashes) != int(last-after) || h.hashes[0] != all.hashes[after] {
				t.Fatalf("after %d: %d entries, %v", after, len(h.hashes), h.err)
			}
			if took := read.Load() - before; after >= 3*every && took > 128<<10 {
				t.Errorf("after %d: %d bytes were read", after, took)
			}
		}
		closeEngine(t, engine)
	}
}
