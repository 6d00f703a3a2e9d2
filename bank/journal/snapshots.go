package journal

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gateway/bank"
	"gateway/disk"
)

// snapshots writes snapshots beside the traffic.
//
// One is due when Options.SnapshotEvery entries were written since the last, and snapshotShare times as many bytes as the
// last snapshot has. So snapshots add at most 1/snapshotShare to what the journal writes, however large the book is, and a
// start after a crash reads at most snapshotShare times a snapshot's bytes again.
//
// A part of the book is copied under the book's lock, which the committer does not hold while it syncs, and written without
// it. So a batch waits for the copy of one part at most, and an idle bank finishes its snapshot like a busy one.
type snapshots struct {
	e      *Engine
	due    chan struct{} // holds a token when one is due; closed by close
	done   sync.WaitGroup
	giveUp atomic.Bool // the one being written is not wanted any more

	// What follows belongs to the committer.
	entries, bytes int64  // durable when the last one was due
	drawing        *draft // the one being written, when it is written inline

	// What follows belongs to who writes.
	newest    *snapshotHeader // the last that is known to be whole; nil: none
	lastBytes atomic.Int64    // of the newest
}

const (
	snapshotShare = 2
	snapshotFree  = 1 << 20 // bytes of a snapshot that are too few to count

	inlineParts = 400     // of bank.Shards, copied in one Commit
	draftBytes  = 1 << 20 // written at once
)

// errGivenUp says that a snapshot is not wanted any more.
var errGivenUp = errors.New("given up")

func newSnapshots(e *Engine, newest *snapshotHeader) *snapshots {
	s := &snapshots{e: e, due: make(chan struct{}, 1), newest: newest}
	if newest != nil {
		s.lastBytes.Store(newest.bytes)
		s.entries = int64(newest.end.seq)
	}
	if !e.options.Inline {
		s.done.Go(func() {
			for range s.due {
				if err := s.write(); err != nil {
					e.log.Error("the journal has failed", "error", err)
				}
			}
		})
	}
	return s
}

// committed is called by the committer after each batch that wrote.
func (s *snapshots) committed() {
	w := &s.e.writer
	s.bytes += w.flushed
	w.flushed = 0
	if int64(w.end.seq)-s.entries >= int64(s.e.options.SnapshotEvery) && s.bytes >= snapshotShare*(s.lastBytes.Load()-snapshotFree) {
		s.entries, s.bytes = int64(w.end.seq), 0
		if s.e.options.Inline {
			if s.drawing == nil {
				s.drawing = s.begin()
			}
		} else {
			select {
			case s.due <- struct{}{}:
			default: // one is being written and another is due after it
			}
		}
	}
	if s.drawing != nil {
		s.drawOn()
	}
}

// drawOn does a share of the work of a snapshot that is written inline.
func (s *snapshots) drawOn() {
	d := s.drawing
	err := d.copyParts(inlineParts)
	if err == nil && d.part < bank.Shards {
		return
	}
	if err == nil {
		err = d.finish()
	}
	s.drawing = nil
	s.ended(d, err)
}

// write writes a whole snapshot.
func (s *snapshots) write() error {
	d := s.begin()
	err := d.err
	for err == nil && d.part < bank.Shards {
		err = d.copyParts(1)
		if s.giveUp.Load() {
			err = errGivenUp
		}
	}
	if err == nil {
		err = d.finish()
	}
	return s.ended(d, err)
}

// ended tells how a snapshot ended. Want of space is no failure: the journal is the truth, and there will be another
// snapshot. Any other failed write stops the engine.
func (s *snapshots) ended(d *draft, err error) error {
	if d.file != nil {
		d.file.Close()
	}
	if errors.Is(err, errGivenUp) {
		return nil
	}
	if err != nil {
		err = fmt.Errorf("write a snapshot: %w", disk.DropDraft(s.e.fsys, snapshotDraft, err))
		s.e.options.Observer.Snapshot(d.header.end.seq, time.Since(d.began), err)
		if lacksSpace(err) {
			s.e.log.Warn("there is no space for a snapshot", "error", err)
			return nil
		}
		return s.e.fail(err)
	}
	s.newest = &d.header
	s.lastBytes.Store(d.header.bytes)
	s.e.options.Observer.Snapshot(d.header.end.seq, time.Since(d.began), nil)
	return nil
}

// close ends the writing of snapshots, after a last one when there are entries that the newest does not hold and nothing has
// failed.
func (s *snapshots) close() error {
	s.giveUp.Store(true)
	close(s.due)
	s.done.Wait()
	s.giveUp.Store(false)
	if s.drawing != nil {
		s.drawing.file.Close()
	}
	if seq := s.e.writer.end.seq; !s.e.healthy() || seq == 0 || s.newest != nil && s.newest.end.seq == seq {
		return nil
	}
	return s.write()
}

// draft is a snapshot being written.
type draft struct {
	s      *snapshots
	file   disk.File
	header snapshotHeader
	part   int // the next to copy
	buf    []byte
	offset int64 // where in the file buf begins
	began  time.Time
	err    error // of the beginning
}

// begin starts a snapshot at the last entry that was posted.
func (s *snapshots) begin() *draft {
	d := &draft{s: s, offset: sector, began: time.Now()}
	d.header.id = s.e.identity.id
	s.e.book.Lock()
	d.header.start, d.header.time = s.e.writer.end, s.e.ledger.Time()
	s.e.book.Unlock()
	d.header.end = d.header.start
	above, _, err := spare(s.e.fsys)
	if err == nil && above < s.lastBytes.Load()*5/4 {
		err = ErrNoSpace
	}
	if err == nil {
		d.file, err = s.e.fsys.Create(snapshotDraft)
	}
	d.err = err
	return d
}

// copyParts copies at most n parts more.
func (d *draft) copyParts(n int) error {
	e := d.s.e
	for ; d.err == nil && n > 0 && d.part < bank.Shards; n-- {
		at := len(d.buf)
		var header [partHeader]byte
		d.buf = append(d.buf, header[:]...)
		e.book.Lock()
		d.buf = e.ledger.AppendShard(d.buf, d.part)
		d.header.end = e.writer.end
		e.book.Unlock()
		sealPart(d.buf[at:], d.part, d.header.end.seq, e.identity.seed(0))
		if d.part++; len(d.buf) >= draftBytes {
			d.err = d.flush()
		}
	}
	return d.err
}

// flush writes what has gathered and syncs it, so that a sync of a batch beside it never waits for more. What would go into the
// reserve is not written: a snapshot that nobody needs must not stop a bank that has space.
func (d *draft) flush() error {
	most := inBlocks(sector + int64(len(d.buf))) // with the header, before the first
	if above, _, err := spare(d.s.e.fsys); err == nil && above < most {
		return fmt.Errorf("%w: a snapshot would take the reserve", syscall.ENOSPC)
	}
	if _, err := d.file.WriteAt(d.buf, d.offset); err != nil {
		return err
	}
	d.offset += int64(len(d.buf))
	d.buf = d.buf[:0]
	return d.file.Sync()
}

// finish gives the snapshot its name, once all it holds is durable, and removes those that are not kept.
func (d *draft) finish() error {
	if err := d.flush(); err != nil {
		return err
	}
	e := d.s.e
	if err := e.awaitDurable(d.header.end.seq); err != nil {
		return err
	}
	d.header.bytes = d.offset
	d.header.name = snapshotName(d.header.end.seq)
	if _, err := d.file.WriteAt(d.header.append(nil), 0); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	if err := disk.Publish(e.fsys, snapshotDraft, d.header.name); err != nil {
		return err
	}
	return d.removeOld()
}

// removeOld leaves two snapshots, this one and the one before it that is known to be whole.
func (d *draft) removeOld() error {
	names, err := d.s.e.fsys.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		kept := name == d.header.name || d.s.newest != nil && name == d.s.newest.name
		if strings.HasPrefix(name, snapshotPrefix) && !kept {
			if err := d.s.e.fsys.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitDurable waits until the entry seq, which was posted, is durable, or the engine has failed.
func (e *Engine) awaitDurable(seq uint64) error {
	e.state.Lock()
	defer e.state.Unlock()
	for e.seq.Load() < seq {
		if e.failure != nil {
			return errGivenUp
		}
		e.progress.Wait()
	}
	return nil
}
