package evidence_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
	"gateway/evidence"
)

// What follows writes a segment of a journal anew, with whatever entries: the checksums, the links, and so all hashes. It shares
// no code with package journal; bank/journal/segment.go and frame.go have the form. Whoever has the files can do as much.
const (
	segment      = "journal-0000000000000001.seg"
	headerBytes  = 512
	frameHeader  = 16
	firstOfBatch = 1 << 31
)

// entriesOf returns the canonical bytes of the entries of a journal of one segment.
func entriesOf(t *testing.T, d *disktest.Disk) (entries [][]byte) {
	t.Helper()
	b := d.Bytes(segment)[headerBytes:]
	for len(b) > frameHeader && binary.LittleEndian.Uint32(b[4:]) != 0 {
		size := frameHeader + int(binary.LittleEndian.Uint32(b[4:])&^firstOfBatch)
		entries = append(entries, slices.Clone(b[frameHeader:size]))
		b = b[size:]
	}
	return entries
}

// forge puts a journal of these entries into d, in the place and with the identity of the one that is there.
func forge(d *disktest.Disk, entries [][]byte) {
	header := d.Bytes(segment)[:headerBytes]
	seed := crc32.Checksum(append(slices.Clone(header[16:48]), 1, 0, 0, 0, 0, 0, 0, 0), crc32.MakeTable(crc32.Castagnoli))
	forged := slices.Clone(header)
	var before [32]byte
	for _, canonical := range entries {
		frame := make([]byte, frameHeader, frameHeader+len(canonical))
		binary.LittleEndian.PutUint32(frame[4:], uint32(len(canonical))|firstOfBatch)
		copy(frame[8:], before[:8])
		frame = append(frame, canonical...)
		binary.LittleEndian.PutUint32(frame, crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), frame[4:]))
		forged = append(forged, frame...)
		before = sha256.Sum256(append(before[:], canonical...))
	}
	d.Put(segment, forged)
	names, _ := d.List()
	for _, name := range names { // the mark and the snapshots are of the journal that was
		if name != segment && name != evidence.HeadsFile {
			d.Delete(name)
		}
	}
}

// edit returns the canonical bytes of an entry that is another, and has another seq unless that is 0.
func edit(t *testing.T, canonical []byte, seq uint64, amount bank.Amount) []byte {
	t.Helper()
	var e bank.Entry
	if err := bank.ParseEntry(canonical, &e); err != nil {
		t.Fatal(err)
	}
	if seq != 0 {
		e.Seq = seq
	}
	if amount != 0 {
		e.Amount, e.Postings[0].Amount, e.Postings[1].Amount = amount, -amount, amount
		e.Balance += amount - 1
	}
	return e.AppendCanonical(nil)
}

// renumbered gives entries their places, and accounts the balances that follow.
func renumbered(t *testing.T, entries [][]byte) [][]byte {
	t.Helper()
	balance := bank.Amount(0)
	for i := range entries {
		var e bank.Entry
		if err := bank.ParseEntry(entries[i], &e); err != nil {
			t.Fatal(err)
		}
		balance += e.Amount
		e.Seq, e.Balance = uint64(i+1), balance
		entries[i] = e.AppendCanonical(nil)
	}
	return entries
}

// judge tells what finds that something is wrong with a journal: "chain", "heads", or nothing.
func judge(t *testing.T, d *disktest.Disk, heads []byte) (found string, err error) {
	t.Helper()
	engine, err := journal.Open("", journal.Options{Decimals: 2, Rules: bank.Rules{CreateAccounts: true}, FS: d, Inline: true})
	if err != nil {
		return "chain", err
	}
	defer engine.Close()
	if _, err := check(engine, heads, goldenKey(t).Public()); err != nil {
		return "heads", err
	}
	return "", nil
}

// H1: whoever edits the files is found: by the chain of hashes, when he does not write the rest anew; by heads that somebody
// has kept, when he does.
func TestH1Tampering(t *testing.T) {
	const entries = 60
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never, EveryEntries: entries / 3})
	for range 3 {
		h.deposit(entries / 3)
		h.await(h.engine.Seq())
	}
	h.close()
	heads := kept(d)
	if found, err := judge(t, d.Fork(1), heads); err != nil {
		t.Fatalf("nobody has touched it: %s: %v", found, err)
	}
	all := entriesOf(t, d)
	if len(all) != entries {
		t.Fatalf("%d entries", len(all))
	}
	whole := func() [][]byte { return slices.Clone(all) }
	for _, c := range []struct {
		name    string
		entries [][]byte
		says    string
	}{
		{"nothing", whole(), ""},
		{"one changed, all written anew", renumbered(t, replace(whole(), 29, edit(t, all[29], 0, 7))), "history was rewritten: entry 40"},
		{"the first changed, all written anew", renumbered(t, replace(whole(), 0, edit(t, all[0], 0, 7))), "history was rewritten: entry 20"},
		{"one deleted, all written anew", renumbered(t, slices.Delete(whole(), 9, 10)), "history was rewritten: entry 20"},
		{"one inserted, all written anew", renumbered(t, slices.Insert(whole(), 45, all[44])), "history was rewritten: entry 60"},
		{"two swapped, all written anew", renumbered(t, replace(replace(whole(), 3, all[5]), 5, all[3])), "history was rewritten: entry 20"},
		{"the tail cut", whole()[:59], "the journal was cut: it ends with entry 59"},
		{"half of it cut", whole()[:30], "the journal was cut: it ends with entry 30"},
		{"all cut", nil, "the journal was cut: it ends with entry 0"},
	} {
		left := d.Fork(1)
		forge(left, c.entries)
		found, err := judge(t, left, heads)
		if c.says == "" && err == nil {
			continue
		}
		if found != "heads" || !errors.Is(err, evidence.ErrDamaged) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: found by %q: %v", c.name, found, err)
		}
	}
}

func replace(entries [][]byte, i int, by []byte) [][]byte {
	entries[i] = by
	return entries
}

// Edits that leave the hashes as they are, wherever they are, are found by the chain, before any head is looked at.
func TestH1EditsUnderTheChain(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(40)
	h.close()
	heads, pristine := kept(d), d.Bytes(segment)
	random := rand.New(rand.NewPCG(1, 2))
	tried := 0
	for n := range 2000 {
		edited := slices.Clone(pristine)
		switch at, size := headerBytes+random.IntN(len(edited)-headerBytes-64), 1+random.IntN(48); n % 4 {
		case 0: // change
			edited[at] ^= byte(1 + random.IntN(255))
		case 1: // delete
			edited = slices.Delete(edited, at, at+size)
		case 2: // insert
			edited = slices.Insert(edited, at, pristine[headerBytes:headerBytes+size]...)
		case 3: // swap
			copy(edited[at:at+16], pristine[at+16:at+32])
			copy(edited[at+16:at+32], pristine[at:at+16])
		}
		if slices.Equal(edited, pristine) {
			continue
		}
		tried++
		left := d.Fork(1)
		left.Put(segment, edited)
		if found, err := judge(t, left, heads); err == nil {
			t.Fatalf("edit %d was not found", n)
		} else if found != "chain" {
			t.Fatalf("edit %d was found by %s: %v", n, found, err)
		}
	}
	t.Log(fmt.Sprint(tried, " edits"))
}

// The heads themselves are edited, and the journal is not.
func TestH1EditedHeads(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never, EveryEntries: 5})
	var early *disktest.Disk
	for i := range 4 {
		h.deposit(5)
		h.await(h.engine.Seq())
		if i == 1 {
			early = d.Fork(1)
		}
	}
	g := build(t, early, evidence.Options{Every: never}) // the same journal, with one head where the other has two
	g.deposit(10)
	g.close()
	longer := strings.SplitAfter(string(kept(early)), "=\n\n")[2]
	records := strings.SplitAfter(string(kept(d)), "=\n\n")[:4]
	key := goldenKey(t).Public()
	head, err := evidence.OpenHead([]byte(strings.TrimSuffix(records[1], "\n")), key)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(change func(*evidence.Head), by *evidence.Key) string {
		f := head
		change(&f)
		signed, err := by.Sign(&f)
		if err != nil {
			t.Fatal(err)
		}
		return string(signed) + "\n"
	}
	keep := func(*evidence.Head) {}
	for name, c := range map[string]struct {
		heads string
		want  error
		heed  int // heads, without an error
		gaps  int
	}{
		"as they are":         {strings.Join(records, ""), nil, 4, 0},
		"the last torn":       {strings.Join(records, "")[:len(records[0])*4-50], nil, 3, 0},
		"one torn":            {records[0] + records[1][:100] + "\n\n" + records[2] + records[3], nil, 3, 1},
		"one missing":         {records[0] + records[2] + records[3], nil, 3, 1},
		"begun late":          {records[2] + records[3], nil, 2, 0},
		"none":                {"", nil, 0, 0},
		"no heads":            {"something else", evidence.ErrHead, 0, 0},
		"in another order":    {records[0] + records[2] + records[1], evidence.ErrDamaged, 0, 0},
		"twice":               {records[0] + records[0], evidence.ErrDamaged, 0, 0},
		"text edited":         {records[0] + strings.Replace(records[1], "seq 10", "seq 11", 1), evidence.ErrHead, 0, 0},
		"by another key":      {records[0] + forged(keep, anotherKey(t, "gateway-test")), evidence.ErrKey, 0, 0},
		"another root":        {records[0] + forged(func(h *evidence.Head) { h.Root[0]++ }, goldenKey(t)), evidence.ErrDamaged, 0, 0},
		"another hash":        {records[0] + forged(func(h *evidence.Head) { h.Hash[0]++ }, goldenKey(t)), evidence.ErrDamaged, 0, 0},
		"another journal":     {records[0] + forged(func(h *evidence.Head) { h.Journal[0]++ }, goldenKey(t)), evidence.ErrDamaged, 0, 0},
		"a range from before": {records[2] + forged(func(h *evidence.Head) { h.Seq, h.First = 20, 1 }, goldenKey(t)), evidence.ErrDamaged, 0, 0},
		"the end of the roll torn off, and made again": {
			strings.Join(records[:3], "") + longer, nil, 4, 0,
		},
	} {
		told, err := check(h.engine, []byte(c.heads), key)
		if !errors.Is(err, c.want) || c.want == nil && (told.Heads != c.heed || told.Gaps != c.gaps) {
			t.Errorf("%s: %+v, %v", name, told, err)
		}
	}
}

// TestAFirstHeadThatIsTornIsNoDamage where the journal is: as much as a start cuts off. Elsewhere, or with a byte more, it is no file of
// heads.
func TestAFirstHeadThatIsTornIsNoDamage(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(5)
	for bytes, want := range map[int]error{0: nil, 1: nil, evidence.MaxHead + 1: nil, evidence.MaxHead + 2: evidence.ErrHead} {
		torn := strings.Repeat("x", bytes)
		c := evidence.NewOwnChecker(strings.NewReader(torn), int64(bytes), goldenKey(t).Public())
		told, err := c.Finish(h.engine.ID())
		if !errors.Is(err, want) || want == nil && told != (evidence.CheckReport{Torn: bytes}) {
			t.Errorf("%d bytes: %+v, %v", bytes, told, err)
		}
		if _, err := check(h.engine, []byte(torn), goldenKey(t).Public()); bytes > 0 && !errors.Is(err, evidence.ErrHead) {
			t.Errorf("%d bytes elsewhere: %v", bytes, err)
		}
	}
}
