package pickle_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gateway/pickle"
)

// Fronts of messages that the hostile ones go on from.
const (
	newObject = "\x80\x02cdominio.Operacao\nSaldo\n)\x81"
	newState  = newObject + "}"
	legal     = newState + "X\x09\x00\x00\x00id_pessoaX\x01\x00\x00\x001sb."
)

// A bomb is a message refused with the last byte of bad, whatever follows; all before it is acceptable.
type bomb struct {
	name  string
	front string // acceptable
	bad   string // its last byte is the first bad one
	rest  string // what an attacker would go on with
}

func bombs() []bomb {
	return slices.Concat(bombsOfCalls(), bombsOfPlaces(), bombsOfGrowth(), bombsOfMemo(), bombsOfTexts(), bombsOfFrames())
}

// bombsOfCalls import and call.
func bombsOfCalls() []bomb {
	return []bomb{
		{"os.system by GLOBAL", "c", "o", "s\nsystem\n(S'id'\ntR."},
		{"os.system by GLOBAL that begins like copy_reg", "cco", "s", "\nsystem\n(S'id'\ntR."},
		{"posix.system", "c", "p", "osix\nsystem\n(S'id'\ntR."},
		{"builtins.eval", "cbuiltins\n", "e", "val\n(S'1'\ntR."},
		{"__builtin__.open", "c__builtin__\no", "p", "en\n(S'/etc/passwd'\ntR."},
		{"codecs.decode", "c_codecs\n", "d", "ecode\n."},
		{"another class of the module", "cdominio.Operacao\nS", "y", "s\n)\x81."},
		{"a class whose name begins like an allowed one", "cdominio.Operacao\nSaldo", "s", "\n)\x81."},
		{"a class whose name ends early", "cdominio.Operacao\nSald", "\n", ")\x81."},
		{"a module of another case", "c", "D", "ominio.Operacao\nSaldo\n)\x81."},
		{"a dotted name", "cdominio.Operacao\nSaldo", ".", "__init__\n."},
		{"a line end of Windows", "cdominio.Operacao", "\r", "\nSaldo\n."},
		{"os.system by STACK_GLOBAL", "\x80\x04\x8c\x02os\x8c\x06system", "\x93", "\x8c\x02id\x85R."},
		{"a name split at another dot", "\x80\x04\x8c\x07dominio\x8c\x0eOperacao.Saldo", "\x93", ")\x81."},
		{"STACK_GLOBAL of bytes", "\x80\x04C\x10dominio.Operacao\x8c\x05Saldo", "\x93", ")\x81."},
		{"STACK_GLOBAL of one string", "\x80\x04\x8c\x05Saldo", "\x93", "."},
		{"os.system by INST", "(", "i", "os\nsystem\n."},
		{"a legal class by INST", "(", "i", "dominio.Operacao\nSaldo\n}b."},
		{"a legal class by OBJ", "(cdominio.Operacao\nSaldo\n", "o", "}b."},
		{"EXT1", "\x80\x02", "\x82", "\x01."}, {"EXT2", "\x80\x02", "\x83", "\x01\x00."}, {"EXT4", "\x80\x02", "\x84", "\x01\x00\x00\x00."},
		{"PERSID", "", "P", "id\n."}, {"BINPERSID", "K\x01", "Q", "."},
		{"NEWOBJ_EX", "\x80\x04cdominio.Operacao\nSaldo\n)}", "\x92", "."},
		{"REDUCE of a class", "cdominio.Operacao\nSaldo\n)", "R", "."},
		{"REDUCE of object", "c__builtin__\nobject\n)", "R", "."},
		{"REDUCE of a string", "S'id'\n)", "R", "."},
		{"REDUCE without arguments", "cdecimal\nDecimal\n", "R", "."},
		{"Decimal of nothing", newState + "K\x01cdecimal\nDecimal\n)", "R", "."},
		{"Decimal of an integer", newState + "cdecimal\nDecimal\nK\x01", "\x85", "R."},
		{"Decimal of two", newState + "cdecimal\nDecimal\n(S'1'\nS'2'\n", "t", "R."},
		{"bytes of a huge size", newState + "c__builtin__\nbytes\nJ\xff\xff\xff\x7f", "\x85", "R."},
		{"Decimal of a class", "cdecimal\nDecimal\n(cdominio.Operacao\nSaldo\nc__builtin__\nobject\nNt", "R", "."},
		{"Decimal of two strings", newState + "cdecimal\nDecimal\nV1\nVlatin1\n\x86", "R", "."},
		{"_reconstructor of a string", "ccopy_reg\n_reconstructor\nS'1'\n\x85", "R", "."},
		{"encode of one string", newState + "c_codecs\nencode\nV1\n\x85", "R", "."},
		{"encode of nothing", newState + "c_codecs\nencode\n)", "R", "."},
		{"bytes of two strings", newState + "c__builtin__\nbytes\nV1\nVlatin1\n\x86", "R", "."},
		{"encode to U+0100", newState + "c_codecs\nencode\nV\\u0100\nVlatin1\n\x86", "R", "."},
		{"bytes of a string", newState + "c__builtin__\nbytes\nS'1'\n\x85", "R", "."},
		{"encode by another codec", newState + "c_codecs\nencode\nV1\nVzip\n", "\x86", "R."},
		{"encode beyond latin1", newState + "c_codecs\nencode\nV\\u20ac\nVlatin1\n\x86", "R", "."},
		{"_reconstructor of Decimal", "ccopy_reg\n_reconstructor\n(cdecimal\nDecimal\nc__builtin__\nobject\nN", "t", "R."},
		{"_reconstructor on a class as base", "ccopy_reg\n_reconstructor\n(cdominio.Operacao\nSaldo\ncdominio.Operacao\nSaldo\nN", "t", "R."},
		{"_reconstructor with a state", "ccopy_reg\n_reconstructor\n(cdominio.Operacao\nSaldo\nc__builtin__\nobject\nK\x01", "t", "R."},
		{"NEWOBJ of Decimal", "\x80\x02cdecimal\nDecimal\n)", "\x81", "."},
		{"NEWOBJ with an argument", "\x80\x02cdominio.Operacao\nSaldo\nS'1'\n\x85", "\x81", "."},
		{"NEWOBJ of nothing", "\x80\x02)", "\x81", "."},
	}
}

// bombsOfPlaces put values where they may not be.
func bombsOfPlaces() []bomb {
	return []bomb{
		{"a scalar alone", "I5\n", ".", ""}, {"nothing", "", ".", ""}, {"a class alone", "cdominio.Operacao\nSaldo\n", ".", ""},
		{"a tuple alone", ")", ".", ""}, {"a mark alone", "(", ".", ""}, {"two dicts", "}}", ".", ""}, {"a mark below", "(}", ".", ""},
		{"an object in a dict", "}S'a'\ncdominio.Operacao\nSaldo\n)", "\x81", "s."},
		{"an object in a state", newState + "S'a'\ncdominio.Operacao\nSaldo\n)", "\x81", "}bs."},
		{"a class in a dict", "}S'a'\ncdominio.Operacao\nSaldo\n", "s", "."},
		{"a tuple in a dict", "}S'a'\n)", "s", "."}, {"a mark in a dict", "}S'a'\n(", "s", "."},
		{"a dict in a state", newState + "S'a'\n}s", "b", "."},
		{"a dict in a dict in a dict", "}S'a'\n}S'b'\n}s", "s", "."},
		{"a dict in a dict in a dict by DICT", "(S'a'\n(S'b'\n(dd", "d", "."},
		{"an integer as key", "}K\x01N", "s", "."}, {"bytes as key", "}C\x01aN", "s", "."}, {"None as key", "}NN", "s", "."},
		{"a dict as key", "}}N", "s", "."},
		{"SETITEM on a string", "S'a'\nS'b'\nN", "s", "."}, {"SETITEM on an object", newObject + "S'b'\nN", "s", "."},
		{"SETITEM without a dict", "S'a'\nN", "s", "."}, {"SETITEM of a value only", "N", "s", "."},
		{"SETITEMS without a mark", "}S'a'\nN", "u", "."}, {"SETITEMS on a mark", "((S'a'\nN", "u", "."}, {"SETITEMS on nothing", "(S'a'\nN", "u", "."},
		{"odd items by SETITEMS", "}(N", "u", "."}, {"odd items by DICT", "(N", "d", "."}, {"DICT without a mark", "N", "d", "."},
		{"odd items, three", "}(S'a'\nNS'b'\n", "u", "."},
		{"TUPLE without a mark", "N", "t", "."}, {"TUPLE1 of nothing", "", "\x85", "."}, {"TUPLE2 of one", "S'a'\n", "\x86", "."},
		{"a tuple of tuples", "))", "\x86", "."}, {"a tuple of a mark", "(", "\x85", "."},
		{"a repeated key", "}(S'a'\nNS'b'\nNS'a'\nN", "u", "."}, {"a key repeated later", "}S'a'\nNsS'a'\nN", "s", "."},
		{"a key repeated in another spelling", "}S'a'\nNsX\x01\x00\x00\x00aN", "s", "."},
		{"a repeated attribute", newState + "S'a'\nNsS'a'\nN", "s", "b."},
		{"BUILD twice", newState + "b}", "b", "."}, {"BUILD with None", newObject + "N", "b", "."}, {"BUILD of a dict", "}}", "b", "."},
		{"BUILD of nothing", "}", "b", "."}, {"BUILD across a mark", newObject + "(}", "b", "."},
	}
}

// bombsOfGrowth grow, share and make cycles.
func bombsOfGrowth() []bomb {
	return []bomb{
		{"DUP", "}", "2", "."}, {"POP", "}N", "0", "."}, {"POP_MARK", "}(N", "1", "."},
		{"a dict in itself", "}q\x00S'a'\nh", "\x00", "s."},
		{"billion laughs", "(dp0\nS'a'\n(dp1\nS'b'\ng0", "\n", "ss."},
		{"lists", "", "]", "."}, {"a marked list", "(", "l", "."}, {"APPEND", "}N", "a", "."}, {"APPENDS", "}(N", "e", "."},
		{"sets", "\x80\x04", "\x8f", "."}, {"a frozen set", "\x80\x04(", "\x91", "."}, {"TUPLE3", "NNN", "\x87", "."},
		{"a bytearray of 8 GiB", "\x80\x05", "\x96", "\x00\x00\x00\x00\x02\x00\x00\x00."},
		{"an out-of-band buffer", "\x80\x05", "\x97", "."}, {"a read-only buffer", "\x80\x05}", "\x98", "."},
		{"a string of 2^62 by BINUNICODE8", "\x80\x04", "\x8d", "\x00\x00\x00\x00\x00\x00\x00\x40"},
		{"bytes of 2^62 by BINBYTES8", "\x80\x04", "\x8e", "\x00\x00\x00\x00\x00\x00\x00\x40"},
		{"a frame of 2^62", "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00", "\x40", "}."},
		{"a frame of 8 GiB", "\x80\x04\x95\x00\x00\x00\x00", "\x02", "\x00\x00\x00}."},
		{"a string of 4 GiB", "X\xff", "\xff", "\xff\xff"}, {"a negative string", "T\x00\x00\x00", "\x80", ""},
		{"bytes of 2 GiB", "B\x00\x00\x00", "\x7f", ""},
		{"a negative LONG4", "\x8b\x00\x00\x00", "\x80", ""}, {"a LONG of 1 MB", "\x8b\x00\x00", "\x10", "\x00"},
		{"a LONG of many digits", "L" + strings.Repeat("9", pickle.MaxText), "9", strings.Repeat("9", 1<<20) + "L\n."},
		{"an INT of many digits", "I-" + strings.Repeat("9", pickle.MaxText), "9", strings.Repeat("9", 1<<20) + "\n."},
		{"a float of many digits", "F0." + strings.Repeat("1", pickle.MaxText-2), "1", strings.Repeat("1", 1<<20) + "\n."},
		{"an endless string", "S'" + strings.Repeat("x", pickle.MaxText), "x", strings.Repeat("x", 1<<20)},
		{"an endless unicode line", "V" + strings.Repeat("x", pickle.MaxText), "x", strings.Repeat("x", 1<<20)},
		{"an endless module", "cdominio.Operacao", "o", strings.Repeat("o", 1<<20)},
		{"endless None", strings.Repeat("N", pickle.MaxStack), "N", strings.Repeat("N", 1<<20)},
		{"3 M marks", strings.Repeat("(", pickle.MaxStack), "(", strings.Repeat("(", 3<<20)},
		{"endless dicts", strings.Repeat("}", 1+pickle.MaxItems), "}", strings.Repeat("}", 1<<20)},
		{"endless DICT", strings.Repeat("(d", 1+pickle.MaxItems) + "(", "d", strings.Repeat("(d", 1<<20)},
		{"endless PUT", "}" + strings.Repeat("q\x00", pickle.MaxOpcodes-1), "q", strings.Repeat("q\x00", 1<<20)},
		{"endless MEMOIZE", "}" + strings.Repeat("\x94", pickle.MaxMemo), "\x94", strings.Repeat("\x94", 1<<20)},
		{"endless FRAME", strings.Repeat("\x95\x00\x00\x00\x00\x00\x00\x00\x00", pickle.MaxOpcodes), "\x95", strings.Repeat("\x00", 1<<20)},
	}
}

// bombsOfMemo misuse the memo.
func bombsOfMemo() []bomb {
	return []bomb{
		{"GET of nothing", "g1", "\n", "."}, {"BINGET of nothing", "h", "\x00", "."}, {"GET of what was never put", "}q\x00h", "\x01", "."},
		{"PUT of nothing", "", "p", "0\n."}, {"MEMOIZE of nothing", "", "\x94", "."}, {"PUT of a mark", "(", "q", "\x00."},
		{"PUT far away", "}p9", "6", "\n."}, {"PUT very far away", "}p95", "9", "999999\n."}, {"PUT at a negative index", "}p", "-", "1\n."},
		{"BINPUT far away", "}q", "\x60", "."}, {"PUT without an index", "}p", "\n", "."}, {"PUT with a leading zero", "}p0", "1", "\n."},
		{"LONG_BINPUT", "}", "r", "\xff\xff\xff\x7f."}, {"LONG_BINGET", "}", "j", "\x00\x00\x00\x00."},
		{"GET of an object", newObject + "q\x00}S'a'\nh", "\x00", "."},
	}
}

// bombsOfTexts misspell numbers and strings.
func bombsOfTexts() []bomb {
	return []bomb{
		{"INT of nothing", "I", "\n", "."}, {"INT of a sign", "I-", "\n", "."}, {"INT in hexadecimal", "I0", "x", "10\n."},
		{"INT in octal", "I0", "7", "\n."}, {"INT 010", "I01", "0", "\n."}, {"INT with a plus", "I", "+", "1\n."}, {"INT -0", "I-", "0", "\n."},
		{"INT with a space", "I", " ", "1\n."}, {"INT with an underscore", "I1", "_", "0\n."}, {"INT with an L", "I1", "L", "\n."},
		{"LONG of two L", "L1L", "L", "\n."}, {"LONG 00", "L0", "0", "L\n."}, {"LONG of L", "L", "L", "\n."},
		{"FLOAT of nothing", "F", "\n", "."}, {"FLOAT in hexadecimal", "F0", "x", "1p3\n."}, {"FLOAT infinity", "Finf", "i", "nity\n."},
		{"FLOAT NaN in capitals", "F", "N", "aN\n."}, {"FLOAT -nan", "F-", "n", "an\n."}, {"FLOAT with an underscore", "F1", "_", "0\n."},
		{"FLOAT of two points", "F1.2", ".", "3\n."}, {"FLOAT of an empty exponent", "F1e", "\n", "."}, {"FLOAT 1e400", "F1e400", "\n", "."},
		{"FLOAT with a comma", "F12", ",", "50\n."}, {"FLOAT that begins with a point", "F", ".", "5\n."},
		{"STRING without quotes", "S", "a", "\n."}, {"STRING of mixed quotes", "S'a\"", "\n", "."}, {"STRING of an open quote", "S'", "\n", "."},
		{"STRING going on after the quote", "S'a'", "b", "'\n."}, {"STRING not ASCII", "S'", "\xe9", "'\n."},
		{"STRING escaped beyond ASCII", "S'\\x", "8", "0'\n."}, {"STRING of a bad escape", "S'\\", "q", "'\n."}, {"STRING in octal", "S'\\", "0", "00'\n."},
		{"STRING of a bad digit", "S'\\x4", "g", "'\n."}, {"STRING with a delete", "S'", "\x7f", "'\n."}, {"STRING with a unit separator", "S'", "\x1f", "'\n."}, {"STRING with a control", "S'", "\x00", "'\n."},
		{"BINSTRING not ASCII", "T\x02\x00\x00\x00a", "\xe9", "."}, {"SHORT_BINSTRING of U+0080", "U\x02a", "\x80", "."}, {"SHORT_BINSTRING not ASCII", "U\x02a", "\xff", "."},
		{"UNICODE of a bad escape", "V\\", "n", "\n."}, {"UNICODE of a high surrogate", "V\\ud", "8", "3d\n."},
		{"UNICODE of the last surrogate", "V\\ud", "f", "ff\n."}, {"UNICODE of a low surrogate", "V\\ud", "c", "00\n."}, {"UNICODE beyond Unicode", "V\\U001", "1", "0000\n."}, {"UNICODE far beyond", "V\\U", "1", "0000000\n."},
		{"UNICODE in capitals", "V\\u00", "C", "9\n."}, {"UNICODE of a bad digit", "V\\u00", "\n", "."},
		{"BINUNICODE not UTF-8", "X\x02\x00\x00\x00", "\xff", "a."}, {"BINUNICODE overlong", "X\x02\x00\x00\x00", "\xc0", "\x80."},
		{"BINUNICODE of a surrogate", "X\x03\x00\x00\x00\xed", "\xa0", "\x80."}, {"BINUNICODE cut in a character", "X\x01\x00\x00\x00", "\xc3", "."},
		{"SHORT_BINUNICODE not UTF-8", "\x8c\x02a", "\x80", "."},
	}
}

// bombsOfFrames are no message of ours at all.
func bombsOfFrames() []bomb {
	return []bomb{
		{"an opcode that is none", "", "\xff", ""}, {"a newline", "", "\n", ""}, {"JSON", "", "{", "\"op\":\"balance\"}"}, {"msgpack true", "", "\xc3", ""},
		{"HTTP", "GET / HTT", "P", "/1.1\r\n"}, {"TLS", "", "\x16", "\x03\x01"},
		{"protocol 6", "\x80", "\x06", "}."}, {"protocol 255", "\x80", "\xff", "}."}, {"PROTO again", "\x80\x02", "\x80", "\x02}."}, {"PROTO late", "}", "\x80", "\x02."},
	}
}

// TestP1Bombs, TestP2Calls and TestP3Growth refuse each with its first bad byte, and for good, whatever comes after.
func TestP1Bombs(t *testing.T) {
	if n := len(bombs()); n < 38 {
		t.Fatalf("only %d bombs", n)
	}
	refuseAll(t, slices.Concat(bombsOfPlaces(), bombsOfTexts(), bombsOfFrames()))
}

func TestP2Calls(t *testing.T) { refuseAll(t, bombsOfCalls()) }

func TestP3Growth(t *testing.T) { refuseAll(t, slices.Concat(bombsOfGrowth(), bombsOfMemo())) }

func refuseAll(t *testing.T, list []bomb) {
	reader := pickle.NewReader(classes())
	for _, b := range list {
		t.Run(b.name, func(t *testing.T) {
			refused := b.front + b.bad
			for n := range len(refused) {
				if _, _, err := reader.Decode([]byte(refused[:n])); err != pickle.ErrIncomplete {
					t.Fatalf("%q: error %v, want ErrIncomplete", refused[:n], err)
				}
			}
			_, n, first := reader.Decode([]byte(refused))
			if !errors.Is(first, pickle.ErrMalformed) || n != 0 {
				t.Fatalf("%q: took %d, error %v, want ErrMalformed", refused, n, first)
			}
			for _, more := range []string{b.rest, ".", strings.Repeat("\n", 5000), legal} {
				if _, _, err := reader.Decode([]byte(refused + more)); err == nil || err.Error() != first.Error() {
					t.Errorf("%q and %.20q: error %v, want %v", refused, more, err, first)
				}
			}
		})
	}
}

// TestRefusalTells checks that a refusal names the opcode whose arguments were bad, where that stands, and nothing more.
func TestRefusalTells(t *testing.T) {
	reader := pickle.NewReader(classes())
	for _, r := range []struct {
		message string
		opcode  byte
		offset  int
	}{
		{"}Sx", 'S', 1}, {"}S'\x00", 'S', 1}, {"}S'\\q", 'S', 1}, {"}S'\\xg", 'S', 1}, {"}S'a'b", 'S', 1},
		{"}V\\n", 'V', 1}, {"}V\\ug", 'V', 1}, {"}V\\ud8", 'V', 1}, {"}V" + strings.Repeat("N", pickle.MaxText+1), 'V', 1},
		{"}X\x01\x00\x00\x00\xff", 'X', 1}, {"}U\x01\xff", 'U', 1}, {"}S'" + strings.Repeat("x", pickle.MaxText+1), 'S', 1}, {"}T\xff\xff", 'T', 1}, {"}C\x01", 0, 0}, {"}B\x00\x05", 'B', 1},
		{"}I00N", 'I', 1}, {"}I(", 'I', 1}, {"}L1N", 'L', 1}, {"}F}", 'F', 1}, {"}F1e999\n", 'F', 1}, {"}\x8b\xff\xff", 0x8b, 1},
		{"}cN", 'c', 1}, {"}cdecimal\nN", 'c', 1}, {"\x80N", 0x80, 0}, {"}\x80", 0x80, 1}, {"}\x95NNN", 0x95, 1},
		{"}g(", 'g', 1}, {"}pN", 'p', 1}, {"}q\xff", 'q', 1}, {"}N.", '.', 2},
	} {
		_, _, err := reader.Decode([]byte(r.message))
		if r.opcode == 0 {
			if err != pickle.ErrIncomplete {
				t.Errorf("%q: error %v, want ErrIncomplete", r.message, err)
			}
			continue
		}
		want := fmt.Sprintf("pickle: malformed message: opcode 0x%02x at byte %d: ", r.opcode, r.offset)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: error %v, want %s…", r.message, err, want)
		}
	}
}

// TestP1Cost holds every hostile message to its first 4 KiB, 64 KiB of allocation and a millisecond.
func TestP1Cost(t *testing.T) {
	const (
		maxAlloc = 64 << 10
		maxTime  = time.Millisecond
		runs     = 20
	)
	reader := pickle.NewReader(classes())
	for name, message := range costly() {
		_, _, whole := reader.Decode(message)
		if _, _, err := reader.Decode(message[:min(len(message), pickle.MaxMessage)]); fmt.Sprint(err) != fmt.Sprint(whole) {
			t.Errorf("%s: %v after %d bytes, %v after all %d", name, err, pickle.MaxMessage, whole, len(message))
		}
		best := time.Hour
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			start := time.Now()
			_, _, _ = reader.Decode(message)
			best = min(best, time.Since(start))
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > maxAlloc {
			t.Errorf("%s: %d bytes allocated, more than %d", name, each, maxAlloc)
		}
		if best > maxTime {
			t.Errorf("%s: %v, more than %v", name, best, maxTime)
		}
	}
}

// costly are the bombs and the messages that cost most of those that are legal or go on for ever.
func costly() map[string][]byte {
	messages := map[string][]byte{}
	for _, b := range bombs() {
		messages[b.name] = []byte(b.front + b.bad + b.rest)
	}
	longest := "G" + string(binary.BigEndian.AppendUint64(nil, math.Float64bits(-1.2345678901234567e-21)))
	var floats, longs, escapes strings.Builder
	floats.WriteString("}(")
	for i := range pickle.MaxItems {
		fmt.Fprintf(&floats, "S'%d'\n}(", i)
		for j := range 5 {
			fmt.Fprintf(&floats, "U\x01%c%s", 'a'+j, longest)
		}
		floats.WriteString("u")
	}
	messages["many long floats"] = []byte(floats.String() + "u.")
	longs.WriteString("}(")
	for i := range 9 {
		fmt.Fprintf(&longs, "S'%d'\n\x8b\xa9\x01\x00\x00%s", i, strings.Repeat("\x7f", pickle.MaxLong))
	}
	messages["many long integers"] = []byte(longs.String() + "u.")
	escapes.WriteString("}(")
	for i := range 7 {
		fmt.Fprintf(&escapes, "S'%d'\nV%s\n", i, strings.Repeat("\xe9", pickle.MaxText/2))
	}
	messages["many wide characters"] = []byte(escapes.String() + "u.")
	messages["no end"] = []byte(strings.Repeat("T\xf4\x03\x00\x00"+strings.Repeat("x", 1012), 10_000))
	return messages
}

// TestCostlyAreLegal keeps the costliest messages what they are meant to be.
func TestCostlyAreLegal(t *testing.T) {
	reader := pickle.NewReader(classes())
	messages := costly()
	for _, name := range []string{"many long floats", "many long integers", "many wide characters"} {
		if _, n, err := reader.Decode(messages[name]); err != nil || n != len(messages[name]) {
			t.Errorf("%s: took %d bytes of %d, error %v", name, n, len(messages[name]), err)
		}
	}
	if _, _, err := reader.Decode(messages["no end"]); err != pickle.ErrTooLarge {
		t.Errorf("no end: error %v, want ErrTooLarge", err)
	}
}

// allowed are the opcodes of the subset.
const allowed = "(.NILJKMFGSTUVXBCcRt)d}subpgqh\x80\x81\x85\x86\x88\x89\x8a\x8b\x8c\x93\x94\x95"

// opcodes are all that CPython knows, as its pickletools lists them.
const opcodes = "().012BCFGIJKLMNPQRSTUVX]abcdeghijlopqrstu}" +
	"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"

// TestP2Opcodes puts every byte, the 68 opcodes among them, where an opcode stands: first, in the middle, before the end. One
// that is not of the subset is refused there; one that is, is not refused for its name.
func TestP2Opcodes(t *testing.T) {
	reader := pickle.NewReader(classes())
	if len(opcodes) != 68 {
		t.Fatalf("%d opcodes", len(opcodes))
	}
	for i := range len(allowed) {
		if strings.IndexByte(opcodes, allowed[i]) < 0 {
			t.Errorf("0x%02x is allowed, and no opcode", allowed[i])
		}
	}
	for op := range 256 {
		for _, front := range []string{"", newState, legal[:len(legal)-1]} {
			message := []byte(front + string([]byte{byte(op)}))
			_, _, err := reader.Decode(message)
			if strings.IndexByte(allowed, byte(op)) >= 0 {
				if err != nil && strings.HasSuffix(err.Error(), "opcode not allowed") {
					t.Errorf("% x: error %v", message, err)
				}
				continue
			}
			want := fmt.Sprintf("pickle: malformed message: opcode 0x%02x at byte %d: opcode not allowed", op, len(front))
			if err == nil || err.Error() != want || !errors.Is(err, pickle.ErrMalformed) {
				t.Errorf("% x: error %v, want %s", message, err, want)
			}
			for _, tail := range []string{".", "\n.", "\x00\x00\x00\x00\x00\x00\x00\x00}."} {
				if _, _, again := reader.Decode(append(message, tail...)); again == nil || again.Error() != want {
					t.Errorf("% x and more: error %v, want %s", message, again, want)
				}
			}
		}
	}
}
