package mqtt

import (
	"crypto/sha256"
	"strings"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// exchange is one operation of a client: its PUBLISH, what the bank says, the acknowledgement and the reply. It is in at
// most one line of its session at a time, and the session's lock guards all of it that changes.
type exchange struct {
	session *session
	began   time.Time

	// What came with the operation.
	number   uint64 // counts the session's exchanges of QoS 1 and 2
	qos      byte
	id       uint16 // of its PUBLISH
	mark     mark   // of its payload, at QoS 1
	manner   manner
	from     uint64      // the connection on which it came, or came again, last: there the acknowledgement is owed
	level    byte        // the protocol level of that connection
	acks     int         // acknowledgements owed there; each holds a place
	kept     bool        // of a session that is kept: its answer must be durable before anything is said
	heard    bool        // somebody is subscribed to the reply
	owed     bool        // the reply is to be sent until it is acknowledged
	reserved bool        // counts as a waiting reply
	again    bool        // the answer to a redelivery, besides the one it repeats
	behind   []*exchange // redeliveries of what was answered, to be acknowledged after it

	// What was answered.
	judged   bool // reply is the answer, which is being made durable
	answered bool // and may be told
	unknown  bool // a write has failed, and only a restart knows whether reply is true
	silent   bool // and an acknowledgement would promise what is not on stable storage
	reply    bank.Reply
	acked    uint64 // the session's clock when it was last acknowledged

	// What becomes of the reply.
	sent       uint64 // the session's clock when it was last sent; 0: never
	sentAgain  bool   // and not for the first time
	waits      bool   // in the queue, not sent on this connection
	grant      byte   // its QoS
	prev, next *exchange
}

// manner is how a reply is to be delivered.
type manner struct {
	format      wire.Format
	contentType string // as it came, when it is one that has a meaning; else ""
	topic       string // the response topic; "" is the client's own
	correlation []byte
	correlated  bool
}

// mark stands for a payload.
type mark [8]byte

func markOf(payload []byte) mark {
	sum := sha256.Sum256(payload)
	return mark(sum[:])
}

// mannerOf reads how m wants to be answered. The caller has checked the sizes.
func mannerOf(m *publish) manner {
	how := manner{format: wire.Sniff(m.payload), correlated: m.correlated, topic: string(m.responseTopic)}
	if len(m.correlation) > 0 {
		how.correlation = append([]byte(nil), m.correlation...)
	}
	kind, _, _ := strings.Cut(string(m.contentType), ";")
	switch kind = strings.ToLower(strings.TrimSpace(kind)); kind {
	case "application/json":
		how.format, how.contentType = wire.JSON, kind
	case "application/msgpack", "application/vnd.msgpack":
		how.format, how.contentType = wire.Msgpack, kind
	}
	return how
}

// reasonFor returns the reason that acknowledges an operation answered with code, as a client of that protocol level is
// told it: MQTT 3 has but one.
func reasonFor(code bank.Code, level byte) reason {
	if level < 5 {
		return success
	}
	switch code {
	case bank.Malformed, bank.TooLarge:
		return payloadFormatInvalid
	case bank.Unauthorized, bank.Forbidden:
		return notAuthorized
	case bank.Overloaded:
		return quotaExceeded
	case bank.Unavailable:
		return implementationError
	}
	return success
}

// reason returns the reason that acknowledges x. One that says no gives a packet id of QoS 2 back, and a restart that finds
// the operation done after all would take the next one of that id for it: so of an operation that nobody knows about, in a
// session that a restart knows, the reply alone says so. What is silent has ended without an acknowledgement.
func (x *exchange) reason() reason {
	switch {
	case x.silent:
		return implementationError
	case x.unknown && x.qos == 2 && x.kept:
		return success
	}
	return reasonFor(x.reply.Code, x.level)
}

// line is a list of exchanges in order. The zero value is empty.
type line struct {
	first, last *exchange
	count       int
}

func (l *line) push(x *exchange) {
	x.prev, x.next = l.last, nil
	if l.last == nil {
		l.first = x
	} else {
		l.last.next = x
	}
	l.last = x
	l.count++
}

func (l *line) remove(x *exchange) {
	if x.prev == nil {
		l.first = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		l.last = x.prev
	} else {
		x.next.prev = x.prev
	}
	x.prev, x.next = nil, nil
	l.count--
}

// lastFrom returns the last exchange that came on c, or nil.
func (l *line) lastFrom(c *conn) *exchange {
	x := l.last
	for x != nil && x.from != c.serial {
		x = x.prev
	}
	return x
}

// prepend puts all of front before l and leaves front empty.
func (l *line) prepend(front *line) {
	if front.last == nil {
		return
	}
	if l.first == nil {
		*l, *front = *front, line{}
		return
	}
	front.last.next, l.first.prev = l.first, front.last
	l.first = front.first
	l.count += front.count
	*front = line{}
}
