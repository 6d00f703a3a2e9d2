package journal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
)

// golden is a journal that an earlier program of format 1 left: JOURNAL_GOLDEN=write writes a new one, which is right only
// together with a new format.
const golden = "testdata/format1"

func goldenOptions() journal.Options {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return journal.Options{
		Rules: bank.Rules{CreateAccounts: true}, Decimals: 2, SegmentBytes: 1024, SnapshotEvery: 5, Inline: true,
		Now: func() time.Time { now = now.Add(time.Second); return now },
	}
}

func writeGolden(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	engine := open(t, golden, goldenOptions())
	peer := bank.Origin{Door: bank.DoorMQTT, Peer: netip.MustParseAddrPort("192.0.2.7:40001"), Delivery: "\x01\x02"}
	for i := range 4 {
		id := func(kind string) string { return fmt.Sprint(kind, "-", i) }
		commit(t, engine,
			bank.Operation{Kind: bank.KindDeposit, Principal: "anonymous", Account: "ana", Amount: 1000, ID: id("d"), Origin: peer},
			bank.Operation{Kind: bank.KindTransfer, Principal: "ana", Account: "ana", To: "bia", Amount: 250, ID: id("t"), Memo: "café"},
			bank.Operation{Kind: bank.KindWithdraw, Principal: "ana", Account: "bia", Amount: 5000, ID: id("w")},
			bank.Operation{Kind: bank.KindOpen, Principal: "ana", Account: "c"})
		commit(t, engine, bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: id("y"), Memo: "0.10"})
	}
	closeEngine(t, engine)
	if err := os.WriteFile(golden+".txt", []byte(dumped(t, golden)), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(golden, "LOCK"))
}

// dumped is every entry as Dump tells it.
func dumped(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	_, err := journal.Dump(dir, func(e *bank.Entry, hash [32]byte) error {
		_, err := fmt.Fprintf(&b, "%s\n  %s\n", hex.EncodeToString(hash[:]), hex.EncodeToString(e.AppendCanonical(nil)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestAnEarlierJournalIsRead reads the journal that an earlier program left, with its snapshots and without.
func TestAnEarlierJournalIsRead(t *testing.T) {
	if os.Getenv("JOURNAL_GOLDEN") == "write" {
		writeGolden(t)
	}
	want, err := os.ReadFile(golden + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := dumped(t, golden); got != string(want) {
		t.Errorf("the entries are told as\n%s, want\n%s", got, want)
	}
	for _, without := range []string{"", "snapshot-*", "mark"} {
		dir := copyGolden(t, without)
		o := goldenOptions()
		var log bytes.Buffer
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		engine := open(t, dir, o)
		if passedOver := strings.Contains(log.String(), "snapshot"); passedOver {
			t.Errorf("without %q: %s", without, log.String())
		}
		replies := commit(t, engine, bank.Operation{Kind: bank.KindStatus, Principal: "ana", ID: "w-2"},
			bank.Operation{Kind: bank.KindBalance, Account: "ana"}, bank.Operation{Kind: bank.KindBalance, Account: "bia"})
		if replies[0].Code != bank.InsufficientFunds || replies[0].Balance != 827 || !replies[0].Duplicate {
			t.Errorf("without %q: %+v", without, replies[0])
		}
		if replies[1].Balance != 3829 || replies[2].Balance != 1276 {
			t.Errorf("without %q: ana has %d, bia %d", without, replies[1].Balance, replies[2].Balance)
		}
		closeEngine(t, engine)
	}
}

// goldenFiles returns the files of the golden journal.
func goldenFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(golden, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = b
	}
	return files
}

func copyGolden(t *testing.T, without string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	if gone, _ := filepath.Glob(filepath.Join(dir, without)); without != "" {
		for _, name := range gone {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestAForeignFormatIsRefusedInOneLine gives each segment a version that this program does not know.
func TestAForeignFormatIsRefusedInOneLine(t *testing.T) {
	segments, _ := filepath.Glob(filepath.Join(golden, "*.seg"))
	if len(segments) < 2 {
		t.Fatalf("the golden journal has %d segments", len(segments))
	}
	for _, name := range segments {
		dir := copyGolden(t, "")
		path := filepath.Join(dir, filepath.Base(name))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(b[8:], journal.FormatVersion+1)
		journal.ResealHeader(b)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = journal.Open(dir, goldenOptions())
		if !errors.Is(err, journal.ErrFormat) || strings.Contains(err.Error(), "\n") {
			t.Errorf("open: %v", err)
		}
		if _, err := journal.Verify(dir); !errors.Is(err, journal.ErrFormat) {
			t.Errorf("verify: %v", err)
		}
	}
}
