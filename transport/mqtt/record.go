package mqtt

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"gateway/bank"
	"gateway/packed"
	"gateway/wire"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What survives the process is written in two places. The note of an operation is kept in the journal's entry that decides
// it ([bank.Origin].Delivery): one record, one sync. Everything else is a record of the [Store]: sessions and their
// changes, releases, acknowledgements, and the answers that left no entry.
//
// An operation is named by its session's incarnation, which no other session ever has, and its number in that session. So
// records and entries can be read in any order, and twice: each says something about one numbered thing.
//
// Integers are varints as encoding/binary writes them; a text is its length and its bytes. A note:
//
//	format (1)  flags  incarnation  number  packet id (2 bytes)  [mark (8 bytes)]  [topic below the session's own]
//	[correlation data, to the end]
//
// A record begins with its kind and the incarnation.
const (
	noteFormat = 1

	noteQoS2       = 1 << 0 // of QoS 2, else 1
	noteOwed       = 1 << 1 // a reply is owed at QoS 1
	noteCorrelated = 1 << 2
	noteMsgpack    = 1 << 3
	noteBelow      = 1 << 4                                // the reply's topic is below the session's own
	noteTypeShift  = 5                                     // the content type, as an index of contentTypes
	noteTypeMask   = 3 << noteTypeShift                    // bits 5 and 6
	noteKnown      = noteTypeMask | (1<<noteTypeShift - 1) // the last bit must not be set

	// recordStart is the first of a checkpoint: the entry up to which it has everything, and the last incarnation there was.
	recordStart = 's'
	// recordSession is a session with everything about it but its operations.
	recordSession = 'n'
	// recordLink tells that a connection took the session or left it.
	recordLink = 'l'
	// recordFilters has all subscriptions of the session.
	recordFilters = 'f'
	// recordAnswer is an operation that left no entry, with its answer.
	recordAnswer = 'a'
	// recordExchange is the same in a checkpoint, whether it left an entry or not.
	recordExchange = 'x'
	// recordRelease tells that a QoS 2 operation was released.
	recordRelease = 'r'
	// recordAcked tells up to which number the session has acknowledged its replies.
	recordAcked = 'k'
	// recordEnd tells that the session is no more.
	recordEnd = 'e'
)

// contentTypes are those that a reply may have, the first for none.
var contentTypes = [...]string{"", "application/json", "application/msgpack", "application/vnd.msgpack"}

var errRecord = errors.New("mqtt: a record that this program does not write")

// appendNote appends the note of x, whose reply is still owed, or not.
func appendNote(dst []byte, x *exchange, owed bool) []byte {
	s := x.session
	flags := byte(0)
	if x.qos == 2 {
		flags |= noteQoS2
	}
	if owed {
		flags |= noteOwed
	}
	if x.manner.correlated {
		flags |= noteCorrelated
	}
	if x.manner.format == wire.Msgpack {
		flags |= noteMsgpack
	}
	below := ""
	if len(x.manner.topic) > len(s.own) {
		below = x.manner.topic[len(s.own):]
		flags |= noteBelow
	}
	for i, kind := range contentTypes {
		if kind == x.manner.contentType {
			flags |= byte(i) << noteTypeShift
		}
	}
	dst = append(dst, noteFormat, flags)
	dst = binary.AppendUvarint(dst, s.incarnation)
	dst = binary.AppendUvarint(dst, x.number)
	dst = binary.BigEndian.AppendUint16(dst, x.id)
	if x.qos == 1 {
		dst = append(dst, x.mark[:]...)
	}
	if below != "" {
		dst = packed.AppendText(dst, below)
	}
	return append(dst, x.manner.correlation...)
}

// note is a note that was read: an exchange whose session is not known yet, and that session's incarnation.
type note struct {
	exchange
	incarnation uint64
	below       string
}

// parseNote reads a note. The caller may change b afterwards.
func parseNote(b []byte) (note, error) {
	f := recordReader{packed.Reader{Rest: b}}
	var n note
	format, flags := f.Byte(), f.Byte()
	n.qos, n.owed = 1, flags&noteOwed != 0
	if flags&noteQoS2 != 0 {
		n.qos = 2
	}
	n.incarnation, n.number = f.Uvarint(), f.Uvarint()
	n.id = f.Uint16()
	if n.qos == 1 {
		copy(n.mark[:], f.Bytes(uint64(len(n.mark))))
	}
	if flags&noteBelow != 0 {
		n.below = string(f.short())
	}
	n.manner.format = wire.JSON
	if flags&noteMsgpack != 0 {
		n.manner.format = wire.Msgpack
	}
	n.manner.contentType = contentTypes[flags&noteTypeMask>>noteTypeShift]
	if n.manner.correlated = flags&noteCorrelated != 0; n.manner.correlated {
		n.manner.correlation = append([]byte(nil), f.Rest...)
		f.Rest = nil
	}
	if f.Bad || len(f.Rest) > 0 || format != noteFormat || flags&^noteKnown != 0 || n.incarnation == 0 || n.number == 0 || n.id == 0 {
		return note{}, errRecord
	}
	return n, nil
}

// recordReader takes a record's fields off its front.
type recordReader struct{ packed.Reader }

// short reads what [packed.AppendText] has written.
func (f *recordReader) short() []byte { return f.Text(math.MaxInt) }

func (f *recordReader) bool() bool {
	b := f.Byte()
	f.Bad = f.Bad || b > 1
	return b == 1
}

func appendBool(dst []byte, yes bool) []byte {
	if yes {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// appendTime appends an instant in microseconds since 1970, with 0 for the zero time.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendUvarint(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(t.UnixMicro()))
}

func (f *recordReader) time() time.Time {
	micros := f.Uvarint()
	if micros == 0 {
		return time.Time{}
	}
	f.Bad = f.Bad || micros > math.MaxInt64
	return time.UnixMicro(int64(micros)).UTC()
}

// What an answer's record says besides its note.
const (
	answerKnown   = 1 << 0 // a redelivery is one, until the release of a QoS 2 operation
	answerReplied = 1 << 1 // the reply follows
)

// appendAnswer appends a record of x: of kind recordAnswer or recordExchange.
func appendAnswer(dst []byte, kind byte, x *exchange, known, owed, replied bool) []byte {
	dst = binary.AppendUvarint(append(dst, kind), x.session.incarnation)
	flags := byte(0)
	if known {
		flags |= answerKnown
	}
	if replied {
		flags |= answerReplied
	}
	dst = append(dst, flags)
	dst = packed.AppendText(dst, appendNote(nil, x, owed))
	if replied {
		dst = appendReply(dst, &x.reply)
	}
	return dst
}

// appendNumbered appends a record that says something about one number: recordRelease or recordAcked.
func appendNumbered(dst []byte, kind byte, s *session, number uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(append(dst, kind), s.incarnation), number)
}

// Which fields of a reply are true.
const (
	replyBalance   = 1 << 0
	replyDuplicate = 1 << 1
	replyReceipt   = 1 << 2 // the receipt follows, behind all else
)

func appendReply(dst []byte, r *bank.Reply) []byte {
	flags := byte(0)
	if r.HasBalance {
		flags |= replyBalance
	}
	if r.Duplicate {
		flags |= replyDuplicate
	}
	if r.Receipt != "" {
		flags |= replyReceipt
	}
	dst = append(dst, byte(r.Code), byte(r.Kind), flags)
	dst = packed.AppendText(dst, r.ID)
	dst = binary.AppendUvarint(dst, r.Seq)
	dst = appendTime(dst, r.Time)
	dst = binary.AppendVarint(dst, int64(r.Amount))
	dst = binary.AppendVarint(dst, int64(r.Balance))
	dst = packed.AppendText(dst, r.Detail)
	if r.Receipt != "" {
		dst = packed.AppendText(dst, r.Receipt)
	}
	return dst
}

func (f *recordReader) reply() bank.Reply {
	var r bank.Reply
	r.Code, r.Kind = bank.Code(f.Byte()), bank.Kind(f.Byte())
	flags := f.Byte()
	r.HasBalance, r.Duplicate = flags&replyBalance != 0, flags&replyDuplicate != 0
	r.ID = string(f.short())
	r.Seq, r.Time = f.Uvarint(), f.time()
	r.Amount, r.Balance = bank.Amount(f.Varint()), bank.Amount(f.Varint())
	r.Detail = string(f.short())
	if flags&replyReceipt != 0 {
		r.Receipt = string(f.short())
	}
	return r
}

// link is what a session knows of its connections.
type link struct {
	connected bool
	persists  bool          // outlives the connection that it has
	expiry    time.Duration // how long
	expires   time.Time     // while it is not connected
	sent      uint64        // the greatest number of a reply that was sent
}

func appendLink(dst []byte, l *link) []byte {
	dst = appendBool(appendBool(dst, l.connected), l.persists)
	dst = binary.AppendUvarint(dst, uint64(l.expiry/time.Second))
	dst = appendTime(dst, l.expires)
	return binary.AppendUvarint(dst, l.sent)
}

func (f *recordReader) link() link {
	var l link
	l.connected, l.persists = f.bool(), f.bool()
	l.expiry = time.Duration(min(f.Uvarint(), uint64(maxExpiry/time.Second))) * time.Second
	l.expires = f.time()
	f.Bad = f.Bad || l.persists && l.expiry == 0
	l.sent = f.Uvarint()
	return l
}

// What is set beside a filter's QoS, as it is in a SUBSCRIBE.
const (
	filterNoLocal           = 1 << 2
	filterRetainAsPublished = 1 << 3
)

func appendFilters(dst []byte, subscriptions []packets.Subscription) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(subscriptions)))
	for i := range subscriptions {
		options := subscriptions[i].Qos
		if subscriptions[i].NoLocal {
			options |= filterNoLocal
		}
		if subscriptions[i].RetainAsPublished {
			options |= filterRetainAsPublished
		}
		dst = append(packed.AppendText(dst, subscriptions[i].Filter), options)
	}
	return dst
}

// filters reads what appendFilters has written. There may be more than maxSubscriptions: an earlier version has granted such, on a
// full disk, and a client keeps what it was granted.
func (f *recordReader) filters() []packets.Subscription {
	n := f.Uvarint()
	subscriptions := make([]packets.Subscription, 0, min(n, maxSubscriptions))
	for i := uint64(0); i < n && !f.Bad; i++ {
		filter, options := string(f.short()), f.Byte()
		subscriptions = append(subscriptions, packets.Subscription{
			Filter: filter, Qos: options &^ (filterNoLocal | filterRetainAsPublished), NoLocal: options&filterNoLocal != 0,
			RetainAsPublished: options&filterRetainAsPublished != 0,
		})
	}
	return subscriptions
}
