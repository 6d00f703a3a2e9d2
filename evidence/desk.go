package evidence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gateway/bank"
	"gateway/seldom"
)

// Bank takes operations. [bank.Banco] is one.
type Bank interface {
	// Submit accepts op and later calls done exactly once, or returns an error and never does. done does not block.
	Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error
}

const (
	// MaxWaiting is how many receipts may be waited for at the same time; beyond it a status that asks for one is overloaded.
	MaxWaiting = 256
	// MaxWaitingPrincipal is how many of them may be one principal's.
	MaxWaitingPrincipal = 16
	// MaxWait is how long who asks waits for a head of the entry: longer than [AskedEvery], so that only a disk that takes none
	// makes him wait so long. Whoever waits behind him has waited meanwhile. The receipt is then made in as long again.
	MaxWait = 5 * time.Second
)

// Desk is a [Bank] before another, which adds the receipts that are asked for.
type Desk struct {
	bank  Bank
	heads *Heads
	most  int
	log   *seldom.Log

	mu      sync.Mutex // guards all below
	waiting []request
	of      map[string]int // principal → how many of waiting, and the one that is being made
	stopped bool
	wake    chan struct{} // holds a token when something waits
}

// request is an answer that waits for its receipt.
type request struct {
	op    bank.Operation
	reply bank.Reply
	done  func(bank.Reply, error)
	since time.Time
}

// NewDesk returns a Desk before bank that gives receipts of at most so many bytes to who comes by a socket; without heads it
// gives none.
func NewDesk(bank Bank, heads *Heads, most int, logger *slog.Logger) *Desk {
	return &Desk{
		bank: bank, heads: heads, most: most, log: seldom.NewLog(logger), of: map[string]int{}, wake: make(chan struct{}, 1),
	}
}

// Submit is the bank's. The answer to an operation that asks for a receipt may come after those to later operations, and from
// another goroutine: only who asked waits for it.
func (d *Desk) Submit(ctx context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	if !op.Receipt {
		return d.bank.Submit(ctx, op, done)
	}
	if d.heads == nil {
		done(refuse(&op, bank.UnknownOperation, "this bank signs no heads, so there are no receipts; ask for the status without one"), nil)
		return nil
	}
	return d.bank.Submit(ctx, op, func(reply bank.Reply, err error) {
		if err != nil || !reply.Duplicate { // there is no entry to prove
			done(reply, err)
			return
		}
		d.take(request{op, reply, done, time.Now()})
	})
}

func refuse(op *bank.Operation, code bank.Code, detail string) bank.Reply {
	reply := bank.Refusal(op, code)
	reply.Detail = detail
	return reply
}

// take lets a request wait, or refuses it. It does not block: the committer calls it.
func (d *Desk) take(r request) {
	d.mu.Lock()
	who := r.op.Principal
	stopped, room := d.stopped, len(d.waiting) < MaxWaiting && d.of[who] < MaxWaitingPrincipal
	if !stopped && room {
		d.waiting = append(d.waiting, r)
		d.of[who]++
	}
	d.mu.Unlock()
	switch {
	case stopped:
		r.done(stopping(&r.op), nil)
	case !room:
		r.done(refuse(&r.op, bank.Overloaded, "too many receipts are waited for; ask again later"), nil)
	default:
		signal(d.wake)
	}
}

func stopping(op *bank.Operation) bank.Reply {
	return refuse(op, bank.Unavailable, "the gateway is stopping; ask for the receipt again later")
}

// Run makes receipts, one after the other, until ctx ends. What waits then is refused, and so is what comes later.
func (d *Desk) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-d.wake:
			for r, ok := d.next(); ok; r, ok = d.next() {
				r.done(d.answer(ctx, &r), nil)
				d.leave(r.op.Principal)
			}
		case <-ctx.Done():
		}
	}
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	for r, ok := d.next(); ok; r, ok = d.next() {
		r.done(stopping(&r.op), nil)
	}
}

func (d *Desk) next() (r request, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		d.waiting = nil
		return r, false
	}
	r = d.waiting[0]
	d.waiting = d.waiting[1:]
	return r, true
}

func (d *Desk) leave(principal string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of[principal]--; d.of[principal] <= 0 {
		delete(d.of, principal)
	}
}

// answer returns the reply with its receipt, or why there is none.
func (d *Desk) answer(ctx context.Context, r *request) bank.Reply {
	receipt, err := d.receipt(ctx, r)
	switch {
	case ctx.Err() != nil:
		return stopping(&r.op)
	case err != nil:
		d.tell(r.reply.Seq, err)
		return refuse(&r.op, bank.Unavailable, "no receipt can be made now; the operation stands, ask for its status without one")
	case r.op.Origin.Door == bank.DoorSocket && len(receipt) > d.most:
		return refuse(&r.op, bank.TooLarge, fmt.Sprintf(
			"the receipt has %d bytes, and a socket carries %d, for the operation came by MQTT with a long note; ask there", len(receipt), d.most))
	}
	reply := r.reply
	reply.Receipt = receipt
	return reply
}

func (d *Desk) receipt(ctx context.Context, r *request) (string, error) {
	limited, cancel := context.WithDeadline(ctx, r.since.Add(MaxWait))
	defer cancel()
	if err := d.heads.await(limited, r.reply.Seq); err != nil {
		return "", err
	}
	limited, cancel = context.WithTimeout(ctx, MaxWait)
	defer cancel()
	return d.heads.Receipt(limited, r.reply.Seq)
}

// tell tells the operator why there is no receipt, unless it is told already. Nothing else hides an alarm.
func (d *Desk) tell(seq uint64, err error) {
	e := seldom.Event{Level: slog.LevelError, What: "no receipt"}
	if errors.Is(err, ErrDamaged) {
		e.Same = "damaged"
	}
	if !errors.Is(err, ErrUnavailable) {
		d.log.Tell(e, "seq", seq, "err", err)
	}
}
