package pickle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gateway/pickle"
)

// A limit is a message that grows with n: legal up to max, refused above it.
type limit struct {
	name    string
	max     int
	message func(n int) string
}

// one puts a value into the smallest legal message.
func one(value string) string { return "}S'k'\n" + value + "s." }

func counted(op string, width int) func(int) string {
	return func(n int) string {
		length := ""
		for i := range width {
			length += string([]byte{byte(n >> (8 * i))})
		}
		return one(op + length + strings.Repeat("x", n))
	}
}

func line(front, back string) func(int) string {
	return func(n int) string { return one(front + strings.Repeat("7", n) + back) }
}

func limits() []limit {
	long := func(n int) string {
		return one("\x8b" + string([]byte{byte(n), byte(n >> 8), 0, 0}) + strings.Repeat("\x80", n))
	}
	pairs := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "U\x01%cN", 'a'+i)
		}
		return b.String()
	}
	return []limit{
		{"MaxOpcodes", pickle.MaxOpcodes, func(n int) string { return "}" + strings.Repeat("q\x00", n-2) + "." }},
		{"MaxStack", pickle.MaxStack, func(n int) string { // a mark, 15 pairs, a key, an inner dict, its mark and pairs
			front, back := "(", "d."
			if n%2 == 1 { // one more for a dict below the mark
				front, back = "}(", "u."
			}
			return front + pairs(15) + "U\x01z}(" + pairs((n-34)/2) + "u" + back
		}},
		{"MaxMemo by BINPUT", pickle.MaxMemo - 1, func(n int) string { return "}q" + string([]byte{byte(n)}) + "." }},
		{"MaxMemo by PUT", pickle.MaxMemo - 1, func(n int) string { return fmt.Sprintf("}p%d\n.", n) }},
		{"MaxMemo by MEMOIZE", pickle.MaxMemo, func(n int) string { return "}" + strings.Repeat("\x94", n) + "." }},
		{"MaxMemo by MEMOIZE after PUT", pickle.MaxMemo, func(n int) string { return "}q\x00" + strings.Repeat("\x94", n-1) + "." }},
		{"MaxText by BINUNICODE", pickle.MaxText, counted("X", 4)},
		{"MaxText by BINSTRING", pickle.MaxText, counted("T", 4)},
		{"MaxText by BINBYTES", pickle.MaxText, counted("B", 4)},
		{"MaxText by STRING", pickle.MaxText, line("S'", "'\n")},
		{"MaxText by STRING escaped", pickle.MaxText, func(n int) string {
			return one("S'" + strings.Repeat(`\x41`, n/2) + strings.Repeat("B", n-n/2) + "'\n")
		}},
		{"MaxText by UNICODE", pickle.MaxText, line("V", "\n")},
		{"MaxText by UNICODE as UTF-8", pickle.MaxText, func(n int) string { return one("V" + strings.Repeat("\xe9", n/2) + strings.Repeat("x", n%2) + "\n") }},
		{"MaxText by UNICODE escaped", pickle.MaxText, func(n int) string {
			return one("V" + strings.Repeat(`\u20ac`, n/3) + strings.Repeat("x", n%3) + "\n")
		}},
		{"MaxText by a key", pickle.MaxText, func(n int) string { return "}V" + strings.Repeat("k", n) + "\nNs." }},
		{"MaxText by INT", pickle.MaxText, line("I", "\n")},
		{"MaxText by a negative INT", pickle.MaxText, line("I-", "\n")},
		{"MaxText by LONG", pickle.MaxText, line("L", "L\n")},
		{"MaxText by FLOAT", pickle.MaxText, func(n int) string { return one("F0." + strings.Repeat("1", n-2) + "\n") }},
		{"MaxLong by LONG4", pickle.MaxLong, long},
		{"MaxItems of a dict by SETITEMS", pickle.MaxItems, func(n int) string { return "}(" + pairs(n) + "u." }},
		{"MaxItems of a dict by DICT", pickle.MaxItems, func(n int) string { return "(" + pairs(n) + "d." }},
		{"MaxItems of a dict by SETITEM", pickle.MaxItems, func(n int) string { return "}" + strings.ReplaceAll(pairs(n), "N", "Ns") + "." }},
		{"MaxItems of an object", pickle.MaxItems, func(n int) string { return newState + "(" + pairs(n) + "ub." }},
		{"MaxItems of an inner dict", pickle.MaxItems, func(n int) string { return "}U\x01k}(" + pairs(n) + "us." }},
		{"dicts in a dict", pickle.MaxItems, func(n int) string { return "}" + strings.ReplaceAll(pairs(n), "N", "}s") + "." }},
		{"MaxProtocol", pickle.MaxProtocol, func(n int) string { return "\x80" + string([]byte{byte(n)}) + "}." }},
		{"FRAME", pickle.MaxMessage, func(n int) string {
			return "\x95" + string([]byte{byte(n), byte(n >> 8)}) + "\x00\x00\x00\x00\x00\x00}."
		}},
	}
}

// TestLimits meets each limit one below, at it and one above.
func TestLimits(t *testing.T) {
	reader := pickle.NewReader(classes())
	for _, l := range limits() {
		for n := l.max - 1; n <= l.max; n++ {
			message := l.message(n)
			if _, taken, err := reader.Decode([]byte(message)); err != nil || taken != len(message) {
				t.Errorf("%s, %d of %d: took %d bytes of %d, error %v", l.name, n, l.max, taken, len(message), err)
			}
		}
		message := l.message(l.max + 1)
		if _, _, err := reader.Decode([]byte(message)); !errors.Is(err, pickle.ErrMalformed) {
			t.Errorf("%s, %d: error %v, want ErrMalformed", l.name, l.max+1, err)
		}
	}
}

// filled returns a legal message of n bytes, n near MaxMessage.
func filled(n int) string {
	text := func(size int) string {
		return "T" + string([]byte{byte(size), byte(size >> 8), 0, 0}) + strings.Repeat("x", size)
	}
	message := "}(" + "U\x01a" + text(1020) + "U\x01b" + text(1020) + "U\x01c" + text(1020)
	const around = len("U\x01d") + len("T1234") + len("u.")
	return message + "U\x01d" + text(n-len(message)-around) + "u."
}

// TestMaxMessage meets the limit of the whole. It is one of bytes passed without STOP, so it has an error of its own.
func TestMaxMessage(t *testing.T) {
	reader := pickle.NewReader(nil)
	for n := pickle.MaxMessage - 1; n <= pickle.MaxMessage; n++ {
		message := []byte(filled(n))
		if len(message) != n {
			t.Fatalf("%d bytes, want %d", len(message), n)
		}
		for _, b := range [][]byte{message, append(message, "and more"...)} {
			if _, taken, err := reader.Decode(b); err != nil || taken != n {
				t.Errorf("%d bytes of %d: took %d, error %v", n, len(b), taken, err)
			}
		}
		if _, _, err := reader.Decode(message[:n-1]); err != pickle.ErrIncomplete {
			t.Errorf("%d bytes of %d: error %v, want ErrIncomplete", n-1, n, err)
		}
	}
	above := []byte(filled(pickle.MaxMessage + 1))
	for n := pickle.MaxMessage; n <= len(above); n++ {
		if _, _, err := reader.Decode(above[:n]); err != pickle.ErrTooLarge {
			t.Errorf("%d bytes of %d: error %v, want ErrTooLarge", n, len(above), err)
		}
	}
}

// TestLongSpellings reads every width of LONG1 and LONG4 as two's complement.
func TestLongSpellings(t *testing.T) {
	reader := pickle.NewReader(nil)
	for message, want := range map[string]string{
		"\x8a\x00":                             "0",
		"\x8a\x01\x00":                         "0",
		"\x8a\x01\x7f":                         "127",
		"\x8a\x01\x80":                         "-128",
		"\x8a\x01\xff":                         "-1",
		"\x8a\x02\xff\x00":                     "255",
		"\x8a\x02\x00\x80":                     "-32768",
		"\x8a\x07\xff\xff\xff\xff\xff\xff\x1f": "9007199254740991",
		"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f":                   "9223372036854775807",
		"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80":                   "-9223372036854775808",
		"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00":               "9223372036854775808",
		"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\xff":               "-9223372036854775809",
		"\x8b\x10\x00\x00\x00" + strings.Repeat("\xff", 15) + "\x7f": "170141183460469231731687303715884105727",
		"\x8b\x10\x00\x00\x00" + strings.Repeat("\x00", 15) + "\x80": "-170141183460469231731687303715884105728",
		"\x8b\x00\x00\x00\x00":                                       "0",
		"\x8b\x0a\x00\x00\x00" + strings.Repeat("\xff", 10):          "-1",
		"\x8b\x0a\x00\x00\x00\x05" + strings.Repeat("\x00", 9):       "5",
		"I0\n": "0", "I-1\n": "-1", "L0L\n": "0", "L-12L\n": "-12", "L12\n": "12",
	} {
		v, _, err := reader.Decode([]byte(one(message)))
		if err != nil || v.Items[0].Value.Kind != pickle.Int || v.Items[0].Value.Text != want {
			t.Errorf("%q: %+v, error %v, want %s", message, v, err, want)
		}
	}
}

// TestTextSpellings reads every spelling of a string at the borders of what it may hold.
func TestTextSpellings(t *testing.T) {
	reader := pickle.NewReader(nil)
	for message, want := range map[string]string{
		"S''\n":                                  "",
		"S' ~'\n":                                " ~",
		"S\"it's\"\n":                            "it's",
		`S'\\\'\"\n\r\t'` + "\n":                 "\\'\"\n\r\t",
		`S'\x00\x1a\x7f\x0f'` + "\n":             "\x00\x1a\x7f\x0f",
		"T\x01\x00\x00\x00\x7f":                  "\x7f",
		"U\x02\x00\n":                            "\x00\n",
		"V\n":                                    "",
		"V\x00\r\x7f\x80\xff\n":                  "\x00\r\x7f\u0080\u00ff",
		`V\u005c\u000a` + "\n":                   "\\\n",
		`V\u0000\u09af\u20ac` + "\n":             "\x00\u09af\u20ac",
		`V\ud7ff\ue000\uffff` + "\n":             "\ud7ff\ue000\uffff",
		`V\U0001f600\U0010ffff\U00000041` + "\n": "\U0001f600\U0010ffffA",
		"X\x04\x00\x00\x00\U0010ffff":            "\U0010ffff",
		"\x8c\x03\ud7ff":                         "\ud7ff",
	} {
		v, _, err := reader.Decode([]byte(one(message)))
		if err != nil || v.Items[0].Value.Kind != pickle.Str || v.Items[0].Value.Text != want {
			t.Errorf("%q: %+v, error %v, want %q", message, v, err, want)
		}
	}
}

// TestBytesSpellings reads the bytes of protocols 3 to 5 and what the older ones say instead.
func TestBytesSpellings(t *testing.T) {
	reader := pickle.NewReader(nil)
	for message, want := range map[string]string{
		"C\x00": "", "C\x02\xff\x00": "\xff\x00", "B\x01\x00\x00\x00\x80": "\x80",
		"c_codecs\nencode\n(V\x00a\xff\nVlatin1\ntR":                              "\x00a\xff",
		"c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1\x86R": "\xff",
		"c__builtin__\nbytes\n(tR":                                                "", "cbuiltins\nbytes\n)R": "",
	} {
		v, _, err := reader.Decode([]byte(one(message)))
		if err != nil || v.Items[0].Value.Kind != pickle.Bytes || v.Items[0].Value.Text != want {
			t.Errorf("%q: %+v, error %v, want %q", message, v, err, want)
		}
	}
}

// TestFloatSpellings reads floats as repr writes them, and as the C library did for older Pythons.
func TestFloatSpellings(t *testing.T) {
	reader := pickle.NewReader(nil)
	for message, want := range map[string]string{
		"F0.0\n": "0", "F-0.0\n": "-0", "F12.5\n": "12.5", "F20\n": "20", "F1e+16\n": "10000000000000000", "F1e-07\n": "0.0000001",
		"F-1.5e3\n": "-1500", "F1.\n": "1", "F12.340000000000000\n": "12.34", "Fnan\n": "nan", "Finf\n": "inf", "F-inf\n": "-inf",
		"F1e+22\n": "1e+22", "F1e-999\n": "0", "G\x40\x29\x00\x00\x00\x00\x00\x00": "12.5", "G\x7f\xf0\x00\x00\x00\x00\x00\x00": "inf",
		"G\xff\xf8\x00\x00\x00\x00\x00\x01": "nan",
	} {
		v, _, err := reader.Decode([]byte(one(message)))
		if err != nil || v.Items[0].Value.Kind != pickle.Float || v.Items[0].Value.Text != want {
			t.Errorf("%q: %+v, error %v, want %q", message, v, err, want)
		} else if err := floatText(v.Items[0].Value); err != nil {
			t.Errorf("%q: %v", message, err)
		}
	}
}
