package wire_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"
)

func TestFormatNames(t *testing.T) {
	for name, want := range map[string]wire.Format{"pickle": wire.Pickle, "msgpack": wire.Msgpack, "json": wire.JSON} {
		f, known := wire.ParseFormat(name)
		if !known || f != want || f.String() != name || wire.NewCodec(f, 2).Format() != f {
			t.Errorf("%s: %v, %v", name, f, known)
		}
	}
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		if c := wire.NewClient(f); c.Format() != f || !bytes.Equal(c.Ack(), wire.NewCodec(f, 2).Ack()) {
			t.Errorf("%s: a client of %s that waits for %q", f, c.Format(), c.Ack())
		}
	}
	if name := wire.Format(0).String(); name != "" {
		t.Errorf("no format is called %q", name)
	}
	for _, name := range []string{"", "JSON", "xml"} {
		if f, known := wire.ParseFormat(name); known {
			t.Errorf("%q is %v", name, f)
		}
	}
}

func TestSniff(t *testing.T) {
	for payload, want := range map[string]wire.Format{
		"": wire.JSON, "{": wire.JSON, " {": wire.JSON, "\n": wire.JSON, "[": wire.JSON, "x": wire.JSON,
		"\x80": wire.Msgpack, "\x8f": wire.Msgpack, "\xde\x00\x01": wire.Msgpack, "\xdf": wire.Msgpack, "\xc0": wire.Msgpack,
	} {
		if got := wire.Sniff([]byte(payload)); got != want {
			t.Errorf("%q: %v", payload, got)
		}
	}
}

// An operation does not share memory with the bytes that it came in, nor with the next one.
func TestOperationKeepsItsTexts(t *testing.T) {
	request := wire.Request{Op: "transfer", Account: "ana", To: "bia", Amount: "1", ID: "id-1", Memo: "memo"}
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		codec := wire.NewCodec(f, 2)
		b := wire.NewClient(f).AppendRequest(nil, &request)
		var op, next bank.Operation
		if _, err := codec.Decode(b, &op); err != nil {
			t.Fatal(err)
		}
		want := bank.Operation{Kind: bank.KindTransfer, Account: "ana", To: "bia", Amount: 100, ID: "id-1", Memo: "memo"}
		clear(b)
		another := wire.Request{Op: "transfer", Account: "xxx", To: "yyy", Amount: "2", ID: "zzzz", Memo: "\"vv\""}
		other := wire.NewClient(f).AppendRequest(nil, &another)
		if _, err := codec.Decode(other, &next); err != nil || op != want {
			t.Errorf("%s: %+v, %v", f, op, err)
		}
	}
}

// Decode sets what a client says and clears the rest, also when it fails.
func TestDecodeClearsTheOperation(t *testing.T) {
	codec := wire.NewCodec(wire.JSON, 2)
	used := bank.Operation{
		Kind: bank.KindTransfer, Principal: "eve", Account: "a", To: "b", Amount: 1, ID: "x", Memo: "m", Origin: bank.Origin{Door: bank.DoorMQTT},
	}
	for message, want := range map[string]bank.Operation{
		`{"op":"balance","account":"1"}`:          {Kind: bank.KindBalance, Account: "1"},
		`{"op":"balance","account":"1","to":"2"}`: {Kind: bank.KindBalance},
		`{"op":"pay","account":"1"}`:              {},
		`{"op":"balance","account":"1"`:           {},
		`nothing`:                                 {},
	} {
		op := used
		codec.Decode([]byte(message), &op)
		if op != want {
			t.Errorf("%s: %+v", message, op)
		}
	}
}

func TestFaultBecomesAReply(t *testing.T) {
	var op bank.Operation
	_, err := wire.NewCodec(wire.JSON, 2).Decode([]byte(`{"op":"status","id":"x","amount":1}`), &op)
	var fault *wire.Fault
	if !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), "wire: malformed: ") {
		t.Fatal(err)
	}
	r := fault.Reply(&op)
	if r.Code != bank.Malformed || r.Kind != bank.KindStatus || r.ID != "x" || r.Detail != fault.Detail || r.HasBalance || r.Seq != 0 {
		t.Errorf("%+v", r)
	}
}

// No fault tells anything of the message, so that it may be logged.
func TestFaultsKeepSecrets(t *testing.T) {
	for _, f := range formats() {
		for _, seed := range seeds(t, f) {
			secret := strings.ReplaceAll(strings.ReplaceAll(string(seed), "extra", "hunter2"), "acount", "hunter2")
			var op bank.Operation
			if _, err := wire.NewCodec(f, 2).Decode([]byte(secret), &op); err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}

func TestCodecsServeManyAtOnce(t *testing.T) {
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		codec, client := wire.NewCodec(f, 2), wire.NewClient(f)
		var all sync.WaitGroup
		for _, name := range []string{"ana", "bia", "carla", "dora"} {
			all.Go(func() {
				for range 200 {
					b := client.AppendRequest(nil, &wire.Request{Op: "deposit", Account: name, Amount: "12.50", ID: "id-" + name})
					var op bank.Operation
					if _, err := codec.Decode(b, &op); err != nil || string(op.Account) != name || op.ID != "id-"+name {
						t.Errorf("%s: %+v, %v", f, op, err)
					}
					r := bank.Reply{Kind: bank.KindDeposit, ID: op.ID, HasBalance: true, Balance: 1250}
					if a, _, err := client.DecodeAnswer(codec.AppendReply(nil, &r)); err != nil || a.ID != op.ID || a.Msg != "12.5" {
						t.Errorf("%s: %+v, %v", f, a, err)
					}
				}
			})
		}
		all.Wait()
	}
}

func TestRequests(t *testing.T) {
	full := wire.Request{Op: "transfer", Account: "ana", To: "bia", Amount: "12.50", ID: `a"1`, Memo: "olá\n"}
	for want, row := range map[string]struct {
		format  wire.Format
		request wire.Request
	}{
		`{"op":"transfer","account":"ana","to":"bia","amount":"12.50","id":"a\"1","memo":"olá\u000a"}` + "\n": {wire.JSON, full},
		`{"op":"status","id":"x"}` + "\n": {wire.JSON, wire.Request{Op: "status", ID: "x"}},
		"\x86\xa2op\xa8transfer\xa7account\xa3ana\xa2to\xa3bia\xa6amount\xa512.50\xa2id\xa3a\"1\xa4memo\xa5olá\n": {wire.Msgpack, full},
		"\x82\xa2op\xa4open\xa7account\xa11": {wire.Msgpack, wire.Request{Op: "open", Account: "1"}},
	} {
		if got := string(wire.NewClient(row.format).AppendRequest(nil, &row.request)); got != want {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	client := wire.NewClient(wire.JSON)
	for reply, want := range map[string]wire.Answer{
		`{"status":true,"msg":20,"code":"ok","balance":"20.00","seq":7,"time":"2026-01-02T12:00:00.000006Z","duplicate":true}`: {
			Status: true, Msg: "20", Balance: "20.00", Seq: 7, Time: noon, Duplicate: true,
		},
		`{"status":false,"msg":"overflow: less","code":"overflow","id":"x"}`:        {Msg: "overflow: less", Code: bank.Overflow, ID: "x"},
		`{"status":true,"msg":null,"code":"ok","new":"field","other":{"a":[null]}}`: {Status: true},
		`{"code":"ok","msg":null,"time":"2026-01-02T14:00:00.000006+02:00","status":true}`: {
			Status: true, Time: noon,
		},
	} {
		if a, n, err := client.DecodeAnswer([]byte(reply + "\n")); err != nil || n != len(reply) || a != want {
			t.Errorf("%s: %+v, %d, %v", reply, a, n, err)
		}
	}
	for _, reply := range []string{
		`[]`, `{}`, `{"status":true,"msg":null}`, `{"status":true,"msg":null,"code":"fine"}`, `{"status":false,"msg":null,"code":"ok"}`,
		`{"status":true,"msg":null,"code":"overflow"}`, `{"status":"true","msg":null,"code":"ok"}`, `{"status":true,"code":"ok"}`,
		`{"status":true,"msg":"text","code":"ok"}`, `{"status":false,"msg":7,"code":"overflow"}`, `{"status":true,"msg":true,"code":"ok"}`,
		`{"status":true,"msg":null,"code":"ok","seq":"7"}`, `{"status":true,"msg":null,"code":"ok","seq":-7}`, `{"status":true,"msg":null,"code":"ok","seq":1.5}`,
		`{"status":true,"msg":null,"code":"ok","time":7}`, `{"status":true,"msg":null,"code":"ok","time":"noon"}`,
		`{"status":true,"status":true,"msg":null,"code":"ok"}`, `nothing`,
	} {
		if a, n, err := client.DecodeAnswer([]byte(reply)); err != wire.ErrAnswer || n != 0 || a != (wire.Answer{}) {
			t.Errorf("%s: %+v, %d, %v", reply, a, n, err)
		}
	}
	if _, _, err := client.DecodeAnswer([]byte(`{"status":true`)); err != wire.ErrIncomplete {
		t.Error(err)
	}
}

// Times of four-digit years are written as time.Time writes them.
func TestTimes(t *testing.T) {
	for _, at := range []time.Time{
		noon, time.Unix(0, 0), time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Date(2024, 2, 29, 23, 30, 0, 120000000, time.FixedZone("", -3600)),
	} {
		r := bank.Reply{Kind: bank.KindTransfer, Seq: 1, Time: at}
		want := `"time":"` + at.UTC().Format("2006-01-02T15:04:05.000000Z") + `"`
		if b := wire.NewCodec(wire.JSON, 2).AppendReply(nil, &r); !strings.Contains(string(b), want) {
			t.Errorf("%s, want %s", b, want)
		}
	}
}

func TestThereAreThreeFormats(t *testing.T) {
	for name, f := range map[string]func(){
		"codec":  func() { wire.NewCodec(0, 2) },
		"ack":    func() { wire.Format(9).Ack() },
		"client": func() { wire.NewClient(wire.Pickle) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
