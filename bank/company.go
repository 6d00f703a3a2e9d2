package bank

import (
	"context"
	"runtime"
	"time"
)

// How operations meet in one batch, and so share its sync.
//
// Whoever is answered is about to ask again. If all of a batch are answered at once, the machine serves them all until they have,
// and then has nothing to do while the disk syncs. So a quarter of a batch is answered late: when the others have asked again and
// are about to be synced. This quarter is served meanwhile, and has asked again when the sync ends.
//
// All of this is speed: whatever is decided here, each operation is in one batch and is answered once, in the order of the queue,
// after its sync.

const (
	// few is a batch that says nothing of the next.
	few = 8
	// crowd is a batch that needs no company: a sync is cheap among so many, and to wait for more keeps the disk waiting.
	crowd = 100
	// lateShare: one answer of so many is late.
	lateShare = 4
	// companyTime is how long an answer may be late, and an operation waits for company. It is also the shortest time for
	// which Go waits in a process that has nothing else to do.
	companyTime = time.Millisecond
	// promptly: company has come in time when it took no longer than so many times the last commit.
	promptly = 2
	// maxBackoff bounds how many batches are answered at once because company did not come.
	maxBackoff = 255
	// gatherings bounds how often the committer lets others go first.
	gatherings = 8
)

// lateness decides how many answers of a batch are late. It belongs to the committer.
type lateness struct {
	skip    int // so many batches are to be answered at once
	backoff int // and so many will be when company fails to come the next time
}

// of returns how many of n answers are to be late, while waiting operations are in the queue. When these are three quarters as many,
// all have met without that.
func (l *lateness) of(n, waiting int) int {
	if n < few || n >= crowd || 4*waiting >= 3*n {
		return 0
	}
	if l.skip > 0 {
		l.skip--
		return 0
	}
	return n / lateShare
}

// learn takes in whether company has come. To wait in vain once may happen. Who waits in vain again and again lets more and more
// batches pass before the next try: one of maxBackoff costs nobody much.
func (l *lateness) learn(came bool) {
	if came {
		l.backoff = 0
		return
	}
	l.skip = l.backoff
	l.backoff = min(2*l.backoff+1, maxBackoff)
}

// meet waits until nearly all of n operations are in the queue: those who are there, and the answered ones, whose batch took so long.
// Two or three stragglers are not waited for.
func (b *Banco) meet(ctx context.Context, n int, took time.Duration) {
	began := b.options.Now()
	came := b.await(ctx, min(n*19/20, b.options.Queue, b.options.Batch))
	b.lateness.learn(came && b.options.Now().Sub(began) <= promptly*took)
}

// await waits until n operations are in the queue, for companyTime at most, and returns whether they are.
func (b *Banco) await(ctx context.Context, n int) bool {
	defer func() {
		if b.wakeAt(1) > 0 {
			b.signal()
		}
	}()
	timer := time.NewTimer(companyTime)
	defer timer.Stop()
	for b.wakeAt(n) < n {
		select {
		case <-b.wake:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// wakeAt has the committer woken when n operations are in the queue, and returns how many are.
func (b *Banco) wakeAt(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.awaited = n
	return len(b.queue.ops)
}

// gather lets those run who can, for as long as that brings operations, until there are as many as the last batch had: also where no
// answer is late, others who were answered at the same time are often just behind the first.
func (b *Banco) gather(last int) {
	if last >= crowd {
		return
	}
	waiting := b.waiting()
	for range gatherings {
		if waiting >= last {
			return
		}
		runtime.Gosched()
		before := waiting
		if waiting = b.waiting(); waiting == before {
			return
		}
	}
}
