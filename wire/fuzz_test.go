package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// seeds returns messages of a format: those that PROTOCOL.md shows, the tables', the bombs, and for pickle the real ones.
func seeds(tb testing.TB, f wire.Format) [][]byte {
	tb.Helper()
	var list [][]byte
	shown := 0
	for _, d := range protocolDumps(tb) {
		if d.format == f && d.direction != "ack" {
			list = append(list, d.bytes)
			shown++
		}
	}
	for _, bomb := range bombs()[f] {
		if len(bomb[1]) <= 2<<10 { // the fuzzer would spend its time on making longer ones shorter
			list = append(list, []byte(bomb[1]))
		}
	}
	for _, row := range rows(tb, "messages.txt") {
		switch f {
		case wire.JSON:
			list = append(list, []byte(row[1]))
		case wire.Msgpack:
			list = append(list, asMsgpack(tb, row[1]))
		default:
			if p, ok := asPickle(tb, row[1]); ok {
				list = append(list, p)
			}
		}
	}
	if f == wire.Pickle {
		for _, p := range corpus(tb) {
			list = append(list, p.bytes)
		}
	}
	if shown < 3 || len(list) < 40 {
		tb.Fatalf("%s: %d seeds, %d of them shown", f, len(list), shown)
	}
	return list
}

func FuzzDecodePickle(f *testing.F)  { fuzzDecode(f, wire.Pickle) }
func FuzzDecodeMsgpack(f *testing.F) { fuzzDecode(f, wire.Msgpack) }
func FuzzDecodeJSON(f *testing.F)    { fuzzDecode(f, wire.JSON) }

// fuzzDecode checks what every decoder promises of any bytes: it never reads past its end nor takes more than a message
// may cost; the beginning of a message is incomplete and never anything else; what stands behind it changes nothing; and
// what was read can be written and is read again as the same.
func fuzzDecode(f *testing.F, format wire.Format) {
	for _, seed := range seeds(f, format) {
		f.Add(seed)
	}
	codec := wire.NewCodec(format, 2)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(make([]byte, 0, len(b)), b...) // reading past its end is reading past an array's
		kept := bytes.Clone(b)
		op := new(bank.Operation)
		var n int
		var err error
		if cost := allocated(func() { n, err = codec.Decode(b, op) }); cost > 4*maxAllocated { // the fuzzer allocates beside it
			t.Fatalf("%d bytes allocated", cost)
		}
		if !bytes.Equal(b, kept) {
			t.Fatal("the message was written to")
		}
		if n < 0 || n > len(b) || n > codec.MaxMessage() {
			t.Fatalf("%d bytes read of %d", n, len(b))
		}
		var fault *wire.Fault
		switch {
		case err == nil:
			if n == 0 {
				t.Fatal("an operation of no bytes")
			}
			again(t, codec, op)
		case err == wire.ErrIncomplete:
			if n != 0 || len(b) >= codec.MaxMessage() {
				t.Fatalf("incomplete after %d of %d bytes", n, len(b))
			}
		case !errors.As(err, &fault):
			t.Fatalf("neither incomplete nor a fault: %v", err)
		case fault.Code != bank.Malformed && fault.Code != bank.TooLarge && fault.Code != bank.UnknownOperation:
			t.Fatalf("fault %v", fault)
		case fault.ID != "" && (n == 0 || !bank.ValidID(fault.ID)):
			t.Fatalf("fault with id %q after %d bytes", fault.ID, n)
		}
		ends(t, codec, b, n, err)
	})
}

// ends checks that a whole message of n bytes is incomplete before its end and the same with anything behind it, and that
// a lost one is lost with more bytes too.
func ends(t *testing.T, codec wire.Codec, b []byte, n int, err error) {
	var op bank.Operation
	for _, cut := range []int{0, 1, n / 3, n / 2, n - 2, n - 1} {
		if 0 <= cut && cut < n {
			if m, err := codec.Decode(b[:cut], &op); m != 0 || err != wire.ErrIncomplete {
				t.Fatalf("%d of %d bytes: %d, %v", cut, n, m, err)
			}
		}
	}
	if err != wire.ErrIncomplete {
		m, after := codec.Decode(append(bytes.Clone(b), "\x00{x"...), &op)
		if m != n || (after == nil) != (err == nil) || err != nil && after.Error() != err.Error() {
			t.Fatalf("with more bytes behind: %d, %v; without: %d, %v", m, after, n, err)
		}
	}
}

// again writes a valid operation in both formats of maps and reads it back.
func again(t *testing.T, codec wire.Codec, op *bank.Operation) {
	if op.Check() != bank.OK {
		return
	}
	request := wire.Request{Op: op.Kind.String(), Account: string(op.Account), To: string(op.To), ID: op.ID, Memo: op.Memo}
	if op.Kind.Moves() {
		request.Amount = op.Amount.Format(2)
	}
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		b := wire.NewClient(f).AppendRequest(nil, &request)
		var got bank.Operation
		if _, err := wire.NewCodec(f, 2).Decode(b, &got); err != nil || got != *op {
			t.Fatalf("%+v from %s\nis %+v as %s %q, %v", *op, codec.Format(), got, f, b, err)
		}
	}
}

// FuzzJSONAgainstLibrary: whatever we take for an operation, encoding/json reads as the same; and what it refuses, we do.
func FuzzJSONAgainstLibrary(f *testing.F) {
	for _, seed := range seeds(f, wire.JSON) {
		f.Add(seed)
	}
	codec := wire.NewCodec(wire.JSON, 2)
	f.Fuzz(func(t *testing.T, b []byte) {
		var op bank.Operation
		n, err := codec.Decode(b, &op)
		if n == 0 {
			return
		}
		d := json.NewDecoder(bytes.NewReader(b[:n]))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Fatalf("encoding/json reads on: %v", err)
		}
		if err != nil || op.Check() != bank.OK {
			return
		}
		want := map[string]any{"op": op.Kind.String()}
		keys := [...]string{"account", "to", "id", "memo", "amount"}
		if _, legacy := m["classe"]; legacy {
			want = map[string]any{"classe": m["classe"], "objeto": m["objeto"]}
			m = m["objeto"].(map[string]any)
			keys = [...]string{"id_pessoa", "id_pessoa_d", "", "", "valor"}
			if op.Kind != bank.KindTransfer {
				keys[1] = ""
			}
		} else if m["op"] != want["op"] {
			t.Fatalf("op is %v for encoding/json and %v for us", m["op"], op.Kind)
		}
		for i, ours := range [...]string{string(op.Account), string(op.To), op.ID, op.Memo} {
			theirs, _ := m[keys[i]].(string)
			if keys[i] == "" { // the legacy map has none of it; a key of that name is one that is passed over
				theirs = ""
			}
			if theirs != ours {
				t.Fatalf("%s is %q for encoding/json and %q for us", keys[i], theirs, ours)
			}
		}
		if op.Kind.Moves() {
			theirs, err := bank.ParseAmount(strings.Trim(toString(m[keys[4]]), `"`), 2)
			if err != nil || theirs != op.Amount {
				t.Fatalf("amount is %v for encoding/json and %v for us", m[keys[4]], op.Amount)
			}
		}
	})
}

func toString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, format := range []wire.Format{wire.JSON, wire.Msgpack} {
		for _, seed := range seeds(f, format) {
			f.Add(format == wire.JSON, seed)
		}
	}
	f.Fuzz(func(t *testing.T, isJSON bool, b []byte) {
		format := wire.Msgpack
		if isJSON {
			format = wire.JSON
		}
		client := wire.NewClient(format)
		a, n, err := client.DecodeAnswer(b)
		if n < 0 || n > len(b) || (err == nil) != (n > 0) || err != nil && err != wire.ErrIncomplete && err != wire.ErrAnswer {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if err == nil {
			if a.Status != (a.Code == bank.OK) {
				t.Fatalf("%+v", a)
			}
			if _, _, err := client.DecodeAnswer(b[:n-1]); err != wire.ErrIncomplete {
				t.Fatalf("a byte less: %v", err)
			}
		}
	})
}

// pickled is a real pickle and what CPython reads in it.
type pickled struct {
	name  string
	bytes []byte
	reads struct {
		C    string
		From [2]string
		To   [2]string
		V    [2]string
		Err  string
	}
}

// corpus returns the pickles that real interpreters made.
func corpus(tb testing.TB) []pickled {
	tb.Helper()
	file, err := os.ReadFile("../pickle/testdata/pickles.tsv")
	if err != nil {
		tb.Fatal(err)
	}
	var list []pickled
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		p := pickled{name: columns[0]}
		if p.bytes, err = hex.DecodeString(columns[1]); err != nil {
			tb.Fatal(err)
		}
		if err := json.Unmarshal([]byte(columns[2]), &p.reads); err != nil {
			tb.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 400 {
		tb.Fatalf("%d pickles", len(list))
	}
	return list
}
