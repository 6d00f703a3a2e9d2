package journal_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
)

// TestMemosThatLookLikeFramesCostNoTime tears a batch of deposits whose memos, or deliveries, look like the heads of long frames,
// and starts: that takes the processor about as long as after an honest batch.
func TestMemosThatLookLikeFramesCostNoTime(t *testing.T) {
	// Seven frames that begin a batch: checksum, length with the flag, link, format, seq of three bytes.
	text := strings.Repeat("aaaa"+"aa\xc2\x80"+"aaaaaaaa"+"\x01"+"\xd0\xac\x01", 7)
	frames := strings.Repeat("aaaa"+"\x00\x80\x00\x80"+"aaaaaaaa"+"\x01"+"\xd0\xac\x01", 20)
	honest := startAfterTornBatch(t, strings.Repeat("h", len(text)), "")
	for name, hostile := range map[string][2]string{
		"a memo": {text, ""}, "a delivery": {"h", frames}, "a delivery and a memo": {skipping, listsOfPostings(t)},
	} {
		if took := startAfterTornBatch(t, hostile[0], hostile[1]); took > 10*honest+time.Second {
			t.Errorf("%s: a start took %v, and %v after an honest batch", name, took, honest)
		}
	}
}

// skipping is a memo that reads as the beginning of a posting to an account of 64 bytes.
const skipping = "\x00@"

// listsOfPostings returns a delivery of heads of frames that reach over half of the batch. Each goes on as a list of postings, to
// accounts whose names lead over the next head, and, with the memo, over what is between this delivery and the next.
func listsOfPostings(t *testing.T) string {
	t.Helper()
	const bytes = 512
	e := bank.Entry{Seq: 22_100, Time: time.Now(), Kind: bank.KindDeposit, Principal: "p", Account: "a", Amount: 1, Memo: skipping,
		Balance: 22_100, HasBalance: true, Origin: bank.Origin{Door: bank.DoorMQTT, Delivery: strings.Repeat("D", bytes)},
		Postings: []bank.Posting{{Account: bank.CashAccount, Amount: -1}, {Account: "a", Amount: 1}}}
	canonical := string(e.AppendCanonical(nil))
	first, memo := strings.Index(canonical, "DD"), strings.LastIndex(canonical, skipping)
	toMemo, toNext := memo-first-bytes, len(canonical)-memo-len(skipping)+16+first
	size := tornBatch / 2 * (16 + len(canonical))
	head := binary.LittleEndian.AppendUint32([]byte("aaaa"), uint32(size)|1<<31)
	head = binary.AppendUvarint(append(head, "aaaaaaaa\x01"...), 23_600) // a seq that may be there
	head = append(head, "\x02\x07"+strings.Repeat("\x00", 12)...)        // a yield of nobody's
	head = binary.AppendUvarint(head, uint64(size/8))
	list := strings.Repeat("n", 64-toNext) + "\x02"
	for len(list)+2+len(head)+2 <= bytes {
		list += "\x00" + string(rune(len(head)-1)) + string(head)
	}
	list += strings.Repeat("\x03\x02", (bytes-2-len(list))/2)
	if len(list)%2 == 1 {
		list += "\x00" + string(rune(toMemo)) + "n"
	} else {
		list += "\x00" + string(rune(toMemo-1))
	}
	if len(list) != bytes {
		t.Fatalf("the delivery has %d bytes", len(list))
	}
	return list
}

const tornBatch = 1500 // operations

// startAfterTornBatch returns how long a start takes the processor after a power cut that has taken the first sectors of a batch,
// and the mark.
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
	for range tornBatch {
		ops = append(ops, hostile)
	}
	commit(t, engine, ops...)
	const second = "journal-0000000000000002.seg"
	for _, name := range []string{firstSegment, second} {
		b := content(t, dir, name)
		if name == second {
			at := (bytes.Index(b, []byte(cmp.Or(delivery, memo))) + 511) / 512 * 512
			clear(b[at : at+1024])
		}
		put(t, torn, name, b)
	}
	put(t, torn, "mark", mark)
	closeEngine(t, engine)
	began := processorTime(t)
	again := open(t, torn, o)
	took := processorTime(t) - began
	closeEngine(t, again)
	return took
}

// processorTime returns how much of it this process has taken by itself, whatever others do beside it.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
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
