package socket

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// sessionBytes is the size of a busy session's buffers: what one read may find and one write may carry.
const sessionBytes = 16 << 10

// session is a connection of many operations. Its reader takes a place for each of them, in order. The bank's callback puts
// the answer there, or the reader itself when it has found a fault. Its writer sends the answers in the order of the places
// and gives the places back. There are as many as operations may be in flight, so a callback never waits; when all are
// taken, the reader does, and reads no more.
type session struct {
	*door
	guest  *guest
	places []*place // made at first use

	taken atomic.Uint64 // places ever taken; the reader counts. Number n is places[n%len]
	sent  atomic.Uint64 // places ever given back; the writer counts
	ended atomic.Bool   // the reader takes no more
	since time.Time     // when the session began
	quiet atomic.Int64  // the time.Duration after that at which the last reply had gone out
	wake  chan struct{} // holds a token when the writer must look: an answer is there, or the reader has ended
	room  chan struct{} // holds a token when the reader may look for room

	// The reader's.
	in      inbox
	op      bank.Operation
	arrived time.Time // the last bytes
	partial time.Time // when the first byte of an operation was there that is not yet whole; zero without one
	known   bool      // its place at the gate was kept

	// The writer's.
	patience time.Duration // what is left of it with a peer that does not read
}

// place holds one operation's answer.
type place struct {
	kind     bank.Kind
	arrived  time.Time
	reply    bank.Reply
	answered atomic.Bool // reply is there, and the writer's
	done     func(bank.Reply, error)
}

// serveSession sends the ack and answers operations until the peer has enough, or ctx ends.
func (d *door) serveSession(ctx context.Context, g *guest) {
	s := &session{
		door: d, guest: g, places: make([]*place, d.options.InFlight), since: time.Now(),
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		in: newInbox(max(d.limit+1, sessionBytes)), patience: writeTimeout,
	}
	g.SetWriteDeadline(s.since.Add(writeTimeout))
	if !d.readers.add(g) {
		return
	}
	_, err := g.Write(d.ack)
	if err != nil {
		d.readers.remove(g)
		return
	}
	var writer sync.WaitGroup
	writer.Go(func() { s.write(ctx) })
	s.read(ctx)
	d.readers.remove(g)
	s.ended.Store(true)
	signal(s.wake)
	writer.Wait()
	if s.patience > 0 {
		g.SetDeadline(time.Now().Add(lingerTimeout))
		hangUp(g.Conn, s.in.b)
	}
}

// read is the reader.
func (s *session) read(ctx context.Context) {
	for {
		s.awaitRoom()
		n, err := s.next(ctx)
		if err == nil && !s.known && s.guest.principal != "" {
			if s.known = s.guest.place.Known(); !s.known {
				return // it was given to another
			}
		}
		if err == errGone {
			return
		}
		p := s.take()
		if err != nil {
			p.settle(s, s.refuse(s.guest, &s.op, err))
			if n == 0 {
				return // where the next operation begins cannot be known
			}
			continue
		}
		if refused, ok := s.submit(ctx, s.guest, &s.op, p.done); !ok {
			p.settle(s, refused)
		}
	}
}

// awaitRoom waits until a place is free. Only the reader takes places, so what is free stays free.
func (s *session) awaitRoom() {
	if s.inFlight() < len(s.places) {
		return
	}
	s.options.Observer.Limited(LimitInFlight)
	for s.inFlight() == len(s.places) {
		<-s.room
	}
}

func (s *session) inFlight() int { return int(s.taken.Load() - s.sent.Load()) }

// take takes the next place for what was read last. There is room.
func (s *session) take() *place {
	number := s.taken.Load()
	at := &s.places[number%uint64(len(s.places))]
	if *at == nil {
		p := new(place)
		p.done = func(reply bank.Reply, _ error) { p.settle(s, reply) }
		*at = p
	}
	p := *at
	p.kind, p.arrived = s.op.Kind, s.arrived
	s.taken.Store(number + 1)
	return p
}

// settle puts the answer into its place. It never blocks.
func (p *place) settle(s *session, reply bank.Reply) {
	p.reply = reply
	p.answered.Store(true)
	signal(s.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// next reads until s.op is an operation. Otherwise it returns the *wire.Fault to answer, after which the session goes on if
// n > 0, or errGone.
func (s *session) next(ctx context.Context) (n int, err error) {
	s.op = bank.Operation{}
	for {
		s.skip(&s.in)
		waiting := s.in.fresh()
		why := ending(ctx, s.guest)
		switch {
		case why != nil && len(waiting) > 0:
			return 0, why
		case why != nil:
			return 0, errGone
		case len(waiting) > 0:
			n, err := s.decode(waiting, &s.op)
			if err != wire.ErrIncomplete {
				s.in.r += n
				s.partial = time.Time{}
				return n, err
			}
		}
		if err := s.fill(ctx); err != nil {
			return 0, err
		}
	}
}

// fill reads once. It returns nil when there may be more to decode, or there is a reason to end.
func (s *session) fill(ctx context.Context) error {
	now := time.Now()
	begun := len(s.in.fresh()) > 0
	deadline := s.idleUntil(now)
	if begun {
		if s.partial.IsZero() {
			s.partial = now
		}
		deadline = s.partial.Add(s.options.ReadTimeout)
	}
	s.guest.SetReadDeadline(deadline)
	if ending(ctx, s.guest) != nil {
		return nil
	}
	err := s.in.fill(s.guest.Conn)
	s.arrived = time.Now()
	switch {
	case err == nil:
		return nil
	case begun:
		return s.unread(ctx, s.guest, err, len(s.in.fresh()))
	case errors.Is(err, os.ErrDeadlineExceeded) && s.arrived.Before(s.idleUntil(s.arrived)):
		return nil // it was not idle for all that time
	case errors.Is(err, os.ErrDeadlineExceeded) && ending(ctx, s.guest) == nil:
		s.options.Observer.Limited(LimitIdleTimeout)
		return errGone
	default:
		return errGone
	}
}

// idleUntil returns when a session that sends nothing has been idle too long: it is not while a reply is owed to it.
func (s *session) idleUntil(now time.Time) time.Time {
	if s.inFlight() > 0 {
		return now.Add(s.options.IdleTimeout)
	}
	return s.since.Add(time.Duration(s.quiet.Load()) + s.options.IdleTimeout)
}

// write is the writer. It returns when the reader has ended and every place was given back.
func (s *session) write(ctx context.Context) {
	for range s.wake {
		for s.flush(ctx) {
		}
		if s.ended.Load() && s.inFlight() == 0 {
			return
		}
	}
}

// flush sends the answers that are due, as many in one write as there are: the peer of a session knows where a reply ends,
// and a write for each would cost more than all the rest of its operation. It reports false when none is due.
func (s *session) flush(ctx context.Context) bool {
	first, taken := s.sent.Load(), s.taken.Load()
	buffer := s.outboxes.Get().(*[]byte)
	defer s.outboxes.Put(buffer)
	out, next := (*buffer)[:0], first
	for ; next < taken && cap(out)-len(out) >= wire.MaxReply; next++ {
		p := s.place(next)
		if !p.answered.Load() {
			break
		}
		out = s.listener.Codec.AppendReply(out, &p.reply)
	}
	if next == first {
		return false
	}
	if err := s.send(ctx, out); err != nil {
		s.logUndelivered(s.guest.peer, &s.place(first).reply, err)
	}
	now := time.Now()
	for i := first; i < next; i++ {
		p := s.place(i)
		p.answered.Store(false)
		s.options.Observer.Operation(p.kind, p.reply.Code, now.Sub(p.arrived))
	}
	s.quiet.Store(int64(now.Sub(s.since)))
	s.sent.Store(next)
	signal(s.room)
	return true
}

func (s *session) place(number uint64) *place { return s.places[number%uint64(len(s.places))] }

// send writes out, or drops it when the peer took too long before. Patience is new for every write while the session lives,
// and one for all writes at its end, so that a peer that reads a little at a time cannot delay a stop.
func (s *session) send(ctx context.Context, out []byte) error {
	if s.patience <= 0 {
		return nil
	}
	began := time.Now()
	s.guest.SetWriteDeadline(began.Add(s.patience))
	_, err := s.guest.Write(out)
	if s.ended.Load() || ctx.Err() != nil {
		s.patience -= time.Since(began)
	}
	if err != nil {
		s.late(err)
		s.patience = 0
	}
	if s.patience <= 0 {
		s.guest.Close() // which ends the reader
	}
	return err
}
