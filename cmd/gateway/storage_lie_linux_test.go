package main

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"testing"

	"gateway/bank/journal"
)

// lyingDisks is how many disks lie before their power is cut; GATEWAY_LYING_DISKS sets another number.
const lyingDisks = 1

// TestALyingDiskIsFound cuts the power of a disk that has said for a while that it had synced, and had not. Nothing survives
// that; but whoever has kept the seq and the hash of the last answer finds out by verify, which says what is left.
func TestALyingDiskIsFound(t *testing.T) {
	disks := countFor(t, "GATEWAY_LYING_DISKS", lyingDisks)
	needMounts(t)
	lost, found := 0, 0
	for n := range disks {
		t.Run(cutOptions[n%len(cutOptions)], func(t *testing.T) {
			dir, seed := t.TempDir(), rand.Uint64()
			t.Logf("seed %d", seed)
			disk := newPowered(t, dir, cutOptions[n%len(cutOptions)])
			r := &cutting{torture: newTorture(t, seed), disk: disk}
			r.moveTo(dir)
			lost += r.lieAndCut()
			found++
		})
	}
	t.Logf("lying disks: %d; answers lost: %d; found: %d (%d)", disks, lost, found, disks)
	if found == 0 && !t.Failed() {
		t.Skip("SKIPPED: no disk could be made to lie")
	}
}

// lieAndCut returns how many answers were lost, which must be some and be found.
func (r *cutting) lieAndCut() int {
	r.t.Helper()
	struck := make(chan struct{})
	lie := fault{call: "fdatasync", from: 100 + r.random.IntN(100), every: true, strike: strikeLie}
	p := startTraced(r.t, r.dir, lie, func() { close(struck) })
	defer p.wait(r.t)
	defer p.signal(syscall.SIGKILL)
	r.loadUntil(struck)
	r.await(tortureFloor)
	r.disk.cut()
	p.signal(syscall.SIGKILL)
	p.wait(r.t)
	r.disk.restore()
	return r.foundLost()
}

// foundLost compares the journal that is left with the last answer.
func (r *cutting) foundLost() int {
	r.t.Helper()
	last := r.newest()
	verify := exec.Command("gateway", "journal", "verify")
	verify.Dir = r.dir
	out, err := verify.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitDamaged {
		r.t.Logf("the last answer was entry %d; verify: %s", last, out)
		return 1
	}
	if err != nil {
		r.t.Fatalf("journal verify: %v\n%s", err, out)
	}
	report, err := journal.Verify(r.disk.at)
	if err != nil {
		r.t.Fatal(err)
	}
	if report.Entries >= last {
		r.t.Fatalf("void: nothing was lost: the last answer was entry %d, and there are %d", last, report.Entries)
	}
	return int(last - report.Entries)
}
