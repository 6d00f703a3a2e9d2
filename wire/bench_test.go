package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"gateway/bank"
	"gateway/wire"
)

// BenchmarkDecode claims that a transfer with an id is read well below a microsecond in JSON and msgpack, with no more
// allocations than it has texts to keep: account, to and id.
func BenchmarkDecode(b *testing.B) {
	transfer := wire.Request{Op: "transfer", Account: "ana", To: "bia", Amount: "12.50", ID: "atm7-000001"}
	messages := map[wire.Format][]byte{
		wire.JSON:    wire.NewClient(wire.JSON).AppendRequest(nil, &transfer),
		wire.Msgpack: wire.NewClient(wire.Msgpack).AppendRequest(nil, &transfer),
		wire.Pickle:  pickledObject("Transferencia", attributes("ana", "bia", pyFloat(12.5))),
	}
	for _, f := range formats() {
		b.Run(f.String(), func(b *testing.B) {
			codec := wire.NewCodec(f, 2)
			message := messages[f]
			op := new(bank.Operation)
			b.ReportAllocs()
			b.SetBytes(int64(len(message)))
			for b.Loop() {
				if _, err := codec.Decode(message, op); err != nil {
					b.Fatal(err)
				}
			}
			if op.Check() != bank.OK {
				b.Fatal(op.Check())
			}
		})
	}
}

// BenchmarkLibraryDecode is what BenchmarkDecode is compared with: the libraries' readers, which check far less.
func BenchmarkLibraryDecode(b *testing.B) {
	type operation struct {
		Op      string `json:"op" msgpack:"op"`
		Account string `json:"account" msgpack:"account"`
		To      string `json:"to" msgpack:"to"`
		Amount  string `json:"amount" msgpack:"amount"`
		ID      string `json:"id" msgpack:"id"`
	}
	transfer := wire.Request{Op: "transfer", Account: "ana", To: "bia", Amount: "12.50", ID: "atm7-000001"}
	for f, unmarshal := range map[wire.Format]func([]byte, any) error{wire.JSON: json.Unmarshal, wire.Msgpack: msgpack.Unmarshal} {
		b.Run(f.String(), func(b *testing.B) {
			message := wire.NewClient(f).AppendRequest(nil, &transfer)
			op := new(operation)
			b.ReportAllocs()
			b.SetBytes(int64(len(message)))
			for b.Loop() {
				if err := unmarshal(message, op); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReply claims one allocation at most for a reply in JSON and msgpack, into a buffer that is used again.
func BenchmarkReply(b *testing.B) {
	deposited := bank.Reply{
		Kind: bank.KindDeposit, ID: "atm7-000001", Seq: 1234567, Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		Balance: 1250, HasBalance: true, Amount: 1250,
	}
	for _, f := range formats() {
		b.Run(f.String(), func(b *testing.B) {
			codec := wire.NewCodec(f, 2)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = codec.AppendReply(buf[:0], &deposited)
			}
		})
	}
}
