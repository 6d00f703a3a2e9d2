package mqtt

import (
	"bytes"
	"context"
	"errors"

	"gateway/bank"
	"gateway/wire"
)

// Journal tells the entries of the bank in order: a [journal.Engine] does.
type Journal interface {
	// Seq returns the seq of the last durable entry. Any goroutine may call it.
	Seq() uint64
	// Follow calls visit with each durable entry after the one with that seq, in order and without a gap, as they come. It
	// returns when ctx ends, with an error of visit's, or when no more entries can come.
	Follow(ctx context.Context, after uint64, visit func(e *bank.Entry, hash [32]byte) error) error
}

// feed is what a session knows of the entries that it is told: where it is, and what its client has not acknowledged. The
// entries themselves are in the journal, from which they are read at the client's own speed, also when they are sent again.
// Its session's lock guards it.
type feed struct {
	began   bool                // the session hears the journal, from behind some entry
	told    uint64              // the last entry that was told, or that one
	sent    map[uint16]onItsWay // at QoS 1 and not acknowledged, by packet id
	here    int                 // how many of those were sent on this connection
	lastID  uint16              // of an entry
	running bool                // a goroutine of the connection tells
	waiting bool                // it waits for room
	room    chan struct{}       // holds a token when it shall look again
}

// onItsWay is an entry that was sent and not acknowledged.
type onItsWay struct {
	seq    uint64
	serial uint64 // of the connection on which it was sent last
}

// errUnheard says that the session does not hear the journal any more.
var errUnheard = errors.New("mqtt: nobody listens to the journal any more")

// tune makes the feed begin behind the entry seq when the session has come to hear the journal, and end when it has ceased
// to. A session that comes back goes on where it was.
func (s *session) tune(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, heard := s.grantedLocked(JournalTopic)
	if heard && !s.feed.began {
		s.feed.told = seq
	}
	s.feed.began = heard
}

// startFeed reports whether c shall begin to tell entries, and after which.
func (s *session) startFeed(c *conn) (after uint64, start bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.feed
	if s.conn != c || !f.began || f.running {
		return 0, false
	}
	f.running, f.waiting, f.room = true, false, make(chan struct{}, 1)
	after = f.told
	for _, sent := range f.sent {
		after = min(after, sent.seq-1)
	}
	return after, true
}

// ticket is what an entry is sent with.
type ticket struct {
	id  uint16 // 0: QoS 0
	dup bool
}

// admitEntry decides about the entry seq on c. It is due or not, because the client has it or shall not have it. When wait is
// not nil there is no room for it; ask again after wait.
func (s *session) admitEntry(c *conn, seq uint64) (t ticket, due bool, wait <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.feed
	granted, heard := s.grantedLocked(JournalTopic)
	if s.conn != c || !f.began || !heard {
		f.running = false
		return ticket{}, false, nil, errUnheard
	}
	full := s.outbound.inflight.count+f.here >= c.window
	switch {
	case seq <= f.told:
		t = f.again(seq, c.serial)
		if due = t.dup; due && full {
			return ticket{}, false, f.awaitRoom(), nil
		}
	case granted == 0:
		f.told = seq
		return ticket{}, true, nil, nil
	case full || s.outbound.queue.first != nil: // replies go first
		return ticket{}, false, f.awaitRoom(), nil
	default:
		t, due = ticket{id: s.freeIDLocked()}, true
		f.told = seq
	}
	if due {
		if f.sent == nil {
			f.sent = make(map[uint16]onItsWay)
		}
		f.sent[t.id] = onItsWay{seq, c.serial}
		f.here++
	}
	return t, due, nil, nil
}

// again returns how an entry is sent that was sent on an earlier connection and not acknowledged.
func (f *feed) again(seq, serial uint64) ticket {
	for id, sent := range f.sent {
		if sent.seq == seq && sent.serial != serial {
			return ticket{id: id, dup: true}
		}
	}
	return ticket{}
}

// awaitRoom returns what gets a token when there may be room.
func (f *feed) awaitRoom() <-chan struct{} {
	f.waiting = true
	return f.room
}

// wakeFeedLocked tells the feed that there may be room.
func (s *session) wakeFeedLocked() {
	if s.feed.waiting {
		s.feed.waiting = false
		select {
		case s.feed.room <- struct{}{}:
		default:
		}
	}
}

// freeIDLocked returns a packet id for an entry. They are given out downwards: those of replies, which follow from the
// numbers of operations, go upwards, and where the two meet a reply waits until the entry is acknowledged.
func (s *session) freeIDLocked() uint16 {
	for {
		s.feed.lastID--
		id := s.feed.lastID
		_, entry := s.feed.sent[id]
		if id != 0 && !entry && s.outbound.ids[id] == nil {
			return id
		}
	}
}

// delivered takes the PUBACK of an entry in, on the connection with that serial.
func (f *feed) delivered(id uint16, serial uint64) {
	if sent, known := f.sent[id]; known {
		delete(f.sent, id)
		if sent.serial == serial {
			f.here--
		}
	}
}

// stop is called when the connection has ended. What it was sent is sent again on the next.
func (f *feed) stop() {
	f.here, f.running, f.waiting, f.room = 0, false, false, nil
}

// feeder tells one connection the entries of the journal. It holds no more of them than one write sends.
type feeder struct {
	conn    *conn
	payload bytes.Buffer
	lines   *wire.EntryEncoder
	out     []byte
}

// feed tells entries after the given one until the connection ends or nobody hears them any more. When it cannot go on it
// ends the connection, because an auditor is told everything or knows that it is not. It has a file of the journal open, and
// takes a second place among the connections for that.
func (c *conn) feed(after uint64) {
	place, full := c.server.options.Gate.EnterKnown(c.peer.Addr())
	if full != "" {
		c.server.reject(c.peer, full)
		c.disconnect(quotaExceeded)
		return
	}
	defer place.Leave()
	f := &feeder{conn: c}
	f.lines = wire.NewEntryEncoder(&f.payload)
	err := c.server.options.Journal.Follow(c.ctx, after, f.tell)
	why := implementationError
	switch {
	case err == errUnheard, c.ctx.Err() != nil:
		return
	case errors.As(err, &why), errors.Is(err, bank.ErrClosed):
	default:
		c.server.options.Logger.Error("cannot tell the journal", "client", c.session.id, "err", err)
	}
	c.disconnect(why)
}

// tell is the visitor of [Journal.Follow].
func (f *feeder) tell(e *bank.Entry, hash [32]byte) error {
	c := f.conn
	if !c.server.auditor(c.session.principal) {
		return notAuthorized
	}
	t, due, wait, err := c.session.admitEntry(c, e.Seq)
	for ; wait != nil; t, due, wait, err = c.session.admitEntry(c, e.Seq) {
		if err := f.write(); err != nil {
			return err
		}
		select {
		case <-wait:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	if err == nil && due {
		err = f.append(e, hash, t)
	}
	if err == nil && (len(f.out) >= feedBytes || e.Seq >= c.server.options.Journal.Seq()) {
		err = f.write() // else the next is there already
	}
	return err
}

// append appends an entry to what is to be written. One larger than the client takes is passed over, as if the client had it:
// [MQTT-3.1.2-25].
func (f *feeder) append(e *bank.Entry, hash [32]byte, t ticket) error {
	f.payload.Reset()
	if err := f.lines.Encode(e, hash); err != nil {
		return err
	}
	d := delivery{
		topic: JournalTopic, id: t.id, dup: t.dup, contentType: "application/json",
		payload: bytes.TrimSuffix(f.payload.Bytes(), []byte("\n")),
	}
	before := len(f.out)
	f.out = d.append(f.out, f.conn.level)
	if len(f.out)-before > f.conn.maxPacket {
		f.out = f.out[:before]
		f.conn.server.options.Logger.Warn("entry larger than its auditor takes", "client", f.conn.session.id, "seq", e.Seq)
		f.conn.session.delivered(f.conn, t.id)
	}
	return nil
}

// write sends what has gathered.
func (f *feeder) write() error {
	if len(f.out) == 0 {
		return nil
	}
	_, err := f.conn.Write(f.out)
	f.out = f.out[:0]
	return err
}
