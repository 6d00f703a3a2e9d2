package evidence_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gateway/evidence"
)

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	want, err := os.ReadFile("testdata/" + name)
	if err != nil || text != string(want) {
		t.Errorf("%s has\n%s(%v), but it is\n%s", name, want, err, text)
	}
}

func someHead() evidence.Head {
	h := evidence.Head{Seq: 1001, First: 995, Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
	for i := range h.Hash {
		h.Hash[i], h.Root[i], h.Journal[i/2] = byte(i), byte(0xff-i), byte(i)
	}
	return h
}

func TestTheBytesOfAHead(t *testing.T) {
	h := someHead()
	signed, err := goldenKey(t).Sign(&h)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "head.txt", string(signed))
	if got, err := evidence.OpenHead(signed, goldenKey(t).Public()); err != nil || got != h {
		t.Errorf("read back as %+v, %v", got, err)
	}
}

// A head that was altered by one bit, cut, or made longer is no head, and neither is one that another has signed.
func TestAnAlteredHeadIsRefused(t *testing.T) {
	h := someHead()
	key := goldenKey(t)
	signed, err := key.Sign(&h)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(signed) {
		b := append([]byte(nil), signed...)
		b[i/8] ^= 1 << (i % 8)
		if got, err := evidence.OpenHead(b, key.Public()); err == nil {
			t.Errorf("with bit %d changed it is %+v", i, got)
		}
	}
	for i := range signed {
		if _, err := evidence.OpenHead(signed[:i], key.Public()); !errors.Is(err, evidence.ErrHead) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	for _, behind := range []string{"\n", " ", "x", string(signed)} {
		if _, err := evidence.OpenHead(append(signed[:len(signed):len(signed)], behind...), key.Public()); !errors.Is(err, evidence.ErrHead) {
			t.Errorf("with %q behind it: %v", behind, err)
		}
	}
	if _, err := evidence.OpenHead(signed, anotherKey(t, "gateway-test").Public()); !errors.Is(err, evidence.ErrKey) {
		t.Errorf("with another key of that name: %v", err)
	}
}

func anotherKey(tb testing.TB, name string) *evidence.Key {
	tb.Helper()
	secret, err := evidence.NewKey(name)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := evidence.ParseKey(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Heads that cannot be are refused even when the key has signed them.
func TestAHeadThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*evidence.Head){
		"first 0":        func(h *evidence.Head) { h.First = 0 },
		"first after it": func(h *evidence.Head) { h.First = h.Seq + 1 },
		"a long range":   func(h *evidence.Head) { h.Seq = h.First + evidence.MaxRange },
		"year 10000":     func(h *evidence.Head) { h.Time = h.Time.AddDate(8000, 0, 0) },
	} {
		h := someHead()
		change(&h)
		signed, err := goldenKey(t).Sign(&h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.OpenHead(signed, goldenKey(t).Public()); !errors.Is(err, evidence.ErrHead) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The longest name that a key may have leaves a head within its bound.
func TestTheLongestHead(t *testing.T) {
	h := someHead()
	h.First, h.Seq = 1<<64-10, 1<<64-1
	signed, err := anotherKey(t, strings.Repeat("n", 64)).Sign(&h)
	if err != nil || len(signed) > evidence.MaxHead {
		t.Errorf("%d bytes, %v", len(signed), err)
	}
	if _, err := evidence.NewKey(strings.Repeat("n", 65)); !errors.Is(err, evidence.ErrKey) {
		t.Errorf("a name of 65 bytes: %v", err)
	}
}

func TestKeys(t *testing.T) {
	key := goldenKey(t)
	if got := key.Public().String(); got != goldenPublic {
		t.Errorf("the public key is %s", got)
	}
	public, err := evidence.ParsePublicKey(" " + goldenPublic + "\n")
	if err != nil || public.String() != goldenPublic {
		t.Errorf("%v, %v", public, err)
	}
	other := ed25519.NewKeyFromSeed(make([]byte, 32))
	for _, text := range []string{
		"", "x", goldenPublic[:len(goldenPublic)-4], strings.Replace(goldenPublic, "test", "rest", 1), goldenSecret + "x",
		strings.Replace(goldenSecret, "PRIVATE", "PUBLIC", 1), base64.StdEncoding.EncodeToString(other),
	} {
		if _, err := evidence.ParsePublicKey(text); !errors.Is(err, evidence.ErrKey) {
			t.Errorf("the public key %q: %v", text, err)
		}
		_, err := evidence.ParseKey(text)
		if !errors.Is(err, evidence.ErrKey) || text != "" && text != "x" && strings.Contains(err.Error(), text) {
			t.Errorf("the key %q: %v", text, err)
		}
	}
	if _, err := evidence.NewKey("a name"); err == nil {
		t.Error("a name with a space was taken")
	}
}

// FuzzHead: no bytes bring it down, and what has the form of a head has exactly one.
func FuzzHead(f *testing.F) {
	h := someHead()
	signed, err := goldenKey(f).Sign(&h)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(signed))
	f.Add(strings.Replace(string(signed), "seq 1001", "seq 01001", 1))
	f.Add("gateway head 1\n\n\n— a b\n")
	key := goldenKey(f).Public()
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := evidence.ParseHeadForm(text)
		if ok && !strings.HasPrefix(text, got.Text()+"\n— ") {
			t.Errorf("%q reads as %+v", text, got)
		}
		if got, err := evidence.OpenHead([]byte(text), key); err == nil && (text != string(signed) || got != h) {
			t.Errorf("a forged head: %q", text)
		}
	})
}
