package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gateway/bank"
	"gateway/disk"
)

// Open opens the journal in dir, which is made if it is missing, and recovers it: a torn tail is cut off and what remains of
// it is made durable again before anything is served, because after a crash the system may show what the disk does not
// have. Errors wrap [ErrLocked], [ErrDamaged], [ErrDecimals] or [ErrFormat], or are the file system's. A journal that is
// damaged is not changed.
func Open(dir string, o Options) (*Engine, error) {
	o.fill()
	fsys := o.FS
	if fsys == nil {
		made, err := disk.Dir(dir)
		if err != nil {
			return nil, fmt.Errorf("open the journal: %w", err)
		}
		fsys = made
	}
	lock, err := fsys.Lock(lockName)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	e := &Engine{fsys: fsys, options: o, log: o.Logger, lock: lock, book: newLock()}
	if err := e.open(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	return e, nil
}

func (o *Options) fill() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	o.SegmentBytes = max(o.SegmentBytes, LeastSegmentBytes)
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = DefaultSnapshotEvery
	}
}

func (e *Engine) open() error {
	began := time.Now()
	s, err := takeSurvey(e.fsys)
	if err == nil && len(s.segments) == 0 {
		if err = e.create(); err == nil {
			s, err = takeSurvey(e.fsys)
		}
	}
	if err != nil {
		return err
	}
	if int(s.identity.decimals) != e.options.Decimals {
		return fmt.Errorf("%w: the journal keeps %d, not %d", ErrDecimals, s.identity.decimals, e.options.Decimals)
	}
	e.identity, s.locked = s.identity, true
	newest, err := e.restore(s)
	if err != nil {
		return err
	}
	file, capacity, err := e.repair(s)
	if err != nil {
		return err
	}
	if err := e.openMarks(s); err != nil {
		file.Close()
		return err
	}
	e.start(s, file, capacity, newest)
	e.log.Info("journal opened", "entries", s.end.seq, "segments", len(s.segments), "took", time.Since(began))
	return nil
}

// create makes the first segment of a new journal.
func (e *Engine) create() error {
	ours, err := newIdentity(e.options.Decimals, e.options.Random)
	if err != nil {
		return err
	}
	header := segmentHeader{identity: ours, number: 1, first: 1}
	name := segmentName(1)
	file, err := e.fsys.Create(name + disk.Unfinished)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteAt(header.append(nil), 0); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return disk.Publish(e.fsys, name+disk.Unfinished, name)
}

// restore makes the ledger what the journal says: from the newest snapshot that can be used, or from the first entry. It
// returns that snapshot, or nil.
func (e *Engine) restore(s *survey) (*snapshotHeader, error) {
	for _, name := range s.rejected {
		e.log.Warn("snapshot passed over", "file", name)
	}
	for _, snapshot := range s.snapshots {
		e.newLedger()
		err := snapshot.load(e.fsys, &s.identity, e.ledger)
		if err == nil {
			err = e.replay(s, snapshot.start)
		}
		if err == nil {
			return snapshot, nil
		}
		if !errors.Is(err, errSnapshot) && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		e.log.Warn("snapshot passed over", "file", snapshot.name, "error", err)
	}
	e.newLedger()
	return nil, e.replay(s, s.begin())
}

func (e *Engine) newLedger() {
	e.ledger = bank.NewLedger(e.options.Rules, e.identity.key, &e.past)
}

// replay posts the entries from a position on.
func (e *Engine) replay(s *survey, from position) error {
	err := s.walk(e.fsys, from, func(entry *bank.Entry, _ []byte, ref uint64) error {
		if err := e.ledger.Post(entry, ref); err != nil {
			return damageAt(ref, entry.Seq, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.checkSum(e.ledger)
}

// repair removes what is not part of the journal, makes its tail durable again unless it is known to be, and returns the
// last segment, open, with room to write. The names come first: a start that was ended before it could sync them has left a
// segment that is whole and marked, and whose name a power cut gives back to the one it replaced.
func (e *Engine) repair(s *survey) (disk.File, int64, error) {
	if err := e.fsys.SyncDir(); err != nil {
		return nil, 0, err
	}
	if err := e.removeUnused(s); err != nil {
		return nil, 0, err
	}
	if s.torn.Bytes > 0 {
		e.log.Warn("a torn tail is cut off; nobody was told about it",
			"file", s.torn.File, "offset", s.torn.Offset, "bytes", s.torn.Bytes, "last_entry", s.end.seq)
	}
	last := s.segments[len(s.segments)-1]
	if !s.clean() {
		if err := e.rewrite(s, last); err != nil {
			return nil, 0, fmt.Errorf("make the tail durable again: %w", err)
		}
	}
	return e.openLast(last)
}

// removeUnused removes the segments after the last and the files that were not finished. The last segment goes first and
// each for good before the next, lest a power cut bring one back without those before it.
func (e *Engine) removeUnused(s *survey) error {
	for _, name := range s.names {
		if strings.HasSuffix(name, disk.Unfinished) {
			s.unused = append(s.unused, name)
		}
	}
	for _, name := range slices.Backward(s.unused) {
		if err := e.fsys.Remove(name); err != nil {
			return err
		}
		if err := e.fsys.SyncDir(); err != nil {
			return err
		}
	}
	return nil
}

// clean reports whether the mark stands at the end of the journal and nothing is behind it, so that all of it is durable.
func (s *survey) clean() bool {
	last := s.segments[len(s.segments)-1].scan
	return s.mark != nil && s.mark.position == s.end && s.torn.Bytes == 0 && last.used == last.end.offset
}

// rewrite makes the last segment durable again, without what is behind its end.
func (e *Engine) rewrite(s *survey, last *segment) error {
	inPlace, err := disk.Renew(e.fsys, last.name, s.end.offset)
	if inPlace {
		e.log.Warn("there is no space to write the tail into new blocks", "file", last.name)
	}
	if err != nil {
		return err
	}
	return e.reread(s, last)
}

// errOther says that a file has been read twice, and was not the same.
// After a failed sync the system may show bytes that the disk never had, and forget them. Nothing is damaged, and the next start
// serves what there is.
var errOther = errors.New("journal: the disk shows other bytes than a moment ago; start again")

// reread makes sure that what was written anew is what was read: after a failed sync the system may forget, between the two, bytes
// that the disk never had. Nobody was told of them, but from now on they would count as durable.
func (e *Engine) reread(s *survey, last *segment) error {
	file, err := e.fsys.Open(last.name)
	if err != nil {
		return err
	}
	defer file.Close()
	at := position{segment: last.number, offset: sector, seq: last.first - 1, hash: last.before}
	if s.mark != nil && s.mark.position.segment == last.number {
		at = s.mark.position // up to which it was durable before
	}
	r, err := newFrameReader(file, last.seed(last.number), at.offset)
	if err != nil {
		return err
	}
	for at.offset < s.end.offset {
		frame, _, reason, err := r.frame()
		if err != nil {
			return err
		}
		if reason != "" || !follows(frame, &at.hash, at.seq) {
			break
		}
		at.seq++
		at.hash = hashOf(frame, &at.hash)
		at.offset += int64(len(frame))
		r.Take(len(frame))
	}
	if at != s.end {
		return fmt.Errorf("%w: %s", errOther, last.name)
	}
	return nil
}

// openLast opens the segment to write on in, and makes room in it unless space is short.
func (e *Engine) openLast(seg *segment) (disk.File, int64, error) {
	file, err := e.fsys.Edit(seg.name)
	if err != nil {
		return nil, 0, err
	}
	size, err := file.Size()
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	capacity := max(size, min(e.options.SegmentBytes, seg.scan.end.offset+firstSegment))
	if above, _, err := spare(e.fsys); err == nil && above < capacity-size {
		capacity = size
	}
	if capacity > size {
		if err = disk.Zero(file, size, capacity); lacksSpace(err) {
			capacity = size
			err = file.Truncate(size)
		}
	}
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("make room in %s: %w", seg.name, err)
	}
	return file, capacity, nil
}

// openMarks opens the marks, or makes the file, and marks the end of a journal that had to be repaired: all of it is durable
// now.
func (e *Engine) openMarks(s *survey) error {
	file, err := e.fsys.Edit(markName)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing {
		file, err = e.fsys.Create(markName)
	}
	if err != nil {
		return err
	}
	e.marks = markFile{file: file, last: mark{id: s.identity.id}}
	if s.mark != nil {
		e.marks.last = *s.mark
	} else if err = disk.Zero(file, 0, 2*markSlot); err == nil && s.end.seq > 0 {
		e.log.Warn("there was no mark; a tail that was lost cannot be told from one that was torn")
	}
	if err == nil && !s.clean() {
		if err = e.marks.write(s.end); err == nil {
			err = file.Sync()
		}
	}
	if err == nil && missing {
		err = e.fsys.SyncDir()
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("write %s: %w", markName, err)
	}
	return nil
}

// start sets the committer's part up and starts the work beside it.
func (e *Engine) start(s *survey, file disk.File, capacity int64, newest *snapshotHeader) {
	e.progress = sync.NewCond(&e.state)
	e.durable = s.end
	e.seq.Store(s.end.seq)
	e.found = s
	e.ahead = newPreparer(e.fsys, e.options.Inline, func(err error) error {
		err = e.fail(err)
		e.log.Error("the journal has failed", "error", err)
		return err
	})
	e.writer = writer{
		identity: &e.identity, ahead: e.ahead, mark: &e.marks, observer: e.options.Observer, largest: e.options.SegmentBytes,
		end: s.end,
	}
	e.writer.use(file, capacity)
	e.past = history{fsys: e.fsys, writer: &e.writer}
	e.snapshots = newSnapshots(e, newest)
}
