package wire_test

import (
	"errors"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// TestEveryCutIsIncomplete reads messages with every kind of token, cut at every byte: no end of the bytes so far may be
// taken for the end of the message, or for a fault.
func TestEveryCutIsIncomplete(t *testing.T) {
	for format, messages := range map[wire.Format][]string{
		wire.JSON: {
			`{"op":"deposit","account":"ana","amount":"1","memo":"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00é"}`,
			` { "classe" : "Saldo" , "objeto" : { "id_pessoa":"1","a":-1.5e+3,"b":0.25,"c":-0,"d":12E-1,"e":null,"f":true,"g":false } } `,
		},
		wire.Msgpack: {
			"\x82\xa6classe\xa5Saldo\xa6objeto\xde\x00\x0b\xa9id_pessoa\xa11" +
				"\xa1a\xca\x3f\x80\x00\x00" + "\xa1b\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00" + "\xa1c\xcf\x00\x00\x00\x00\x00\x00\x00\x01" +
				"\xa1d\xd3\xff\xff\xff\xff\xff\xff\xff\xff" + "\xa1e\xc7\x03\x01abc" + "\xa1f\xd5\x01ab" + "\xa1g\xc4\x02ab" +
				"\xa1h\xda\x00\x02ab" + "\xd9\x01i\xc0" + "\xa1j\xc3",
		},
	} {
		codec := wire.NewCodec(format, 2)
		for _, message := range messages {
			whole := strings.TrimRight(message, " ")
			var op bank.Operation
			if n, err := codec.Decode([]byte(message), &op); n != len(whole) || err != nil {
				t.Fatalf("%s: took %d bytes of %q, %v", format, n, message, err)
			}
			for cut := range len(whole) {
				if n, err := codec.Decode([]byte(message[:cut]), &op); n != 0 || !errors.Is(err, wire.ErrIncomplete) {
					t.Errorf("%s: cut behind %q: %d, %v", format, message[:cut], n, err)
				}
			}
		}
	}
}

// TestNumbersThatBreakOff reads JSON that stops being a number, or the second half of a character, where more of it must come.
func TestNumbersThatBreakOff(t *testing.T) {
	codec := wire.NewCodec(wire.JSON, 2)
	for _, value := range []string{`-`, `-a`, `.5`, `1.`, `1.e1`, `1e`, `1e+`, `1ea`, `"\ud83d\u12x4"`, `"\ud83d\uZ000"`, `"\ud83dx"`, `"\ud83d\n"`} {
		var op bank.Operation
		var fault *wire.Fault
		_, err := codec.Decode([]byte(`{"op":"deposit","account":"ana","amount":`+value+`}`), &op)
		if !errors.As(err, &fault) || fault.Code != bank.Malformed {
			t.Errorf("%s: %v", value, err)
		}
	}
}
