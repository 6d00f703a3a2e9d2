package evidence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/evidence"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// goldenSecret is a key for tests, whose public half is goldenPublic.
const (
	goldenSecret = "PRIVATE+KEY+gateway-test+a3878c40+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	goldenPublic = "gateway-test+a3878c40+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
)

func goldenKey(tb testing.TB) *evidence.Key {
	tb.Helper()
	key, err := evidence.ParseKey(goldenSecret)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// house is a journal with its heads.
type house struct {
	tb      testing.TB
	fsys    disk.FS
	options evidence.Options
	engine  *journal.Engine
	heads   *evidence.Heads
	stop    func() // ends the heads
}

// build opens a journal and its heads in fsys, until the test ends.
func build(tb testing.TB, fsys disk.FS, o evidence.Options) *house {
	tb.Helper()
	h := &house{tb: tb, fsys: fsys, options: o, stop: func() {}}
	tb.Cleanup(h.close)
	if err := h.open(); err != nil {
		tb.Fatal(err)
	}
	return h
}

func (h *house) open() (err error) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	h.engine, err = journal.Open("", journal.Options{
		Rules: bank.Rules{CreateAccounts: true}, Decimals: 2, FS: h.fsys, Now: func() time.Time { return now }, Inline: true,
		SegmentBytes: 64 << 10,
	})
	if err != nil {
		return err
	}
	if h.options.Now == nil {
		h.options.Now = func() time.Time { return now }
	}
	if h.heads, err = evidence.Open(h.fsys, h.engine, goldenKey(h.tb), h.options); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.heads.Run(ctx) })
	h.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := h.heads.Close(); err != nil {
			h.tb.Error(err)
		}
	})
	return nil
}

func (h *house) close() {
	h.stop()
	if h.engine != nil {
		h.engine.Close()
	}
}

// restart closes all and opens it again.
func (h *house) restart() error {
	h.close()
	return h.open()
}

// deposit makes entries: deposits whose ids are i1, i2 and so on by their seq.
func (h *house) deposit(n int) {
	h.tb.Helper()
	for n > 0 {
		ops := make([]bank.Operation, min(n, 1000))
		for i := range ops {
			id := fmt.Sprint("i", h.engine.Seq()+uint64(i)+1)
			ops[i] = bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: "a", Amount: 1, ID: id}
		}
		n -= len(ops)
		replies := make([]bank.Reply, len(ops))
		if err := h.engine.Commit(h.tb.Context(), ops, replies); err != nil {
			h.tb.Fatal(err)
		}
		for _, r := range replies {
			if r.Code != bank.OK {
				h.tb.Fatalf("%+v", r)
			}
		}
	}
}

// receipt returns the receipt of an entry and checks it.
func (h *house) receipt(seq uint64) (string, evidence.Receipt) {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tb.Context(), patience)
	defer cancel()
	text, err := h.heads.Receipt(ctx, seq)
	if err != nil {
		h.tb.Fatalf("receipt of %d: %v", seq, err)
	}
	r, err := evidence.CheckReceipt(text, h.heads.Public())
	if err != nil || r.Entry.Seq != seq || r.Entry.ID != fmt.Sprint("i", seq) {
		h.tb.Fatalf("receipt of %d: %+v, %v", seq, r, err)
	}
	return text, r
}

// await waits for a head of the entry.
func (h *house) await(seq uint64) {
	h.tb.Helper()
	limit := time.After(patience)
	for {
		_, newer := h.heads.Head()
		if h.heads.Newest().Seq >= seq {
			return
		}
		select {
		case <-newer:
		case <-limit:
			h.tb.Fatalf("no head of entry %d: %+v, %v", seq, h.heads.Newest(), h.heads.Err())
		}
	}
}

// kept returns the heads that are kept.
func kept(d *disktest.Disk) []byte { return d.Bytes(evidence.HeadsFile) }

// check reads the whole journal and holds heads against it.
func check(j evidence.Journal, heads []byte, key *evidence.PublicKey) (evidence.CheckReport, error) {
	c := evidence.NewChecker(bytes.NewReader(heads), int64(len(heads)), key)
	enough := errors.New("enough")
	if end := j.Seq(); end > 0 {
		err := j.Follow(context.Background(), 0, func(e *bank.Entry, hash [32]byte) error {
			if err := c.Entry(e, hash); err != nil || e.Seq < end {
				return err
			}
			return enough
		})
		if err != enough {
			return evidence.CheckReport{}, err
		}
	}
	return c.Finish(j.ID())
}

// sound holds the heads that are kept against the journal and returns how many there are.
func (h *house) sound(d *disktest.Disk) int {
	h.tb.Helper()
	told, err := check(h.engine, kept(d), goldenKey(h.tb).Public())
	if err != nil || told.Gaps > 0 {
		h.tb.Fatalf("%+v, %v", told, err)
	}
	if shown := strings.Count(string(kept(d)), "gateway head"); shown != told.Heads {
		h.tb.Fatalf("%d heads were checked of %d", told.Heads, shown)
	}
	return told.Heads
}
