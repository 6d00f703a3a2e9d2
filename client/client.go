package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// The limits of a Client. Those that Default begins are the defaults of options.
const (
	// MaxRequest bounds an encoded operation in bytes. A greater one is not sent; no operation that a bank accepts comes near.
	MaxRequest = 4096
	// DefaultInFlight bounds the operations on their way at once over a session, or the connections of a Client that takes
	// one per operation. It is half of what a gateway accepts by default.
	DefaultInFlight = 128
	// DefaultDialTimeout bounds one attempt to connect, the handshake of TLS and protocol included.
	DefaultDialTimeout = 5 * time.Second
	// DefaultAnswerTimeout bounds the wait for the next answer on a connection that owes one; then the connection is given
	// up. It is well above the time for which a bank may hold operations.
	DefaultAnswerTimeout = 30 * time.Second

	// usualRequest is the size in bytes that few operations exceed.
	usualRequest = 160
	// pauseFirst and pauseMost bound the pause before the first and before a late repetition. Pauses double; each is drawn
	// at random from the upper half, so that clients do not return all at once.
	pauseFirst = 10 * time.Millisecond
	pauseMost  = 2 * time.Second
)

// Client sends operations to one gateway. Make it with [NewSocket] or [NewMQTT] and give it back with [Client.Close].
type Client struct {
	language *wire.Client
	way      way
	life     *life
}

// way is one way of carrying calls.
type way interface {
	// carry sends the call once and returns its answer. Before anything may leave, it sets call.sent. It returns early with
	// an error when ctx ends, the connection breaks or the Client closes.
	carry(ctx context.Context, c *call) (wire.Answer, error)
	// forget is called when nobody waits for the call any more.
	forget(c *call)
	// close ends every carry and returns when nothing runs any more. It is called once.
	close()
}

// call is one operation until it has an answer. Its fields belong to the goroutine of Do but for those that say otherwise.
type call struct {
	kind     bank.Kind
	asked    string // the id that the caller knows: "" for a balance without one
	id       string // the id that is sent and that the answer must carry
	request  []byte
	answered chan wire.Answer // one place; whoever has the answer drops it here

	sent     bool // this attempt may have left
	doubtful bool // an attempt left and the bank has not said what became of it
	last     *Reply
	trouble  error // why the last attempt failed

	nameless int      // refusals that named no id and claimed to be the answer
	delivery delivery // belongs to the mqttWay
}

// Close ends every Do that waits and the connection. It may be called twice and by any goroutine.
func (c *Client) Close() {
	if c.life.end() {
		c.way.close()
	}
}

// Do sends op until it has an answer or ctx ends, and returns the bank's decision. The errors are an [UnknownError] and
// those that are [ErrNotSent]; with them the Reply carries the id and the code bank.Unavailable, and nothing else.
//
// Of an overloaded bank only the last answer is told, as a Reply, when ctx ends: the operation left no trace.
func (c *Client) Do(ctx context.Context, op Operation) (Reply, error) {
	k, err := c.newCall(&op)
	if err != nil {
		return unanswered(op.ID), err
	}
	defer c.way.forget(k)
	for n := 0; ; n++ {
		answer, err := c.attempt(ctx, k, n)
		if err == nil {
			if reply, err, settled := k.judge(&answer); settled {
				return reply, err
			}
			err = fmt.Errorf("the last answer was %s", answer.Code)
		}
		k.note(err)
		if ctx.Err() != nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrClosed) {
			return k.give(ctx)
		}
	}
}

// attempt sends the call for the nth time, counted from 0, and waits for the answer. It pauses before a repetition, and an
// answer that comes meanwhile, to an earlier copy, saves it.
func (c *Client) attempt(ctx context.Context, k *call, n int) (wire.Answer, error) {
	if n > 0 {
		answer, late, err := c.pause(ctx, k, n-1)
		if late || err != nil {
			return answer, err
		}
	}
	k.sent = false
	answer, err := c.way.carry(ctx, k)
	if err != nil && k.sent {
		k.doubtful = true
	}
	return answer, err
}

// newCall encodes op and gives it an id if it has none.
func (c *Client) newCall(op *Operation) (*call, error) {
	if name := op.Kind.String(); name == "" || op.Kind > bank.KindStatus {
		return nil, fmt.Errorf("%w: there is no operation of kind %d", ErrNotSent, op.Kind)
	}
	k := &call{kind: op.Kind, id: op.ID, answered: make(chan wire.Answer, 1)}
	if k.id == "" && op.Kind != bank.KindStatus {
		k.id = rand.Text()
	}
	if op.Kind != bank.KindBalance {
		op.ID = k.id
	}
	k.asked = op.ID
	k.request = c.language.AppendRequest(make([]byte, 0, usualRequest), &wire.Request{
		Op: op.Kind.String(), Account: op.Account, To: op.To, Amount: op.Amount, ID: k.id, Memo: op.Memo, Receipt: op.Receipt,
	})
	if len(k.request) > MaxRequest {
		return nil, fmt.Errorf("%w: the operation has %d bytes, %d are the most", ErrNotSent, len(k.request), MaxRequest)
	}
	return k, nil
}

// judge says whether an answer settles the call, and then what Do returns.
func (k *call) judge(a *wire.Answer) (reply Reply, err error, settled bool) {
	told := replyOf(a, k.asked)
	switch {
	case again(a.Code):
		k.last = &told
		k.doubtful = k.doubtful || a.Code == bank.Unavailable
		return Reply{}, nil, false
	case a.ID != k.id && k.nameless == 0:
		k.nameless++
		return Reply{}, nil, false
	case k.doubtful && k.writes() && blind(a.Code):
		err = fmt.Errorf("the answer to a repetition was %s", a.Code)
		return unanswered(k.asked), &UnknownError{Kind: k.kind, ID: k.asked, Last: &told, Err: err}, true
	}
	return told, nil, true
}

// again reports whether an answer means that the operation should be repeated with its id.
func again(code bank.Code) bool { return code == bank.Overloaded || code == bank.Unavailable }

// blind reports whether a gateway says such a thing before it looks whether it knows the id: then an earlier copy of the
// operation may have happened all the same.
func blind(code bank.Code) bool { return code >= bank.Malformed && code <= bank.Forbidden }

// writes reports whether the operation changes anything.
func (k *call) writes() bool { return k.kind != bank.KindBalance && k.kind != bank.KindStatus }

func unanswered(id string) Reply { return Reply{Code: bank.Unavailable, ID: id} }

// note keeps why an attempt failed. That time ran out explains less than what was there before.
func (k *call) note(err error) {
	if k.trouble == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		k.trouble = err
	}
}

// give returns what is known when no answer will come any more.
func (k *call) give(ctx context.Context) (Reply, error) {
	cause := k.trouble
	if ended := ctx.Err(); ended != nil && !errors.Is(cause, ended) {
		cause = fmt.Errorf("%w: %w", ended, cause)
	}
	switch {
	case k.doubtful:
		return unanswered(k.asked), &UnknownError{Kind: k.kind, ID: k.asked, Last: k.last, Err: cause}
	case k.last != nil:
		return *k.last, nil
	}
	return unanswered(k.asked), fmt.Errorf("%w: %w", ErrNotSent, cause)
}

// pause waits after that many failures before the last one. A late answer ends it, and so do ctx and Close, with an error.
func (c *Client) pause(ctx context.Context, k *call, failures int) (answer wire.Answer, late bool, err error) {
	timer := time.NewTimer(pauseAfter(failures))
	defer timer.Stop()
	select {
	case answer = <-k.answered:
		return answer, true, nil
	case <-timer.C:
		return answer, false, nil
	case <-c.life.ended:
		return answer, false, ErrClosed
	case <-ctx.Done():
		return answer, false, ctx.Err()
	}
}

// pauseAfter returns how long to wait after that many failures before this one.
func pauseAfter(failures int) time.Duration {
	pause := pauseMost
	if failures < 16 {
		pause = min(pauseFirst<<failures, pauseMost)
	}
	return pause/2 + mathrand.N(pause/2)
}

// claims reports whether an answer that has its turn on a connection says that it is the call's: it names its id. A refusal
// of bytes that could not be read names none. Since a gateway that gives a connection up may say such a thing by itself, it
// is believed only when it comes again, on another connection.
func (k *call) claims(a *wire.Answer) bool {
	return a.ID == k.id || nameless(a)
}

// nameless reports whether an answer is a refusal of something that had no id to be read.
func nameless(a *wire.Answer) bool { return a.ID == "" && a.Code != bank.OK }
