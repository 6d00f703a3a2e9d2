package mqtt

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"gateway/bank"
	"gateway/packed"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Recovery puts the sessions together again that were kept. It is told every record of the [Store] in order, then every
// entry of the journal behind [Recovery.Seq], and is then given to [New].
//
// Its order does not matter beyond that, and nothing is harmed by what comes twice: every record is about a numbered thing.
type Recovery struct {
	began       bool // there was a checkpoint
	seq         uint64
	incarnation uint64
	sessions    map[uint64]*restored // by incarnation
	newest      map[string]uint64    // incarnation, by client id
}

// restored is a session on its way back.
type restored struct {
	id, principal string
	link          link
	subscriptions []packets.Subscription
	arrivals      uint64
	settled       uint64 // what has a lower number and is not among exchanges is over
	acked         uint64
	exchanges     map[uint64]*kept
	released      map[uint64]bool
}

// kept is an operation on its way back.
type kept struct {
	note
	known   bool // a redelivery is one
	replied bool
}

// NewRecovery returns a Recovery that knows of nothing yet.
func NewRecovery() *Recovery {
	return &Recovery{sessions: make(map[uint64]*restored), newest: make(map[string]uint64)}
}

// Seq returns the entry up to which the records say everything.
func (r *Recovery) Seq() uint64 { return r.seq }

// Began reports whether there was anything to recover. Otherwise no entry needs to be told.
func (r *Recovery) Began() bool { return r.began }

// Record takes a record of the store. An error means that it is none of this program's.
func (r *Recovery) Record(b []byte) error {
	f := recordReader{packed.Reader{Rest: b}}
	kind := f.Byte()
	if kind == recordStart {
		seq, incarnation := f.Uvarint(), f.Uvarint()
		r.began = true
		r.seq, r.incarnation = max(r.seq, seq), max(r.incarnation, incarnation)
	} else {
		r.about(kind, &f)
	}
	if f.Bad || len(f.Rest) > 0 {
		return fmt.Errorf("%w: kind %q", errRecord, kind)
	}
	return nil
}

// about takes a record about a session. About one that has ended there is nothing to know.
func (r *Recovery) about(kind byte, f *recordReader) {
	incarnation := f.Uvarint()
	s := r.sessions[incarnation]
	if kind == recordSession {
		r.session(incarnation, s == nil, f)
		return
	}
	if s == nil {
		s = newRestored()
	}
	switch kind {
	case recordLink:
		s.link = f.link()
	case recordFilters:
		s.subscriptions = f.filters()
	case recordAnswer, recordExchange:
		s.answer(kind, incarnation, f)
	case recordRelease:
		s.released[f.Uvarint()] = true
	case recordAcked:
		s.acked = max(s.acked, f.Uvarint())
	case recordEnd:
		delete(r.sessions, incarnation)
	default:
		f.Bad = true
	}
}

func newRestored() *restored {
	return &restored{exchanges: make(map[uint64]*kept), released: make(map[uint64]bool)}
}

// session takes the record of a session. One that is known already is so from a later checkpoint. One that another of its client
// id has followed has ended, whether or not its end was kept.
func (r *Recovery) session(incarnation uint64, isNew bool, f *recordReader) {
	s := newRestored()
	s.id, s.principal = string(f.short()), string(f.short())
	s.link, s.subscriptions = f.link(), f.filters()
	s.arrivals, s.settled, s.acked = f.Uvarint(), f.Uvarint(), f.Uvarint()
	f.Bad = f.Bad || incarnation == 0 || !validClientID(s.id)
	if !isNew || f.Bad {
		return
	}
	r.incarnation = max(r.incarnation, incarnation)
	if before := r.newest[s.id]; before <= incarnation {
		delete(r.sessions, before)
		r.newest[s.id], r.sessions[incarnation] = incarnation, s
	}
}

// answer takes an operation that was answered.
func (s *restored) answer(kind byte, incarnation uint64, f *recordReader) {
	flags := f.Byte()
	n, err := parseNote(f.short())
	k := &kept{note: n, known: flags&answerKnown != 0, replied: flags&answerReplied != 0}
	if k.replied {
		k.reply = f.reply()
	}
	if f.Bad = f.Bad || err != nil || n.incarnation != incarnation; f.Bad {
		return
	}
	s.add(k, kind)
}

// noRecord is what an entry is instead of a kind of record.
const noRecord = 0

// add takes an operation that a record of that kind is about, or an entry (noRecord). Of one that a checkpoint has dealt with, only
// what that says counts, but for the answer: beside a failing disk "unavailable" may have been kept where the entry, which reached
// the disk, knows better; then a redelivery of QoS 1 is one, though "unavailable" alone would let it be tried again.
func (s *restored) add(k *kept, kind byte) {
	fromCheckpoint := kind == recordExchange
	known := s.exchanges[k.number]
	switch {
	case known == nil && (fromCheckpoint || k.number > s.settled):
		s.exchanges[k.number] = k
	case known != nil:
		switch {
		case fromCheckpoint:
			known.known = known.known || k.known
			known.owed = known.owed || k.owed
		case kind == noRecord && known.qos == 1 && known.reply.Code == bank.Unavailable:
			known.known = true
		}
		if k.replied && (!known.replied || !fromCheckpoint) {
			known.manner, known.below = k.manner, k.below
			known.reply, known.replied = k.reply, true
		}
	}
}

// Entry takes an entry of the journal. It keeps nothing of e.
func (r *Recovery) Entry(e *bank.Entry) error {
	if e.Origin.Door != bank.DoorMQTT || e.Origin.Delivery == "" {
		return nil
	}
	n, err := parseNote([]byte(e.Origin.Delivery))
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	r.incarnation = max(r.incarnation, n.incarnation) // of a session that began after a backup had copied the sessions
	if s := r.sessions[n.incarnation]; s != nil {
		n.reply = e.Reply()
		s.add(&kept{note: n, known: true, replied: true}, noRecord)
	}
	return nil
}

// restore gives the server the sessions that have not ended. A session that was connected counts as disconnected now.
func (r *Recovery) restore(server *Server) {
	registry := server.sessions
	registry.mu.Lock()
	defer registry.mu.Unlock()
	registry.incarnation = r.incarnation
	now := registry.now()
	for _, incarnation := range slices.Sorted(maps.Keys(r.sessions)) {
		from := r.sessions[incarnation]
		s := &session{
			id: from.id, principal: from.principal, own: server.options.ownTopic(from.id), registry: registry,
			incarnation: incarnation,
		}
		if from.over(now) {
			registry.forgetLocked(s, func(error) {})
			continue
		}
		registry.addLocked(s)
		s.mu.Lock()
		s.restoreLocked(from, now, max(maxRemembered, server.options.InFlight))
		if from.link.connected {
			registry.append(s.appendLinkLocked(nil), nil)
		}
		s.mu.Unlock()
	}
	r.sessions = nil
}

// over reports whether a session has ended.
func (s *restored) over(now time.Time) bool {
	if s.link.connected {
		return !s.link.persists
	}
	return !now.Before(s.link.expires)
}

// restoreLocked makes a session what it was. It remembers as many QoS 1 operations as any client may have under way.
func (s *session) restoreLocked(from *restored, now time.Time, remember int) {
	s.link, s.subscriptions = from.link, from.subscriptions
	s.clock = 1 // when everything was sent that was
	s.inbound.limit = remember
	s.arrivals, s.settled = max(from.arrivals, from.acked), from.settled
	for released := range from.released {
		s.arrivals = max(s.arrivals, released)
	}
	if from.link.connected {
		s.link.connected, s.link.expires = false, now.Add(from.link.expiry)
	}
	for _, number := range slices.Sorted(maps.Keys(from.exchanges)) {
		k := from.exchanges[number]
		x := s.exchange(k)
		if k.known && x.qos == 2 && !from.released[number] {
			s.inbound.begin(x)
			s.inbound.settle(x, success)
		}
		if k.known && x.qos == 1 {
			s.inbound.settle(x, success)
		}
		s.settled = max(s.settled, number)
		x.owed = x.owed && k.replied && number > from.acked
		if !x.owed {
			continue
		}
		if from.link.connected || number <= from.link.sent { // it may have been sent: [MQTT-3.3.1-1]
			x.sent, s.link.sent = s.clock, max(s.link.sent, number)
		}
		s.registry.waiting.Add(1)
		s.owner.waiting.Add(1)
		s.outbound.reserved++
		x.heard, x.grant, x.reserved, x.waits = true, 1, true, true
		s.outbound.queue.push(x)
	}
	s.arrivals = max(s.arrivals, s.settled)
}

// exchange returns an operation of the session as it was.
func (s *session) exchange(k *kept) *exchange {
	x := k.exchange
	x.session, x.kept, x.judged, x.answered = s, true, true, true
	if k.below != "" {
		x.manner.topic = s.own + k.below
	}
	return &x
}
