package wire

import (
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// msgpackScanner reads tokens with the library's calls for single tokens, over a buffer that is its own reader. It asks
// the library for headers only and takes the bytes of texts itself, once they are there: into interfaces, and wherever it
// reads a length and the bytes together, the library allocates what a message merely declares, or recurses as deep as it
// nests.
type msgpackScanner struct {
	b    []byte
	pos  int
	text []byte // the digits of numbers
	dec  *msgpack.Decoder
}

func newMsgpackScanner() *msgpackScanner {
	s := new(msgpackScanner)
	s.dec = msgpack.NewDecoder(s)
	return s
}

func (s *msgpackScanner) reset(b []byte) { s.b, s.pos, s.text = b, 0, scratch(s.text) }

func (s *msgpackScanner) offset() int { return s.pos }

func (s *msgpackScanner) next(v *value) (err error) {
	if s.pos == len(s.b) {
		return ErrIncomplete
	}
	code := s.b[s.pos] // what PeekCode returns, without two calls through an interface
	switch {
	case msgpcode.IsString(code):
		v.kind = text
		v.text, err = s.string()
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		v.kind = mapping
		v.size, err = s.dec.DecodeMapLen()
	case msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32:
		v.kind = list
		v.size, err = s.dec.DecodeArrayLen()
	case msgpcode.IsBin(code):
		v.kind = opaque
		v.text, err = s.bytes()
	case msgpcode.IsExt(code):
		v.kind = opaque
		v.text, err = s.extension()
	case code == msgpcode.Nil:
		v.kind = null
		err = s.dec.DecodeNil()
	case code == msgpcode.True || code == msgpcode.False:
		v.kind = boolean
		v.text = s.b[s.pos : s.pos+1]
		_, err = s.dec.DecodeBool()
	case code == 0xc1:
		return malformed("not msgpack; send one map")
	default:
		v.kind = number
		v.text, err = s.number(code)
	}
	return incomplete(err)
}

// more believes the number of items that a container declares no further than a message could hold them.
func (s *msgpackScanner) more(c container, count int) (bool, error) {
	if c.kind == mapping && uint(c.size) > maxKeys {
		return false, tooManyKeys()
	}
	if uint(c.size) > MaxMessage {
		return false, tooLarge()
	}
	return count < c.size, nil
}

func (s *msgpackScanner) key() ([]byte, error) {
	if s.pos == len(s.b) {
		return nil, ErrIncomplete
	}
	if !msgpcode.IsString(s.b[s.pos]) {
		return nil, malformed("a key that is not a str; send text keys")
	}
	key, err := s.string()
	return key, incomplete(err)
}

// string reads a str.
func (s *msgpackScanner) string() ([]byte, error) {
	b, err := s.bytes()
	if err == nil && !utf8.Valid(b) {
		return nil, notUTF8()
	}
	return b, err
}

// bytes reads a str or bin.
func (s *msgpackScanner) bytes() ([]byte, error) {
	n, err := s.dec.DecodeBytesLen()
	if err != nil {
		return nil, err
	}
	return s.take(n)
}

func (s *msgpackScanner) extension() ([]byte, error) {
	_, n, err := s.dec.DecodeExtHeader()
	if err != nil {
		return nil, err
	}
	return s.take(n)
}

// number reads a number as its shortest decimal digits.
func (s *msgpackScanner) number(code byte) ([]byte, error) {
	start := len(s.text)
	switch code {
	case msgpcode.Float:
		f, err := s.dec.DecodeFloat32()
		if err != nil {
			return nil, err
		}
		s.text = strconv.AppendFloat(s.text, float64(f), 'f', -1, 32)
	case msgpcode.Double:
		f, err := s.dec.DecodeFloat64()
		if err != nil {
			return nil, err
		}
		s.text = strconv.AppendFloat(s.text, f, 'f', -1, 64)
	case msgpcode.Uint64:
		n, err := s.dec.DecodeUint64()
		if err != nil {
			return nil, err
		}
		s.text = strconv.AppendUint(s.text, n, 10)
	default:
		n, err := s.dec.DecodeInt64()
		if err != nil {
			return nil, err
		}
		s.text = strconv.AppendInt(s.text, n, 10)
	}
	return s.text[start:len(s.text):len(s.text)], nil
}

// take returns the next n bytes of the buffer, if they have come.
func (s *msgpackScanner) take(n int) ([]byte, error) {
	if n < 0 || n > MaxMessage-s.pos {
		return nil, tooLarge()
	}
	if n > len(s.b)-s.pos {
		return nil, ErrIncomplete
	}
	b := s.b[s.pos : s.pos+n]
	s.pos += n
	return b, nil
}

// Read, ReadByte and UnreadByte let the library read the buffer without one of its own.

func (s *msgpackScanner) Read(p []byte) (int, error) {
	n := copy(p, s.b[s.pos:])
	s.pos += n
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *msgpackScanner) ReadByte() (byte, error) {
	if s.pos == len(s.b) {
		return 0, io.EOF
	}
	s.pos++
	return s.b[s.pos-1], nil
}

func (s *msgpackScanner) UnreadByte() error {
	s.pos--
	return nil
}

// incomplete makes the library's errors ours. Codes are looked at before they are read, so that the end of the buffer is
// the only thing that can be in its way.
func incomplete(err error) error {
	if err == nil || err == ErrIncomplete {
		return err
	}
	var fault *Fault
	if errors.As(err, &fault) {
		return fault
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrIncomplete
	}
	return malformed("not msgpack; send one map")
}

// msgpackWriter appends tokens with the library's calls. Appending cannot fail, and neither can the calls.
type msgpackWriter struct {
	enc *msgpack.Encoder
	b   []byte
}

func newMsgpackWriter() *msgpackWriter {
	w := new(msgpackWriter)
	w.enc = msgpack.NewEncoder(w)
	return w
}

func (w *msgpackWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func (w *msgpackWriter) WriteByte(c byte) error {
	w.b = append(w.b, c)
	return nil
}

func (w *msgpackWriter) mapLen(n int) { must(w.enc.EncodeMapLen(n)) }

func (w *msgpackWriter) text(key, v string) {
	must(w.enc.EncodeString(key))
	must(w.enc.EncodeString(v))
}

func (w *msgpackWriter) boolean(key string, v bool) {
	must(w.enc.EncodeString(key))
	must(w.enc.EncodeBool(v))
}

func (w *msgpackWriter) uint(key string, v uint64) {
	must(w.enc.EncodeString(key))
	must(w.enc.EncodeUint(v))
}

// message writes a reply.
func (w *msgpackWriter) message(v *view) {
	w.mapLen(v.fields())
	w.boolean("status", v.status)
	switch {
	case !v.status:
		w.text("msg", v.text)
	case v.number == "":
		must(w.enc.EncodeString("msg"))
		must(w.enc.EncodeNil())
	default:
		must(w.enc.EncodeString("msg"))
		if n, whole := v.whole(); whole {
			must(w.enc.EncodeInt(n))
		} else {
			must(w.enc.EncodeFloat64(v.float()))
		}
	}
	w.text("code", v.code)
	if v.id != "" {
		w.text("id", v.id)
	}
	if v.balance != "" {
		w.text("balance", v.balance)
	}
	if v.hasSeq {
		w.uint("seq", v.seq)
	}
	if v.time != "" {
		w.text("time", v.time)
	}
	if v.duplicate {
		w.boolean("duplicate", true)
	}
	if v.receipt != "" {
		w.text("receipt", v.receipt)
	}
}

func must(err error) {
	if err != nil {
		panic("wire: " + err.Error())
	}
}
