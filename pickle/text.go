package pickle

import "unicode/utf8"

// Strings. Each is judged byte by byte as far as it has come, so that a bad one is refused at once.

// counted takes a string or bytes behind its length.
func (d *decoder) counted(op byte) error {
	width := 4
	if op == opShortBinString || op == opShortBinUnicode || op == opShortBinBytes {
		width = 1
	}
	n, err := d.length(width, MaxText, faultText)
	if err != nil {
		return err
	}
	content := d.b[d.pos:min(d.pos+n, len(d.b))]
	kind := Str
	switch op {
	case opBinUnicode, opShortBinUnicode:
		if !validUTF8(content, len(content) < n) {
			return faultText
		}
	case opBinString, opShortBinString:
		if !ascii(content) {
			return faultText
		}
	default:
		kind = Bytes
	}
	if len(content) < n {
		return ErrIncomplete
	}
	d.pos += n
	off := len(d.text)
	d.text = append(d.text, content...)
	return d.pushText(kind, off)
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// validUTF8 tells whether b is UTF-8; if it is partial, its last character may be one that more bytes can complete.
func validUTF8(b []byte, partial bool) bool {
	if !partial {
		return utf8.Valid(b)
	}
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			return !utf8.FullRune(b)
		}
		b = b[size:]
	}
	return true
}

// quotedLine takes a Python 2 string as repr writes it: in quotes of either sort, printable ASCII, the rest escaped.
func (d *decoder) quotedLine() error {
	rest := d.b[d.pos:]
	if len(rest) == 0 {
		return ErrIncomplete
	}
	quote := rest[0]
	if quote != '\'' && quote != '"' {
		return faultText
	}
	off := len(d.text)
	for i := 1; i < len(rest); {
		c := rest[i]
		i++
		switch {
		case c == quote:
			if i == len(rest) {
				return ErrIncomplete
			}
			if rest[i] != '\n' {
				return faultText
			}
			d.pos += i + 1
			return d.pushText(Str, off)
		case c == '\\':
			char, size, err := unescape(rest[i:])
			if err != nil {
				return err
			}
			c = char
			i += size
		case c < ' ' || c > '~':
			return faultText
		}
		if len(d.text)-off == MaxText {
			return faultText
		}
		d.text = append(d.text, c)
	}
	return ErrIncomplete
}

// unescape reads what follows a backslash in a repr: the character meant and how many bytes said so.
func unescape(rest []byte) (char byte, size int, err error) {
	if len(rest) == 0 {
		return 0, 0, ErrIncomplete
	}
	switch rest[0] {
	case '\\', '\'', '"':
		return rest[0], 1, nil
	case 'n':
		return '\n', 1, nil
	case 'r':
		return '\r', 1, nil
	case 't':
		return '\t', 1, nil
	case 'x':
		r, err := hexRune(rest[1:], 2, utf8.RuneSelf-1)
		return byte(r), 3, err
	}
	return 0, 0, faultText
}

// unicodeLine takes a string in Python's raw-unicode-escape: bytes are the characters up to U+00FF, \u and \U any
// character. Picklers escape the backslash itself, so no other escape occurs.
func (d *decoder) unicodeLine() error {
	rest := d.b[d.pos:]
	off := len(d.text)
	for i := 0; i < len(rest); {
		r := rune(rest[i])
		i++
		if r == '\n' {
			d.pos += i
			return d.pushText(Str, off)
		}
		if r == '\\' {
			if i == len(rest) {
				return ErrIncomplete
			}
			digits := 4
			switch rest[i] {
			case 'u':
			case 'U':
				digits = 8
			default:
				return faultText
			}
			var err error
			if r, err = hexRune(rest[i+1:], digits, utf8.MaxRune); err != nil {
				return err
			}
			i += 1 + digits
		}
		d.text = utf8.AppendRune(d.text, r)
		if len(d.text)-off > MaxText {
			return faultText
		}
	}
	return ErrIncomplete
}

// hexRune reads a character of so many hexadecimal digits, lower-case as Python writes them. Every digit narrows what it may become, and once only
// surrogates or characters above highest are left it is refused.
func hexRune(rest []byte, digits int, highest int64) (rune, error) {
	var v int64
	for i := range digits {
		if i == len(rest) {
			return 0, ErrIncomplete
		}
		h, ok := hexDigit(rest[i])
		if !ok {
			return 0, faultText
		}
		v = v<<4 | h
		missing := 4 * (digits - 1 - i)
		least, most := v<<missing, (v+1)<<missing-1
		if least > highest || least >= 0xd800 && most <= 0xdfff {
			return 0, faultText
		}
	}
	return rune(v), nil
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int64(c - '0'), true
	case c >= 'a' && c <= 'f':
		return int64(c-'a') + 10, true
	}
	return 0, false
}
