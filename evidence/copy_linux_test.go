package evidence_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gateway/disk/disktest"
	"gateway/evidence"

	"golang.org/x/sys/unix"
)

// A stop does not wait for a copy that hangs, as one on a network does that is away. Here another has a lease of it, and does
// not give it back when the system asks.
func TestAStopLeavesACopyThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	holder, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if _, err := unix.FcntlInt(holder.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("SKIPPED: no lease of a file can be had, so no copy has hung: %v", err)
	}
	d := disktest.New(1)
	h := build(t, d, evidence.Options{Every: 20 * time.Millisecond, Copy: path})
	h.deposit(1)
	h.await(1)
	h.deposit(1)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		h.stop()
	}()
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Error("the stop waits for the copy")
	}
	holder.Close()
	<-stopped
	if n := h.sound(d); n != 2 {
		t.Errorf("%d heads are kept", n)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) > 0 {
		t.Errorf("what was left behind has written %q, %v", got, err)
	}
}
