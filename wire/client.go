package wire

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"gateway/bank"
)

// Client is the client's side of a format, msgpack or JSON: it writes requests and reads answers, and need not know how
// many decimals the bank keeps. It is safe for concurrent use.
type Client struct {
	format  Format
	readers sync.Pool // of *answerReader
	writers sync.Pool // of *msgpackWriter
}

// NewClient returns the client's side of f. It panics when f is not Msgpack or JSON: pickles are the legacy clients'.
func NewClient(f Format) *Client {
	if f != Msgpack && f != JSON {
		panic("wire: no client of that format")
	}
	c := &Client{format: f}
	c.readers.New = func() any { return &answerReader{reader: newReader(f)} }
	c.writers.New = func() any { return newMsgpackWriter() }
	return c
}

// Format returns the format.
func (c *Client) Format() Format { return c.format }

// Ack returns what the server says first on a socket.
func (c *Client) Ack() []byte { return c.format.Ack() }

// Request is an operation as a client writes it: the canonical map. An empty field is left out. Texts must be UTF-8, or
// the bank will refuse the message.
type Request struct {
	Op      string // balance, deposit, withdraw, transfer, open or status
	Account string
	To      string
	Amount  string // "20" or "12.50"
	ID      string
	Memo    string
	Receipt bool // of a status
}

// AppendRequest appends r; a JSON request ends in a newline.
func (c *Client) AppendRequest(dst []byte, r *Request) []byte {
	pairs := [...]struct{ key, text string }{
		{"op", r.Op}, {"account", r.Account}, {"to", r.To}, {"amount", r.Amount}, {"id", r.ID}, {"memo", r.Memo},
	}
	if c.format == JSON {
		separator := byte('{')
		for _, p := range pairs {
			if p.text == "" && p.key != "op" {
				continue
			}
			dst = appendQuoted(append(dst, separator), p.key)
			dst = appendQuoted(append(dst, ':'), p.text)
			separator = ','
		}
		if r.Receipt {
			dst = append(dst, `,"receipt":true`...)
		}
		return append(dst, "}\n"...)
	}
	given := 0
	for _, p := range pairs {
		if p.text != "" || p.key == "op" {
			given++
		}
	}
	if r.Receipt {
		given++
	}
	w := c.writers.Get().(*msgpackWriter)
	defer c.writers.Put(w)
	w.b = dst
	w.mapLen(given)
	for _, p := range pairs {
		if p.text != "" || p.key == "op" {
			w.text(p.key, p.text)
		}
	}
	if r.Receipt {
		w.boolean("receipt", true)
	}
	dst, w.b = w.b, nil
	return dst
}

// Answer is a reply as a client reads it.
type Answer struct {
	Status    bool
	Msg       string // the text of a refusal, the digits of a number, or "" for nothing
	Code      bank.Code
	ID        string
	Balance   string // with all its decimals; "" when the reply tells none
	Seq       uint64
	Time      time.Time // UTC; zero when the reply tells none
	Duplicate bool
	Receipt   string // "" when the reply has none
}

// ErrAnswer says that the bytes are no reply.
var ErrAnswer = errors.New("wire: not a reply")

// DecodeAnswer reads one reply from the front of b and returns how many bytes it took; a JSON reply's newline is behind it.
// Fields that are not known are passed over. The error is ErrIncomplete, as in [Codec.Decode], or ErrAnswer.
func (c *Client) DecodeAnswer(b []byte) (Answer, int, error) {
	r := c.readers.Get().(*answerReader)
	defer c.readers.Put(r)
	defer r.release()
	n, err := r.read(b, &r.answer)
	if err == ErrIncomplete {
		return Answer{}, 0, ErrIncomplete
	}
	if err != nil || r.wrong == faultRepeated {
		return Answer{}, 0, ErrAnswer
	}
	a, ok := r.answer.judge()
	if !ok {
		return Answer{}, 0, ErrAnswer
	}
	return a, n, nil
}

// answerReader reads answers. It is kept for its memory.
type answerReader struct {
	reader
	answer answerFields
}

func (r *answerReader) release() {
	r.reader.release()
	r.answer = answerFields{}
}

// answerFields is what a reply says.
type answerFields struct {
	status, msg, code, id, balance, seq, time, duplicate, receipt value
}

// object implements target.
func (f *answerFields) object() *value { return nil }

// place implements target.
func (f *answerFields) place(_ place, key []byte) (*value, string) {
	switch string(key) {
	case "status":
		return &f.status, ""
	case "msg":
		return &f.msg, ""
	case "code":
		return &f.code, ""
	case "id":
		return &f.id, ""
	case "balance":
		return &f.balance, ""
	case "seq":
		return &f.seq, ""
	case "time":
		return &f.time, ""
	case "duplicate":
		return &f.duplicate, ""
	case "receipt":
		return &f.receipt, ""
	}
	return nil, ""
}

// judge returns the answer, or false when a field is missing or of a wrong kind.
func (f *answerFields) judge() (Answer, bool) {
	code, known := bank.ParseCode(f.code.short())
	if !known || f.status.kind != boolean || f.status.isTrue() != (code == bank.OK) {
		return Answer{}, false
	}
	a := Answer{Status: code == bank.OK, Code: code, ID: f.id.short(), Balance: f.balance.short()}
	switch {
	case f.msg.kind == text && !a.Status, f.msg.kind == number && a.Status:
		a.Msg = string(f.msg.text)
	case f.msg.kind != null:
		return Answer{}, false
	}
	var err error
	if f.seq.given() {
		if a.Seq, err = strconv.ParseUint(string(f.seq.text), 10, 64); err != nil || f.seq.kind != number {
			return Answer{}, false
		}
	}
	if f.time.given() {
		if a.Time, err = time.Parse(time.RFC3339Nano, f.time.short()); err != nil {
			return Answer{}, false
		}
		a.Time = a.Time.UTC()
	}
	a.Duplicate = f.duplicate.isTrue()
	if f.receipt.given() {
		if f.receipt.kind != text {
			return Answer{}, false
		}
		a.Receipt = string(f.receipt.text)
	}
	return a, true
}

// isTrue reports whether a value is true: its text is the JSON word or the msgpack code.
func (v *value) isTrue() bool {
	return v.kind == boolean && len(v.text) > 0 && (v.text[0] == 't' || v.text[0] == 0xc3)
}
