package main

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escaper writes a log on, and every character in it that is not printable as \uXXXX. slog does so with nearly all in text,
// but leaves DEL as it is; and in JSON the control characters beyond ASCII, by which a name may command the terminal of
// whoever reads the log, or turn its line around.
type escaper struct{ out io.Writer }

// Write takes whole lines, as slog writes them.
func (e escaper) Write(line []byte) (int, error) {
	if printable(line) {
		return e.out.Write(line)
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
	if _, err := e.out.Write(escaped); err != nil {
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
