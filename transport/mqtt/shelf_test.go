package mqtt_test

import (
	"bytes"
	"net"
	"sync"
	"syscall"
	"testing"

	"gateway/transport/mqtt"
)

// shelf is a store in memory that can be slow, full, and left behind by a process that is killed.
type shelf struct {
	mu      sync.Mutex
	changed *sync.Cond
	records [][]byte // kept
	waiting []append1
	busy    bool
	held    bool
	full    bool // there is no space
	failed  bool // for good
	dead    bool // the process was killed: nothing is kept any more
	closed  bool
	writing func() // called before a checkpoint is written, when it is not nil
	running sync.WaitGroup
}

type append1 struct {
	record []byte
	done   func(error)
}

func newShelf(t testing.TB, records [][]byte) *shelf {
	s := &shelf{records: records}
	s.changed = sync.NewCond(&s.mu)
	s.running.Go(s.run)
	return s
}

// run keeps what was appended, one record at a time.
func (s *shelf) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.waiting) == 0 && !s.closed || s.held {
			s.changed.Wait()
		}
		if len(s.waiting) == 0 {
			return
		}
		next := s.waiting[0]
		s.waiting, s.busy = s.waiting[1:], true
		err := error(nil)
		if s.full {
			err = mqtt.ErrNoSpace
		} else if s.failed {
			err = syscall.EIO
		} else if !s.dead {
			s.records = append(s.records, next.record)
		}
		if next.done != nil {
			s.mu.Unlock()
			next.done(err)
			s.mu.Lock()
		}
		s.busy = false
		s.changed.Broadcast()
	}
}

func (s *shelf) Append(record []byte, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, append1{bytes.Clone(record), done})
	s.changed.Broadcast()
}

func (s *shelf) Checkpoint(write func(func([]byte) error) error) error {
	s.mu.Lock()
	before, writing := len(s.records), s.writing
	s.mu.Unlock()
	if writing != nil {
		writing()
	}
	var all [][]byte
	err := write(func(record []byte) error {
		all = append(all, bytes.Clone(record))
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.dead {
		return err
	}
	if s.full {
		return mqtt.ErrNoSpace
	}
	s.records = append(all, s.records[before:]...)
	return nil
}

func (s *shelf) Size() int64 { return 0 }

// set changes what the shelf is like.
func (s *shelf) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

// hold makes every record wait until release is called.
func (s *shelf) hold() (release func()) {
	s.set(func() { s.held = true })
	return func() { s.set(func() { s.held = false }) }
}

// settle waits until all that was appended is kept.
func (s *shelf) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 || s.busy {
		s.changed.Wait()
	}
}

// kill keeps nothing more, and returns what was kept.
func (s *shelf) kill() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead, s.held = true, false
	s.changed.Broadcast()
	return append([][]byte(nil), s.records...)
}

func (s *shelf) close() {
	s.set(func() { s.closed, s.held = true, false })
	s.running.Wait()
}

// keptHouse is a house whose sessions survive its process.
type keptHouse struct {
	*house
	shelf  *shelf
	door   *cutter
	change func(*mqtt.Options)
}

func keep(t testing.TB, change func(*mqtt.Options)) *keptHouse {
	h := build(t, func(*mqtt.Options) {})
	if err := h.stop(); err != nil { // it was for its engine
		t.Fatal(err)
	}
	return moveIn(t, h.engine, nil, change)
}

// moveIn starts a house with what another has left behind.
func moveIn(t testing.TB, engine *heldEngine, records [][]byte, change func(*mqtt.Options)) *keptHouse {
	t.Helper()
	recovery := mqtt.NewRecovery()
	for _, record := range records {
		if err := recovery.Record(record); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range engine.Entries() {
		if recovery.Began() && e.Seq > recovery.Seq() {
			if err := recovery.Entry(&e); err != nil {
				t.Fatal(err)
			}
		}
	}
	k := &keptHouse{shelf: newShelf(t, records), change: change}
	t.Cleanup(k.shelf.close)
	k.door = &cutter{Listener: listen(t)}
	k.house = buildOn(t, engine, func(o *mqtt.Options) {
		o.Keeping = &mqtt.Keeping{Store: k.shelf, Recovery: recovery, Seq: func() uint64 { return uint64(engine.durable.Load()) }}
		if change != nil {
			change(o)
		}
	}, mqtt.Listener{Net: k.door})
	k.address = k.door.Addr().String()
	return k
}

// cutter is a listener whose connections can be cut, all at once and for ever.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	if c.cut {
		conn.Close()
	}
	return conn, nil
}

func (c *cutter) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		conn.Close()
	}
}

// killed returns the house as it is after the process was killed at rest and started again. Connections end.
func (k *keptHouse) killed() *keptHouse {
	k.t.Helper()
	k.shelf.settle()
	return k.killedAtOnce()
}

// killedAtOnce kills it whatever it is doing.
func (k *keptHouse) killedAtOnce() *keptHouse {
	k.t.Helper()
	return moveIn(k.t, k.engine, k.die(), k.change)
}

// die kills the process, and returns what its store had kept.
func (k *keptHouse) die() [][]byte {
	k.t.Helper()
	k.shelf.hold() // so that nobody hears of what is not kept
	k.door.sever()
	records := k.shelf.kill()
	if err := k.stop(); err != nil {
		k.t.Fatal(err)
	}
	return records
}
