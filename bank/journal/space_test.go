package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
)

// reserveShare has its name here because many a disk of these tests is called disk.
const reserveShare = disk.ReserveShare

// TestAFullDiskIsRefusedBeforeItIsFull fills a small disk until operations are refused, again and again. Balances and known
// answers go on, nothing fails, and when there is space again service resumes by itself.
func TestAFullDiskIsRefusedBeforeItIsFull(t *testing.T) {
	for _, inline := range []bool{true, false} {
		disk := disktest.New(1)
		limit := int64(200 << 10)
		disk.Limit(limit)
		o := options()
		o.FS, o.Inline, o.SnapshotEvery, o.SegmentBytes = disk, inline, 1_000_000, 64<<10
		engine := open(t, "", o)
		n := 0
		for round := range 5 {
			n = fillUp(t, engine, n)
			if free, total, _ := disk.Space(); free < total/reserveShare/2 {
				t.Fatalf("round %d: only %d of %d bytes are left", round, free, total)
			}
			if err := engine.Ready(); !errors.Is(err, journal.ErrNoSpace) {
				t.Fatalf("round %d: ready says %v", round, err)
			}
			known := fmt.Sprint("full-", n-1)
			replies := commit(t, engine, deposit("a", 1, known), bank.Operation{Kind: bank.KindBalance, Account: "a"},
				bank.Operation{Kind: bank.KindStatus, Principal: "p", ID: "never"}, deposit("a", 1, "late"))
			if !replies[0].Duplicate || replies[1].Balance != bank.Amount(n) || replies[2].Code != bank.IDNotFound {
				t.Fatalf("round %d: %+v", round, replies)
			}
			if replies[3].Code != bank.Unavailable || replies[3].Detail == "" {
				t.Fatalf("round %d: %+v", round, replies[3])
			}
			limit += 100 << 10
			disk.Limit(limit)
			awaitReady(t, engine)
		}
		closeEngine(t, engine)
		if report, err := journal.VerifyFS(disk); err != nil || report.Entries != engine.Seq() {
			t.Fatalf("%+v, %v; want %d entries", report, err, engine.Seq())
		}
	}
}

// fillUp deposits 1 at a time until that is refused for want of space and returns how many deposits there are now.
func fillUp(t *testing.T, engine *journal.Engine, n int) int {
	t.Helper()
	for {
		switch reply := commit(t, engine, deposit("a", 1, fmt.Sprint("full-", n)))[0]; reply.Code {
		case bank.OK:
			n++
		case bank.Unavailable:
			return n
		default:
			t.Fatalf("deposit %d: %+v", n, reply)
		}
	}
}

// awaitReady writes until that works again; it must within a few seconds.
func awaitReady(t *testing.T, engine *journal.Engine) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		id := fmt.Sprint("again-", engine.Seq())
		code := commit(t, engine, bank.Operation{Kind: bank.KindOpen, Principal: "p", Account: "b", ID: id})[0].Code
		if code == bank.OK && engine.Ready() == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not ready after there was space again: %s, %v", code, engine.Ready())
		}
	}
}

// TestAFullDiskAtTheStart opens a killed journal when others have taken all space: the tail is written where it is, balances
// are told, and writing waits for space.
func TestAFullDiskAtTheStart(t *testing.T) {
	disk := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SegmentBytes = disk, true, 64<<10
	engine := open(t, "", o)
	commit(t, engine, deposit("a", 5, "1"), deposit("b", 6, "2"))
	disk.Kill()
	disk.Limit(9 << 10) // the marks take 8 KiB, the entries half of one
	engine = open(t, "", o)
	if !errors.Is(engine.Ready(), journal.ErrNoSpace) {
		t.Errorf("ready says %v", engine.Ready())
	}
	replies := commit(t, engine, bank.Operation{Kind: bank.KindBalance, Account: "b"}, deposit("a", 1, "3"))
	if replies[0].Balance != 6 || replies[1].Code != bank.Unavailable {
		t.Errorf("%+v", replies)
	}
	disk.Limit(1 << 30)
	if reply := commit(t, engine, deposit("a", 1, "3"))[0]; reply.Code != bank.OK || reply.Balance != 6 {
		t.Errorf("%+v", reply)
	}
	closeEngine(t, engine)
}

// TestAnEntryLargerThanASegment pays a yield to many accounts: its entry gets a segment of its own size, is read again for a
// repeated id, and survives restarts and power cuts.
func TestAnEntryLargerThanASegment(t *testing.T) {
	disk := disktest.New(3)
	o := options()
	o.FS, o.Inline = disk, true
	engine := open(t, "", o)
	const accounts = 2000
	ops := make([]bank.Operation, accounts)
	for i := range ops {
		ops[i] = deposit(bank.Account(fmt.Sprint("acct-", i)), 1000, "")
	}
	commit(t, engine, ops...)
	yield := bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: "yield-1", Memo: "0.10"}
	first := commit(t, engine, deposit("first", 1, "f"), yield, deposit("last", 1, "l"))[1]
	names := segmentsOf(disk)
	large := names[len(names)-2]
	if frames, err := journal.Frames(disk, large); err != nil || len(frames) != 1 || len(disk.Bytes(large)) != headerBytes+len(frames[0]) {
		t.Errorf("%s has %d entries and %d bytes, %v", large, len(frames), len(disk.Bytes(large)), err)
	}
	if first.Code != bank.OK || first.Seq != accounts+2 {
		t.Fatalf("%+v", first)
	}
	first.Duplicate, first.Recorded = true, false
	for _, end := range []func(){disk.Kill, func() { closeEngine(t, engine) }, disk.Kill} {
		if again := commit(t, engine, yield)[0]; again != first {
			t.Fatalf("%+v, want %+v", again, first)
		}
		end()
		engine = open(t, "", o)
		replies := commit(t, engine, bank.Operation{Kind: bank.KindBalance, Account: "acct-7"}, yield)
		if replies[0].Balance != 1100 || replies[1] != first {
			t.Fatalf("%+v", replies)
		}
	}
	disk.Limit(1 << 20)
	replies := commit(t, engine, bank.Operation{Kind: bank.KindYield, Principal: bank.HousePrincipal, ID: "yield-2", Memo: "0.10"})
	if replies[0].Code != bank.Unavailable && replies[0].Code != bank.OK {
		t.Errorf("%+v", replies[0])
	}
	closeEngine(t, engine)
	if _, err := journal.VerifyFS(disk); err != nil {
		t.Error(err)
	}
}

// TestSpaceThatOthersTake refuses operations that write while others hold a byte of the reserve, though the segment has room, and
// writes nothing for them; when they hold none of it, all is as ever.
func TestSpaceThatOthersTake(t *testing.T) {
	disk := disktest.New(1)
	disk.Limit(1 << 20)
	o := options()
	o.FS, o.Inline, o.SegmentBytes = disk, true, 64<<10
	engine := open(t, "", o)
	for n := range bank.Amount(3) {
		free, total, _ := disk.Space()
		disk.Put("others", make([]byte, free-total/reserveShare))
		if err := engine.Ready(); err != nil {
			t.Fatal(err)
		}
		commit(t, engine, deposit("a", 1, ""))
		disk.Put("others", make([]byte, free-total/reserveShare+1))
		before := disk.Ops()
		replies := commit(t, engine, deposit("a", 1, ""), bank.Operation{Kind: bank.KindBalance, Account: "a"})
		if replies[0].Code != bank.Unavailable || replies[1].Code != bank.OK || !errors.Is(engine.Ready(), journal.ErrNoSpace) {
			t.Fatalf("%+v, ready: %v", replies, engine.Ready())
		}
		if replies[1].Balance != n+1 || engine.Seq() != uint64(n+1) || disk.Ops() != before {
			t.Fatalf("%+v was refused, and written: the balance is %d", replies[0], replies[1].Balance)
		}
		disk.Delete("others")
	}
	closeEngine(t, engine)
}

// TestAnEntryMayFillASegment to its last byte; one that is a byte longer begins the next.
func TestAnEntryMayFillASegment(t *testing.T) {
	for more := range 2 {
		disk, heard := disktest.New(1), &listener{}
		o := options()
		o.FS, o.Inline, o.SegmentBytes, o.Observer = disk, true, journal.LeastSegmentBytes, heard
		o.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
		engine := open(t, "", o)
		commit(t, engine, deposit("a", 1, ""))
		one := heard.bytes
		room := func() int { return journal.LeastSegmentBytes - headerBytes - heard.bytes }
		for room() >= 2*one {
			commit(t, engine, deposit("a", 1, ""))
		}
		last := deposit("a", 1, "")
		last.Memo = strings.Repeat("m", room()-one+more)
		commit(t, engine, last)
		if room() != -more*(1+headerBytes) { // the next one has a header
			t.Fatalf("%d bytes are left", room())
		}
		if names := segmentsOf(disk); len(names) != 1+more {
			t.Errorf("an entry of %d bytes more than there were: the segments are %v", more, names)
		}
		closeEngine(t, engine)
	}
}

// TestReadyTellsWhetherAnythingWasRefused for want of a segment: an entry that found no room makes the bank not ready, and one that
// finds some makes it ready again, though the next segment is still missing.
func TestReadyTellsWhetherAnythingWasRefused(t *testing.T) {
	disk := disktest.New(1)
	disk.Limit(1 << 20)
	o := options()
	o.FS, o.Inline, o.SegmentBytes, o.SnapshotEvery = disk, true, 64<<10, 1_000_000
	o.Now = func() time.Time { return time.Unix(1_700_000_000, 0) } // so that entries have the same size in every run
	engine := open(t, "", o)
	free, total, _ := disk.Space()
	disk.Put("others", make([]byte, free-total/reserveShare-100<<10)) // above the reserve, and too little for a segment
	large := deposit("a", 1, "")
	large.Memo = strings.Repeat("m", 60)
	commit(t, engine, large) // or there would not be the room for a small one in the end
	large.Memo = strings.Repeat("m", 140)
	for commit(t, engine, large)[0].Code == bank.OK {
	}
	if err := engine.Ready(); !errors.Is(err, journal.ErrNoSpace) {
		t.Errorf("after a refusal it says %v", err)
	}
	if reply := commit(t, engine, deposit("a", 1, ""))[0]; reply.Code != bank.OK {
		t.Fatalf("a small one: %+v", reply)
	}
	if err := engine.Ready(); err != nil {
		t.Errorf("after a small one was written it says %v", err)
	}
	if reply := commit(t, engine, large)[0]; reply.Code != bank.Unavailable || !errors.Is(engine.Ready(), journal.ErrNoSpace) {
		t.Errorf("a large one: %+v, ready: %v", reply, engine.Ready())
	}
	disk.Delete("others")
	if reply := commit(t, engine, large)[0]; reply.Code != bank.OK || engine.Ready() != nil {
		t.Errorf("with space: %+v, ready: %v", reply, engine.Ready())
	}
	closeEngine(t, engine)
}
