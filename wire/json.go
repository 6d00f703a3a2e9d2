package wire

import (
	"unicode/utf16"
	"unicode/utf8"
)

// jsonScanner reads RFC 8259 and nothing else: no byte order mark, no lone surrogate, no control character in a string,
// numbers as they are written. It reads the fixed shape of a message several times faster than encoding/json, which also
// takes repeated keys, keys in other letters and invalid UTF-8.
type jsonScanner struct {
	b    []byte
	pos  int
	text []byte // strings that had escapes; values point into it, or into what it was before it grew
}

func (s *jsonScanner) reset(b []byte) { s.b, s.pos, s.text = b, 0, scratch(s.text) }

func (s *jsonScanner) offset() int { return s.pos }

func (s *jsonScanner) next(v *value) (err error) {
	c, err := s.peek()
	if err != nil {
		return err
	}
	switch {
	case c == '"':
		v.kind = text
		v.text, err = s.string()
	case c == '{':
		v.kind = mapping
		s.pos++
	case c == '[':
		v.kind = list
		s.pos++
	case c == '-' || digit(c):
		v.kind = number
		v.text, err = s.number()
	case c == 't':
		v.kind = boolean
		v.text, err = s.literal("true")
	case c == 'f':
		v.kind = boolean
		v.text, err = s.literal("false")
	case c == 'n':
		v.kind = null
		v.text, err = s.literal("null")
	default:
		return notJSON()
	}
	return err
}

func (s *jsonScanner) more(c container, count int) (bool, error) {
	closing := byte('}')
	if c.kind == list {
		closing = ']'
	}
	b, err := s.peek()
	switch {
	case err != nil:
		return false, err
	case b == closing:
		s.pos++
		return false, nil
	case count == 0:
		return true, nil
	case b != ',':
		return false, notJSON()
	}
	s.pos++
	return true, nil // and neither a key nor a value begins with what closes a container
}

func (s *jsonScanner) key() ([]byte, error) {
	c, err := s.peek()
	if err != nil {
		return nil, err
	}
	if c != '"' {
		return nil, notJSON()
	}
	key, err := s.string()
	if err != nil {
		return nil, err
	}
	if c, err = s.peek(); err != nil {
		return nil, err
	}
	if c != ':' {
		return nil, notJSON()
	}
	s.pos++
	return key, nil
}

// peek passes over white space and returns the byte behind it.
func (s *jsonScanner) peek() (byte, error) {
	for ; s.pos < len(s.b); s.pos++ {
		if c := s.b[s.pos]; !jsonSpace(c) {
			return c, nil
		}
	}
	return 0, ErrIncomplete
}

// string reads a string whose quote is next.
func (s *jsonScanner) string() ([]byte, error) {
	s.pos++
	run, closed, err := s.run()
	if closed || err != nil {
		return run, err
	}
	start := len(s.text)
	for {
		s.text = append(s.text, run...)
		if closed {
			return s.text[start:len(s.text):len(s.text)], nil
		}
		if err := s.escape(); err != nil {
			return nil, err
		}
		if run, closed, err = s.run(); err != nil {
			return nil, err
		}
	}
}

// run passes over the characters of a string that stand for themselves, and over its closing quote if that comes next;
// else a backslash does.
func (s *jsonScanner) run() (run []byte, closed bool, err error) {
	start := s.pos
	for s.pos < len(s.b) {
		c := s.b[s.pos]
		switch {
		case c == '"':
			s.pos++
			return s.b[start : s.pos-1], true, nil
		case c == '\\':
			return s.b[start:s.pos], false, nil
		case c < ' ':
			return nil, false, malformed("a control character in a string; escape it")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			if !utf8.FullRune(s.b[s.pos:]) {
				return nil, false, ErrIncomplete
			}
			r, size := utf8.DecodeRune(s.b[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return nil, false, notUTF8()
			}
			s.pos += size
		}
	}
	return nil, false, ErrIncomplete
}

// escape reads the escape that is next and appends what it stands for to s.text.
func (s *jsonScanner) escape() error {
	if s.pos+1 >= len(s.b) {
		return ErrIncomplete
	}
	c := s.b[s.pos+1]
	s.pos += 2
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, err := s.codePoint()
		s.text = utf8.AppendRune(s.text, r)
		return err
	default:
		return notJSON()
	}
	s.text = append(s.text, c)
	return nil
}

// codePoint reads what follows \u: four hexadecimal digits, and the other half where they are the first of a surrogate
// pair.
func (s *jsonScanner) codePoint() (rune, error) {
	high, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(high) {
		return high, err
	}
	for _, c := range []byte(`\u`) {
		if s.pos == len(s.b) {
			return 0, ErrIncomplete
		}
		if s.b[s.pos] != c {
			return 0, notUTF8()
		}
		s.pos++
	}
	low, err := s.hex4()
	if err != nil {
		return 0, err
	}
	r := utf16.DecodeRune(high, low)
	if r == utf8.RuneError {
		return 0, notUTF8()
	}
	return r, nil
}

func (s *jsonScanner) hex4() (rune, error) {
	var r rune
	for range 4 {
		if s.pos == len(s.b) {
			return 0, ErrIncomplete
		}
		c := s.b[s.pos]
		switch {
		case digit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, notJSON()
		}
		r = r<<4 | rune(c)
		s.pos++
	}
	return r, nil
}

// number reads a number. One that ends where the buffer does may go on, but then the message does too.
func (s *jsonScanner) number() ([]byte, error) {
	start := s.pos
	if s.at("-") {
		s.pos++
	}
	if s.at("0") {
		s.pos++
	} else if err := s.digits(); err != nil {
		return nil, err
	}
	if s.at(".") {
		s.pos++
		if err := s.digits(); err != nil {
			return nil, err
		}
	}
	if s.at("eE") {
		s.pos++
		if s.at("+-") {
			s.pos++
		}
		if err := s.digits(); err != nil {
			return nil, err
		}
	}
	return s.b[start:s.pos], nil
}

// at reports whether the next byte is one of a few.
func (s *jsonScanner) at(few string) bool {
	if s.pos == len(s.b) {
		return false
	}
	for i := range len(few) {
		if s.b[s.pos] == few[i] {
			return true
		}
	}
	return false
}

// digits passes over one digit or more.
func (s *jsonScanner) digits() error {
	if s.pos == len(s.b) {
		return ErrIncomplete
	}
	if !digit(s.b[s.pos]) {
		return notJSON()
	}
	for s.pos < len(s.b) && digit(s.b[s.pos]) {
		s.pos++
	}
	return nil
}

func (s *jsonScanner) literal(word string) ([]byte, error) {
	start := s.pos
	for i := range len(word) {
		if s.pos == len(s.b) {
			return nil, ErrIncomplete
		}
		if s.b[s.pos] != word[i] {
			return nil, notJSON()
		}
		s.pos++
	}
	return s.b[start:s.pos], nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func jsonSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func notJSON() *Fault { return malformed("not JSON; send one object in RFC 8259 form") }

func notUTF8() *Fault { return malformed("a text that is not Unicode; send valid UTF-8") }
