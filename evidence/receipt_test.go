package evidence_test

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/evidence"
	"gateway/wire"
)

func TestTheBytesOfAReceipt(t *testing.T) {
	j := deposits(7)
	receipt, head := proved(t, j, 3)
	golden(t, "receipt.txt", receipt+"\n")
	golden(t, "receipt_head.txt", head)
	r, err := evidence.CheckReceipt(receipt, goldenKey(t).Public())
	if err != nil || r.Entry.Reply() != j.entries[2].Reply() || r.Hash != j.hashes[2] {
		t.Errorf("it proves %+v, %v", r, err)
	}
	if opened, err := evidence.OpenHead([]byte(head), goldenKey(t).Public()); err != nil || opened != r.Head {
		t.Errorf("under head %+v, which is %+v, %v", r.Head, opened, err)
	}
}

// In every range there is a receipt of every entry, and no bit of it can be another.
func TestEveryFlippedBitOfAReceiptIsRefused(t *testing.T) {
	key := goldenKey(t).Public()
	for n := 1; n <= 9; n++ {
		for seq := 1; seq <= n; seq++ {
			receipt, _ := proved(t, deposits(n), uint64(seq))
			r, err := evidence.CheckReceipt(receipt, key)
			if err != nil || r.Entry.Seq != uint64(seq) || r.Head.Seq != uint64(n) {
				t.Fatalf("entry %d of %d: %+v, %v", seq, n, r, err)
			}
			if n != 7 || seq%3 != 1 {
				continue
			}
			b, _ := base64.RawURLEncoding.DecodeString(receipt)
			for i := range 8 * len(b) {
				b[i/8] ^= 1 << (i % 8)
				if r, err := evidence.CheckReceipt(base64.RawURLEncoding.EncodeToString(b), key); err == nil {
					t.Fatalf("entry %d of %d: with bit %d changed it proves %+v", seq, n, i, r)
				}
				b[i/8] ^= 1 << (i % 8)
			}
		}
	}
}

// Every character of the text counts, also those whose last bits stand for nothing, and nothing may be added.
func TestAReceiptIsOneText(t *testing.T) {
	key := goldenKey(t).Public()
	for n := 5; n < 8; n++ { // so that the lengths differ
		receipt, _ := proved(t, deposits(n), 1)
		for i := range receipt {
			for _, c := range "AQ_ =" {
				altered := receipt[:i] + string(c) + receipt[i+1:]
				if _, err := evidence.CheckReceipt(altered, key); err == nil && altered != receipt {
					t.Fatalf("with %q at %d it is still good", c, i)
				}
			}
			if _, err := evidence.CheckReceipt(receipt[:i], key); !errors.Is(err, evidence.ErrReceipt) {
				t.Fatalf("the first %d bytes: %v", i, err)
			}
		}
		for _, text := range []string{receipt + "A", receipt + "=", receipt + "\n", " " + receipt, strings.Repeat("A", 1<<20)} {
			if _, err := evidence.CheckReceipt(text, key); !errors.Is(err, evidence.ErrReceipt) {
				t.Errorf("%.20q…: %v", text, err)
			}
		}
	}
}

func TestAReceiptUnderAForeignKey(t *testing.T) {
	receipt, _ := proved(t, deposits(3), 2)
	for _, name := range []string{"gateway-test", "another"} {
		if _, err := evidence.CheckReceipt(receipt, anotherKey(t, name).Public()); !errors.Is(err, evidence.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The largest entry that a client can make by a socket, under the longest path, fits into a reply.
func TestTheLargestReceiptFits(t *testing.T) {
	for _, code := range []bank.Code{bank.OK, bank.InsufficientFunds} {
		j := new(tape)
		for range evidence.MaxRange {
			j.add(largest(0, code))
		}
		receipt, _ := proved(t, j, 1)
		slack := wire.MaxReceipt - len(receipt)
		// A tape begins with entry 1. The largest seq takes nine bytes more, and the last place in the range two.
		if slack -= base64.RawURLEncoding.EncodedLen(9 + 2); slack < 0 {
			t.Errorf("%v: the receipt has %d bytes", code, len(receipt))
		}
		t.Logf("%v: %d bytes of %d", code, len(receipt), wire.MaxReceipt)
	}
}

// And of one by MQTT, with all that its client may want back, into two.
func TestTheLargestReceiptByMQTTFitsIntoTwoReplies(t *testing.T) {
	const topic, correlation, rest = 256, 512, 40
	j := new(tape)
	for range evidence.MaxRange {
		e := largest(0, bank.OK)
		e.Origin.Door, e.Origin.Delivery = bank.DoorMQTT, strings.Repeat("d", topic+correlation+rest)
		j.add(e)
	}
	receipt, _ := proved(t, j, 1)
	if beside := wire.MaxReply - wire.MaxReceipt; len(receipt)+base64.RawURLEncoding.EncodedLen(9+2)+beside > 2*wire.MaxReply {
		t.Errorf("the receipt has %d bytes", len(receipt))
	}
}

// FuzzReceipt: no text brings it down, what has the form of a receipt has exactly one, and none is good but ours.
func FuzzReceipt(f *testing.F) {
	receipt, _ := proved(f, deposits(7), 3)
	f.Add(receipt)
	other, _ := proved(f, deposits(1), 1)
	f.Add(other)
	f.Add("AQ")
	key := goldenKey(f).Public()
	f.Fuzz(func(t *testing.T, text string) {
		if again, ok := evidence.RenewReceipt(text); ok {
			if third, ok := evidence.RenewReceipt(again); !ok || third != again {
				t.Errorf("%q is written as %q and then as %q", text, again, third)
			}
		}
		if _, err := evidence.CheckReceipt(text, key); err == nil && text != receipt && text != other {
			t.Errorf("a forged receipt: %q", text)
		}
	})
}

// What PROTOCOL.md shows is what the package says.
func TestProtocolShowsAHeadAndAReceipt(t *testing.T) {
	page, err := os.ReadFile("../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		_, rest, _ := strings.Cut(string(page), "\n```"+language+"\n")
		text, _, found := strings.Cut(rest, "```\n")
		if !found {
			t.Fatalf("PROTOCOL.md has no block %s", language)
		}
		return text
	}
	key, err := evidence.ParsePublicKey(block("head-key"))
	if err != nil {
		t.Fatal(err)
	}
	head, err := evidence.OpenHead([]byte(block("head")), key)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(block("receipt")), "")
	r, err := evidence.CheckReceipt(text, key)
	if err != nil || r.Head != head {
		t.Fatalf("the receipt is under %+v, %v", r.Head, err)
	}
	var line strings.Builder
	if err := wire.NewEntryEncoder(&line).Encode(&r.Entry, r.Hash); err != nil {
		t.Fatal(err)
	}
	if shown := block("receipt-entry"); shown != line.String() {
		t.Errorf("it proves\n%s and PROTOCOL.md shows\n%s", &line, shown)
	}
}

// Random edits of random bytes, thousands of them, prove nothing.
func TestRandomEditsOfAReceipt(t *testing.T) {
	key := goldenKey(t).Public()
	receipt, _ := proved(t, deposits(100), 37)
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	b, _ := base64.RawURLEncoding.DecodeString(receipt)
	for range 2000 {
		edited := append([]byte(nil), b...)
		for range 1 + random.IntN(4) {
			edited[random.IntN(len(edited))] = byte(random.Uint32())
		}
		text := base64.RawURLEncoding.EncodeToString(edited)
		if r, err := evidence.CheckReceipt(text, key); err == nil && text != receipt {
			t.Fatalf("%q proves %+v", text, r)
		}
	}
}
