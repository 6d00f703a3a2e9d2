package socket

import (
	"context"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// visit is what a connection of one operation needs besides its goroutine. Visits are pooled: at thousands of connections
// a second, making them anew is work for the collector.
type visit struct {
	in       inbox
	out      []byte
	op       bank.Operation
	reply    bank.Reply
	answered chan struct{} // holds a token when reply is the bank's
	done     func(bank.Reply, error)
}

func newVisit(limit int) *visit {
	v := &visit{
		in:       newInbox(limit + 1), // one byte more than an operation may have shows that it has too many
		out:      make([]byte, 0, wire.MaxReply),
		answered: make(chan struct{}, 1),
	}
	v.done = func(reply bank.Reply, _ error) {
		v.reply = reply
		v.answered <- struct{}{}
	}
	return v
}

// serveOne sends the ack, reads one operation, has it done and sends the reply, all on its own goroutine.
//
// Behind a handshake two deadlines are set, and no more: the absolute one of reading, which holds for the ack too, and the one of parting,
// which holds for the reply and for what the peer sends after it.
func (d *door) serveOne(ctx context.Context, g *guest) {
	g.SetDeadline(time.Now().Add(d.options.ReadTimeout))
	if !d.readers.add(g) {
		return
	}
	v := d.visits.Get().(*visit)
	defer d.visits.Put(v)
	fault := d.readOne(ctx, g, v)
	d.readers.remove(g)
	if fault == errGone {
		return
	}
	arrived := time.Now()
	d.answer(ctx, g, v, fault)
	v.out = d.listener.Codec.AppendReply(v.out[:0], &v.reply)
	g.SetDeadline(time.Now().Add(lingerTimeout))
	_, err := g.Write(v.out)
	d.options.Observer.Operation(v.op.Kind, v.reply.Code, time.Since(arrived))
	if err != nil {
		d.late(err)
		d.logUndelivered(g.peer, &v.reply, err)
		return
	}
	if fault != nil || unreadBytes(g.Conn, v.in.b) {
		hangUp(g.Conn, v.in.b)
	}
}

// readOne sends the ack and reads until v.op is the one operation that the peer has sent, and all that it has sent. Otherwise
// it returns the *wire.Fault that refuses what came, or errGone.
func (d *door) readOne(ctx context.Context, g *guest, v *visit) error {
	if _, err := g.Write(d.ack); err != nil {
		return errGone
	}
	v.in.r, v.in.w, v.op = 0, 0, bank.Operation{}
	for {
		if err := v.in.fill(g.Conn); err != nil {
			return d.unread(ctx, g, err, len(v.in.fresh()))
		}
		d.skip(&v.in)
		if len(v.in.fresh()) == 0 {
			continue
		}
		n, err := d.decode(v.in.fresh(), &v.op)
		if err == wire.ErrIncomplete {
			continue
		}
		if n > 0 {
			v.in.r += n
			if d.skip(&v.in); len(v.in.fresh()) > 0 {
				return errTrailing
			}
		}
		if err == nil && g.principal != "" && !g.place.Known() {
			return errGone // its place was given to another
		}
		return err
	}
}

// answer sets v.reply: to the refusal of fault, if there is one, or to the bank's.
func (d *door) answer(ctx context.Context, g *guest, v *visit, fault error) {
	if fault != nil {
		v.reply = d.refuse(g, &v.op, fault)
		return
	}
	if refused, ok := d.submit(ctx, g, &v.op, v.done); !ok {
		v.reply = refused
		return
	}
	<-v.answered
}

// errTrailing refuses an operation whose message goes on after it: somebody is mistaken about what it says.
var errTrailing = &wire.Fault{Code: bank.Malformed, Detail: "more bytes came with the operation; send one, and nothing after its end"}
