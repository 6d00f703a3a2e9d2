package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"gateway/bank"
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
		readers: readers{conns: make(map[net.Conn]struct{})},
	}
	d.visits.New = func() any { return newVisit(d.limit) }
	d.outboxes.New = func() any { b := make([]byte, 0, sessionBytes); return &b }
	return d
}

// accept admits connections until ctx ends, or until the listener is closed without that, which is an error.
func (d *door) accept(ctx context.Context) error {
	log := seldom{}
	failed := failures{logger: d.options.Logger, log: log}
	for {
		conn, err := d.listener.Net.Accept()
		switch {
		case err == nil:
			failed.end()
			if reason := d.admit(ctx, conn); reason != "" {
				conn.Close()
				d.options.Observer.Rejected(reason)
				if log.now(reason) {
					d.options.Logger.Warn("connection rejected", "peer", conn.RemoteAddr(), "reason", reason)
				}
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %v: %w", d.listener.Net.Addr(), err)
		default:
			failed.wait(ctx, err)
		}
	}
}

// admit starts to serve conn, or returns why it must not be.
func (d *door) admit(ctx context.Context, conn net.Conn) (rejected string) {
	peer := peerOf(conn)
	if !d.allowed(peer.Addr()) {
		return RejectedAddress
	}
	if !d.options.Gate.Enter() {
		return RejectedConnections
	}
	d.options.Observer.Connection(true)
	d.running.Go(func() {
		if d.listener.Session {
			d.serveSession(ctx, conn, peer)
		} else {
			d.serveOne(ctx, conn, peer)
		}
		conn.Close()
		d.options.Observer.Connection(false)
		d.options.Gate.Leave()
	})
	return ""
}

func (d *door) allowed(address netip.Addr) bool {
	if len(d.listener.AllowFrom) == 0 {
		return true
	}
	for _, prefix := range d.listener.AllowFrom {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// peerOf returns the address of the other end, an IPv4 one as such and without a zone. It is invalid when conn is no TCP
// connection; no prefix contains that.
func peerOf(conn net.Conn) netip.AddrPort {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	peer := tcp.AddrPort()
	return netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
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

// submit hands op to the bank as the listener's principal. When it returns false, reply refuses op and done is never called.
func (d *door) submit(ctx context.Context, op *bank.Operation, done func(bank.Reply, error)) (reply bank.Reply, ok bool) {
	if d.listener.Principal == "" {
		return bank.Refusal(op, bank.Unauthorized), false
	}
	op.Principal = d.listener.Principal
	if err := d.bank.Submit(ctx, *op, done); err != nil {
		return bank.Refusal(op, bank.CodeOf(err)), false
	}
	return bank.Reply{}, true
}

// refuse returns the reply to bytes that were no operation; op is what could be read of one.
func (d *door) refuse(peer netip.AddrPort, op *bank.Operation, err error) bank.Reply {
	d.options.Logger.Debug("no operation", "peer", peer, "err", err)
	var fault *wire.Fault
	if !errors.As(err, &fault) {
		return bank.Refusal(op, bank.Malformed)
	}
	return fault.Reply(op)
}

var (
	// errGone says that nobody is there to be answered, or nothing to answer.
	errGone = errors.New("socket: the peer is gone")
	// errStopping refuses what was not wholly read when the server was told to stop.
	errStopping = &wire.Fault{Code: bank.Unavailable, Detail: "the server is stopping and has done nothing; ask again later"}
	// errCut refuses an operation that its client broke off.
	errCut = &wire.Fault{Code: bank.Malformed, Detail: "the client's bytes ended before the operation did; send it whole"}
)

// unread returns the fault of a peer whose read failed with err when it had sent that many bytes of an operation.
func (d *door) unread(ctx context.Context, err error, sent int) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded) && (sent == 0 || !errors.Is(err, io.EOF)):
		return errGone
	case errors.Is(err, io.EOF):
		return errCut
	case ctx.Err() != nil:
		return errStopping
	default:
		return &wire.Fault{
			Code:   bank.Malformed,
			Detail: fmt.Sprintf("timeout: no whole operation came within %v; send it at once", d.options.ReadTimeout),
		}
	}
}

// skip passes over what may stand between messages.
func (d *door) skip(in *inbox) { in.r += d.listener.Codec.Space(in.fresh()) }

// logUndelivered tells of a reply whose operation stands and whose client may not know.
func (d *door) logUndelivered(peer netip.AddrPort, reply *bank.Reply, err error) {
	d.options.Logger.Info("reply not delivered", "peer", peer, "kind", reply.Kind, "code", reply.Code, "seq", reply.Seq, "err", err)
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

// readers are the connections that read, so that stopping can end it.
type readers struct {
	mu      sync.Mutex // guards all below
	conns   map[net.Conn]struct{}
	stopped bool
}

// add reports whether conn may read; from then on stop ends its reading.
func (r *readers) add(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.conns[conn] = struct{}{}
	}
	return !r.stopped
}

// remove makes conn's read deadline its own again.
func (r *readers) remove(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

// stop makes every read fail at once, now and later. One who sets a read deadline between add and remove must look at the
// context after that: it has ended before stop is called.
func (r *readers) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for conn := range r.conns {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
}
