package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
)

// TestMemosThatLookLikeFramesCostNoTime tears a batch of deposits whose memos, or deliveries, look like the heads of long frames,
// and starts: that takes about as long as after an honest batch.
func TestMemosThatLookLikeFramesCostNoTime(t *testing.T) {
	// Seven frames that begin a batch: checksum, length with the flag, link, format, seq of three bytes.
	text := strings.Repeat("aaaa"+"aa\xc2\x80"+"aaaaaaaa"+"\x01"+"\xd0\xac\x01", 7)
	binary := strings.Repeat("aaaa"+"\x00\x80\x00\x80"+"aaaaaaaa"+"\x01"+"\xd0\xac\x01", 20)
	honest := startAfterTornBatch(t, strings.Repeat("h", len(text)), "")
	for name, hostile := range map[string][2]string{"a memo": {text, ""}, "a delivery": {"h", binary}} {
		if took := startAfterTornBatch(t, hostile[0], hostile[1]); took > 10*honest+time.Second {
			t.Errorf("%s: a start took %v, and %v after an honest batch", name, took, honest)
		}
	}
}

// startAfterTornBatch returns how long a start takes after a power cut that has taken the first sectors of a batch, and the mark.
func startAfterTornBatch(t *testing.T, memo, delivery string) time.Duration {
	t.Helper()
	dir, torn := t.TempDir(), t.TempDir()
	o := journal.Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2}
	engine := open(t, dir, o)
	filler := deposit("a", 1, "")
	filler.Memo = strings.Repeat("f", 140)
	ops := make([]bank.Operation, 0, 22_000) // past the first segment
	for range cap(ops) {
		ops = append(ops, filler)
	}
	commit(t, engine, ops...)
	mark := content(t, dir, "mark")
	hostile := deposit("a", 1, "")
	hostile.Memo, hostile.Origin = memo, bank.Origin{Door: bank.DoorMQTT, Delivery: delivery}
	ops = ops[:0]
	for range 500 {
		ops = append(ops, hostile)
	}
	commit(t, engine, ops...)
	const second = "journal-0000000000000002.seg"
	for _, name := range []string{firstSegment, second} {
		b := content(t, dir, name)
		if name == second {
			at := bytes.Index(b, []byte(memo)) / 512 * 512
			clear(b[at : at+1024])
		}
		put(t, torn, name, b)
	}
	put(t, torn, "mark", mark)
	closeEngine(t, engine)
	began := time.Now()
	again := open(t, torn, o)
	took := time.Since(began)
	closeEngine(t, again)
	return took
}

func content(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}
