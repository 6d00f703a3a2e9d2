package journal

import (
	"fmt"
	"sync"
	"time"

	"gateway/disk"
)

// preparer makes segments ready before the writer needs them: a file full of zeros, synced, under its name, its name
// durable. So the sync of a batch changes no metadata, and a write into a prepared segment cannot run out of space.
//
// One segment is prepared ahead. It is a file of its own and not the end of the one in use, because a sync of that one would
// have to wait for the zeros too.
type preparer struct {
	fsys   disk.FS
	inline bool              // prepare in take, and nowhere else
	fail   func(error) error // stops the engine

	mu      sync.Mutex // guards all below
	changed *sync.Cond
	number  uint64 // the segment wanted next, 0: none yet
	want    int64  // and how large it should be
	ready   *prepared
	failure error
	low     bool // there was no space for it
	stopped bool
	stop    chan struct{} // closed with stopped
	done    sync.WaitGroup
}

// prepared is a segment full of zeros.
type prepared struct {
	file     disk.File
	number   uint64
	capacity int64 // bytes
}

// retryAfter is how often a preparer that found no space looks again.
const retryAfter = 250 * time.Millisecond

func newPreparer(fsys disk.FS, inline bool, fail func(error) error) *preparer {
	p := &preparer{fsys: fsys, inline: inline, fail: fail, stop: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	if !inline {
		p.done.Go(p.run)
	}
	return p
}

// request asks for a segment that take will fetch. The last one asked for must have been taken.
func (p *preparer) request(number uint64, want int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number, p.want = number, want
	p.changed.Broadcast()
}

// take returns the segment that was asked for, with a capacity of at least need bytes. It waits while the segment is being
// prepared. An error that wraps [ErrNoSpace] means that there is none for want of space, and that take may be called again.
func (p *preparer) take(need int64) (*prepared, error) {
	p.mu.Lock()
	if p.inline && p.ready == nil {
		p.prepareLocked()
	}
	for p.ready == nil && p.failure == nil && !p.low {
		p.changed.Wait()
	}
	defer p.mu.Unlock()
	if p.failure != nil {
		return nil, p.failure
	}
	if p.ready == nil {
		return nil, ErrNoSpace
	}
	if err := extend(p.fsys, p.ready, need); err != nil {
		return nil, err
	}
	taken := p.ready
	p.ready, p.number = nil, 0
	return taken, nil
}

// starved reports whether the segment wanted next is missing for want of space.
func (p *preparer) starved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.low
}

func (p *preparer) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.stopped && p.failure == nil {
		switch {
		case p.number == 0 || p.ready != nil:
			p.changed.Wait()
		case p.low:
			p.mu.Unlock()
			select {
			case <-time.After(retryAfter):
			case <-p.stop:
			}
			p.mu.Lock()
			p.prepareLocked()
		default:
			p.prepareLocked()
		}
	}
}

// prepareLocked makes the segment that is wanted. It gives the lock up while it writes.
func (p *preparer) prepareLocked() {
	number, want := p.number, p.want
	p.mu.Unlock()
	made, err := prepare(p.fsys, number, want)
	p.mu.Lock()
	p.ready, p.low = made, err != nil && lacksSpace(err)
	if err != nil && !p.low {
		p.failure = p.fail(fmt.Errorf("prepare %s: %w", segmentName(number), err))
	}
	p.changed.Broadcast()
}

// close ends the preparing and returns the segment that nobody took, if there is one.
func (p *preparer) close() *prepared {
	p.mu.Lock()
	if !p.stopped {
		p.stopped = true
		close(p.stop)
		p.changed.Broadcast()
	}
	p.mu.Unlock()
	p.done.Wait()
	return p.ready
}

// prepare makes a segment of about the wanted size, smaller when space is short.
func prepare(fsys disk.FS, number uint64, want int64) (*prepared, error) {
	above, kept, err := spare(fsys)
	if err != nil {
		return nil, err
	}
	least := min(want, smallestSegment)
	size := min(want, max(kept, least))
	if above/2 < size {
		size = above / 2 / blockBytes * blockBytes
	}
	if size < least {
		return nil, ErrNoSpace
	}
	name := segmentName(number)
	file, err := fsys.Create(name + disk.Unfinished)
	if err != nil {
		return nil, err
	}
	if err = disk.Zero(file, 0, size); err == nil {
		err = disk.Publish(fsys, name+disk.Unfinished, name)
	}
	if err != nil {
		file.Close()
		return nil, disk.DropDraft(fsys, name+disk.Unfinished, err)
	}
	return &prepared{file, number, size}, nil
}

// extend makes room for need bytes in a prepared segment: for an entry larger than a segment.
func extend(fsys disk.FS, p *prepared, need int64) error {
	if need <= p.capacity {
		return nil
	}
	above, _, err := spare(fsys)
	if err != nil {
		return err
	}
	if above < need-p.capacity {
		return ErrNoSpace
	}
	if err := disk.Zero(p.file, p.capacity, need); err != nil {
		if !lacksSpace(err) {
			return err
		}
		if err := p.file.Truncate(p.capacity); err != nil {
			return err
		}
		return ErrNoSpace
	}
	p.capacity = need
	return nil
}
