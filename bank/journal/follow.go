package journal

import (
	"context"
	"fmt"
	"sort"

	"gateway/bank"
	"gateway/disk"
)

// Follow calls visit with every entry after the one with that seq, in order and without a gap, and with its hash: first with
// those that are durable, then with each that becomes so. The entry is visit's until it returns. No entry is told before
// [Engine.Seq] has reached it.
//
// It returns the error of ctx when that ends, [bank.ErrClosed] when the engine is closed, the reason when the engine has
// failed, once all that was durable before is told, and an error of visit's as it is.
//
// Any number of goroutines may follow, at any speed. Each reads the files with a reader of its own: a slow one keeps the
// committer from nothing, and holds no more than a buffer. Where to begin is found by reading a few thousand entries at most
// when somebody came by there lately, and a segment otherwise.
func (e *Engine) Follow(ctx context.Context, after uint64, visit func(e *bank.Entry, hash [32]byte) error) error {
	woken := context.AfterFunc(ctx, func() {
		e.state.Lock()
		defer e.state.Unlock()
		e.progress.Broadcast()
	})
	defer woken()
	f := follower{e: e, after: after, visit: visit}
	defer f.leave()
	durable, err := e.reached(ctx, 0)
	if err == nil {
		err = f.find(durable)
	}
	for err == nil {
		if durable, err = e.reached(ctx, f.at.seq+1); err == nil {
			err = f.read(ctx, durable)
		}
	}
	return err
}

// reached waits until the entry seq is durable, and returns how far the journal is.
func (e *Engine) reached(ctx context.Context, seq uint64) (position, error) {
	e.state.Lock()
	defer e.state.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return position{}, ctx.Err()
		case e.closed:
			return position{}, bank.ErrClosed
		case e.durable.seq >= seq:
			return e.durable, nil
		case e.failure != nil:
			return position{}, e.failure
		}
		e.progress.Wait()
	}
}

// follower is one who follows.
type follower struct {
	e     *Engine
	after uint64 // the entry before the first that is told
	visit func(*bank.Entry, [32]byte) error

	at     position // after the last entry that was read
	file   disk.File
	reader *frameReader
	entry  bank.Entry
}

// find goes to the last place at or before the first entry to be told whose hash is known: the end of the journal, a waypoint,
// or the beginning of a segment.
func (f *follower) find(durable position) error {
	if f.after >= durable.seq {
		f.at = durable
		return f.enter()
	}
	if near, known := f.e.waypoints.before(f.after); known {
		f.at = near
		return f.enter()
	}
	var failed error
	later := sort.Search(int(durable.segment), func(i int) bool { // the number of the first segment that begins later
		header, err := f.header(uint64(i + 1))
		if err != nil {
			failed = err
		}
		return err != nil || header.first > f.after+1
	})
	if failed != nil {
		return failed
	}
	header, err := f.header(uint64(later))
	if err != nil {
		return err
	}
	f.at = position{segment: header.number, offset: sector, seq: header.first - 1, hash: header.before}
	return f.enter()
}

// header reads the header of a segment in use.
func (f *follower) header(number uint64) (segmentHeader, error) {
	var header segmentHeader
	name := segmentName(number)
	b, err := disk.Head(f.e.fsys, name, sector)
	if err != nil {
		return header, fmt.Errorf("read %s: %w", name, err)
	}
	reason, err := checkSector(b, segmentMagic)
	if err != nil {
		return header, fmt.Errorf("%s: %w", name, err)
	}
	if reason == "" {
		if header.parse(b); header.number != number || header.identity != f.e.identity {
			reason = "the header is another segment's"
		}
	}
	if reason != "" {
		return header, &DamageError{File: name, Seq: f.at.seq + 1, Reason: reason}
	}
	return header, nil
}

// enter opens the segment that f is in.
func (f *follower) enter() error {
	file, err := f.e.fsys.Open(segmentName(f.at.segment))
	if err != nil {
		return err
	}
	f.leave()
	f.file = file
	f.reader = &frameReader{Reader: disk.NewTail(file, f.at.offset, f.at.offset), seed: f.e.identity.seed(f.at.segment)}
	return nil
}

func (f *follower) leave() {
	if f.file != nil {
		f.file.Close()
	}
}

// read tells what is durable of the segment that f is in, and goes on to the next when that is all of it.
func (f *follower) read(ctx context.Context, durable position) error {
	last := f.at.segment == durable.segment
	end := durable.offset
	if !last {
		size, err := f.file.Size()
		if err != nil {
			return fmt.Errorf("read %s: %w", segmentName(f.at.segment), err)
		}
		end = size
	}
	f.reader.Extend(end)
	for f.at.seq < durable.seq && ctx.Err() == nil {
		frame, _, reason, err := f.reader.frame()
		if err != nil {
			return fmt.Errorf("read %s: %w", segmentName(f.at.segment), err)
		}
		if reason != "" && !last {
			return f.turn(reason)
		}
		if err := f.tell(frame, reason); err != nil {
			return err
		}
	}
	return nil
}

// tell tells the entry in a frame, unless reason says that there is none.
func (f *follower) tell(frame []byte, reason string) error {
	damage := DamageError{File: segmentName(f.at.segment), Offset: f.at.offset, Seq: f.at.seq + 1, Reason: reason}
	if reason == "" && !follows(frame, &f.at.hash, f.at.seq) {
		damage.Reason = "the entry does not follow from the one before"
	}
	if damage.Reason != "" {
		return &damage
	}
	f.at.seq++
	f.at.hash = hashOf(frame, &f.at.hash)
	f.at.offset += int64(len(frame))
	f.e.waypoints.pass(f.at)
	if f.at.seq > f.after {
		if err := bank.ParseEntry(frame[frameHeader:], &f.entry); err != nil {
			damage.Reason = err.Error()
			return &damage
		}
		if err := f.visit(&f.entry, f.at.hash); err != nil {
			return err
		}
	}
	f.reader.Take(len(frame))
	return nil
}

// turn goes on to the next segment. It must begin with the next entry: otherwise the reason why this one has no more is what
// is wrong.
func (f *follower) turn(reason string) error {
	header, err := f.header(f.at.segment + 1)
	if err != nil {
		return err
	}
	if header.first != f.at.seq+1 || header.before != f.at.hash {
		return &DamageError{File: segmentName(f.at.segment), Offset: f.at.offset, Seq: f.at.seq + 1, Reason: reason}
	}
	f.at.segment, f.at.offset = header.number, sector
	return f.enter()
}
