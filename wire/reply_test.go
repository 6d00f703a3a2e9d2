package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gateway/bank"
	"gateway/wire"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 6000, time.UTC)

// done returns the reply to something done, and refused one to a refusal that left no entry.
func done(kind bank.Kind, balance bank.Amount) bank.Reply {
	return bank.Reply{Kind: kind, Seq: 7, Time: noon, Balance: balance, HasBalance: true, Amount: 1250}
}

func refused(code bank.Code, detail string) bank.Reply {
	return bank.Reply{Code: code, Kind: bank.KindDeposit, Amount: 1250, Detail: detail}
}

func TestJSONReplies(t *testing.T) {
	const tail = `,"seq":7,"time":"2026-01-02T12:00:00.000006Z"`
	repeated := done(bank.KindWithdraw, 0)
	repeated.Duplicate, repeated.ID = true, "x"
	entry := refused(bank.AccountNotFound, "")
	entry.Seq, entry.Time, entry.ID = 9, noon, `a"\b`
	unopened := bank.Reply{Kind: bank.KindBalance, HasBalance: true}
	foreign := refused(bank.Overloaded, "")
	foreign.ID = "not\nan id"
	for i, row := range []struct {
		reply    bank.Reply
		decimals int
		want     string
	}{
		{done(bank.KindDeposit, 2000), 2, `{"status":true,"msg":20,"code":"ok","balance":"20.00"` + tail + `}`},
		{done(bank.KindBalance, 1250), 2, `{"status":true,"msg":12.5,"code":"ok","balance":"12.50"` + tail + `}`},
		{done(bank.KindBalance, 1), 9, `{"status":true,"msg":0.000000001,"code":"ok","balance":"0.000000001"` + tail + `}`},
		{done(bank.KindBalance, 1200), 0, `{"status":true,"msg":1200,"code":"ok","balance":"1200"` + tail + `}`},
		{done(bank.KindBalance, bank.MaxAmount), 2, `{"status":true,"msg":90071992547409.91,"code":"ok","balance":"90071992547409.91"` + tail + `}`},
		{done(bank.KindBalance, -1250), 2, `{"status":true,"msg":-12.5,"code":"ok","balance":"-12.50"` + tail + `}`},
		{done(bank.KindWithdraw, 2000), 2, `{"status":true,"msg":null,"code":"ok","balance":"20.00"` + tail + `}`},
		{done(bank.KindTransfer, 2000), 2, `{"status":true,"msg":null,"code":"ok","balance":"20.00"` + tail + `}`},
		{done(bank.KindOpen, 0), 2, `{"status":true,"msg":null,"code":"ok","balance":"0.00"` + tail + `}`},
		{repeated, 2, `{"status":true,"msg":null,"code":"ok","id":"x","balance":"0.00"` + tail + `,"duplicate":true}`},
		{unopened, 2, `{"status":true,"msg":0,"code":"ok","balance":"0.00","seq":0}`},
		{entry, 2, `{"status":false,"msg":"account_not_found: open the account first","code":"account_not_found","id":"a\"\\b","seq":9,"time":"2026-01-02T12:00:00.000006Z"}`},
		{refused(bank.Malformed, "say \"x\"\n"), 2, `{"status":false,"msg":"malformed: say \"x\"\u000a","code":"malformed"}`},
		{foreign, 2, `{"status":false,"msg":"overloaded: nothing was done; repeat it later","code":"overloaded"}`},
	} {
		got := string(wire.NewCodec(wire.JSON, row.decimals).AppendReply([]byte("before"), &row.reply))
		if got != "before"+row.want+"\n" {
			t.Errorf("%d\n got %s\nwant %s", i, got, row.want)
		}
	}
}

// Every refusal's text begins with its code and goes on, in every format; but for lack of funds it is the legacy bank's.
func TestRefusalTexts(t *testing.T) {
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		codec, client := wire.NewCodec(f, 2), wire.NewClient(f)
		for _, code := range bank.Codes() {
			for _, detail := range []string{"", "read the manual"} {
				r := refused(code, detail)
				r.Balance, r.HasBalance = 500, code == bank.InsufficientFunds
				a, _, err := client.DecodeAnswer(codec.AppendReply(nil, &r))
				if err != nil {
					t.Fatal(err)
				}
				begins, says := code.String()+": ", detail
				switch code {
				case bank.OK:
					begins, says = "", ""
				case bank.InsufficientFunds:
					begins, says = "tem na conta 5. faltam 7.5 para sacar 12.5", ""
				}
				short := begins != "" && code != bank.InsufficientFunds && len(a.Msg) < len(begins)+10
				if !strings.HasPrefix(a.Msg, begins) || !strings.HasSuffix(a.Msg, says) || short {
					t.Errorf("%s: %v says %q", f, code, a.Msg)
				}
			}
		}
	}
}

// drawReply draws any reply at all, far beyond what a bank gives.
func drawReply(t *rapid.T) bank.Reply {
	return bank.Reply{
		Code: bank.Code(rapid.IntRange(0, len(bank.Codes())-1).Draw(t, "code")), Kind: bank.Kind(rapid.IntRange(0, 8).Draw(t, "kind")),
		ID: rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{1,64}`)).Draw(t, "id"), Seq: rapid.Uint64().Draw(t, "seq"),
		Time:   time.UnixMicro(rapid.Int64Range(0, 253402300799999999).Draw(t, "time")),
		Amount: bank.Amount(rapid.Int64().Draw(t, "amount")), Balance: bank.Amount(rapid.Int64().Draw(t, "balance")),
		HasBalance: rapid.Bool().Draw(t, "has balance"), Duplicate: rapid.Bool().Draw(t, "duplicate"),
		Detail: rapid.OneOf(
			rapid.String(), rapid.StringN(0, 4000, -1), rapid.Just(strings.Repeat("\x01", 3000)),
			rapid.Just(strings.Repeat("\xff", 3000)), rapid.Just("x"+strings.Repeat("é", 3000)),
		).Draw(t, "detail"),
	}
}

// Whatever a reply holds, it fits where old clients receive it, is whole, and says what it holds.
func TestRepliesFitAndAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawReply(t)
		decimals := rapid.IntRange(0, bank.MaxDecimals).Draw(t, "decimals")
		for _, f := range formats() {
			b := wire.NewCodec(f, decimals).AppendReply(nil, &r)
			if len(b) > wire.MaxReply {
				t.Fatalf("%s: %d bytes", f, len(b))
			}
			if f == wire.Pickle {
				continue
			}
			a, n, err := wire.NewClient(f).DecodeAnswer(b)
			if err != nil || n != len(bytes.TrimSuffix(b, []byte("\n"))) {
				t.Fatalf("%s: %d of %d bytes, %v: %q", f, n, len(b), err, b)
			}
			want := wire.Answer{Status: r.Code == bank.OK, Msg: a.Msg, Code: r.Code, Duplicate: r.Duplicate}
			if bank.ValidID(r.ID) {
				want.ID = r.ID
			}
			if r.HasBalance {
				want.Balance = r.Balance.Format(decimals)
			}
			if r.Code == bank.OK || r.Seq > 0 {
				want.Seq, want.Time = r.Seq, r.Time.UTC()
			}
			if a != want {
				t.Fatalf("%s: got %+v\nwant %+v", f, a, want)
			}
			number := r.Code == bank.OK && r.HasBalance && (r.Kind == bank.KindBalance || r.Kind == bank.KindDeposit)
			if !number && r.Code == bank.OK && a.Msg != "" || number && !near(a.Msg, want.Balance) {
				t.Fatalf("%s: msg %q, balance %q", f, a.Msg, want.Balance)
			}
		}
	})
}

// near reports whether two numbers are the same to a reader of floats.
func near(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// JSON replies are JSON to encoding/json too.
func TestRepliesAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawReply(t)
		b := wire.NewCodec(wire.JSON, 2).AppendReply(nil, &r)
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil || m["status"] != (r.Code == bank.OK) || m["code"] != r.Code.String() {
			t.Fatalf("%q: %v", b, err)
		}
	})
}

// runPython gives a script its input on stdin and returns the lines it prints.
func runPython(t *testing.T, script string, input []byte) []string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is missing")
		}
		t.Skip("python3 is missing: what Python prints and reads is not checked")
	}
	cmd := exec.Command(python, "-c", script)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// The numbers in the text of a refusal for lack of funds are those that Python prints: an int when whole, else the repr
// of the nearest float.
func TestNumbersAsPythonPrintsThem(t *testing.T) {
	type sample struct {
		amount   bank.Amount
		decimals int
	}
	var samples []sample
	var input strings.Builder
	for decimals := range bank.MaxDecimals + 1 {
		for _, a := range []bank.Amount{
			0, 1, 5, 9, 10, 99, 100, 101, 1250, 2000, 9999, 99999, 100001, 123456, 123456789, 1e9, 1e9 + 1, 1e15, 1e15 + 1, 1e17 + 1,
			12345678901234567, 99999999999999999, 1<<63 - 1, bank.MaxAmount, bank.MaxAmount - 1, 9007199254740881,
		} {
			for _, a := range []bank.Amount{a, -a} {
				samples = append(samples, sample{a, decimals})
				fmt.Fprintf(&input, "%d %d\n", a, decimals)
			}
		}
	}
	printed := runPython(t, `
import sys
from fractions import Fraction
for line in sys.stdin:
    amount, decimals = map(int, line.split())
    f = Fraction(amount, 10 ** decimals)
    print(f.numerator if f.denominator == 1 else float(f))`, []byte(input.String()))
	if len(printed) != len(samples) {
		t.Fatalf("%d lines for %d samples", len(printed), len(samples))
	}
	for i, s := range samples {
		r := bank.Reply{Code: bank.InsufficientFunds, Kind: bank.KindWithdraw, Balance: s.amount}
		b := wire.NewCodec(wire.JSON, s.decimals).AppendReply(nil, &r)
		if want := `"tem na conta ` + printed[i] + `. faltam `; !bytes.Contains(b, []byte(want)) {
			t.Errorf("%d of %d decimals: Python prints %s, we %s", s.amount, s.decimals, printed[i], b)
		}
	}
}

// Python reads from the pickled replies what they say, and finds nothing but status and msg in them.
func TestPythonReadsReplies(t *testing.T) {
	funds := refused(bank.InsufficientFunds, "")
	funds.Kind, funds.Amount, funds.Balance, funds.HasBalance = bank.KindWithdraw, 7050, 1250, true
	huge := done(bank.KindBalance, 9007199254740900)
	var input bytes.Buffer
	var want []string
	for _, row := range []struct {
		reply bank.Reply
		want  string
	}{
		{done(bank.KindDeposit, 2000), `{'status': True, 'msg': 20}`},
		{done(bank.KindBalance, 1250), `{'status': True, 'msg': 12.5}`},
		{done(bank.KindBalance, 1), `{'status': True, 'msg': 0.01}`},
		{done(bank.KindBalance, 0), `{'status': True, 'msg': 0}`},
		{huge, `{'status': True, 'msg': 90071992547409}`},
		{done(bank.KindBalance, bank.MaxAmount), `{'status': True, 'msg': 90071992547409.9}`},
		{done(bank.KindWithdraw, 2000), `{'status': True, 'msg': None}`},
		{done(bank.KindTransfer, 2000), `{'status': True, 'msg': None}`},
		{funds, `{'status': False, 'msg': 'tem na conta 12.5. faltam 58 para sacar 70.5'}`},
		{refused(bank.Malformed, "não"), `{'status': False, 'msg': 'malformed: não'}`},
	} {
		input.Write(wire.NewCodec(wire.Pickle, 2).AppendReply(nil, &row.reply))
		want = append(want, row.want)
	}
	input.Write(wire.Pickle.Ack())
	want = append(want, "True")
	read := runPython(t, `
import pickle, sys
sys.stdout.reconfigure(encoding='utf-8')
while sys.stdin.buffer.peek(1):
    print(pickle.load(sys.stdin.buffer))`, input.Bytes())
	if len(read) != len(want) {
		t.Fatalf("Python reads %d replies of %d", len(read), len(want))
	}
	for i := range want {
		if read[i] != want[i] {
			t.Errorf("Python reads %s, want %s", read[i], want[i])
		}
	}
}

// A msgpack number is an integer when it is whole and the nearest float when not.
func TestMsgpackNumbers(t *testing.T) {
	for balance, want := range map[bank.Amount]string{
		2000: "\x14", 0: "\x00", 20000: "\xcc\xc8", -100: "\xff", 9007199254740900: "\xcf\x00\x00\x51\xeb\x85\x1e\xb8\x51",
		1250: string(mpFloat(12.5)), 1: string(mpFloat(0.01)), bank.MaxAmount: string(mpFloat(90071992547409.91)), 10: string(mpFloat(0.1)),
	} {
		r := done(bank.KindBalance, balance)
		if b := wire.NewCodec(wire.Msgpack, 2).AppendReply(nil, &r); !bytes.Contains(b, []byte("\xa3msg"+want+"\xa4code")) {
			t.Errorf("%d: %q", balance, b)
		}
	}
	if math.Float64bits(90071992547409.91) != math.Float64bits(90071992547409.9) {
		t.Error("the greatest amount was taken for an exact float")
	}
}
