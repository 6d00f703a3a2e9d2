package statelog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"gateway/disk/disktest"
	"gateway/statelog"
)

var owner = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// story is a history of one log on a disk that may fail, drawn from a seed, and what must be true of it whatever happens: see
// check. One goroutine plays it, and waits for what it began before it goes on, so that it can be repeated exactly.
type story struct {
	seed    uint64
	random  *rand.Rand
	disk    *disktest.Disk
	options statelog.Options
	even    bool // its records are uniform
	log     *statelog.Log

	written   []written    // all that was appended, in order
	emissions map[int]span // what each checkpoint that began has emitted, of written
	group     int          // the last
	number    int          // of the last checkpoint that began
	whole     int          // of the last that is known to be whole; 0: none
	failed    error        // what a done was told that is final
	crowded   bool         // others append between the beginning of a generation and what its checkpoint emits
}

// written is an appended record and what its owner knows of it.
type written struct {
	id      uint64
	group   int // those appended at once
	awaited bool
	told    bool // the done was called
	err     error
}

// span is a part of story.written.
type span struct{ from, to int }

// emitted is how many of the last records a checkpoint emits at most: fewer than there are, so that it replaces some.
const emitted = 12

func newStory(seed uint64) *story {
	s := &story{seed: seed, random: rand.New(rand.NewPCG(seed, 1)), disk: disktest.New(seed), emissions: map[int]span{0: {}}}
	s.even = s.random.IntN(3) == 0
	s.options.AheadBytes = []int64{512, 1024, 4096, 16384}[s.random.IntN(4)]
	return s
}

// branch returns a story that goes on from here on another disk.
func (s *story) branch(disk *disktest.Disk, seed uint64) *story {
	b := *s
	b.seed, b.random, b.disk, b.log = seed, rand.New(rand.NewPCG(seed, 2)), disk, nil
	b.written, b.emissions = slices.Clone(s.written), maps.Clone(s.emissions)
	return &b
}

// uniform marks the ids of records that are all of one length: four frames fill a sector, so that what is left of a lost
// group lines up with what is written after it.
const uniform = 1 << 62

// newID draws the id of a record.
func (s *story) newID() uint64 {
	id := s.random.Uint64()>>3 + 1
	if s.even {
		id |= uniform
	}
	return id
}

// recordOf returns the record of an id: its length and all of its bytes follow from it. The largest span several sectors.
func recordOf(id uint64) []byte {
	random := rand.New(rand.NewPCG(id, 3))
	size := random.IntN(40)
	switch {
	case id&uniform != 0:
		size = 128 - 16 - 9
	case random.IntN(8) == 0:
		size = random.IntN(1500)
	}
	record := binary.LittleEndian.AppendUint64([]byte{'r'}, id)
	for range size {
		record = append(record, byte(random.Uint32())*byte(id&1)) // all zeros for half of them
	}
	return record
}

// beginning is the first record of a checkpoint: its number.
func beginning(number int) []byte {
	return binary.LittleEndian.AppendUint64([]byte{'b'}, uint64(number))
}

// found is what a log has replayed.
type found struct {
	checkpoint int
	ids        []uint64
	again      int // records that were there already
}

func (f *found) replay(record []byte) error {
	if len(record) < 9 {
		return fmt.Errorf("a record of %d bytes was invented", len(record))
	}
	number := binary.LittleEndian.Uint64(record[1:])
	switch {
	case record[0] == 'b' && len(f.ids) == 0 && f.checkpoint == 0:
		f.checkpoint = int(number)
		return nil
	case record[0] == 'r' && slices.Equal(record, recordOf(number)):
		if slices.Contains(f.ids, number) {
			f.again++
			return nil
		}
		f.ids = append(f.ids, number)
		return nil
	}
	return fmt.Errorf("record %q was invented or stands in another's place", record)
}

// open opens the log and checks what it replays. What it has found is durable from then on.
func (s *story) open() error {
	var f found
	log, err := statelog.Open(s.disk, owner, s.options, f.replay)
	if err != nil {
		return err
	}
	s.log = log
	if err := s.compare(&f); err != nil {
		s.end()
		return err
	}
	s.whole = f.checkpoint
	at := s.emissions[f.checkpoint]
	s.written, s.emissions = nil, map[int]span{f.checkpoint: {0, at.to - at.from}}
	for _, id := range f.ids {
		s.written = append(s.written, written{id: id, awaited: true, told: true})
	}
	return nil
}

// compare checks what was found: the newest checkpoint that is whole or one that was being made, all of it; behind it nothing
// but what was appended since, in order; of that all that is known to be durable, nothing that is known to be dropped, and no
// record behind a missing one, unless an owner was told between the two.
func (s *story) compare(f *found) error {
	at, began := s.emissions[f.checkpoint]
	if !began || f.checkpoint < s.whole {
		return fmt.Errorf("checkpoint %d was found, %d is whole", f.checkpoint, s.whole)
	}
	if f.again > 0 && !s.crowded {
		return fmt.Errorf("%d records were replayed twice", f.again)
	}
	left := f.ids
	for _, w := range s.written[at.from:at.to] {
		if len(left) == 0 || left[0] != w.id {
			return fmt.Errorf("checkpoint %d lacks record %d", f.checkpoint, w.id)
		}
		left = left[1:]
	}
	missing, told := uint64(0), 0 // the last group that an owner was told is dropped
	for _, w := range s.written[at.to:] {
		switch present := len(left) > 0 && left[0] == w.id; {
		case present && missing > 0:
			return fmt.Errorf("record %d is there, and %d before it is not", w.id, missing)
		case present && w.told && w.err != nil && !errors.Is(w.err, statelog.ErrFailed):
			return fmt.Errorf("record %d is there, and its owner was told %w", w.id, w.err)
		case present:
			left = left[1:]
		case w.awaited && w.told && w.err == nil:
			return fmt.Errorf("record %d is lost", w.id)
		case w.awaited && w.told:
			missing, told = 0, w.group
		case w.group == told: // appended before its owner was told
		default:
			missing = w.id
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("record %d is there and should not be", left[0])
	}
	return nil
}

// end kills the process.
func (s *story) end() {
	s.disk.Before = nil
	s.disk.Kill()
	s.log.Close()
	s.log = nil
}

// check opens the log, kills the process and cuts the power, and opens it again: what was replayed stays. Then the log must
// work.
func (s *story) check() error {
	if err := s.open(); err != nil {
		return err
	}
	if s.random.IntN(4) == 0 {
		s.end()
		s.disk.Cut(s.random)
		if err := s.open(); err != nil {
			return fmt.Errorf("after another power cut: %w", err)
		}
	}
	err := s.append()
	if err == nil {
		err = s.log.Close()
	} else {
		s.end()
	}
	if err != nil {
		return fmt.Errorf("what comes after: %w", err)
	}
	return nil
}

// run takes steps, each of which may fail.
func (s *story) run(steps int) error {
	for range steps {
		if err := s.step(); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) step() error {
	switch s.random.IntN(12) {
	case 0, 1:
		return s.checkpoint()
	case 2:
		if err := s.log.Close(); err != nil {
			return err
		}
		return s.open()
	case 3:
		before := s.disk.Before
		s.end()
		s.disk.Before = before
		return s.open()
	}
	return s.append()
}

// append appends a group and waits for it.
func (s *story) append() error {
	s.group++
	n := 1 + s.random.IntN(6)
	group := make([]statelog.Pending, n)
	from := len(s.written)
	awaited := s.random.IntN(3) > 0
	for i := range n {
		w := written{id: s.newID(), group: s.group, awaited: awaited && s.random.IntN(2) == 0}
		s.written = append(s.written, w)
		group[i].Record = recordOf(w.id)
	}
	told := make(chan struct{})
	waits := 0
	for i := range n {
		if at := from + i; s.written[at].awaited {
			waits++
			group[i].Done = func(err error) {
				s.written[at].told, s.written[at].err = true, err
				told <- struct{}{}
			}
		}
	}
	var last error
	group = append(group, statelog.Pending{Record: tooLarge, Done: func(err error) { last = err; told <- struct{}{} }})
	s.log.AppendAll(group)
	for range waits + 1 {
		<-told
	}
	return s.judge(from, last)
}

// tooLarge is a record that is refused, in its turn: when it is, all before it was done.
var tooLarge = make([]byte, statelog.MaxRecordBytes+1)

// judge looks at what the owners of a group were told.
func (s *story) judge(from int, last error) error {
	if !errors.Is(last, statelog.ErrTooLarge) && !errors.Is(last, statelog.ErrFailed) {
		return fmt.Errorf("a record that is too large: %w", last)
	}
	for _, w := range s.written[from:] {
		if w.err == nil && w.told && s.failed != nil {
			return errors.New("a record was kept after the log had failed")
		}
		if errors.Is(w.err, statelog.ErrFailed) {
			s.failed = w.err
		} else if w.err != nil && !errors.Is(w.err, statelog.ErrNoSpace) {
			return fmt.Errorf("record %d: %w", w.id, w.err)
		}
	}
	if s.failed == nil {
		s.failed = s.log.Err()
	}
	return s.failed
}

// checkpoint makes one, with traffic beside it or without. Want of space is no failure.
func (s *story) checkpoint() error {
	s.number++
	number := s.number
	beside := s.random.IntN(3)
	err := s.log.Checkpoint(func(emit func([]byte) error) error {
		all := span{max(0, len(s.written)-emitted), len(s.written)}
		s.emissions[number] = all
		if err := emit(beginning(number)); err != nil {
			return err
		}
		for _, w := range slices.Clone(s.written[all.from:all.to]) {
			if beside > 0 && s.random.IntN(3) == 0 {
				beside--
				if err := s.append(); err != nil {
					return err
				}
			}
			if err := emit(recordOf(w.id)); err != nil {
				return err
			}
		}
		if s.random.IntN(6) == 0 {
			return errChanged
		}
		return nil
	})
	switch {
	case err == nil:
		s.whole = number
	case errors.Is(err, statelog.ErrFailed):
		s.failed = err
		return err
	case errors.Is(err, errChanged), errors.Is(err, statelog.ErrNoSpace):
		return nil
	}
	return err
}

// errChanged is an owner's own reason not to finish a checkpoint.
var errChanged = errors.New("the owner has changed its mind")
