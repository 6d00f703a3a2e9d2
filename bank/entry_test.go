package bank_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gateway/bank"
)

// transferEntry is the entry whose bytes are fixed below.
func transferEntry() bank.Entry {
	return bank.Entry{
		Seq: 300, Time: time.UnixMicro(1767323045678901).UTC(), Kind: bank.KindTransfer, Code: bank.OK,
		Principal: "anonymous", ID: "t1", Account: "ana", To: "bia", Amount: 7000, Memo: "rent",
		Balance: 3000, HasBalance: true,
		Origin:   bank.Origin{Door: bank.DoorMQTT, Peer: netip.MustParseAddrPort("127.0.0.1:4660")},
		Postings: []bank.Posting{{Account: "ana", Amount: -7000}, {Account: "bia", Amount: 7000}},
	}
}

func TestCanonicalBytesOfFormat1AreFixed(t *testing.T) {
	e := transferEntry()
	want := "01" + "ac02" + "eabcbae5ded7a306" + "04" + "00" + "01" + "02" + "067f0000013412" + "00" +
		"09616e6f6e796d6f7573" + "027431" + "03616e61" + "03626961" + "d836" + "f02e" + "0472656e74" +
		"02" + "01af6d" + "02b06d"
	if got := hex.EncodeToString(e.AppendCanonical(nil)); got != want {
		t.Errorf("the bytes are\n%s, want\n%s", got, want)
	}
}

func TestATransferReadsBack(t *testing.T) {
	e := transferEntry()
	var back bank.Entry
	if err := bank.ParseEntry(e.AppendCanonical(nil), &back); err != nil || !reflect.DeepEqual(e, back) {
		t.Errorf("%v\nwrote %+v\nread  %+v", err, e, back)
	}
}

func TestAnEntryReadsBackFromItsCanonicalBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		b := e.AppendCanonical(nil)
		var back bank.Entry
		if err := bank.ParseEntry(b, &back); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if len(e.Postings) == 0 {
			e.Postings, back.Postings = nil, nil
		}
		if !reflect.DeepEqual(e, back) {
			t.Fatalf("wrote %+v\nread  %+v", e, back)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if err := bank.ParseEntry(b[:cut], &back); !errors.Is(err, bank.ErrEntry) {
			t.Fatalf("cut at %d of %d: %v", cut, len(b), err)
		}
		if err := bank.ParseEntry(append(b, 0), &back); !errors.Is(err, bank.ErrEntry) {
			t.Fatalf("with a byte more: %v", err)
		}
	})
}

func drawEntry(t *rapid.T) bank.Entry {
	account := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._:@-]{0,9}`)
	amount := rapid.Int64Range(0, int64(bank.MaxAmount))
	e := bank.Entry{
		Seq:  rapid.Uint64().Draw(t, "seq"),
		Time: time.UnixMicro(rapid.Int64Range(-1<<50, 1<<52).Draw(t, "time")).UTC(),
		Kind: bank.Kind(rapid.IntRange(1, 7).Draw(t, "kind")), Code: bank.Code(rapid.IntRange(0, 15).Draw(t, "code")),
		Principal: rapid.StringN(0, 20, 64).Draw(t, "principal"), ID: rapid.StringN(0, 20, 64).Draw(t, "id"),
		Account: bank.Account(account.Draw(t, "account")), To: bank.Account(account.Draw(t, "to")),
		Amount: bank.Amount(amount.Draw(t, "amount")), Memo: rapid.StringN(0, 30, 140).Draw(t, "memo"),
		HasBalance: rapid.Bool().Draw(t, "has balance"),
		Origin:     bank.Origin{Door: bank.Door(rapid.IntRange(0, 2).Draw(t, "door")), Delivery: rapid.StringN(0, 30, 1024).Draw(t, "delivery")},
	}
	if e.HasBalance {
		e.Balance = bank.Amount(rapid.Int64().Draw(t, "balance"))
	}
	e.Origin.Peer = rapid.SampledFrom([]netip.AddrPort{
		{}, netip.MustParseAddrPort("10.1.2.3:65535"), netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[fe80::1%eth0]:7"),
	}).Draw(t, "peer")
	for range rapid.IntRange(0, 4).Draw(t, "postings") {
		p := bank.Posting{Account: bank.Account(account.Draw(t, "posting")), Amount: bank.Amount(rapid.Int64().Draw(t, "posted"))}
		if rapid.Bool().Draw(t, "known place") {
			p.Account = rapid.SampledFrom([]bank.Account{e.Account, e.To, bank.CashAccount, bank.YieldAccount}).Draw(t, "place")
		}
		e.Postings = append(e.Postings, p)
	}
	return e
}

func TestAnEntryThatCannotBeIsRefused(t *testing.T) {
	whole := transferEntry()
	for name, change := range map[string]func(b []byte){
		"another format":           func(b []byte) { b[0] = 2 },
		"no kind":                  func(b []byte) { b[11] = 0 },
		"an unknown kind":          func(b []byte) { b[11] = 8 },
		"an unknown code":          func(b []byte) { b[12] = 16 },
		"an unknown flag":          func(b []byte) { b[13] = 3 },
		"a balance that is hidden": func(b []byte) { b[13] = 0 },
		"an unknown door":          func(b []byte) { b[14] = 3 },
	} {
		b := whole.AppendCanonical(nil)
		change(b)
		var e bank.Entry
		if err := bank.ParseEntry(b, &e); !errors.Is(err, bank.ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnEntryIsReadUpToItsLimits fills every field to its limit, and then makes one after another a byte longer.
func TestAnEntryIsReadUpToItsLimits(t *testing.T) {
	full := func() bank.Entry {
		account := bank.Account(strings.Repeat("a", 64))
		return bank.Entry{
			Seq: 1, Time: time.UnixMicro(1).UTC(), Kind: bank.KindDeposit, Principal: strings.Repeat("p", 64), ID: strings.Repeat("i", 64),
			Account: account, To: account[1:] + "b", Memo: strings.Repeat("m", 140),
			Origin: bank.Origin{Delivery: strings.Repeat("d", 1024), Peer: netip.MustParseAddrPort("[fe80::1%" + strings.Repeat("z", 46) + "]:1")},
			Postings: []bank.Posting{
				{Account: account[1:] + "c", Amount: 1}, {Account: account, Amount: 2}, {Account: bank.YieldAccount, Amount: -3},
			},
		}
	}
	var back bank.Entry
	e := full()
	if err := bank.ParseEntry(e.AppendCanonical(nil), &back); err != nil || !reflect.DeepEqual(e, back) {
		t.Errorf("%v\nwrote %+v\nread  %+v", err, e, back)
	}
	for name, change := range map[string]func(e *bank.Entry){
		"delivery":  func(e *bank.Entry) { e.Origin.Delivery += "d" },
		"principal": func(e *bank.Entry) { e.Principal += "p" },
		"id":        func(e *bank.Entry) { e.ID += "i" },
		"account":   func(e *bank.Entry) { e.Account += "a" },
		"to":        func(e *bank.Entry) { e.To += "a" },
		"memo":      func(e *bank.Entry) { e.Memo += "m" },
		"posting":   func(e *bank.Entry) { e.Postings[0].Account += "c" },
	} {
		e := full()
		change(&e)
		if err := bank.ParseEntry(e.AppendCanonical(nil), &back); !errors.Is(err, bank.ErrEntry) {
			t.Errorf("a %s of a byte more: %v", name, err)
		}
	}
	e.Origin.Peer = netip.MustParseAddrPort("[fe80::1%" + strings.Repeat("z", 47) + "]:1")
	if err := bank.ParseEntry(e.AppendCanonical(nil), &back); err != nil || back.Origin.Peer.IsValid() {
		t.Errorf("a zone of a byte more: %v, %v", back.Origin.Peer, err)
	}
}

// TestAnEntryHasOneForm writes an entry's fields in other ways that say the same.
func TestAnEntryHasOneForm(t *testing.T) {
	e := bank.Entry{Seq: 5, Time: time.UnixMicro(0), Kind: bank.KindDeposit, Account: "ana", Postings: []bank.Posting{{Account: "ana", Amount: 1}}}
	whole := hex.EncodeToString(e.AppendCanonical(nil))
	const written = "01" + "05" + "00" + "02" + "00" + "00" + "00" + "00" + "00" + "00" + "00" + "03616e61" + "00" + "00" + "00" + "00" + "01" + "0102"
	if whole != written {
		t.Fatalf("the entry is\n%s, want\n%s", whole, written)
	}
	for name, text := range map[string]string{
		"a seq in two bytes":            "01" + "8500" + written[4:],
		"a flag that is not known":      "01" + "05" + "00" + "02" + "00" + "02" + written[12:],
		"a peer without an address":     written[:14] + "021234" + written[16:],
		"a peer of a byte more":         written[:14] + "41" + "fe800000000000000000000000000001" + strings.Repeat("7a", 47) + "0100" + written[16:],
		"a peer that is none":           written[:14] + "03123456" + written[16:],
		"an account that has a place":   written[:len(written)-4] + "00" + "03616e61" + "02",
		"a place of nothing":            written[:len(written)-4] + "02" + "02",
		"a place that is not known":     written[:len(written)-4] + "05" + "02",
		"more postings than it has":     written[:len(written)-6] + "02" + "0102",
		"more postings than bytes":      written[:len(written)-6] + "7f" + "0102",
		"a posting without its account": written[:len(written)-4] + "00" + "00" + "02",
		"a posting to what is none":     written[:len(written)-4] + "00" + "02" + "6180" + "02",
		"a posting to another house":    written[:len(written)-4] + "00" + "02" + "4061" + "02",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var back bank.Entry
		if err := bank.ParseEntry(b, &back); !errors.Is(err, bank.ErrEntry) {
			t.Errorf("%s: %v, read %+v", name, err, back)
		}
	}
}

// FuzzParseEntry promises that whatever is read writes itself back byte for byte: an entry has one form.
func FuzzParseEntry(f *testing.F) {
	e := transferEntry()
	f.Add(e.AppendCanonical(nil))
	e.Postings = append(e.Postings, bank.Posting{Account: "carla", Amount: 1}, bank.Posting{Account: bank.YieldAccount, Amount: -1})
	e.Origin.Delivery = strings.Repeat("d", 1024)
	f.Add(e.AppendCanonical(nil))
	f.Add([]byte{1, 0x80, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e bank.Entry
		if err := bank.ParseEntry(b, &e); err != nil {
			return
		}
		if again := e.AppendCanonical(nil); !bytes.Equal(again, b) {
			t.Fatalf("read %x\nwrote %x", b, again)
		}
	})
}
