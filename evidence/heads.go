package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gateway/bank"
	"gateway/disk"
	"gateway/seldom"
)

// Journal is what heads are of: a [journal.Engine] is one. Any goroutine may call its methods.
type Journal interface {
	// ID returns what tells the journal from all others.
	ID() [16]byte
	// Seq returns the seq of the last durable entry.
	Seq() uint64
	// Follow calls visit with each durable entry after the one with that seq, in order and without a gap, and its hash, as
	// they come. It returns when ctx ends, with an error of visit's, or when no more entries can come.
	Follow(ctx context.Context, after uint64, visit func(e *bank.Entry, hash [32]byte) error) error
}

// Options are the choices of [Heads]. Zero values are replaced by defaults.
type Options struct {
	// Every is how often a head is made, if there are new entries. Default: DefaultEvery.
	Every time.Duration
	// EveryEntries is how many new entries make a head before that, at most MaxRange. Default: DefaultEveryEntries.
	EveryEntries int
	// Copy names a file elsewhere to which heads are appended too, or "".
	Copy   string
	Logger *slog.Logger
	// Now gives the time of heads. Default: time.Now.
	Now func() time.Time
}

// The defaults of [Options], and other limits.
const (
	DefaultEvery        = 10 * time.Second
	DefaultEveryEntries = 10_000
	// AskedEvery is how often, at most, a head is made because somebody asks for a receipt.
	AskedEvery = time.Second
	// stopTimeout bounds how long a stop waits for the last head and its copy.
	stopTimeout = 2 * time.Second
)

// Heads makes the heads of a journal and keeps them. It follows the journal like anybody, so that the bank waits for nothing.
//
// When a head cannot be made because too many files are open, or kept for want of space, it is made later. After any other failure to write no more heads are made by
// this process, and there are no receipts; the bank goes on.
type Heads struct {
	journal Journal
	key     *Key
	options Options
	log     *seldom.Log
	kept    *kept // Run's, but that what is kept may be read up to the end of newest

	asked chan struct{} // holds a token when what was wanted is there to be signed
	full  chan struct{} // holds a token when there are as many entries as make a head
	ended chan struct{} // closed when Run has returned

	made, failed, copyFailed atomic.Uint64

	mu      sync.Mutex    // guards all below
	newest  newest        // the last head
	newer   chan struct{} // closed and replaced when there is a newer one
	pending [][32]byte    // the hashes of the entries behind the last head
	wanted  uint64        // the last entry for which somebody wants a head
	older   rangeOf       // the range that was read last for a receipt
	failure error         // why no more heads are made
}

// newest is the last head, as it is told.
type newest struct {
	record
	tree *tree // nil when it was made by another process
}

// rangeOf is a head and the tree over its range.
type rangeOf struct {
	record
	tree *tree
}

// Open opens the heads in fsys, the directory of the journal, or makes them. It refuses a journal that is not the one of which
// the last head is. Errors wrap [ErrDamaged] or [ErrKey], or are the file system's or the journal's.
func Open(fsys disk.FS, j Journal, key *Key, o Options) (*Heads, error) {
	if o.Every <= 0 {
		o.Every = DefaultEvery
	}
	if o.EveryEntries <= 0 || o.EveryEntries > MaxRange {
		o.EveryEntries = DefaultEveryEntries
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k, last, found, err := openKept(fsys, key.Public())
	if err != nil {
		return nil, fmt.Errorf("open the heads: %w", err)
	}
	if found {
		if err := agrees(j, &last.Head); err != nil {
			k.file.Close()
			return nil, fmt.Errorf("open the heads: %w", err)
		}
	}
	return &Heads{
		journal: j, key: key, options: o, log: seldom.NewLog(o.Logger), kept: k,
		asked: make(chan struct{}, 1), full: make(chan struct{}, 1), ended: make(chan struct{}),
		newest: newest{record: last}, newer: make(chan struct{}),
	}, nil
}

// agrees holds a head against the journal.
func agrees(j Journal, h *Head) error {
	if h.Journal != j.ID() {
		return &DamageError{Reason: fmt.Sprintf("the heads are of another journal, %x", h.Journal)}
	}
	if end := j.Seq(); h.Seq > end {
		return cut(h, end)
	}
	hash, err := hashOf(context.Background(), j, h.Seq)
	if err == nil && hash != h.Hash {
		err = rewritten(h, 0)
	}
	return err
}

// errEnough ends a visit.
var errEnough = errors.New("evidence: enough")

// hashOf returns the hash of an entry that is durable.
func hashOf(ctx context.Context, j Journal, seq uint64) (found [32]byte, err error) {
	err = j.Follow(ctx, seq-1, func(_ *bank.Entry, hash [32]byte) error {
		found = hash
		return errEnough
	})
	if err == errEnough {
		err = nil
	}
	return found, err
}

// Public returns the key with which the heads are checked.
func (h *Heads) Public() *PublicKey { return h.key.Public() }

// Newest returns the last head, or a zero one.
func (h *Heads) Newest() Head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest.Head
}

// Head returns the last head as it was signed, nil when there is none, and a channel that is closed when there is a newer one.
// Nobody may change it.
func (h *Heads) Head() (signed []byte, newer <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.newest.signed == "" {
		return nil, h.newer
	}
	return []byte(h.newest.signed), h.newer
}

// Made returns how many heads this process has made.
func (h *Heads) Made() uint64 { return h.made.Load() }

// Failed returns how often a head could not be kept.
func (h *Heads) Failed() uint64 { return h.failed.Load() }

// CopyFailed returns how often the copy could not be brought up to date.
func (h *Heads) CopyFailed() uint64 { return h.copyFailed.Load() }

// Run makes heads until ctx ends, then a last one, and returns. The journal must be open meanwhile. It is called once. A copy that
// hangs is left behind: it does no more than read what is kept, and finds that closed.
func (h *Heads) Run(ctx context.Context) {
	defer close(h.ended)
	lasting, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { h.follow(lasting) })
	copied := make(chan struct{})
	last := make(chan struct{}) // closed behind the last head
	go func() {
		defer close(copied)
		h.copyAll(lasting, last)
	}()
	every := time.NewTicker(h.options.Every)
	defer every.Stop()
	soon := time.NewTimer(0)
	defer soon.Stop()
	<-soon.C
	armed, asked := false, time.Time{}
	for ctx.Err() == nil {
		select {
		case <-every.C:
			h.make()
		case <-h.full:
			h.makeFull()
		case <-h.asked:
			if !armed {
				armed = true
				soon.Reset(time.Until(asked.Add(AskedEvery)))
			}
		case <-soon.C:
			armed, asked = false, time.Now()
			h.make()
		case <-ctx.Done():
		}
	}
	limit, done := context.WithTimeout(lasting, stopTimeout)
	defer done()
	h.finish(limit)
	close(last)
	select {
	case <-copied:
	case <-limit.Done():
		h.options.Logger.Warn("the copy of the heads hangs, it is left behind", "copy", h.options.Copy)
	}
}

// finish makes heads until there is one of the last entry, or until there is no space or limit ends.
func (h *Heads) finish(limit context.Context) {
	for more := true; more; {
		if covered, _ := h.want(h.journal.Seq()); covered || h.Err() != nil {
			return
		}
		select {
		case <-h.asked:
			more = h.make()
		case <-h.full:
			more = h.makeFull()
		case <-limit.Done():
			more = false
		}
	}
	h.options.Logger.Warn("no head of the last entries", "seq", h.journal.Seq())
}

// Close gives the file back, after Run has returned.
func (h *Heads) Close() error { return h.kept.file.Close() }

// Err returns why no more heads are made, or nil.
func (h *Heads) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failure
}

// follow gathers the hashes of the entries behind the last head. Where too many files are open to read them it tries again.
func (h *Heads) follow(ctx context.Context) {
	for {
		h.mu.Lock()
		after := h.newest.Seq + uint64(len(h.pending))
		h.mu.Unlock()
		err := h.journal.Follow(ctx, after, func(e *bank.Entry, hash [32]byte) error { return h.gather(ctx, e.Seq, hash) })
		switch {
		case ctx.Err() != nil, errors.Is(err, bank.ErrClosed), err == errEnough:
			return
		case !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE):
			h.fail(fmt.Errorf("follow the journal: %w", err))
			return
		}
		h.failed.Add(1)
		h.log.Tell(seldom.Event{Level: slog.LevelError, What: "no heads while too many files are open"}, "err", err)
		again := time.NewTimer(h.options.Every)
		select {
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
	}
}

// gather takes the hash of the next entry in. While there are as many as a range may have it waits.
func (h *Heads) gather(ctx context.Context, seq uint64, hash [32]byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.pending) >= MaxRange && h.failure == nil {
		room := h.newer
		h.mu.Unlock()
		signal(h.full)
		select {
		case <-room:
		case <-ctx.Done():
		}
		h.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if h.failure != nil {
		h.pending = nil
		return errEnough
	}
	h.pending = append(h.pending, hash)
	if len(h.pending) >= h.options.EveryEntries {
		signal(h.full)
	}
	if seq == h.wanted {
		signal(h.asked)
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// want asks for a head of the entry seq. It reports whether there is one, and what is closed when there is a newer one.
func (h *Heads) want(seq uint64) (covered bool, newer <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if covered = h.newest.Seq >= seq; !covered {
		h.wanted = max(h.wanted, seq)
		if h.newest.Seq+uint64(len(h.pending)) >= seq {
			signal(h.asked)
		}
	}
	return covered, h.newer
}

// makeFull is make when there are as many entries as make a head: the token may be from before the last one.
func (h *Heads) makeFull() bool {
	h.mu.Lock()
	full := len(h.pending) >= h.options.EveryEntries
	h.mu.Unlock()
	return !full || h.make()
}

// make makes a head of all entries that have gathered, if there are any. It reports whether there was space for it.
func (h *Heads) make() bool {
	h.mu.Lock()
	hashes, first, failure := h.pending, h.newest.Seq+1, h.failure
	h.mu.Unlock()
	if len(hashes) == 0 || failure != nil {
		return true
	}
	next, err := h.seal(hashes, first)
	if err == nil {
		next.at = h.kept.end
		err = h.kept.append([]byte(next.signed))
		next.next = h.kept.end
	}
	switch {
	case errors.Is(err, errNoSpace):
		h.failed.Add(1)
		h.log.Tell(seldom.Event{Level: slog.LevelError, What: "head not kept, it is made later"}, "err", err)
		h.askAgain()
		return false
	case err != nil:
		h.fail(err)
		return true
	}
	h.made.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest = next
	h.pending = append([][32]byte(nil), h.pending[len(hashes):]...)
	close(h.newer)
	h.newer = make(chan struct{})
	return true
}

// askAgain has a head made in a while if somebody still wants one.
func (h *Heads) askAgain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wanted > h.newest.Seq {
		signal(h.asked)
	}
}

// seal makes and signs the head of the entries with these hashes.
func (h *Heads) seal(hashes [][32]byte, first uint64) (next newest, err error) {
	if next.tree, err = newTree(hashes); err != nil {
		return next, err
	}
	n := len(hashes)
	next.Head = Head{
		Journal: h.journal.ID(), First: first, Seq: first + uint64(n) - 1, Hash: hashes[n-1],
		Time: h.options.Now().UTC().Truncate(time.Microsecond),
	}
	if next.Root, err = next.tree.root(); err != nil {
		return next, err
	}
	signed, err := h.key.sign(&next.Head)
	if err != nil {
		return next, err
	}
	next.signed = string(signed)
	_, next.signature, _ = splitHead(next.signed)
	return next, nil
}

// fail ends the making of heads.
func (h *Heads) fail(err error) {
	h.failed.Add(1)
	h.options.Logger.Error("no more heads and no receipts are made until a restart", "err", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = fmt.Errorf("%w: %w", ErrUnavailable, err)
	close(h.newer) // who waits for a head is to look again
	h.newer = make(chan struct{})
}

var _ io.Closer = (*Heads)(nil)
