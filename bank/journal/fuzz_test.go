package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// What FuzzSegment takes away besides.
const (
	withMark    = iota // nothing
	withoutMark        // the mark and the snapshots
	asTheLast          // and the segments behind
	fuzzModes
)

// FuzzSegment puts any bytes over a part of a segment, or in place of its end. Verify and Open never panic; they agree whether the
// journal is damaged, and one that opens has what it had: without the mark it may lack some of the last segment, but not if a batch
// begins behind the bytes.
func FuzzSegment(f *testing.F) {
	base, names := fuzzBase(f)
	for i, name := range names {
		b := base.Bytes(name)
		f.Add(b, uint16(0), uint8(i), uint8(withoutMark), true)
		f.Add(b[512:], uint16(512), uint8(i), uint8(withMark), true)
		for at := 0; at < len(b); at += 16 {
			for mode := range uint8(fuzzModes) {
				f.Add([]byte{b[at] ^ 1}, uint16(at), uint8(i), mode, false)
			}
		}
	}
	f.Add([]byte{0, 0, 0, 0, 255, 255, 255, 255}, uint16(600), uint8(0), uint8(withMark), true)
	want := goldenEntries(f)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, which, mode uint8, cut bool) {
		disk := base.Fork(1)
		i := int(which) % len(names)
		disk.Spoil(names[i], b, int(at), cut)
		mode %= fuzzModes
		if mode != withMark {
			for _, other := range []string{"mark", "snapshot-0000000000000009", "snapshot-0000000000000011"} {
				disk.Delete(other)
			}
		}
		least, last := uint64(len(want)), len(names)-1
		if mode == asTheLast {
			for _, behind := range names[i+1:] {
				disk.Delete(behind)
			}
			least, last = entriesIn(base, names[:i+1], want), i
		}
		if mode != withMark && i == last && (cut || !batchBehind(base.Bytes(names[i]), want, int(at)+len(b))) {
			least = entriesIn(base, names[:i], want)
		}
		if seq, opened := openAnyway(t, disk, want); opened && seq < least {
			t.Fatalf("%d entries are left of %d", seq, least)
		}
	})
}

// entriesIn returns how many of the entries are in some segments.
func entriesIn(base *disktest.Disk, names []string, all []bank.Entry) (n uint64) {
	for _, name := range names {
		for i := range all {
			if bytes.Contains(base.Bytes(name), all[i].AppendCanonical(nil)) {
				n++
			}
		}
	}
	return n
}

// batchBehind reports whether a batch of the golden journal begins in a segment at a place or behind it: that of a yield is one.
func batchBehind(segment []byte, all []bank.Entry, place int) bool {
	const header = 64 // bytes before an entry, and more
	for i := range all {
		at := bytes.Index(segment, all[i].AppendCanonical(nil))
		if all[i].Kind == bank.KindYield && at-header >= place {
			return true
		}
	}
	return false
}

// FuzzSnapshot puts any bytes over a part of the newest snapshot, or in place of its end. It is passed over, or is as good as it
// was: the journal opens whole either way, unless the bytes name what was never durable, which a header alone can.
func FuzzSnapshot(f *testing.F) {
	base, _ := fuzzBase(f)
	want := goldenEntries(f)
	const name, sector, head, nothing = "snapshot-0000000000000011", 512, 24, 2 // bytes
	b := base.Bytes(name)
	f.Add(b[512:1000], uint16(512), true)
	f.Add([]byte("gwsnaps\n"), uint16(0), true)
	for at := sector; at < len(b); {
		end := at + head + int(binary.LittleEndian.Uint64(b[at+8:]))
		for i := at + head; end-at-head > nothing && i < end; i++ { // where it says anything of accounts and ids
			f.Add([]byte{b[i] ^ 4}, uint16(i), false)
		}
		at = end
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, cut bool) {
		disk := base.Fork(1)
		disk.Spoil(name, b, int(at), cut)
		seq, opened := openAnyway(t, disk, want)
		if whole := opened && seq == uint64(len(want)); !whole && int(at) >= sector || opened && !whole {
			t.Fatalf("opened: %v, at entry %d", opened, seq)
		}
	})
}

// fuzzBase is the golden journal on a disk in memory.
func fuzzBase(f *testing.F) (*disktest.Disk, []string) {
	f.Helper()
	disk := disktest.New(1)
	for name, b := range goldenFiles(f) {
		disk.Put(name, b)
	}
	names := segmentsOf(disk)
	if len(names) < 2 {
		f.Fatal("there is no golden journal")
	}
	return disk, names
}

// goldenEntries are those of the golden journal.
func goldenEntries(t testing.TB) (all []bank.Entry) {
	t.Helper()
	_, err := journal.Dump(golden, func(e *bank.Entry, _ [32]byte) error {
		copied := *e
		copied.Postings = slices.Clone(e.Postings)
		all = append(all, copied)
		return nil
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d golden entries, %v", len(all), err)
	}
	return all
}

// openAnyway opens a journal that was the golden one, unless its damage is told, and holds what it has against that one's entries.
func openAnyway(t *testing.T, disk *disktest.Disk, want []bank.Entry) (seq uint64, opened bool) {
	t.Helper()
	report, verified := journal.VerifyFS(disk)
	o := goldenOptions()
	o.FS = disk
	engine, err := journal.Open("", o)
	if told(err) != told(verified) || err != nil && !told(err) || verified != nil && !told(verified) {
		t.Fatalf("open: %v; verify: %v", err, verified)
	}
	if err != nil {
		return 0, false
	}
	seq = engine.Seq()
	if seq != report.Entries {
		t.Fatalf("opened at %d, verified to %d", seq, report.Entries)
	}
	isGolden(t, engine, want)
	closeEngine(t, engine)
	return seq, true
}

// isGolden holds the entries, balances and ids of an engine against the golden journal, as far as the engine goes.
func isGolden(t *testing.T, engine *journal.Engine, want []bank.Entry) {
	t.Helper()
	if engine.Seq() > uint64(len(want)) {
		t.Fatalf("opened at %d, there are %d entries", engine.Seq(), len(want))
	}
	want = want[:engine.Seq()]
	read := 0
	err := engine.Entries(0, func(e *bank.Entry) error {
		if read >= len(want) || !bytes.Equal(e.AppendCanonical(nil), want[read].AppendCanonical(nil)) {
			t.Fatalf("entry %d is %+v", read+1, *e)
		}
		read++
		return nil
	})
	if err != nil || read != len(want) {
		t.Fatalf("%d of %d entries, %v", read, len(want), err)
	}
	book := map[bank.Account]bank.Amount{"ana": 0, "bia": 0, "c": 0}
	var ops []bank.Operation
	var replies []bank.Reply
	for i := range want {
		e := &want[i]
		for _, p := range e.Postings {
			book[p.Account] += p.Amount
		}
		if e.ID == "" {
			continue
		}
		reply := e.Reply()
		reply.Duplicate = true
		ops = append(ops, bank.Operation{Kind: bank.KindStatus, Principal: e.Principal, ID: e.ID})
		replies = append(replies, reply)
	}
	for account, balance := range book {
		if account.House() {
			continue
		}
		ops = append(ops, bank.Operation{Kind: bank.KindBalance, Account: account})
		replies = append(replies, bank.Reply{Kind: bank.KindBalance, Seq: engine.Seq(), Balance: balance, HasBalance: true})
	}
	for i, got := range commit(t, engine, ops...) {
		if ops[i].Kind == bank.KindBalance {
			got.Time = replies[i].Time
		}
		if got != replies[i] {
			t.Fatalf("%+v is answered %+v, it was %+v", ops[i], got, replies[i])
		}
	}
}

// told reports whether an error tells what is wrong with a journal; any other error must not be.
func told(err error) bool {
	return errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrFormat) || errors.Is(err, journal.ErrDecimals)
}
