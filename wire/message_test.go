package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// verdict returns how a message of one format is judged by codec and bank together, in the words of messages.txt.
func verdict(f wire.Format, message []byte) string {
	var op bank.Operation
	n, err := wire.NewCodec(f, 2).Decode(message, &op)
	var fault *wire.Fault
	switch {
	case errors.As(err, &fault):
		said := fault.Code.String()
		if n == 0 {
			said = "lost " + said
		} else if n != len(message) {
			said += fmt.Sprintf(" after %d of %d bytes", n, len(message))
		}
		if fault.ID != "" {
			said += " id=" + fault.ID
		}
		return said
	case err != nil:
		return err.Error()
	case n != len(message):
		return fmt.Sprintf("read %d of %d bytes", n, len(message))
	case op.Check() != bank.OK:
		return op.Check().String()
	}
	said := "ok " + op.Kind.String()
	if op.Account != "" {
		said += " account=" + string(op.Account)
	}
	if op.To != "" {
		said += " to=" + string(op.To)
	}
	if op.Amount != 0 {
		said += " amount=" + strconv.FormatInt(int64(op.Amount), 10)
	}
	if op.ID != "" {
		said += " id=" + op.ID
	}
	if op.Memo != "" {
		said += " memo=" + op.Memo
	}
	return said
}

// rows returns the rows of a file of testdata, cut at the bars.
func rows(tb testing.TB, name string) [][2]string {
	tb.Helper()
	file, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	var list [][2]string
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		left, right, found := strings.Cut(line, " || ")
		if !found {
			tb.Fatalf("%s: no bars: %s", name, line)
		}
		list = append(list, [2]string{strings.TrimSuffix(left, " memo="), right})
	}
	return list
}

func TestMessages(t *testing.T) {
	pickles := 0
	for _, row := range rows(t, "messages.txt") {
		want, message := row[0], row[1]
		if got := verdict(wire.JSON, []byte(message)); got != want {
			t.Errorf("json %s\n got %s\nwant %s", message, got, want)
		}
		if got := verdict(wire.Msgpack, asMsgpack(t, message)); got != want {
			t.Errorf("msgpack of %s\n got %s\nwant %s", message, got, want)
		}
		if p, ok := asPickle(t, message); ok {
			pickles++
			want, _, _ := strings.Cut(want, " id=") // a pickle has none
			if got := verdict(wire.Pickle, p); got != want {
				t.Errorf("pickle of %s\n got %s\nwant %s", message, got, want)
			}
		}
	}
	if pickles < 30 {
		t.Errorf("only %d rows were tried as pickles", pickles)
	}
}

// failer is a test of package testing or of rapid.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// asMsgpack writes JSON as msgpack, token by token, so that repeated keys and their order stay. It shares no code with
// the package under test.
func asMsgpack(tb failer, message string) []byte {
	tb.Helper()
	d := json.NewDecoder(strings.NewReader(message))
	d.UseNumber()
	b, err := msgpackValue(d)
	if err != nil {
		tb.Fatalf("%s: %v", message, err)
	}
	return b
}

func msgpackValue(d *json.Decoder) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case nil:
		return []byte{0xc0}, nil
	case bool:
		if v {
			return []byte{0xc3}, nil
		}
		return []byte{0xc2}, nil
	case string:
		return mpText(v), nil
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return mpInt(n), nil
		}
		f, err := v.Float64()
		return mpFloat(f), err
	}
	var items []byte
	count := 0
	for d.More() {
		item, err := msgpackValue(d)
		if err != nil {
			return nil, err
		}
		items = append(items, item...)
		count++
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if token == json.Delim('{') {
		return append([]byte{0xdf, 0, 0, 0, byte(count / 2)}, items...), nil
	}
	return append([]byte{0xdc, 0, byte(count)}, items...), nil
}

func mpText(s string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xda}, uint16(len(s))), s...)
}

func mpInt(n int64) []byte { return binary.BigEndian.AppendUint64([]byte{0xd3}, uint64(n)) }

func mpFloat(f float64) []byte {
	return binary.BigEndian.AppendUint64([]byte{0xcb}, math.Float64bits(f))
}

// asPickle writes a legacy map as the dict that a Python client would pickle. It returns false for what is none, or has
// repeated keys or lists, which no pickle of ours holds.
func asPickle(tb testing.TB, message string) ([]byte, bool) {
	tb.Helper()
	if !strings.Contains(message, `"classe"`) || strings.Contains(message, "[") || strings.Contains(message, `"valor":"`) {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(message))
	d.UseNumber()
	dict, ok := pickleValue(d, 1)
	return []byte("\x80\x02" + dict + "."), ok
}

func pickleValue(d *json.Decoder, depth int) (string, bool) {
	token, err := d.Token()
	if err != nil {
		return "", false
	}
	switch v := token.(type) {
	case nil:
		return "N", true
	case bool:
		return map[bool]string{true: "\x88", false: "\x89"}[v], true
	case string:
		return pyText(v), true
	case json.Number:
		if strings.Contains(v.String(), ".") {
			f, err := v.Float64()
			return pyFloat(f), err == nil
		}
		return pyInt(v.String()), true
	}
	var items []attribute
	known := make(map[string]bool)
	for d.More() {
		key, _ := d.Token()
		value, ok := pickleValue(d, depth+1)
		if !ok || known[key.(string)] {
			return "", false
		}
		known[key.(string)] = true
		items = append(items, attribute{key.(string), value})
	}
	_, err = d.Token()
	return pyDict(items), err == nil && depth < 3
}

// Keys that another reader would take for the same are told apart or refused; encoding/json would take all of these.
func TestP5JSONIsStrict(t *testing.T) {
	for message, want := range map[string]string{
		"{\"op\":\"balance\",\"account\":\"1\"}":                           "ok balance account=1",
		" \t\r\n{ \"op\" :\n\"balance\" , \"account\"\t:\r\"1\" }":         "ok balance account=1",
		`{"op":"balance","account":"\u0031"}`:                              "ok balance account=1",
		`{"op":"balance","account":"1","memo":"\"\\\/\b\f\n\r\t\u00e9"}`:   "ok balance account=1 memo=\"\\/\b\f\n\r\té",
		`{"op":"balance","account":"1","memo":"\ud83d\uDE00"}`:             "ok balance account=1 memo=😀",
		`{"op":"balance","account":"1","memo":"\u0000"}`:                   "ok balance account=1 memo=\x00",
		`{"op":"balance","account":"1","memo":"\uffff\ufffd"}`:             "ok balance account=1 memo=\uffff\ufffd",
		"{\"op\":\"balance\",\"account\":\"1\",\"memo\":\"\xff\"}":         "lost malformed",
		"{\"op\":\"balance\",\"account\":\"1\",\"memo\":\"\xc0\xaf\"}":     "lost malformed",
		"{\"op\":\"balance\",\"account\":\"1\",\"memo\":\"\xed\xa0\x80\"}": "lost malformed",
		"{\"op\":\"balance\",\"account\":\"1\",\"\xff\":1}":                "lost malformed",
		"{\"op\":\"balance\",\"account\":\"1\",\"memo\":\"a\nb\"}":         "lost malformed",
		"{\"op\":\"balance\",\"account\":\"1\",\"memo\":\"\x00\"}":         "lost malformed",
		`{"op":"balance","account":"1","memo":"\ud83d"}`:                   "lost malformed",
		`{"op":"balance","account":"1","memo":"\ude00"}`:                   "lost malformed",
		`{"op":"balance","account":"1","memo":"\ud83d\ud83d"}`:             "lost malformed",
		`{"op":"balance","account":"1","memo":"\ud83dx"}`:                  "lost malformed",
		`{"op":"balance","account":"1","memo":"\ud83d\n"}`:                 "lost malformed",
		`{"op":"balance","account":"1","memo":"\u12g4"}`:                   "lost malformed",
		`{"op":"balance","account":"1","memo":"\x"}`:                       "lost malformed",
		`{"op":"balance","account":"1","memo":"\U0001"}`:                   "lost malformed",
		`{"op":"balance","account":"1","account":"2"}`:                     "malformed",
		`{"op":"balance","op":"balance","account":"1"}`:                    "malformed",
		`{"op":"balance","account":"1","\u0061ccount":"1"}`:                "malformed",
		`{"classe":"Saldo","objeto":{"id_pessoa":"1","id_pessoa":"2"}}`:    "malformed",
		`{"OP":"balance","account":"1"}`:                                   "malformed",
		`{"op":"balance","Account":"1"}`:                                   "malformed",
		`{"op":"deposit","account":"1","AMOUNT":1}`:                        "malformed",
		`{"classe":"Deposito","objeto":{"id_pessoa":"1","VALOR":20}}`:      "malformed",
		`{'op':'balance'}`:                             "lost malformed",
		`{op:"balance"}`:                               "lost malformed",
		`{"op" "balance"}`:                             "lost malformed",
		`{"op":"balance",}`:                            "lost malformed",
		`{"op":"balance",,"account":"1"}`:              "lost malformed",
		`{,"op":"balance"}`:                            "lost malformed",
		`{"op":"balance" "account":"1"}`:               "lost malformed",
		`{"op":"balance","account":[1,]}`:              "lost malformed",
		`{"op":"balance","account":[1 2]}`:             "lost malformed",
		`{"op":"balance","account":[}`:                 "lost malformed",
		`{"op":"balance"]`:                             "lost malformed",
		`{"op":balance}`:                               "lost malformed",
		`{"op":True}`:                                  "lost malformed",
		`{"op":nul }`:                                  "lost malformed",
		`{"op":falsey}`:                                "lost malformed",
		`{"op":NaN}`:                                   "lost malformed",
		`/**/{"op":"balance","account":"1"}`:           "lost malformed",
		"\ufeff{\"op\":\"balance\",\"account\":\"1\"}": "lost malformed",
		"\v{}": "lost malformed",
	} {
		if got := verdict(wire.JSON, []byte(message)); got != want {
			t.Errorf("%q\n got %q\nwant %q", message, got, want)
		}
	}
}

// Whatever is behind a message is not looked at, and counts to no one's bytes.
func TestWhatFollowsIsLeftAlone(t *testing.T) {
	codec := wire.NewCodec(wire.JSON, 2)
	message := []byte(`{"op":"balance","account":"1"}`)
	var op bank.Operation
	for _, after := range []string{"\n", "x", "{", "\xff", "{\"op\"", strings.Repeat(" ", wire.MaxMessage)} {
		n, err := codec.Decode(append(bytes.Clone(message), after...), &op)
		if n != len(message) || err != nil {
			t.Errorf("before %.10q: %d, %v", after, n, err)
		}
	}
	for space, want := range map[string]int{"": 0, " \t\r\n": 4, "\n{": 1, "x ": 0, "\v": 0} {
		if got := codec.Space([]byte(space)); got != want {
			t.Errorf("Space(%q) = %d", space, got)
		}
	}
	for _, f := range []wire.Format{wire.Pickle, wire.Msgpack} {
		if n := wire.NewCodec(f, 2).Space([]byte(" \n")); n != 0 {
			t.Errorf("%s: Space = %d", f, n)
		}
	}
}

// A memo may have 140 bytes, whatever its characters.
func TestMemoBound(t *testing.T) {
	for memo, want := range map[string]bool{
		strings.Repeat("m", 140): true, strings.Repeat("m", 141): false, strings.Repeat("é", 70): true, strings.Repeat("é", 70) + "m": false,
	} {
		for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
			b := wire.NewClient(f).AppendRequest(nil, &wire.Request{Op: "balance", Account: "1", Memo: memo})
			if f == wire.JSON {
				b = bytes.TrimSuffix(b, []byte("\n"))
			}
			var op bank.Operation
			if _, err := wire.NewCodec(f, 2).Decode(b, &op); (err == nil) != want {
				t.Errorf("%s: memo of %d bytes: %v", f, len(memo), err)
			}
			got := verdict(f, b)
			if want && got != "ok balance account=1 memo="+memo || !want && got != "malformed" {
				t.Errorf("%s: memo of %d bytes: %s", f, len(memo), got)
			}
		}
	}
}
