package wire_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// TestEntriesAreTheseBytes holds the lines of `gateway journal dump`, which scripts read, to the letter.
func TestEntriesAreTheseBytes(t *testing.T) {
	var hash [32]byte
	for i := range hash {
		hash[i] = byte(i)
	}
	const tail = `"hash":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}` + "\n"
	deposit := bank.Entry{
		Seq: 7, Time: noon, Kind: bank.KindDeposit, Principal: "ana", ID: `a"\b`, Account: "1", Amount: 2050, Memo: "<é>\n\u2028\xff&\u009b31m\u202e\x7f\U000e0001",
		Balance: 2050, HasBalance: true, Origin: bank.Origin{
			Door: bank.DoorMQTT, Peer: netip.MustParseAddrPort("[::1]:5"), Delivery: "not told",
		},
		Postings: []bank.Posting{{Account: bank.CashAccount, Amount: -2050}, {Account: "1", Amount: 2050}},
	}
	refusal := bank.Entry{
		Seq: 8, Time: noon.Truncate(time.Second), Kind: bank.KindWithdraw, Code: bank.InsufficientFunds, Principal: "ana", ID: "x",
		Origin: bank.Origin{Door: bank.DoorSocket},
	}
	var out bytes.Buffer
	encoder := wire.NewEntryEncoder(&out)
	for _, row := range []struct {
		entry bank.Entry
		want  string
	}{
		{refusal, `{"seq":8,"time":"2026-01-02T12:00:00Z","kind":"withdraw","principal":"ana","id":"x",` +
			`"code":"insufficient_funds","postings":[],"memo":"","door":"socket",` + tail},
		{deposit, `{"seq":7,"time":"2026-01-02T12:00:00.000006Z","kind":"deposit","principal":"ana","id":"a\"\\b","code":"ok",` +
			`"postings":[{"account":"@cash","amount":-2050},{"account":"1","amount":2050}],"memo":"<é>\n\u2028\ufffd&\u009b31m\u202e\u007f\udb40\udc01",` +
			`"door":"mqtt","peer":"[::1]:5",` + tail},
	} {
		out.Reset()
		if err := encoder.Encode(&row.entry, hash); err != nil || out.String() != row.want {
			t.Errorf("entry %d: %v\n%swant\n%s", row.entry.Seq, err, &out, row.want)
		}
		var back wire.Entry
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Memo != strings.ToValidUTF8(row.entry.Memo, "\ufffd") || back.Seq != row.entry.Seq || len(back.Postings) != len(row.entry.Postings) {
			t.Errorf("read back: %+v, %v", back, err)
		}
	}
}
