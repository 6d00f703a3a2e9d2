package statelog

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"gateway/disk"
)

// Options are the choices of a [Log]. All may be left at zero.
type Options struct {
	Logger *slog.Logger
	// AheadBytes is how far the log is filled with zeros at a time. Default: DefaultAheadBytes.
	AheadBytes int64
	// Random is where the key of each file is drawn from. Default: [crypto/rand.Reader]. It is meant for simulations: with
	// a key that is known, a record may look like a frame.
	Random io.Reader
}

const (
	// DefaultAheadBytes is the default of Options.AheadBytes.
	DefaultAheadBytes = 256 << 10
	// MaxGatheredBytes bounds what waits to be written, beside the group that is being written. What comes beyond it gets
	// [ErrOverloaded].
	MaxGatheredBytes = 64 << 20

	keptBuffer = 1 << 20 // bytes: a group's buffer that outgrows this is not kept
)

// Log is an open log. [Open] returns one.
type Log struct {
	fsys   disk.FS
	owner  [16]byte
	log    *slog.Logger
	ahead  int64 // Options.AheadBytes
	random io.Reader
	lock   io.Closer
	size   atomic.Int64
	failed chan struct{}  // closed with failure
	done   sync.WaitGroup // for run
	writer writer         // run's, until it has ended; then Close's

	checkpoint sync.Mutex // held during Checkpoint and the end of Close; guards the next three
	generation uint64
	lack       lack
	shut       bool

	mu      sync.Mutex // guards all below
	changed *sync.Cond // tells run that they changed
	groups  []*group   // what has gathered; the last one is open, and each but the first begins a generation
	bytes   int64      // gathered
	spare   *group     // empty, for the next
	failure error      // why nothing is done any more
	closing bool       // nothing is accepted any more
	ended   bool       // nobody answers any more
}

// group is what is written, and synced if that is awaited, at once.
type group struct {
	turn    *turn  // the generation that begins with it, or nil
	frames  []byte // not sealed
	calls   []call
	awaited bool // a call waits for its record
	// lost is why a record was refused whose owner did not want to be told, or nil.
	lost error
}

// call is a done to call. With refused its record is not in the group.
type call struct {
	done    func(error)
	refused error
}

func (g *group) empty() bool {
	return g.turn == nil && len(g.frames) == 0 && len(g.calls) == 0 && g.lost == nil
}

// Append gathers a copy of record. It never waits for the disk, and any goroutine may call it.
//
// With done, the record is written and synced together with whatever else has gathered. Then done is called once, in the
// order of Append among those with done, and not by Append: with nil when the record and all before it are durable, or with
// an error that wraps [ErrNoSpace], [ErrOverloaded], [ErrTooLarge] or [ErrClosed] when it was not kept, or [ErrFailed] when
// nobody can know. It must not block. Only once Close has returned, Append itself calls done.
//
// With nil, the record is written with the next group, within moments, and waits for no sync: it survives the end of the
// process and may be lost in a power cut. When it cannot be kept, nothing behind it is either until somebody knows: the next
// done that waits for a sync gets the reason, and so does Close. Whoever gets [ErrNoSpace] or [ErrOverloaded] has to take all
// for lost that was appended until then with nil; a checkpoint makes good for it.
func (l *Log) Append(record []byte, done func(error)) {
	l.mu.Lock()
	refused := l.gatherLocked(record, done)
	ended := l.ended
	l.mu.Unlock()
	if ended && done != nil {
		done(refused)
		return
	}
	l.changed.Signal()
}

// gatherLocked puts a record into the open group, or returns why not.
func (l *Log) gatherLocked(record []byte, done func(error)) (refused error) {
	size := int64(frameHeader + len(record))
	switch {
	case l.failure != nil:
		refused = l.failure
	case l.closing:
		refused = ErrClosed
	case len(record) > MaxRecordBytes:
		refused = fmt.Errorf("%w: %d bytes", ErrTooLarge, len(record))
	case l.bytes+size > MaxGatheredBytes:
		refused = ErrOverloaded
	}
	if l.ended {
		return refused
	}
	g := l.groups[len(l.groups)-1]
	if refused == nil && g.lost != nil {
		if refused = g.lost; done != nil {
			g.lost = nil // who waits is told
		}
	}
	if refused == nil {
		g.frames = appendFrame(g.frames, record)
		l.bytes += size
	}
	switch {
	case done != nil:
		g.calls = append(g.calls, call{done, refused})
		g.awaited = g.awaited || refused == nil
	case refused != nil && g.lost == nil:
		g.lost = refused
	}
	return refused
}

// Size is how many bytes were appended since the last checkpoint began, frames included.
func (l *Log) Size() int64 { return l.size.Load() }

// Err returns why the log has failed for good, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// Failed is closed when the log has failed for good.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// fail ends the log for good and returns the reason, which is the first there was.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = fmt.Errorf("%w: %w", ErrFailed, err)
		close(l.failed)
	}
	return l.failure
}

// stopped returns why nothing is accepted any more, or nil.
func (l *Log) stopped() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stoppedLocked()
}

func (l *Log) stoppedLocked() error {
	if l.failure == nil && l.closing {
		return ErrClosed
	}
	return l.failure
}

// Close ends a checkpoint that is under way without it, writes and syncs what has gathered, and lets another process have the
// directory. It returns why the log has failed, or why records were lost, if nobody was told yet. It is safe to call it
// twice.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.changed.Signal()
	l.checkpoint.Lock()
	defer l.checkpoint.Unlock()
	l.done.Wait()
	if l.shut {
		return nil
	}
	l.shut = true
	err := l.attempt(l.writer.settle)
	if err == nil {
		err = l.writer.lost
	}
	l.writer.file.Close()
	if unlock := l.lock.Close(); err == nil {
		err = unlock
	}
	if err != nil {
		return fmt.Errorf("close the state log: %w", err)
	}
	return nil
}
