package wire_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"

	"github.com/vmihailenco/msgpack/v5"
)

// The answer to an id and a receipt as long as may be fit where old clients receive them, and are read.
func TestAReplyWithAReceiptFits(t *testing.T) {
	largest := 0
	for _, code := range []bank.Code{bank.OK, bank.AccountNotFound, bank.InsufficientFunds, bank.Overflow} {
		for decimals := range bank.MaxDecimals + 1 {
			r := bank.Reply{
				Code: code, Kind: bank.KindDeposit, ID: strings.Repeat(`\`, 64), Seq: math.MaxUint64, HasBalance: true,
				Time: time.UnixMicro(253402300799999999), Amount: bank.MaxAmount, Balance: bank.MaxAmount - 1,
				Duplicate: true, Receipt: strings.Repeat("r", wire.MaxReceipt),
			}
			for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
				b := wire.NewCodec(f, decimals).AppendReply(nil, &r)
				if largest = max(largest, len(b)); len(b) > wire.MaxReply {
					t.Errorf("%s, %v, %d decimals: %d bytes", f, code, decimals, len(b))
				}
				a, _, err := wire.NewClient(f).DecodeAnswer(b)
				if err != nil || a.Receipt != r.Receipt || a.ID != r.ID || a.Code != code {
					t.Errorf("%s, %v: %+v, %v", f, code, a, err)
				}
			}
		}
	}
	t.Logf("the largest has %d bytes", largest)
}

// A receipt is asked for with a status and true; false is as if nothing was said, and anything else is malformed.
func TestAskingForAReceipt(t *testing.T) {
	ask := func(op, value string) string {
		return fmt.Sprintf(`{"op":%q,"account":"1","to":"2","amount":1,"id":"i","receipt":%s}`, op, value)
	}
	for value, want := range map[string]string{
		"true": "yes", "false": "no", "null": "malformed", "1": "malformed", `"true"`: "malformed", "{}": "malformed",
		"[true]": "malformed",
	} {
		message := fmt.Sprintf(`{"op":"status","id":"i","receipt":%s}`, value)
		if got := asked(t, message); got != want {
			t.Errorf("%s: %s", message, got)
		}
		for _, op := range []string{"balance", "deposit", "withdraw", "transfer", "open"} {
			if got := asked(t, ask(op, value)); got != "malformed" {
				t.Errorf("%s: %s", ask(op, value), got)
			}
		}
	}
	for _, message := range []string{
		`{"op":"status","id":"i","receipt":true,"receipt":true}`, `{"op":"status","id":"i","Receipt":true}`,
		`{"classe":"Saldo","objeto":{"id_pessoa":"1"},"receipt":true}`,
	} {
		if got := asked(t, message); got != "malformed" {
			t.Errorf("%s: %s", message, got)
		}
	}
	if got := asked(t, `{"classe":"Saldo","objeto":{"id_pessoa":"1","receipt":true}}`); got != "no" {
		t.Errorf("as an attribute of the legacy object's own: %s", got)
	}
}

// asked reads a message in JSON and as the same in msgpack, and says whether a receipt is asked for, or the code.
func asked(t *testing.T, message string) string {
	t.Helper()
	var told string
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		b := []byte(message)
		if f == wire.Msgpack {
			var fields map[string]any
			var err error
			if strings.Count(message, `"receipt"`) > 1 || json.Unmarshal(b, &fields) != nil {
				return told
			}
			if b, err = msgpack.Marshal(fields); err != nil {
				t.Fatal(err)
			}
		}
		var op bank.Operation
		got := "no"
		if _, err := wire.NewCodec(f, 2).Decode(b, &op); err != nil {
			got = err.(*wire.Fault).Code.String()
		} else if op.Receipt {
			got = "yes"
		}
		if told != "" && got != told {
			t.Errorf("%s: %s in JSON, %s in %s", message, told, got, f)
		}
		told = got
	}
	return told
}

// What a client writes is what the bank reads.
func TestAClientAsksForAReceipt(t *testing.T) {
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		b := wire.NewClient(f).AppendRequest(nil, &wire.Request{Op: "status", ID: "i", Receipt: true})
		var op bank.Operation
		if _, err := wire.NewCodec(f, 2).Decode(b, &op); err != nil || !op.Receipt || op.ID != "i" {
			t.Errorf("%s: %q: %+v, %v", f, b, op, err)
		}
	}
}
