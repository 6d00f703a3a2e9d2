package socket

import (
	"context"
	"net"
	"net/netip"
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
// Two deadlines are set, and no more: the absolute one of reading, which holds for the ack too, and the one of parting,
// which holds for the reply and for what the peer sends after it.
func (d *door) serveOne(ctx context.Context, conn net.Conn, peer netip.AddrPort) {
	conn.SetDeadline(time.Now().Add(d.options.ReadTimeout))
	if !d.readers.add(conn) {
		return
	}
	v := d.visits.Get().(*visit)
	defer d.visits.Put(v)
	fault := d.readOne(ctx, conn, v)
	d.readers.remove(conn)
	if fault == errGone {
		return
	}
	arrived := time.Now()
	d.answer(ctx, v, fault, peer)
	v.out = d.listener.Codec.AppendReply(v.out[:0], &v.reply)
	conn.SetDeadline(time.Now().Add(lingerTimeout))
	_, err := conn.Write(v.out)
	d.options.Observer.Operation(v.op.Kind, v.reply.Code, time.Since(arrived))
	if err != nil {
		d.logUndelivered(peer, &v.reply, err)
		return
	}
	if fault != nil || unreadBytes(conn, v.in.b) {
		hangUp(conn, v.in.b)
	}
}

// readOne sends the ack and reads until v.op is the one operation that the peer has sent, and all that it has sent. Otherwise
// it returns the *wire.Fault that refuses what came, or errGone.
func (d *door) readOne(ctx context.Context, conn net.Conn, v *visit) error {
	if _, err := conn.Write(d.ack); err != nil {
		return errGone
	}
	v.in.r, v.in.w, v.op = 0, 0, bank.Operation{}
	for {
		if err := v.in.fill(conn); err != nil {
			return d.unread(ctx, err, len(v.in.fresh()))
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
		return err
	}
}

// answer sets v.reply: to the refusal of fault, if there is one, or to the bank's.
func (d *door) answer(ctx context.Context, v *visit, fault error, peer netip.AddrPort) {
	if fault != nil {
		v.reply = d.refuse(peer, &v.op, fault)
		return
	}
	v.op.Origin = bank.Origin{Door: bank.DoorSocket, Peer: peer}
	if refused, ok := d.submit(ctx, &v.op, v.done); !ok {
		v.reply = refused
		return
	}
	<-v.answered
}

// errTrailing refuses an operation whose message goes on after it: somebody is mistaken about what it says.
var errTrailing = &wire.Fault{Code: bank.Malformed, Detail: "more bytes came with the operation; send one, and nothing after its end"}
