package mqtt_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// device is a client with a session that persists, on a link that breaks all the time. Its operations have no ids: only
// the delivery keeps them from being lost or done twice.
type device struct {
	stand  *stand
	level  byte
	id     string
	random *rand.Rand
	killed bool          // the house may end at any time
	stop   chan struct{} // closed when it is about to

	peer       *peer
	breaks     int // packets until the link breaks
	issued     int
	lastID     uint16
	open       []*delivery
	seen       map[uint64]bool // entries whose reply has come
	subscribed bool            // SUBACK came
	last       uint64          // the last of them
}

// delivery is an operation that is not completely acknowledged.
type delivery struct {
	note     note
	released bool // at QoS 2: PUBREC came, PUBREL was sent
}

const (
	deviceOperations = 150
	deviceWindow     = 10
)

// run sends the operations and reads until each is acknowledged and replied to.
func (d *device) run() error {
	deadline := time.Now().Add(6 * d.stand.patience)
	for d.issued < deviceOperations || len(d.open) > 0 || len(d.seen) < deviceOperations {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d issued, %d open, %d replies", d.id, d.issued, len(d.open), len(d.seen))
		}
		select {
		case <-d.stop:
			return nil
		default:
		}
		if err := d.step(); err != nil && d.killed && errors.Is(err, errLink) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", d.id, err)
		}
		if d.breaks--; d.breaks <= 0 {
			d.peer.conn.Close()
			d.peer = nil
		}
	}
	if d.peer != nil {
		d.peer.conn.Close()
	}
	return nil
}

// errLink says that the house is gone.
var errLink = errors.New("the link broke")

// step sends what there is to send and takes one packet.
func (d *device) step() error {
	if d.peer == nil {
		if err := d.connect(); err != nil {
			return err
		}
	}
	d.issue()
	k, err := d.peer.read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%d issued, %d open, %d replies: %w", d.issued, len(d.open), len(d.seen), err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errLink, err)
	}
	return d.take(k)
}

// connect comes back to the session and delivers again what was not acknowledged.
func (d *device) connect() error {
	conn, err := net.Dial("tcp", d.stand.address)
	if err != nil {
		return fmt.Errorf("%w: %w", errLink, err)
	}
	conn.SetDeadline(time.Now().Add(d.stand.patience))
	d.peer = &peer{t: d.stand, conn: conn, in: bufio.NewReader(conn), level: d.level, id: d.id}
	d.breaks = 1 + d.random.IntN(40)
	conn.Write(keeps(d.level, d.id).bytes())
	if k, err := d.peer.read(); err != nil {
		return fmt.Errorf("%w: CONNECT: %w", errLink, err)
	} else if k.kind != tConnack || k.reason != 0 {
		return fmt.Errorf("CONNECT: packet type %d, 0x%02x", k.kind, k.reason)
	}
	if !d.subscribed {
		conn.Write(framed(tSubscribe<<4|2, []byte{0, 1}, withLength(d.level, nil), text("bank/replies/"+d.id), []byte{1}))
	}
	for _, open := range d.open {
		if open.released {
			d.peer.conn.Write([]byte{tPubrel<<4 | 2, 2, byte(open.note.id >> 8), byte(open.note.id)})
		} else {
			open.note.dup = 1
			d.peer.conn.Write(open.note.bytes(d.level))
		}
	}
	return nil
}

// issue sends new operations while fewer than the window are open.
func (d *device) issue() {
	for ; d.issued < deviceOperations && len(d.open) < deviceWindow; d.issued++ {
		d.lastID = d.lastID%20 + 1 // ids come round often
		for d.find(d.lastID) != nil {
			d.lastID = d.lastID%20 + 1
		}
		open := &delivery{note: note{qos: 1 + byte(d.random.IntN(2)), id: d.lastID, payload: d.operation()}}
		d.open = append(d.open, open)
		d.peer.conn.Write(open.note.bytes(d.level))
	}
}

// operation returns one that differs from the others: of two equal ones without an id, sent with one packet id, the second
// is taken for the first when the link breaks under it.
func (d *device) operation() string {
	return fmt.Sprintf(`{"op":"deposit","account":%q,"amount":1,"memo":"%d"}`, d.id, d.issued)
}

func (d *device) find(id uint16) *delivery {
	for _, open := range d.open {
		if open.note.id == id {
			return open
		}
	}
	return nil
}

func (d *device) take(k packet) error {
	open := d.find(k.id)
	switch {
	case k.kind == tSuback:
		d.subscribed = true
	case k.kind == tPublish:
		var a answer
		if err := json.Unmarshal(k.payload, &a); err != nil || !a.Status {
			return fmt.Errorf("reply %q: %v", k.payload, err)
		}
		if !d.seen[a.Seq] && a.Seq < d.last {
			return fmt.Errorf("the reply of entry %d comes after that of %d", a.Seq, d.last)
		}
		if d.seen == nil {
			d.seen = map[uint64]bool{}
		}
		d.seen[a.Seq], d.last = true, max(d.last, a.Seq)
		d.peer.conn.Write([]byte{tPuback << 4, 2, byte(k.id >> 8), byte(k.id)})
	case k.reason != 0 && k.kind != tPubcomp:
		return fmt.Errorf("packet type %d of %d with 0x%02x", k.kind, k.id, k.reason)
	case open == nil:
	case k.kind == tPubrec:
		open.released = true
		d.peer.conn.Write([]byte{tPubrel<<4 | 2, 2, byte(k.id >> 8), byte(k.id)})
	case k.kind == tPuback || k.kind == tPubcomp:
		for i := range d.open {
			if d.open[i] == open {
				d.open = append(d.open[:i:i], d.open[i+1:]...)
				break
			}
		}
	}
	return nil
}
