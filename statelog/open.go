package statelog

import (
	"crypto/rand"
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
	last, err := l.replay(s, replay)
	if err != nil {
		return err
	}
	l.generation = s.last
	return l.repair(s, last)
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

// replay reads all files that count, in order, and returns what the last log holds.
func (l *Log) replay(s *survey, replay func([]byte) error) (*scan, error) {
	if s.checkpoint {
		want := header{magic: checkMagic, owner: l.owner, generation: s.base}
		h, err := readHeader(l.fsys, checkName(s.base), want)
		if err != nil {
			return nil, err
		}
		found, err := scanFile(l.fsys, checkName(s.base), h, replay)
		if err != nil {
			return nil, err
		}
		if !found.marked || found.size != found.end.offset+frameHeader {
			return nil, found.damage("the checkpoint is not whole: " + found.reason)
		}
	}
	var last *scan
	for generation := s.base; ; generation++ {
		want := header{magic: logMagic, owner: l.owner, generation: generation}
		h, err := readHeader(l.fsys, logName(generation), want)
		if err != nil {
			return nil, err
		}
		if last != nil && last.end.seq+1 != h.first {
			return nil, last.damage(fmt.Sprintf("the next log begins with frame %d: %s", h.first, last.reason))
		}
		found, err := scanFile(l.fsys, logName(generation), h, replay)
		if err != nil {
			return nil, err
		}
		if found.sealed {
			return nil, found.damage(found.reason + ", and what follows was written when it was durable")
		}
		l.size.Add(found.end.offset - sector)
		if last = found; generation == s.last {
			return last, nil
		}
	}
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
