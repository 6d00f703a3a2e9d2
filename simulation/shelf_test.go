package simulation

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gateway/statelog"
	"gateway/transport/mqtt"
)

// shelf is the sessions' log as the MQTT door has it (cmd/gateway's sessionStore), with the driver between the two: what is
// appended is handed over one record at a time, so that which records become a group is the seed's to say.
type shelf struct {
	w   *world
	log *statelog.Log

	mu     sync.Mutex // guards all below
	fresh  []appended // since the driver looked last
	queue  []appended // to be handed over, in order
	dead   bool
	wanted bool // a checkpoint is
}

// appended is a call of Append.
type appended struct {
	record []byte
	done   func(error)
}

// incarnation is of the session that the record is about.
func (a appended) incarnation() uint64 {
	n, _ := binary.Uvarint(a.record[1:])
	return n
}

// Append implements mqtt.Store.
func (s *shelf) Append(record []byte, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		if done != nil {
			go done(errKilled)
		}
		return
	}
	s.fresh = append(s.fresh, appended{bytes.Clone(record), done})
}

// settle puts what was appended since the last call in an order that does not depend on which goroutine came first: records
// about one session stay in theirs, and a session that replaces another has the later incarnation.
func (s *shelf) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.fresh, func(a, b appended) int {
		return int(a.incarnation()) - int(b.incarnation())
	})
	s.queue = append(s.queue, s.fresh...)
	s.fresh = s.fresh[:0]
}

// pending returns how many records wait to be handed over.
func (s *shelf) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// handOver gives the log the first record.
func (s *shelf) handOver() {
	s.mu.Lock()
	first := s.queue[0]
	s.queue = s.queue[1:]
	s.mu.Unlock()
	if first.done == nil {
		s.log.Append(first.record, nil)
		return
	}
	s.log.Append(first.record, func(err error) {
		_ = s.w.gate.pass(point{where: atKept}) // the end of the process changes nothing here
		first.done(storeError(err))
	})
}

// die ends the process's side: nobody waits for the log any more.
func (s *shelf) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	for _, a := range append(s.queue, s.fresh...) {
		if a.done != nil {
			go a.done(errKilled)
		}
	}
	s.queue, s.fresh = nil, nil
}

// Checkpoint implements mqtt.Store. What was appended before it must be in the log before it.
func (s *shelf) Checkpoint(write func(emit func([]byte) error) error) error {
	s.mu.Lock()
	s.wanted = false
	s.mu.Unlock()
	if err := s.w.gate.pass(point{where: atCheckpoint}); err != nil {
		return err
	}
	s.w.figures.checkpoints++
	return storeError(s.log.Checkpoint(write))
}

// enough is more than the keeper lets the log grow before it makes a checkpoint.
const enough = 1 << 30

// Size implements mqtt.Store. It tells of more than there is when the driver wants a checkpoint.
func (s *shelf) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted {
		return enough
	}
	return s.log.Size()
}

// want makes the keeper make a checkpoint when it looks next.
func (s *shelf) want() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = true
}

func storeError(err error) error {
	if errors.Is(err, statelog.ErrNoSpace) || errors.Is(err, statelog.ErrOverloaded) {
		return fmt.Errorf("%w: %w", mqtt.ErrNoSpace, err)
	}
	return err
}
