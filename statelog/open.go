package statelog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"gateway/disk"
)

// Open opens the log in fsys, or makes it, for its owner, and calls replay with every record that is kept: those of the
// newest checkpoint, then those appended since, in order. A record is replay's until it returns; an error of replay's ends
// Open. A torn tail is cut off, and what remains is made durable again before Open returns, because after a crash the system
// may show what the disk does not have.
//
// Errors wrap [disk.ErrLocked], [ErrDamaged], [ErrOwner] or [ErrFormat], or are the file system's or replay's. A log that is
// damaged is not changed.
func Open(fsys disk.FS, owner [16]byte, o Options, replay func(record []byte) error) (*Log, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.AheadBytes <= 0 {
		o.AheadBytes = DefaultAheadBytes
	}
	lock, err := fsys.Lock(lockName)
	if err != nil {
		return nil, fmt.Errorf("open the state log: %w", err)
	}
	l := &Log{
		fsys: fsys, owner: owner, log: o.Logger, ahead: o.AheadBytes, random: o.Random, lock: lock, failed: make(chan struct{}),
		groups: []*group{{}},
	}
	l.changed = sync.NewCond(&l.mu)
	l.writer = writer{fsys: fsys, owner: owner, ahead: o.AheadBytes, random: o.Random, size: &l.size}
	if err := l.open(replay); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open the state log: %w", err)
	}
	l.done.Go(l.run)
	return l, nil
}

func (l *Log) open(replay func([]byte) error) error {
	s, err := takeSurvey(l.fsys)
	if err == nil && s.last == 0 {
		if err = l.create(); err == nil {
			s, err = takeSurvey(l.fsys)
		}
	}
	if err != nil {
		return err
	}
	scans, err := s.scan(l.fsys, l.owner, replay)
	if err != nil {
		return err
	}
	for _, found := range scans {
		if found.header.magic == logMagic {
			l.size.Add(found.end.offset - sector)
		}
	}
	l.generation = s.last
	return l.repair(s, scans[len(scans)-1])
}

// create makes the log of the first generation.
func (l *Log) create() error {
	t, err := prepareTurn(l.fsys, 1, l.ahead)
	if err != nil {
		return err
	}
	defer t.file.Close()
	h, err := newHeader(header{magic: logMagic, owner: l.owner, generation: 1, first: 1}, l.random)
	if err != nil {
		return err
	}
	return publishLog(l.fsys, t.file, h)
}

// survey is which files a directory holds.
type survey struct {
	names      []string // all
	base, last uint64   // the generations to replay; 0: there is none
	checkpoint bool     // the base has one
}

func takeSurvey(fsys disk.FS) (*survey, error) {
	s := &survey{}
	var err error
	if s.names, err = fsys.List(); err != nil {
		return nil, err
	}
	logs := map[uint64]bool{}
	for _, name := range s.names {
		if generation, ok := generationOf(name, logFormat); ok {
			logs[generation] = true
			s.last = max(s.last, generation)
		}
		if generation, ok := generationOf(name, checkFormat); ok {
			s.checkpoint = true
			s.base = max(s.base, generation)
		}
	}
	if !s.checkpoint && s.last > 0 {
		s.base = 1
	}
	s.last = max(s.last, s.base)
	for generation := s.base; s.base > 0; generation++ {
		if !logs[generation] {
			return nil, &DamageError{File: logName(generation), Reason: "the file is missing"}
		}
		if generation == s.last {
			break
		}
	}
	return s, nil
}

// scan reads all files that count, in order, and returns what each holds: the checkpoint, if there is one, and the logs.
func (s *survey) scan(fsys disk.FS, owner [16]byte, replay func([]byte) error) ([]*scan, error) {
	var scans []*scan
	if s.checkpoint {
		want := header{magic: checkMagic, owner: owner, generation: s.base}
		h, err := readHeader(fsys, checkName(s.base), want)
		if err != nil {
			return nil, err
		}
		found, err := scanFile(fsys, checkName(s.base), h, replay)
		if err != nil {
			return nil, err
		}
		if !found.whole() {
			return nil, found.damage("the checkpoint is not whole: " + found.reason)
		}
		scans = append(scans, found)
	}
	var last *scan
	for generation := max(s.base, 1); generation <= s.last; generation++ {
		want := header{magic: logMagic, owner: owner, generation: generation}
		h, err := readHeader(fsys, logName(generation), want)
		if err != nil {
			return nil, err
		}
		if last != nil && last.end.seq+1 != h.first {
			return nil, last.damage(fmt.Sprintf("the next log begins with frame %d: %s", h.first, last.reason))
		}
		if last, err = scanFile(fsys, logName(generation), h, replay); err != nil {
			return nil, err
		}
		if last.sealed {
			return nil, last.damage(last.reason + ", and what follows was written when it was durable")
		}
		scans = append(scans, last)
	}
	return scans, nil
}

// repair removes what does not count, makes the last log durable again unless it is known to be, and goes on with it. The
// names come first: one that counts may not have been made durable, and then what it replaces must stay.
func (l *Log) repair(s *survey, last *scan) error {
	if err := l.fsys.SyncDir(); err != nil {
		return err
	}
	if err := removeBefore(l.fsys, s.names, s.base); err != nil {
		return err
	}
	if behind := last.used - last.end.offset; !last.marked && behind > 0 {
		l.log.Warn("a torn tail is cut off; nobody was told about it",
			"file", last.name, "offset", last.end.offset, "bytes", behind)
	}
	capacity, clean := last.size, last.clean()
	if !clean {
		inPlace, err := disk.Renew(l.fsys, last.name, last.end.offset)
		if inPlace {
			l.log.Warn("there is no space to write the log into new blocks", "file", last.name)
		}
		if err != nil {
			return fmt.Errorf("make %s durable again: %w", last.name, err)
		}
		if err := l.reread(last); err != nil {
			return err
		}
		capacity = last.end.offset + frameHeader // the mark's
	}
	file, err := l.fsys.Edit(last.name)
	if err != nil {
		return err
	}
	l.writer.use(file, last.header, last.end, capacity)
	if !clean {
		return l.writer.mark()
	}
	return nil
}

// errOther says that a file has been read twice, and was not the same.
var errOther = errors.New("statelog: the disk shows other bytes than a moment ago; start again")

// reread makes sure that what was written anew is what was read: after a failed sync the system may forget, between the two, bytes
// that the disk never had, and that would count as durable from now on.
func (l *Log) reread(last *scan) error {
	again, err := scanFile(l.fsys, last.name, last.header, func([]byte) error { return nil })
	if err != nil {
		return err
	}
	if again.end != last.end {
		return fmt.Errorf("%w: %s", errOther, last.name)
	}
	return nil
}
