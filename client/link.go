package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"gateway/wire"
)

const (
	// maxHeard bounds the bytes of one message that a link may bring.
	maxHeard = 64 << 10
	// heardAtOnce is the size in bytes of a link's buffer until a message needs more.
	heardAtOnce = 8 << 10
	// farewellTimeout bounds the time for which Close tries to say goodbye.
	farewellTimeout = time.Second
)

// errStalled says that a connection owed an answer for too long.
var errStalled = errors.New("no answer for too long")

// speech is what is said over a link: a socket session or MQTT.
type speech interface {
	// say queues the request of k. When its answer is heard, link.answer is called, and link.leave once it is on its way no
	// more. An error concerns k alone, and then nothing was queued.
	say(k *call) error
	// hear takes whole messages from the front of b and returns how many bytes they were. An error ends the link. Only the
	// link's reader calls it.
	hear(b []byte) (int, error)
	// tick is called about four times in the answer timeout, or more often, by the link's writer. An error ends the link.
	tick() error
	// farewell returns the bytes to send before the connection is closed in good order.
	farewell() []byte
}

// link is one connection that carries many calls. A reader and a writer live as long as it does; the writer sends whatever
// was queued while it was sending.
type link struct {
	conn     net.Conn
	speech   speech
	places   chan struct{} // one for each call on its way
	patience time.Duration // bounds the wait for the next answer
	tick     time.Duration
	wakeup   chan struct{} // holds a token when out may be non-empty
	dead     chan struct{} // closed when the link is no more
	workers  sync.WaitGroup

	mu       sync.Mutex // guards all below, and what a speech says it does
	out      []byte
	err      error // why the link is dead
	owed     int   // calls on their way
	progress time.Time
	useful   bool // it has brought an answer
	leaving  bool // the farewell is in out, or was sent
}

func newLink(conn net.Conn, places int, patience time.Duration) *link {
	return &link{
		conn: conn, places: make(chan struct{}, places), patience: patience, tick: patience / 4,
		wakeup: make(chan struct{}, 1), dead: make(chan struct{}),
	}
}

// start lets the link live until fail is called. The caller waits for it with workers.
func (l *link) start() {
	l.workers.Go(l.read)
	l.workers.Go(l.write)
}

// carry sends k and waits for its answer.
func (l *link) carry(ctx context.Context, k *call) (wire.Answer, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.dead:
		return wire.Answer{}, l.reason()
	case <-ctx.Done():
		return wire.Answer{}, ctx.Err()
	}
	l.owe()
	k.sent = true
	if err := l.speech.say(k); err != nil {
		k.sent = false
		l.leave()
		return wire.Answer{}, err
	}
	select {
	case answer := <-k.answered:
		return answer, nil
	case <-ctx.Done():
		return wire.Answer{}, ctx.Err()
	case <-l.dead:
	}
	select {
	case answer := <-k.answered: // the reader's last words
		return answer, nil
	default:
		return wire.Answer{}, l.reason()
	}
}

// owe notes that an answer is awaited.
func (l *link) owe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owed == 0 {
		l.progress = time.Now()
	}
	l.owed++
}

// answer gives the call its answer. The place is given back by leave.
func (l *link) answer(k *call, a wire.Answer) {
	l.mu.Lock()
	l.useful = l.useful || !nameless(&a)
	l.mu.Unlock()
	select {
	case k.answered <- a:
	default: // it has one
	}
}

// leave gives a call's place back: it is on its way no more.
func (l *link) leave() {
	l.mu.Lock()
	l.owed--
	l.progress = time.Now()
	l.mu.Unlock()
	<-l.places
}

// bye ends the link in good order: what was queued and the farewell are sent if that is quick.
func (l *link) bye() {
	if farewell := l.speech.farewell(); len(farewell) > 0 {
		l.mu.Lock()
		l.queueLocked(farewell)
		l.leaving = true
		l.mu.Unlock()
		l.wake()
		patience := time.AfterFunc(farewellTimeout, func() { l.fail(ErrClosed) })
		defer patience.Stop()
		<-l.dead
		return
	}
	l.fail(ErrClosed)
}

// queueLocked adds bytes to what the writer sends next. The caller calls wake after it has given the lock up.
func (l *link) queueLocked(b []byte) { l.out = append(l.out, b...) }

func (l *link) queue(b []byte) {
	l.mu.Lock()
	l.queueLocked(b)
	l.mu.Unlock()
	l.wake()
}

func (l *link) wake() {
	select {
	case l.wakeup <- struct{}{}:
	default:
	}
}

// fail ends the link. The first reason stays.
func (l *link) fail(err error) {
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
	}
	l.mu.Unlock()
	if first {
		close(l.dead)
		l.conn.Close()
	}
}

// reason returns why the link is dead.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *link) alive() bool {
	select {
	case <-l.dead:
		return false
	default:
		return true
	}
}

// read lets the speech hear what comes.
func (l *link) read() {
	buffer := make([]byte, heardAtOnce)
	filled := 0
	for {
		n, err := l.conn.Read(buffer[filled:])
		filled += n
		heard, wrong := l.speech.hear(buffer[:filled])
		filled = copy(buffer, buffer[heard:filled])
		switch {
		case wrong != nil:
			err = wrong
		case err == nil && filled == len(buffer) && filled >= maxHeard:
			err = fmt.Errorf("a message of more than %d bytes", maxHeard)
		case err == nil && filled == len(buffer):
			buffer = append(buffer, make([]byte, len(buffer))...)
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // the link still had work, or nobody minds
			}
			l.fail(fmt.Errorf("connection lost: %w", err))
			return
		}
	}
}

// write sends what was queued, in as few writes as it can, and looks at the clock.
func (l *link) write() {
	ticker := time.NewTicker(l.tick)
	defer ticker.Stop()
	var sending []byte
	for {
		select {
		case <-l.wakeup:
			runtime.Gosched() // others that were woken by the same answers may queue first
			l.mu.Lock()
			sending, l.out = l.out, sending[:0]
			leaving := l.leaving
			l.mu.Unlock()
			if err := l.send(sending); err != nil {
				l.fail(err)
				return
			}
			if leaving {
				l.fail(ErrClosed)
				return
			}
		case <-ticker.C:
			if l.stalled() {
				l.fail(errStalled)
				return
			}
			if err := l.speech.tick(); err != nil {
				l.fail(err)
				return
			}
		case <-l.dead:
			return
		}
	}
}

func (l *link) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	l.conn.SetWriteDeadline(time.Now().Add(l.patience))
	if _, err := l.conn.Write(b); err != nil {
		return fmt.Errorf("connection lost: %w", err)
	}
	return nil
}

// stalled reports whether the link has owed an answer for too long.
func (l *link) stalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owed > 0 && time.Since(l.progress) > l.patience
}
