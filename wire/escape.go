package wire

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escaper writes lines of JSON, or of a log, on to Out, and every character in them that is not printable as \uXXXX, which in JSON
// is the same text: a character beyond ASCII may command the terminal of whoever reads the line, or turn it around.
type Escaper struct{ Out io.Writer }

// Write takes whole lines.
func (e Escaper) Write(line []byte) (int, error) {
	if printable(line) {
		return e.Out.Write(line)
	}
	escaped := make([]byte, 0, 2*len(line))
	for _, r := range string(line) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			escaped = utf8.AppendRune(escaped, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	if _, err := e.Out.Write(escaped); err != nil {
		return 0, err
	}
	return len(line), nil
}

// printable reports whether a line is of printable ASCII, as nearly all are.
func printable(line []byte) bool {
	for _, c := range line {
		if c != '\n' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}
