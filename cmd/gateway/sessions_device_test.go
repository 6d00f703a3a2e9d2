package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gateway/bank"
)

const (
	// deviceWindow is the most operations that a device has under way.
	deviceWindow = 10
	// deviceBreaks is the most packets that a device takes before it breaks its link.
	deviceBreaks = 60
	// devicePause is the longest that a device keeps a reply without acknowledging it while nothing else comes: about what
	// the gateway takes to write acknowledgements down.
	devicePause = 25 * time.Millisecond
	// hopeless is more than any account of the fleet ever has, in minor units.
	hopeless = 1_000_000_00
)

// naming is how a device tells its replies apart.
type naming int

const (
	byID          naming = iota
	byNothing            // no operation has an id. Only the book tells which one a reply is about
	byCorrelation        // no ids, but the correlation data of MQTT 5
	byTopic              // no ids, but the response topic of MQTT 5
)

// device is a client of TestTortureOfSessions. It does what MQTT says that a client with a session does, keeps in memory
// what it would keep in flash, and breaks its link now and then. What it was told it remembers for the checks.
type device struct {
	name     string // its client id, and its account
	address  string
	fleet    []string // all names
	level    byte
	qos      byte // 0: now 1, now 2
	naming   naming
	window   int  // operations that are not completely acknowledged, or not replied to
	receives byte // Receive Maximum of MQTT 5; 0: not said
	random   *rand.Rand
	replied  chan<- struct{} // a token for each operation that is replied to, while there is room
	gone     <-chan struct{} // closed: there is no gateway any more
	steady   bool            // it breaks no links any more and acknowledges replies at once

	subscribed bool
	lastID     uint16
	operations []*deviceOperation
	open       []*deviceOperation // not completely acknowledged, in the order in which they were first sent
	replies    map[string]*deviceReply
	firsts     []*deviceReply // in the order in which each came first

	link       *link
	connection int                // counts them
	breaks     int                // packets until it breaks the link
	unacked    []*deviceOperation // whose PUBLISH was sent on this link and not answered, in order
	late       []uint16           // replies that came on this link and are not acknowledged, in order

	redelivered int // PUBLISH and PUBREL that were sent again
	resent      int // replies that came again
}

// deviceOperation is an operation and its message.
type deviceOperation struct {
	message
	number     int // in the device
	name       string
	kind       bank.Kind
	to         string
	amount     bank.Amount
	hasID      bool
	connection int // on which it was first sent
}

// deviceReply is a reply as it came first.
type deviceReply struct {
	payload string
	told    struct {
		Status    bool
		Msg       any
		Code      string
		ID        string
		Balance   string
		Seq       uint64
		Duplicate bool
	}
	key        string
	packetID   uint16
	again      bool // with DUP
	connection int
	number     int // of the operation, once the book says
	repeats    int // times that it came as the answer to a redelivery, with another packet id
}

// run issues operations while there are more, and goes on until each is acknowledged and replied to.
func (d *device) run(more func() bool) error {
	for more() || len(d.open) > 0 || len(d.replies) < len(d.operations) {
		if err := d.step(more); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

func (d *device) step(more func() bool) error {
	if d.link == nil {
		if err := d.connect(); err != nil {
			return err
		}
	}
	for d.subscribed && more() && max(len(d.open), len(d.operations)-len(d.replies)) < d.window {
		d.send(d.issue())
	}
	if d.breaks--; d.breaks < 0 && !d.steady {
		d.hangUp()
		return nil
	}
	d.acknowledgeLate()
	f, err := d.link.read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("nothing comes: %d operations, %d open, %d replies", len(d.operations), len(d.open), len(d.replies))
	}
	if err != nil || f.kind == typeDisconnect { // killed, or about to end
		d.hangUp()
		return nil
	}
	return d.take(&f)
}

func (d *device) hangUp() {
	if d.link != nil {
		_ = d.link.conn.Close()
		d.link = nil
	}
}

// connect comes back to the session, as soon as there is a gateway, and delivers again what was not acknowledged.
func (d *device) connect() error {
	var properties []byte
	if d.receives > 0 {
		properties = []byte{propertyReceiveMaximum, 0, d.receives}
	}
	present := false
	for deadline := time.Now().Add(patience); ; {
		var err error
		if d.link, present, err = connectLink(d.address, d.name, d.level, properties...); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(recoveryTime / 10):
		case <-d.gone:
			return err
		}
	}
	if d.subscribed && !present {
		return errors.New("the session did not survive")
	}
	d.connection++
	d.breaks, d.unacked, d.late = d.random.IntN(deviceBreaks), nil, nil
	if !d.subscribed {
		topic := "bank/replies/" + d.name
		if d.naming == byTopic {
			topic += "/#"
		}
		d.link.subscribe(topic)
	}
	for _, op := range d.open {
		d.redelivered++
		d.send(op)
	}
	return nil
}

// send publishes an operation or, when it has its PUBREC, releases it.
func (d *device) send(op *deviceOperation) {
	if op.released {
		d.link.sendID(typePubrel<<4|2, op.id)
		return
	}
	if op.again = op.connection > 0; !op.again {
		op.connection = d.connection
	}
	d.unacked = append(d.unacked, op)
	d.link.publish(&op.message)
}

// issue makes an operation unlike any other, even in its amount: by that a device without ids knows a refusal. Packet ids
// come round soon.
func (d *device) issue() *deviceOperation {
	op := &deviceOperation{number: len(d.operations), amount: bank.Amount(len(d.operations) + 1), hasID: d.naming == byID}
	op.name = d.name + "-" + strconv.Itoa(op.number)
	if op.qos = d.qos; op.qos == 0 {
		op.qos = 1 + byte(d.random.IntN(2))
	}
	for d.lastID = d.lastID%(2*deviceWindow) + 1; d.find(d.lastID) != nil; {
		d.lastID = d.lastID%(2*deviceWindow) + 1
	}
	op.id = d.lastID
	switch choice := d.random.IntN(10); {
	case choice < 3 || op.number == 0:
		op.kind = bank.KindDeposit
		op.amount = 1 + bank.Amount(d.random.IntN(3*(op.number+1)))
	case choice < 5:
		op.kind = bank.KindWithdraw
	case choice < 7:
		op.kind = bank.KindTransfer
		for op.to = d.name; op.to == d.name; {
			op.to = d.fleet[d.random.IntN(len(d.fleet))]
		}
	case choice < 9:
		op.kind, op.amount = bank.KindBalance, 0
	default:
		op.kind = bank.KindWithdraw
		op.amount += hopeless
	}
	d.compose(op)
	d.operations, d.open = append(d.operations, op), append(d.open, op)
	return op
}

// compose writes the message. A balance always has something that comes back; an id of its own the bank does not remember.
func (d *device) compose(op *deviceOperation) {
	asked := struct {
		Op      string `json:"op"`
		Account string `json:"account"`
		To      string `json:"to,omitempty"`
		Amount  string `json:"amount,omitempty"`
		ID      string `json:"id,omitempty"`
		Memo    string `json:"memo"`
	}{Op: op.kind.String(), Account: d.name, To: op.to, Memo: op.name}
	if op.amount > 0 {
		asked.Amount = op.amount.Format(2)
	}
	if op.hasID || d.naming == byNothing && op.kind == bank.KindBalance {
		asked.ID = op.name
	}
	payload, err := json.Marshal(asked)
	if err != nil {
		panic(err) // texts always marshal
	}
	op.payload = string(payload)
	switch d.naming {
	case byCorrelation:
		op.properties = append([]byte{propertyCorrelation}, mqttText(op.name)...)
	case byTopic:
		op.properties = append([]byte{propertyResponseTopic}, mqttText("bank/replies/"+d.name+"/"+op.name)...)
	}
}

func (d *device) find(id uint16) *deviceOperation {
	for _, op := range d.open {
		if op.id == id {
			return op
		}
	}
	return nil
}

func (d *device) take(f *frame) error {
	op := d.find(f.id)
	switch f.kind {
	case typePublish:
		return d.takeReply(f)
	case typeSuback:
		d.subscribed = true
		return nil
	case typePuback, typePubrec:
		return d.acknowledged(f, op)
	case typePubcomp:
		if op == nil || !op.released || f.reason != 0 && f.reason != 0x92 { // a PUBREL that is sent again may find nothing
			return fmt.Errorf("PUBCOMP of %d with 0x%02x", f.id, f.reason)
		}
		d.close(op)
		return nil
	}
	return fmt.Errorf("packet type %d", f.kind)
}

// acknowledged takes a PUBACK or PUBREC. They come in the order of the packets.
func (d *device) acknowledged(f *frame, op *deviceOperation) error {
	wanted := map[byte]byte{1: typePuback, 2: typePubrec}
	if op == nil || f.kind != wanted[op.qos] || f.reason != 0 || op.released {
		return fmt.Errorf("packet type %d of %d with 0x%02x", f.kind, f.id, f.reason)
	}
	if len(d.unacked) == 0 || d.unacked[0] != op {
		return fmt.Errorf("the acknowledgement of %s, packet %d, comes before those of earlier packets", op.name, op.id)
	}
	d.unacked = d.unacked[1:]
	if op.qos == 1 {
		d.close(op)
		return nil
	}
	op.released = true
	d.link.sendID(typePubrel<<4|2, op.id)
	return nil
}

func (d *device) close(op *deviceOperation) {
	d.open = slices.DeleteFunc(d.open, func(other *deviceOperation) bool { return other == op })
}

// takeReply remembers a reply or, if it is known, compares it: it must be the same, and have DUP.
func (d *device) takeReply(f *frame) error {
	r := &deviceReply{payload: string(f.payload), packetID: f.id, again: f.again(), connection: d.connection}
	if err := json.Unmarshal(f.payload, &r.told); err != nil {
		return fmt.Errorf("reply %q: %w", f.payload, err)
	}
	if f.flags&6 != 2 || r.told.Duplicate || r.told.Code != bank.OK.String() && r.told.Code != bank.InsufficientFunds.String() {
		return fmt.Errorf("reply with flags %x: %s", f.flags, f.payload)
	}
	r.key = d.keyOf(f, r)
	first, known := d.replies[r.key]
	switch {
	case !known:
		d.replies[r.key] = r
		d.firsts = append(d.firsts, r)
		select {
		case d.replied <- struct{}{}:
		default:
		}
	case r.payload != first.payload:
		return fmt.Errorf("%s was answered %s, and then %s", r.key, first.payload, r.payload)
	case r.packetID != first.packetID:
		first.repeats++
		d.resent++
	case !r.again:
		return fmt.Errorf("the reply %s, packet %d, came before and comes without DUP", r.payload, r.packetID)
	default:
		d.resent++
	}
	d.late = append(d.late, f.id)
	if d.steady || len(d.late) == 1 && d.random.IntN(8) > 0 {
		d.acknowledgeReplies()
	}
	return nil
}

// keyOf returns what the device knows of the operation that a reply is about: its name or, without ids, the entry, or the
// amount that was too much.
func (d *device) keyOf(f *frame, r *deviceReply) string {
	switch d.naming {
	case byCorrelation:
		return f.correlation
	case byTopic:
		return strings.TrimPrefix(f.topic, "bank/replies/"+d.name+"/")
	}
	if r.told.ID != "" {
		return r.told.ID
	}
	if r.told.Seq > 0 {
		return entryKey(r.told.Seq)
	}
	text := fmt.Sprint(r.told.Msg)
	return refusalKey(text[strings.LastIndexByte(text, ' ')+1:])
}

func entryKey(seq uint64) string          { return fmt.Sprint("entry ", seq) }
func refusalKey(amountText string) string { return "refusal of " + amountText }

// acknowledgeReplies sends the PUBACKs that it has kept back, in order.
func (d *device) acknowledgeReplies() {
	for _, id := range d.late {
		d.link.sendID(typePuback<<4, id)
	}
	d.late = nil
}

// acknowledgeLate sends them now and then: after some packets more, or after a pause.
func (d *device) acknowledgeLate() {
	if len(d.late) == 0 {
		return
	}
	if d.random.IntN(6) > 0 {
		_ = d.link.conn.SetReadDeadline(time.Now().Add(time.Duration(d.random.Int64N(int64(devicePause)))))
		if _, err := d.link.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
	d.acknowledgeReplies()
}

// ask has one operation more done by a gateway that stays, and says goodbye.
func (d *device) ask() error {
	d.hangUp()
	d.steady = true
	wanted := len(d.operations) + 1
	if err := d.run(func() bool { return len(d.operations) < wanted }); err != nil {
		return err
	}
	d.link.send(typeDisconnect << 4)
	if f, err := d.link.read(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: after the goodbye: packet type %d, %w", d.name, f.kind, err)
	}
	d.hangUp()
	return nil
}
