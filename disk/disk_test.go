package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"gateway/disk"
	"gateway/disk/disktest"
)

// TestARealDirectory takes every step on one, which is made with its parents.
func TestARealDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	if fsys, err := disk.Existing(path); err != nil {
		t.Fatal(err)
	} else if _, err := fsys.List(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before it was made: %v", err)
	}
	fsys, err := disk.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := fsys.Create("x" + disk.Unfinished)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := errors.Join(disk.Zero(file, 0, 1<<20), disk.Publish(fsys, "x"+disk.Unfinished, "x")); err != nil {
		t.Fatal(err)
	}
	if size, err := file.Size(); size != 1<<20 || err != nil {
		t.Errorf("the size is %d, %v", size, err)
	}
	if inPlace, err := disk.Renew(fsys, "x", 100); inPlace || err != nil {
		t.Errorf("renew: %v, %v", inPlace, err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "x")); !bytes.Equal(b, make([]byte, 100)) {
		t.Errorf("renewed are %d bytes, %v", len(b), err)
	}
	lock, err := fsys.Lock("LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Lock("LOCK"); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("the second lock: %v", err)
	}
	if free, total, err := fsys.Space(); free <= 0 || total < free || err != nil {
		t.Errorf("%d bytes of %d are free, %v", free, total, err)
	}
	if err := errors.Join(lock.Close(), fsys.Remove("x")); err != nil {
		t.Fatal(err)
	}
	if names, err := fsys.List(); !slices.Equal(names, []string{"LOCK"}) || err != nil {
		t.Errorf("left are %v, %v", names, err)
	}
}

// TestEachNameOfAPathIsDurableBeforeTheNextIsMade ends the making of a path at every sync, as a kill would, and then lets another
// process make it: each name on the way is synced after it was made, before what is in it was, and once more when that may have failed.
func TestEachNameOfAPathIsDurableBeforeTheNextIsMade(t *testing.T) {
	killed := errors.New("killed")
	for ended := 0; ; ended++ {
		top := t.TempDir()
		path := filepath.Join(top, "a", "b", "c")
		durable := map[string]bool{top: true}
		syncs, kill := 0, ended
		sync := func(dir string) error {
			if syncs++; syncs > kill {
				return killed
			}
			for name := path; name != top; name = filepath.Dir(name) {
				if _, err := os.Stat(name); err == nil && filepath.Dir(name) == dir {
					durable[name] = true
				} else if err == nil && !durable[filepath.Dir(name)] {
					t.Errorf("ended at sync %d: %s is there, and its parent is not durable", ended, name)
				}
			}
			return nil
		}
		first := disk.MakeDir(path, sync)
		kill = 1000
		if err := disk.MakeDir(path, sync); err != nil || len(durable) != 4 {
			t.Errorf("ended at sync %d: %v, durable are %v", ended, err, durable)
		}
		if first == nil {
			if ended != 4 {
				t.Errorf("%d syncs", ended)
			}
			break
		}
		if first != killed {
			t.Fatal(first)
		}
	}
}

// TestADirectoryThatIsThereMayBeInAnothers, who does not let us sync it; what is made in one that cannot be synced is an error.
func TestADirectoryThatIsThereMayBeInAnothers(t *testing.T) {
	top := t.TempDir()
	for failure, others := range map[error]bool{syscall.EACCES: true, syscall.EPERM: true, syscall.EINVAL: true, syscall.EROFS: true, syscall.EIO: false} {
		fail := func(string) error { return &os.PathError{Op: "open", Path: top, Err: failure} }
		if err := disk.MakeDir(top, fail); (err == nil) != others || err != nil && !errors.Is(err, failure) {
			t.Errorf("it is there: %v", err)
		}
		if err := disk.MakeDir(filepath.Join(top, "new"), fail); !errors.Is(err, failure) {
			t.Errorf("it is new: %v, want %v", err, failure)
		}
		os.Remove(filepath.Join(top, "new"))
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "x")} {
		if _, err := disk.Dir(path); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNoPathIsNoDirectory(t *testing.T) {
	if fsys, err := disk.Dir(""); err == nil {
		t.Errorf("it is %v", fsys)
	}
}

// TestRenewNeverLosesTheFirstBytes renews a file whose sync has failed, so that the disk has not what is seen, with space for
// a copy and without, and cuts the power before every operation and after the last. The first bytes are those that were
// synced before, and after the last operation all that were asked for.
func TestRenewNeverLosesTheFirstBytes(t *testing.T) {
	whole := bytes.Repeat([]byte("0123456789abcdef"), 200)
	const synced, asked = 1000, 2500
	for _, limit := range []int64{1 << 20, int64(len(whole)) + 100} {
		for seed := range uint64(50) {
			fsys := failedSync(t, seed, whole, synced)
			fsys.Limit(limit)
			cut := func(least int) error {
				left := fsys.Fork(seed)
				left.Cut(rand.New(rand.NewPCG(seed, 1)))
				if b := left.Bytes("x"); len(b) < least || !bytes.Equal(b[:least], whole[:least]) {
					return fmt.Errorf("seed %d, limit %d: %d bytes are left", seed, limit, len(b))
				}
				return nil
			}
			fsys.Before = func(op disktest.Op) error {
				if err := cut(synced); err != nil {
					t.Errorf("before %v: %v", op, err)
				}
				return nil
			}
			inPlace, err := disk.Renew(fsys, "x", asked)
			if inPlace != (limit < 1<<20) || err != nil {
				t.Fatalf("renew: %v, %v", inPlace, err)
			}
			if err := cut(asked); err != nil {
				t.Fatal(err)
			}
			if names, _ := fsys.List(); len(names) != 1 || len(fsys.Bytes("x")) != asked {
				t.Fatalf("left are %v, of which x has %d bytes", names, len(fsys.Bytes("x")))
			}
		}
	}
}

// failedSync returns a disk with a file of the bytes of which only the first are certain to be on it.
func failedSync(t *testing.T, seed uint64, b []byte, synced int) *disktest.Disk {
	t.Helper()
	fsys := disktest.New(seed)
	fsys.Put("x", b[:synced])
	fsys.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Sync {
			return syscall.EIO
		}
		return nil
	}
	file, err := fsys.Edit("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(b[synced:], int64(synced)); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	return fsys
}

// TestADraftIsDroppedForWantOfSpaceAlone keeps what another failure leaves, for who looks into it.
func TestADraftIsDroppedForWantOfSpaceAlone(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EIO, nil} {
		fsys := disktest.New(1)
		fsys.Put("x", nil)
		if err := disk.DropDraft(fsys, "x", fault); err != fault {
			t.Errorf("%v became %v", fault, err)
		}
		if names, _ := fsys.List(); (len(names) == 0) != disk.LacksSpace(fault) {
			t.Errorf("after %v there is %v", fault, names)
		}
	}
}

// TestCopyCopiesTheFirstBytes copies as many bytes as are asked for, or all, until its context ends.
func TestCopyCopiesTheFirstBytes(t *testing.T) {
	from, to := disktest.New(1), disktest.New(2)
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	from.Put("x", content)
	for _, size := range []int{0, 1, 300_000, len(content)} {
		if err := disk.Copy(t.Context(), from, to, "x", int64(size)); err != nil || !bytes.Equal(to.Bytes("x"), content[:size]) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := disk.Copy(t.Context(), from, to, "x", int64(len(content)+1)); !errors.Is(err, io.EOF) {
		t.Errorf("more than there is: %v", err)
	}
	if n, err := disk.CopyWhole(t.Context(), from, to, "x"); n != int64(len(content)) || err != nil {
		t.Errorf("all: %d, %v", n, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := disk.CopyWhole(ended, from, to, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := disk.CopyWhole(t.Context(), from, to, "y"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestTheReserveIsAShareOfTheDisk(t *testing.T) {
	for total, want := range map[int64]int64{
		0: 0, 15: 0, 16: 1, 1 << 20: 64 << 10, 1<<30 - 16: 64<<20 - 1, 1 << 30: 64 << 20, 1 << 40: 64 << 20,
	} {
		if got := disk.Reserve(total); got != want {
			t.Errorf("of %d bytes it is %d, want %d", total, got, want)
		}
	}
}
