package evidence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/evidence"
)

// never is longer than any test.
const never = time.Hour

// Heads come with the time and with the entries, never without new ones, and at a stop.
func TestWhenHeadsAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New(1)
		h := build(t, d, evidence.Options{Every: 10 * time.Second, EveryEntries: 100})
		is := func(heads int, seq uint64) {
			t.Helper()
			synctest.Wait()
			if got := h.heads.Made(); got != uint64(heads) || h.heads.Newest().Seq != seq {
				t.Fatalf("%d heads, the last of %d; want %d, %d", got, h.heads.Newest().Seq, heads, seq)
			}
		}
		is(0, 0)
		<-time.After(time.Minute)
		is(0, 0)
		h.deposit(3)
		is(0, 0)
		<-time.After(10 * time.Second)
		is(1, 3)
		<-time.After(time.Minute)
		is(1, 3)
		h.deposit(100)
		is(2, 103)
		h.deposit(99)
		is(2, 103)
		h.stop()
		is(3, 202)
		if n := h.sound(d); n != 3 {
			t.Errorf("%d heads are kept", n)
		}
	})
}

// What is behind the last head when the gateway starts is under the next, and no range has more than it may.
func TestHeadsOfAJournalThatHadNone(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never, EveryEntries: evidence.MaxRange})
	h.stop()
	h.deposit(evidence.MaxRange + 1000)
	if err := h.restart(); err != nil {
		t.Fatal(err)
	}
	h.await(evidence.MaxRange)
	h.stop()
	if n := h.sound(d); n != 2 || h.heads.Newest().Seq != evidence.MaxRange+1000 {
		t.Errorf("%d heads, the last of entry %d", n, h.heads.Newest().Seq)
	}
}

// Receipts of the entries of every range, by this process and by another, at their ends and between.
func TestReceiptsOfAnyAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New(1)
		h := build(t, d, evidence.Options{Every: never, EveryEntries: 10_000})
		for _, n := range []int{1, 2, 30, 4096, 5000, 700} {
			h.deposit(n)
			h.receipt(h.engine.Seq()) // which makes a head
		}
		receipts := map[uint64]string{}
		for range 2 {
			for _, seq := range []uint64{1, 2, 3, 4, 33, 34, 4095, 4096, 4097, 4129, 4130, 9128, 9129, 9130, 9829} {
				text, _ := h.receipt(seq)
				if receipts[seq] != "" && receipts[seq] != text {
					t.Errorf("entry %d has two receipts", seq)
				}
				receipts[seq] = text
			}
			if err := h.restart(); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.sound(d); n != 6 {
			t.Errorf("%d heads", n)
		}
	})
}

// Who asks for a receipt waits a second at most, and makes no more than one head a second.
func TestHeadsForReceiptsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, disktest.New(1), evidence.Options{Every: never})
		began := time.Now()
		for i := range uint64(10) {
			h.deposit(1)
			asked := time.Now()
			h.receipt(i + 1)
			if took := time.Since(asked); took > evidence.AskedEvery {
				t.Errorf("receipt %d took %v", i, took)
			}
		}
		if took, made := time.Since(began), h.heads.Made(); made != 10 || took < 9*time.Second {
			t.Errorf("%d heads in %v", made, took)
		}
	})
}

// A journal that has lost what a head says, or has something else there, is not opened, and the heads are not changed.
func TestAJournalThatIsNotThatOfTheHeads(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(10)
	earlier := d.Fork(1)
	h.deposit(10)
	h.close()
	for name, c := range map[string]struct {
		change func(*disktest.Disk)
		says   string
	}{
		"cut": {func(f *disktest.Disk) { f.Put(evidence.HeadsFile, kept(d)) }, "the journal was cut: it ends with entry 10"},
		"another's": {func(f *disktest.Disk) {
			other := build(t, disktest.New(2), evidence.Options{Every: never})
			other.deposit(3)
			other.stop()
			f.Put(evidence.HeadsFile, other.fsys.(*disktest.Disk).Bytes(evidence.HeadsFile))
		}, "of another journal"},
		"rewritten": {func(f *disktest.Disk) { f.Put(evidence.HeadsFile, headOf(t, h, 7)) }, "history was rewritten: entry 7"},
		"no head":   {func(f *disktest.Disk) { f.Put(evidence.HeadsFile, []byte(strings.Repeat("rot\n", 1000))) }, "no head"},
		"rot behind it": {func(f *disktest.Disk) {
			f.Put(evidence.HeadsFile, append(headOf(t, h, 0), strings.Repeat("rot\n", 200)...))
		}, "no head"},
		"a signature that is none": {func(f *disktest.Disk) {
			f.Put(evidence.HeadsFile, []byte(strings.Replace(string(headOf(t, h, 0)), "time 2026", "time 2025", 1)))
		}, "signature"},
	} {
		f := earlier.Fork(1)
		c.change(f)
		before := kept(f)
		g := &house{tb: t, fsys: f, stop: func() {}}
		err := g.open()
		if err == nil || !strings.Contains(err.Error(), c.says) || name != "a signature that is none" && !errors.Is(err, evidence.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if string(kept(f)) != string(before) {
			t.Errorf("%s: the heads were changed", name)
		}
		g.close()
	}
}

// headOf returns the roll of one head of entry 7 of h's journal, with that hash's first byte.
func headOf(t *testing.T, h *house, first byte) []byte {
	t.Helper()
	head := h.heads.Newest()
	head.First, head.Seq, head.Hash[0] = 1, 7, first
	signed, err := goldenKey(t).Sign(&head)
	if err != nil {
		t.Fatal(err)
	}
	return append(signed, '\n')
}

// A head that a crash has torn is cut off, wherever it was torn, and made again.
func TestATornHeadIsMadeAgain(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(5)
	h.receipt(5)
	first := len(kept(d))
	h.deposit(5)
	h.close()
	whole := kept(d)
	for n := 0; n < len(whole); n += 9 {
		f := d.Fork(1)
		end := len(whole)
		if n < first {
			end = first
		}
		zeros := min(n%3*100, end-n) // where the size arrived before the bytes
		f.Put(evidence.HeadsFile, append(whole[:n:n], make([]byte, zeros)...))
		g := &house{tb: t, fsys: f, stop: func() {}}
		if err := g.open(); err != nil {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
		want := uint64(0)
		if n >= first {
			want = 5
		}
		if got := g.heads.Newest().Seq; got != want {
			t.Fatalf("the first %d bytes have a head of %d, want %d", n, got, want)
		}
		g.stop()
		if heads := g.sound(f); g.heads.Newest().Seq != 10 || heads != 1+int(want/5) {
			t.Fatalf("the first %d bytes: %d heads", n, heads)
		}
		g.close()
	}
}

// What cannot be read, or mended, at a start is told: the start does not go on with heads that a power cut may take back.
func TestHeadsThatCannotBeMended(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(5)
	h.close()
	d.Put(evidence.HeadsFile, append(kept(d), "torn"...))
	for _, kind := range []disktest.Kind{disktest.Read, disktest.Write, disktest.Truncate, disktest.Sync} {
		f := d.Fork(1)
		g := &house{tb: t, fsys: f, stop: func() {}}
		met := false
		f.Before = func(op disktest.Op) error {
			if op.File == evidence.HeadsFile && op.Kind == kind {
				met = true
				return syscall.EIO
			}
			return nil
		}
		if err := g.open(); !met || !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v, met: %v", kind, err, met)
		}
		f.Before = nil
		g.engine.Close()
	}
	g := &house{tb: t, fsys: sizeless{d.Fork(1)}, stop: func() {}}
	if err := g.open(); !errors.Is(err, syscall.EIO) {
		t.Errorf("its size: %v", err)
	}
	g.engine.Close()
}

// sizeless is a disk that does not say how large the heads are.
type sizeless struct{ disk.FS }

type sizelessFile struct{ disk.File }

func (sizelessFile) Size() (int64, error) { return 0, syscall.EIO }

func (d sizeless) Edit(name string) (disk.File, error) {
	file, err := d.FS.Edit(name)
	if name == evidence.HeadsFile {
		file = sizelessFile{file}
	}
	return file, err
}

// As much as a head may have is cut off the end, and more is damage: no crash leaves so much.
func TestWhatFollowsTheLastHead(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(5)
	h.close()
	whole := kept(d)
	for more := range 2 {
		f := d.Fork(1)
		g := &house{tb: t, fsys: f, stop: func() {}}
		f.Put(evidence.HeadsFile, append(bytes.Clone(whole), bytes.Repeat([]byte("x"), evidence.MaxHead+1+more)...))
		err := g.open()
		if errors.Is(err, evidence.ErrDamaged) != (more > 0) || more == 0 && (err != nil || !bytes.Equal(kept(f), whole)) {
			t.Errorf("%d bytes more: %v", more, err)
		}
		if err == nil {
			g.close()
		} else {
			g.engine.Close()
		}
	}
}

// A head with a flipped bit is passed over like one that was torn, or is damage, or another key's: never taken for one.
func TestEveryFlippedBitOfAKeptHead(t *testing.T) {
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(5)
	h.receipt(5)
	first := len(kept(d))
	h.deposit(5)
	h.close()
	whole := kept(d)
	for bit := range 8 * len(whole) {
		f := d.Fork(1)
		flipped := bytes.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		f.Put(evidence.HeadsFile, flipped)
		g := &house{tb: t, fsys: f, stop: func() {}}
		err := g.open()
		switch {
		case err == nil:
			if got := g.heads.Newest().Seq; got != 10 && bit/8 < first || got != 5 && bit/8 >= first {
				t.Errorf("bit %d of %d: the last head is of %d", bit, 8*first, got)
			}
			g.close()
		case bit/8 < first-len("\n\n") || !errors.Is(err, evidence.ErrDamaged) && !errors.Is(err, evidence.ErrKey):
			t.Errorf("bit %d of %d: %v", bit, 8*first, err)
		}
		if err != nil {
			g.engine.Close()
		}
	}
}

// A disk that is full delays heads, and one that fails ends them: then there are no receipts, and the journal goes on.
func TestHeadsThatCannotBeKept(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		for _, kind := range []disktest.Kind{disktest.Write, disktest.Sync} {
			synctest.Test(t, func(t *testing.T) {
				d := disktest.New(1)
				var failing atomic.Bool
				d.Before = func(op disktest.Op) error {
					if failing.Load() && op.File == evidence.HeadsFile && op.Kind == kind {
						return fault
					}
					return nil
				}
				h := build(t, d, evidence.Options{Every: time.Second})
				h.deposit(3)
				h.receipt(3)
				failing.Store(true)
				h.deposit(3)
				<-time.After(5 * time.Second)
				if h.heads.Failed() == 0 || h.heads.Newest().Seq != 3 {
					t.Errorf("%v: %d failures, the last head of %d", fault, h.heads.Failed(), h.heads.Newest().Seq)
				}
				h.receipt(3) // what there is can be proved
				failing.Store(false)
				h.deposit(3)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := h.heads.Receipt(ctx, 9)
				if full := fault == syscall.ENOSPC; full != (err == nil) || !full && !errors.Is(err, evidence.ErrUnavailable) {
					t.Errorf("%v: a receipt later: %v", fault, err)
				}
				if err := h.restart(); err != nil {
					t.Fatal(err)
				}
				h.receipt(9)
				h.stop()
				h.sound(d)
			})
		}
	}
}

// A stop on a full disk tries once, and leaves the last entries to the next start.
func TestAStopOnAFullDisk(t *testing.T) {
	d := disktest.New(1)
	var failing atomic.Bool
	d.Before = func(op disktest.Op) error {
		if failing.Load() && op.File == evidence.HeadsFile && op.Kind == disktest.Write {
			return syscall.ENOSPC
		}
		return nil
	}
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(3)
	failing.Store(true)
	h.stop()
	if n := h.heads.Failed(); n != 1 {
		t.Errorf("%d tries", n)
	}
	failing.Store(false)
	if err := h.restart(); err != nil {
		t.Fatal(err)
	}
	h.stop()
	if n := h.sound(d); n != 1 || h.heads.Newest().Seq != 3 {
		t.Errorf("%d heads, the last of %d", n, h.heads.Newest().Seq)
	}
}

// A disk that cannot be read is told, and nothing is made anew on it.
func TestAKeyThatCannotBeRead(t *testing.T) {
	d := disktest.New(1)
	key, err := evidence.OpenKey(d, "gateway-test")
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence.KeepPublicKey(d, key.Public()); err != nil {
		t.Fatal(err)
	}
	before := d.Ops()
	d.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Read {
			return syscall.EIO
		}
		return nil
	}
	if _, err := evidence.OpenKey(d, "gateway-test"); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), evidence.KeyFile) {
		t.Errorf("the key: %v", err)
	}
	err = evidence.KeepPublicKey(d, key.Public())
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), evidence.PublicKeyFile) {
		t.Errorf("the public key: %v", err)
	}
	if n := d.Ops() - before; n != 0 {
		t.Errorf("%d changes", n)
	}
}

// A key is made once, with the heads, and never beside heads that another has signed.
func TestTheKeyBesideTheJournal(t *testing.T) {
	d := disktest.New(1)
	first, err := evidence.OpenKey(d, "gateway-test")
	if err != nil {
		t.Fatal(err)
	}
	again, err := evidence.OpenKey(d, "gateway-other")
	if err != nil || again.Public().String() != first.Public().String() {
		t.Errorf("%v, %v", again, err)
	}
	for range 2 {
		if err := evidence.KeepPublicKey(d, first.Public()); err != nil || string(d.Bytes(evidence.PublicKeyFile)) != first.Public().String()+"\n" {
			t.Errorf("%q, %v", d.Bytes(evidence.PublicKeyFile), err)
		}
	}
	h := build(t, d, evidence.Options{Every: never})
	h.deposit(1)
	h.close()
	if _, err := evidence.Open(d, h.engine, first, evidence.Options{}); !errors.Is(err, evidence.ErrKey) {
		t.Errorf("opened with another key: %v", err)
	}
	d.Delete(evidence.KeyFile)
	if _, err := evidence.OpenKey(d, "gateway-test"); !errors.Is(err, evidence.ErrKey) {
		t.Errorf("without the key: %v", err)
	}
	d.Put(evidence.KeyFile, []byte("no key"))
	if _, err := evidence.OpenKey(d, "gateway-test"); !errors.Is(err, evidence.ErrDamaged) || !strings.Contains(err.Error(), evidence.KeyFile) {
		t.Errorf("with what is no key: %v", err)
	}
}

// The copy has what the roll has: begun late, missing for a while, torn, after a restart. It is never cut.
func TestTheCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "elsewhere", "heads")
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: 20 * time.Millisecond, Copy: path})
	h.deposit(2)
	h.await(2)
	h.awaitCopy(func() bool { return h.heads.CopyFailed() > 0 })
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	same := func() bool {
		b, _ := os.ReadFile(path)
		return string(b) == string(kept(d))
	}
	h.awaitCopy(same)
	h.deposit(2)
	h.await(4)
	h.awaitCopy(same)
	h.deposit(2)
	h.close() // the copy has the last head too
	if !same() {
		t.Error("the copy lacks the last head")
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := whole[:len(whole)-100]
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	h.deposit(2)
	h.close()
	got, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(got), string(torn)) {
		t.Errorf("the copy was cut: %v", err)
	}
	if err := h.open(); err != nil {
		t.Fatal(err)
	}
	told, err := check(h.engine, got, goldenKey(t).Public())
	if err != nil || told.Heads != 4 || told.Gaps != 0 || told.Last.Seq != 8 {
		t.Errorf("the copy has %+v, %v", told, err)
	}
	h.close()
}

// A copy that is moved away, removed or cut while the gateway serves is made anew, with all heads.
func TestACopyThatGoesAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: 20 * time.Millisecond, Copy: path})
	same := func() bool {
		b, _ := os.ReadFile(path)
		return string(b) == string(kept(d))
	}
	for i, away := range []func() error{
		func() error { return os.Rename(path, path+".1") },
		func() error { return os.Remove(path) },
		func() error { return os.Truncate(path, 0) },
		func() error { return os.Truncate(path, 100) },
	} {
		h.deposit(1)
		h.await(h.engine.Seq())
		h.awaitCopy(same)
		if err := away(); err != nil {
			t.Fatal(err)
		}
		h.awaitCopy(func() bool {
			b, _ := os.ReadFile(path)
			told, err := check(h.engine, b, goldenKey(t).Public())
			return err == nil && told.Heads == i+1
		})
	}
	h.close()
}

func (h *house) awaitCopy(done func() bool) {
	h.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			h.tb.Fatal("the copy is not what it should be")
		}
	}
}

// Heads that were begun anew, with the key that there was or with another, cannot go on behind those that a copy has. It is left
// as it is, and told of; where it is moved away, there is a new one.
func TestACopyOfHeadsThatWereBegunAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never, Copy: path})
	h.deposit(2)
	h.receipt(2)
	h.deposit(2)
	h.close()
	head := h.heads.Newest()
	head.First = 1
	signed, err := anotherKey(t, "gateway-test").Sign(&head)
	if err != nil {
		t.Fatal(err)
	}
	d.Delete(evidence.HeadsFile)
	for name, old := range map[string][]byte{"the same key": read(t, path), "another key": append(signed, '\n')} {
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		g := build(t, d.Fork(1), evidence.Options{Every: never, Copy: path}) // there is no head yet
		g.awaitCopy(func() bool { return g.heads.CopyFailed() > 0 })
		g.deposit(1)
		g.receipt(5)
		if err := g.restart(); err != nil { // and there is one
			t.Fatal(err)
		}
		g.awaitCopy(func() bool { return g.heads.CopyFailed() > 0 })
		if got := read(t, path); !bytes.Equal(got, old) {
			t.Errorf("%s: the copy was changed", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		g.deposit(1)
		g.stop()
		if got := read(t, path); !bytes.Equal(got, kept(g.fsys.(*disktest.Disk))) {
			t.Errorf("%s: the new copy has %q", name, got)
		}
		g.close()
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever is missing at the end of a copy, the head that was torn is written behind it, once, and nothing counts twice.
func TestACopyTornAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never, Copy: path})
	h.deposit(2)
	h.receipt(2)
	first := len(kept(d))
	h.deposit(2)
	h.close()
	whole := kept(d)
	for end := 0; end <= len(whole); end++ {
		if end%9 > 0 && end > 30 && (end < first-9 || end > first+9) && len(whole)-end > 100 { // in the text one place is like another
			continue
		}
		if err := os.WriteFile(path, whole[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		g := build(t, d.Fork(1), evidence.Options{Every: never, Copy: path})
		g.deposit(1)
		g.stop()
		got, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(got, whole[:end]) {
			t.Fatalf("%d bytes were there: %v", end, err)
		}
		told, err := check(g.engine, got, goldenKey(t).Public())
		if err != nil || told.Heads != 3 || told.Gaps != 0 || told.Last.Seq != 5 {
			t.Errorf("%d bytes of %d were there, and it has %+v, %v", end, len(whole), told, err)
		}
		g.close()
	}
}

// What torn heads have left, their ends too, is gone on behind. Any other file is left as it is, however it came to be named.
func TestACopyThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	for content, copied := range map[string]bool{
		"": true, "g": true, "gateway head 1\n": true, "gateway head 1\njournal 0": true, "gateway h(torn)\n\ngatew": true, "gateway h(to": true,
		"(torn)\n\n": true, "gateway head 1\nj(torn)\n\n(torn)\n\ngate(torn)\n": true,
		"\x00": false, "\n": false, "gateway: true\n": false, goldenSecret + "\n": false, goldenPublic + "\n": false, "socket:\n  listeners: []\n": false,
		"gateway h(torn)\n\nsocket": false, strings.Repeat("gateway head 1\n", 1000): false,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		h := build(t, disktest.New(1), evidence.Options{Every: never, Copy: path})
		h.deposit(1)
		h.stop()
		got, err := os.ReadFile(path)
		if err != nil || (string(got) == content) == copied || !strings.HasPrefix(string(got), content) || (h.heads.CopyFailed() == 0) != copied {
			t.Errorf("%.40q: it has %d bytes of %d, %d failures, %v", content, len(got), len(content), h.heads.CopyFailed(), err)
		}
		h.close()
	}
}

// A copy that is the file itself, by another name say, would be damage: there is none then.
func TestACopyThatIsTheFileItself(t *testing.T) {
	dir := t.TempDir()
	fsys, err := disk.Existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, evidence.HeadsFile)
	h := build(t, fsys, evidence.Options{Every: never, Copy: path})
	h.deposit(1)
	h.receipt(1)
	h.deposit(1)
	h.stop()
	if h.heads.CopyFailed() == 0 {
		t.Error("nobody was told")
	}
	heads, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if told, err := check(h.engine, heads, goldenKey(t).Public()); err != nil || told.Heads != 2 {
		t.Errorf("%+v, %v", told, err)
	}
}

// A copy that knows another history is left as it is, and told of.
func TestACopyOfAnotherHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: never, Copy: path})
	h.deposit(3)
	earlier := d.Fork(1)
	h.deposit(3)
	h.close()
	before, err := os.ReadFile(path)
	if err != nil || len(before) == 0 {
		t.Fatal(err)
	}
	g := build(t, earlier, evidence.Options{Every: never, Copy: path})
	g.awaitCopy(func() bool { return g.heads.CopyFailed() > 0 })
	g.deposit(1)
	g.close()
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the copy has %q, %v", after, err)
	}
}

// crowded is a tape that cannot be opened where a try says so, or is lost after so many entries for want of a file.
type crowded struct {
	*tape
	tries []error
	after int
}

func (j *crowded) Follow(ctx context.Context, after uint64, visit func(*bank.Entry, [32]byte) error) error {
	if len(j.tries) == 0 {
		return j.tape.Follow(ctx, after, visit)
	}
	err := j.tries[0]
	j.tries = j.tries[1:]
	left := j.after
	if stopped := j.tape.Follow(ctx, after, func(e *bank.Entry, hash [32]byte) error {
		if left--; left < 0 {
			return err
		}
		return visit(e, hash)
	}); stopped != err {
		return stopped
	}
	return fmt.Errorf("open a segment: %w", err)
}

// Heads are made again once there are files for reading the journal, and none is lost; any other failure to read it is final.
func TestHeadsGoOnWhenFilesAreToBeHadAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		tries []error
		want  uint64
	}{
		{"too many files", []error{syscall.EMFILE, syscall.ENFILE}, 20},
		{"a failed read", []error{syscall.EMFILE, syscall.EIO}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := disktest.New(1)
				heads, err := evidence.Open(d, &crowded{tape: deposits(20), tries: test.tries, after: 3}, goldenKey(t), evidence.Options{Every: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					heads.Run(ctx)
				}()
				<-time.After(10 * time.Minute)
				if last := heads.Newest().Seq; test.want > 0 && (last != test.want || heads.Err() != nil) || test.want == 0 && heads.Err() == nil {
					t.Errorf("the last head is of entry %d, want %d; %v", last, test.want, heads.Err())
				}
				if heads.Failed() != uint64(len(test.tries)) {
					t.Errorf("%d failures were counted, want %d", heads.Failed(), len(test.tries))
				}
				stop()
				<-ended
				if err := heads.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
