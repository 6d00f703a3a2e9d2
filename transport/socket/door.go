package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"gateway/bank"
	"gateway/gate"
	"gateway/seldom"
	"gateway/wire"
)

// door is what Serve keeps of one listener.
type door struct {
	*Server
	listener Listener
	ack      []byte
	limit    int // bytes of an operation
	running  sync.WaitGroup
	readers  readers
	visits   sync.Pool // of *visit
	outboxes sync.Pool // of *[]byte, for what sessions write
}

func newDoor(s *Server, l Listener) *door {
	d := &door{
		Server: s, listener: l, ack: l.Codec.Ack(), limit: min(s.options.Message, l.Codec.MaxMessage()),
		readers: readers{guests: make(map[*guest]struct{}), revoked: 1},
	}
	d.visits.New = func() any { return newVisit(d.limit) }
	d.outboxes.New = func() any { b := make([]byte, 0, sessionBytes); return &b }
	return d
}

// accept admits connections until ctx ends, or until the listener is closed without that, which is an error.
func (d *door) accept(ctx context.Context) error {
	var failed failures
	for {
		conn, err := d.listener.Net.Accept()
		switch {
		case err == nil:
			failed.end()
			d.admit(ctx, conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %v: %w", d.listener.Net.Addr(), err)
		default:
			d.log.Tell(seldom.Event{Level: slog.LevelWarn, What: "cannot accept connections"}, "err", err)
			failed.wait(ctx)
		}
	}
}

// decode reads one operation from the front of b, where no space is. Other than the codec's, its ErrIncomplete promises that
// more bytes may yet make an operation.
func (d *door) decode(b []byte, op *bank.Operation) (n int, err error) {
	defer func() {
		// A codec works on these bytes alone and holds nothing, so its fault is one client's refusal and not the bank's end.
		if fault := recover(); fault != nil {
			d.options.Logger.Error("codec failed", "fault", fault)
			n, err = 0, &wire.Fault{Code: bank.Malformed, Detail: "the bytes cannot be read"}
		}
	}()
	n, err = d.listener.Codec.Decode(b[:min(len(b), d.limit)], op)
	if err == wire.ErrIncomplete && len(b) >= d.limit {
		return 0, &wire.Fault{Code: bank.TooLarge, Detail: fmt.Sprintf("an operation has at most %d bytes", d.limit)}
	}
	return n, err
}

// submit hands op to the bank as g's. When it returns false, reply refuses op and done is never called.
func (d *door) submit(
	ctx context.Context, g *guest, op *bank.Operation, done func(bank.Reply, error),
) (reply bank.Reply, ok bool) {
	if g.principal == "" {
		return bank.Refusal(op, bank.Unauthorized), false
	}
	op.Principal = g.principal
	op.Origin = bank.Origin{Door: bank.DoorSocket, Peer: g.peer}
	if err := d.bank.Submit(ctx, *op, done); err != nil {
		return bank.Refusal(op, bank.CodeOf(err)), false
	}
	return bank.Reply{}, true
}

// refuse returns the reply to bytes that were no operation; op is what could be read of one.
func (d *door) refuse(g *guest, op *bank.Operation, err error) bank.Reply {
	if err != errStopping && err != errRevoked {
		e := seldom.Event{Level: slog.LevelInfo, What: "no operation", From: gate.Network(g.peer.Addr())}
		d.log.Tell(e, "peer", g.peer, "err", err.Error())
	}
	var fault *wire.Fault
	if !errors.As(err, &fault) {
		return bank.Refusal(op, bank.Malformed)
	}
	if fault.Code == bank.TooLarge {
		d.options.Observer.Limited(LimitMessage)
	}
	return fault.Reply(op)
}

var (
	// errGone says that nobody is there to be answered, or nothing to answer.
	errGone = errors.New("socket: the peer is gone")
	// errStopping refuses what was not wholly read when the server was told to stop.
	errStopping = &wire.Fault{Code: bank.Unavailable, Detail: "the server is stopping and has done nothing; ask again later"}
	// errRevoked refuses what was not wholly read when the client lost its rights.
	errRevoked = &wire.Fault{Code: bank.Unauthorized, Detail: "who asks is not known any more; nothing was done"}
	// errCut refuses an operation that its client broke off.
	errCut = &wire.Fault{Code: bank.Malformed, Detail: "the client's bytes ended before the operation did; send it whole"}
)

// ending returns why nothing more is to be read of g, or nil.
func ending(ctx context.Context, g *guest) error {
	switch {
	case ctx.Err() != nil:
		return errStopping
	case g.revoked.Load():
		return errRevoked
	}
	return nil
}

// unread returns the fault of a peer whose read failed with err when it had sent that many bytes of an operation.
func (d *door) unread(ctx context.Context, g *guest, err error, sent int) error {
	why := ending(ctx, g)
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded) && (sent == 0 || !errors.Is(err, io.EOF)):
		return errGone
	case errors.Is(err, io.EOF):
		return errCut
	case why != nil:
		return why
	default:
		d.options.Observer.Limited(LimitReadTimeout)
		return &wire.Fault{
			Code:   bank.Malformed,
			Detail: fmt.Sprintf("timeout: no whole operation came within %v; send it at once", d.options.ReadTimeout),
		}
	}
}

// skip passes over what may stand between messages.
func (d *door) skip(in *inbox) { in.r += d.listener.Codec.Space(in.fresh()) }

// late counts a write that failed with err, if that was for want of time.
func (d *door) late(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		d.options.Observer.Limited(LimitWriteTimeout)
	}
}

// logUndelivered tells of a reply whose operation stands and whose client may not know.
func (d *door) logUndelivered(peer netip.AddrPort, reply *bank.Reply, err error) {
	e := seldom.Event{
		Level: slog.LevelInfo, What: "reply not delivered", From: gate.Network(peer.Addr()), Same: reply.Kind.String() + " " + reply.Code.String(),
	}
	d.log.Tell(e, "peer", peer, "kind", reply.Kind, "code", reply.Code, "seq", reply.Seq, "err", err)
}

// hangUp ends conn so that what was written last arrives: closing a connection that has unread bytes would reset it, and a
// reset may overtake a reply. It ends what is written, and then waits for the peer to close, for as long as conn's read
// deadline and lingerBytes allow, throwing away what it sends.
func hangUp(conn net.Conn, scratch []byte) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	for left := lingerBytes; left > 0; {
		n, err := conn.Read(scratch)
		if err != nil {
			return
		}
		left -= n
	}
}

// unreadBytes reports whether there may be bytes that the peer has sent and nobody has read. It is one call and does not
// wait: where nothing is unread, conn can be closed without hangUp, which costs a connection of one operation some 7 %.
func unreadBytes(conn net.Conn, scratch []byte) bool {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return true
	}
	n := 0
	if raw.Read(func(fd uintptr) bool {
		n, _ = syscall.Read(int(fd), scratch) // EAGAIN, end of file and a reset are all the same: nothing
		return true
	}) != nil {
		return true
	}
	return n > 0
}

// inbox is a connection's read buffer. It begins small, as nearly all operations are, and grows once.
type inbox struct {
	b     []byte
	r, w  int // b[r:w] was read and not yet used
	bytes int // the size to grow to
}

func newInbox(bytes int) inbox {
	return inbox{b: make([]byte, min(firstBytes, bytes)), bytes: bytes}
}

// fresh returns what was read and not yet used.
func (in *inbox) fresh() []byte { return in.b[in.r:in.w] }

// fill reads once, behind what is there. A buffer found full grows: more is waiting. The caller leaves less than the full
// size unused.
func (in *inbox) fill(conn net.Conn) error {
	to := in.b
	if in.w == len(in.b) && len(in.b) < in.bytes {
		to = make([]byte, in.bytes)
	}
	in.w = copy(to, in.b[in.r:in.w])
	in.b, in.r = to, 0
	n, err := conn.Read(in.b[in.w:])
	in.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}
