package pickle_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"gateway/pickle"
)

// encodable are values at every border of what AppendDict writes.
func encodable() []pickle.Value {
	values := []pickle.Value{
		{Kind: pickle.None}, {Kind: pickle.Bool, Text: "True"}, {Kind: pickle.Bool, Text: "False"},
		{Kind: pickle.Str}, {Kind: pickle.Str, Text: "tem na conta 20. faltam 50 para sacar 70"},
		{Kind: pickle.Str, Text: "não há saldo: € \U0001f600 \x00\n\\'\""},
		{Kind: pickle.Str, Text: strings.Repeat("x", pickle.MaxText)},
	}
	ints := []int64{0, math.MaxInt64, math.MinInt64}
	for shift := range 63 {
		for _, near := range []int64{-1, 0, 1} {
			ints = append(ints, 1<<shift+near, -1<<shift+near)
		}
	}
	for _, n := range ints {
		values = append(values, pickle.Value{Kind: pickle.Int, Text: strconv.FormatInt(n, 10)})
	}
	for _, f := range []struct {
		float float64
		text  string
	}{
		{0, "0"}, {math.Copysign(0, -1), "-0"}, {20, "20"}, {12.5, "12.5"}, {-0.1, "-0.1"}, {0.30000000000000004, "0.30000000000000004"},
		{1e-7, "0.0000001"}, {1e21, "1e+21"}, {1e-21, "0.000000000000000000001"}, {1e-22, "1e-22"}, {math.Inf(1), "inf"}, {math.Inf(-1), "-inf"},
		{999999999999999868928, "999999999999999900000"}, {-math.SmallestNonzeroFloat64, "-5e-324"}, {math.MaxFloat64, "1.7976931348623157e+308"},
	} {
		values = append(values, pickle.Value{Kind: pickle.Float, Text: f.text, Float: f.float})
	}
	return values
}

// TestAppendDictRoundTrip reads back what was written.
func TestAppendDictRoundTrip(t *testing.T) {
	reader := pickle.NewReader(nil)
	for _, v := range encodable() {
		items := []pickle.Item{{Key: "status", Value: pickle.Value{Kind: pickle.Bool, Text: "True"}}, {Key: "msg", Value: v}}
		message := pickle.AppendDict([]byte("before"), items)[len("before"):]
		got, n, err := reader.Decode(message)
		if err != nil || n != len(message) {
			t.Fatalf("%+v: took %d bytes of %d, error %v", v, n, len(message), err)
		}
		if want := (pickle.Value{Kind: pickle.Dict, Items: items}); !reflect.DeepEqual(got, want) {
			t.Errorf("read back %+v, want %+v", got, want)
		}
	}
	nan := pickle.AppendDict(nil, []pickle.Item{{Key: "x", Value: pickle.Value{Kind: pickle.Float, Float: math.NaN()}}})
	if got, _, err := reader.Decode(nan); err != nil || got.Items[0].Value.Text != "nan" || !math.IsNaN(got.Items[0].Value.Float) {
		t.Errorf("nan reads back as %+v, error %v", got, err)
	}
}

// TestAppendBytes pins the bytes that clients have seen.
func TestAppendBytes(t *testing.T) {
	if got := pickle.AppendTrue([]byte{1}); !bytes.Equal(got, []byte{1, 0x80, 2, 0x88, '.'}) {
		t.Errorf("AppendTrue: % x", got)
	}
	got := pickle.AppendDict([]byte{1}, []pickle.Item{
		{Key: "status", Value: pickle.Value{Kind: pickle.Bool, Text: "True"}},
		{Key: "msg", Value: pickle.Value{Kind: pickle.Int, Text: "70000"}},
	})
	want := "\x01\x80\x02}(X\x06\x00\x00\x00status\x88X\x03\x00\x00\x00msgJ\x70\x11\x01\x00u."
	if string(got) != want {
		t.Errorf("AppendDict:\n% x\n% x", got, want)
	}
}

// TestAppendDictPanics on values that only a fault of ours could bring.
func TestAppendDictPanics(t *testing.T) {
	for _, v := range []pickle.Value{
		{}, {Kind: pickle.Int}, {Kind: pickle.Int, Text: "x"}, {Kind: pickle.Int, Text: "9223372036854775808"},
		{Kind: pickle.Bool}, {Kind: pickle.Bool, Text: "true"}, {Kind: pickle.Decimal, Text: "1"},
		{Kind: pickle.Bytes}, {Kind: pickle.Dict}, {Kind: pickle.Object},
	} {
		t.Run(fmt.Sprintf("%d%s", v.Kind, v.Text), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was written", v)
				}
			}()
			pickle.AppendDict(nil, []pickle.Item{{Key: "k", Value: v}})
		})
	}
}

// BenchmarkAppendDict states that a reply is written without allocating.
func BenchmarkAppendDict(b *testing.B) {
	items := []pickle.Item{
		{Key: "status", Value: pickle.Value{Kind: pickle.Bool, Text: "True"}},
		{Key: "msg", Value: pickle.Value{Kind: pickle.Int, Text: "70000"}},
	}
	buffer := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buffer = pickle.AppendDict(buffer[:0], items)
	}
}
