package wire_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// amountRow is a row of amounts.txt.
type amountRow struct {
	kind     string
	decimals int
	value    string
	want     bank.Amount // 0: it is none
}

func amountRows(tb testing.TB) []amountRow {
	tb.Helper()
	var list []amountRow
	for _, row := range rows(tb, "amounts.txt") {
		var r amountRow
		if _, err := fmt.Sscan(row[0], &r.kind, &r.decimals); err != nil {
			tb.Fatal(err)
		}
		value, want, _ := strings.Cut(row[1], " || ")
		if err := json.Unmarshal([]byte(value), &r.value); err != nil {
			tb.Fatalf("%s: %v", row[1], err)
		}
		if want != "-" {
			n, err := strconv.ParseInt(want, 10, 64)
			if err != nil || n <= 0 {
				tb.Fatalf("%s: %v", row[1], err)
			}
			r.want = bank.Amount(n)
		}
		list = append(list, r)
	}
	if len(list) < 200 {
		tb.Fatalf("amounts.txt has %d rows", len(list))
	}
	return list
}

func (r *amountRow) float() float64 {
	f, err := strconv.ParseFloat(r.value, 64)
	if err != nil {
		panic(err)
	}
	return f
}

// json, msgpack and pickle return every way to write the value in a format; none when it has no such value.
func (r *amountRow) json() []string {
	switch r.kind {
	case "int", "bigint", "json":
		return []string{r.value}
	case "text":
		quoted, _ := json.Marshal(r.value)
		var escaped strings.Builder
		for _, c := range []byte(r.value) {
			fmt.Fprintf(&escaped, `\u%04x`, c)
		}
		if isASCII(r.value) {
			return []string{string(quoted), `"` + escaped.String() + `"`}
		}
		return []string{string(quoted)}
	case "null", "true", "false":
		return []string{r.kind}
	case "list":
		return []string{"[]", "[20]"}
	case "map":
		return []string{"{}", `{"amount":20}`}
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func (r *amountRow) msgpack() []string {
	switch r.kind {
	case "int":
		return msgpackInts(r.value)
	case "text":
		all := []string{string(mpText(r.value)), "\xdb" + string(binary.BigEndian.AppendUint32(nil, uint32(len(r.value)))) + r.value}
		if len(r.value) < 32 {
			all = append(all, string([]byte{0xa0 | byte(len(r.value))})+r.value)
		}
		if len(r.value) < 256 {
			all = append(all, "\xd9"+string([]byte{byte(len(r.value))})+r.value)
		}
		return all
	case "float":
		return []string{string(mpFloat(r.float()))}
	case "float32":
		return []string{string(binary.BigEndian.AppendUint32([]byte{0xca}, math.Float32bits(float32(r.float()))))}
	case "null":
		return []string{"\xc0"}
	case "true":
		return []string{"\xc3"}
	case "false":
		return []string{"\xc2"}
	case "bytes":
		return []string{
			"\xc4" + string([]byte{byte(len(r.value))}) + r.value, "\xc7" + string([]byte{byte(len(r.value))}) + "\x05" + r.value,
			"\xd4\x051", "\xd6\xff\x00\x00\x00\x01", // extensions; the last is a time
		}
	case "list":
		return []string{"\x90", "\x91\x14", "\xdc\x00\x00"}
	case "map":
		return []string{"\x80", "\x81\xa1a\x14", "\xde\x00\x00"}
	}
	return nil
}

// msgpackInts returns an integer in every width that holds it, signed and unsigned.
func msgpackInts(value string) []string {
	var all []string
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		b := binary.BigEndian.AppendUint64(nil, n)
		for i, width := range []int{1, 2, 4, 8} {
			if width == 8 || n < 1<<(8*width) {
				all = append(all, string([]byte{0xcc + byte(i)})+string(b[8-width:]))
			}
		}
		if n < 128 {
			all = append(all, string(b[7:]))
		}
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		b := binary.BigEndian.AppendUint64(nil, uint64(n))
		for i, width := range []int{1, 2, 4, 8} {
			if shift := 64 - 8*width; n<<shift>>shift == n {
				all = append(all, string([]byte{0xd0 + byte(i)})+string(b[8-width:]))
			}
		}
		if n < 0 && n >= -32 {
			all = append(all, string(b[7:]))
		}
	}
	return all
}

func (r *amountRow) pickle() []string {
	switch r.kind {
	case "int", "bigint":
		return []string{pyInt(r.value), pyLong(r.value)}
	case "text":
		return []string{pyText(r.value)}
	case "float":
		return []string{pyFloat(r.float())}
	case "decimal":
		return []string{pyDecimal(r.value)}
	case "null":
		return []string{"N"}
	case "true":
		return []string{"\x88", "I01\n"}
	case "false":
		return []string{"\x89", "I00\n"}
	case "bytes":
		return []string{pyBytes(r.value)}
	}
	return nil
}

// TestA1Amounts tries every row as JSON, as msgpack, as a pickled object and as a pickled map.
func TestA1Amounts(t *testing.T) {
	tried := make(map[wire.Format]int)
	try := func(f wire.Format, r *amountRow, want bank.Amount, message string) {
		tried[f]++
		var op bank.Operation
		n, err := wire.NewCodec(f, r.decimals).Decode([]byte(message), &op)
		code := bank.OK
		if want == 0 {
			code = bank.InvalidAmount
		}
		if err != nil || n != len(message) || op.Amount != want || op.Check() != code {
			t.Errorf("%s %q of %d decimals as %s %q: %d, %v; %d is %v", r.kind, r.value, r.decimals, f, message, op.Amount, err, n, op.Check())
		}
	}
	for _, r := range amountRows(t) {
		for _, v := range r.json() {
			try(wire.JSON, &r, r.want, `{"op":"deposit","account":"1","amount":`+v+`}`)
			try(wire.JSON, &r, r.want, `{"amount":`+v+`,"op":"deposit","account":"1"}`)
			try(wire.JSON, &r, r.want, `{"classe":"Deposito","objeto":{"id_pessoa":"1","valor":`+v+`}}`)
		}
		for _, v := range r.msgpack() {
			try(wire.Msgpack, &r, r.want, "\x83\xa2op\xa7deposit\xa7account\xa11\xa6amount"+v)
			try(wire.Msgpack, &r, r.want, "\x83\xa6amount"+v+"\xa2op\xa7deposit\xa7account\xa11")
			try(wire.Msgpack, &r, r.want, "\x82\xa6classe\xa8Deposito\xa6objeto\x82\xa9id_pessoa\xa11\xa5valor"+v)
		}
		want := r.want
		if r.kind == "text" {
			want = 0 // a str is no number in Python
		}
		for _, v := range r.pickle() {
			try(wire.Pickle, &r, want, string(pickledObject("Deposito", attributes("1", "", v))))
			legacy := pyDict([]attribute{{"id_pessoa", pyText("1")}, {"valor", v}})
			try(wire.Pickle, &r, want, pyDict([]attribute{{"classe", pyText("Deposito")}, {"objeto", legacy}})+".")
		}
	}
	for _, f := range formats() {
		if tried[f] < 200 {
			t.Errorf("%s: only %d messages", f, tried[f])
		}
	}
}
