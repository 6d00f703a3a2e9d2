package simulation

import (
	"context"
	"slices"

	"gateway/bank"
)

// caller asks the bank itself, as a connection of transport/socket does: it submits, and is called with the answer. Like a
// client of that door it has one operation under way. When it has no answer it asks again, if there was an id.
type caller struct {
	w         *world
	number    int
	principal string
	waits     *call
	unknown   []*asked // with an id, and nobody knows what became of them
	known     []*asked // with an id, and an answer
}

// call is one asking.
type call struct {
	asked    *asked
	op       bank.Operation
	status   bool
	before   *bank.Reply // what was decided when a status was asked for
	answered bool
	reply    bank.Reply
	err      error
}

// act asks for something new or once more.
func (c *caller) act() {
	w := c.w
	switch {
	case len(c.unknown) > 0 && (w.ending || w.random.IntN(2) == 0):
		a := c.unknown[w.random.IntN(len(c.unknown))]
		if w.ending || w.random.IntN(2) == 0 {
			c.submit(a, statusOf(a), true)
			return
		}
		c.submit(a, a.op, false)
	case len(c.known) > 0 && w.chance(w.chances.again):
		a := c.known[w.random.IntN(len(c.known))]
		if w.random.IntN(3) > 0 {
			c.submit(a, a.op, false)
			return
		}
		op := a.op // the same id with other content, or by another principal
		op.Account, op.Principal = w.account(), pick(w.random, principals...)
		c.submit(w.book.ask(op, nil), op, false)
	case len(c.known) > 0 && w.chance(w.chances.status):
		a := c.known[w.random.IntN(len(c.known))]
		c.submit(a, statusOf(a), true)
	default:
		a := w.book.ask(w.operation(c.principal), nil)
		c.submit(a, a.op, false)
	}
}

func statusOf(a *asked) bank.Operation {
	return bank.Operation{Kind: bank.KindStatus, Principal: a.op.Principal, ID: a.op.ID}
}

// submit gives the bank an operation.
func (c *caller) submit(a *asked, op bank.Operation, status bool) {
	k := &call{asked: a, op: op, status: status, before: c.w.book.byID(op.Principal, op.ID)}
	if !status {
		k.op = a.op // which has its tag
	}
	c.w.trace.add(line{what: "ask", who: k.op.Kind.String(), n: int64(c.number), m: int64(a.tag)})
	k.op.Origin.Door = bank.DoorSocket
	err := c.w.process.submit(context.Background(), k.op, func(reply bank.Reply, err error) {
		k.answered, k.reply, k.err = true, reply, err
	})
	if err == nil {
		c.waits = k
		return
	}
	if !status && !slices.Contains(c.unknown, a) && bank.ValidID(a.op.ID) {
		c.unknown = append(c.unknown, a)
	}
}

// look sees whether there is an answer, or never will be.
func (c *caller) look() {
	k := c.waits
	switch {
	case k == nil:
		return
	case k.answered:
		c.w.trace.add(line{what: "told", who: k.reply.Code.String(), n: int64(c.number), m: int64(k.reply.Seq)})
	case c.w.process != nil:
		return
	}
	c.waits = nil
	a := k.asked
	settled := k.answered && k.err == nil && k.reply.Code != bank.Unavailable
	if settled {
		c.told(k)
	}
	if !bank.ValidID(a.op.ID) {
		return
	}
	i := slices.Index(c.unknown, a)
	switch {
	case settled && i >= 0:
		c.unknown = slices.Delete(c.unknown, i, i+1)
	case !settled && i < 0 && !k.status:
		c.unknown = append(c.unknown, a)
	}
	if settled && !slices.Contains(c.known, a) {
		c.known = append(c.known, a)
	}
}

// told holds an answer against the book. That of a status is I11: what was decided is told as it was, whatever happened
// since, and what was not decided is not known.
func (c *caller) told(k *call) {
	b := c.w.book
	if !k.status {
		b.told(k.asked, k.reply)
		return
	}
	b.seen = max(b.seen, k.reply.Seq)
	decided := b.byID(k.op.Principal, k.op.ID)
	switch {
	case k.before == nil && k.reply.Code == bank.IDNotFound:
	case decided == nil:
		c.w.fail("I11: the status of %q is %+v, and it was never decided", k.op.ID, k.reply)
	default:
		want := *decided
		want.Duplicate, want.Recorded = true, false
		if k.reply != want {
			c.w.fail("I11: the status of %q is %+v, the answer was %+v", k.op.ID, k.reply, want)
		}
	}
}

// byID returns what was answered to an id, or nil.
func (b *book) byID(principal, id string) *bank.Reply {
	for i := range b.facts {
		if f := &b.facts[i]; f.op.Principal == principal && f.op.ID == id {
			return &f.reply
		}
	}
	return nil
}
