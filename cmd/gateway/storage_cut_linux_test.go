package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gateway/wire"
)

const (
	// powerCuts is how often the power is cut under each kind of clients; GATEWAY_POWER_CUTS sets another number.
	powerCuts = 2
	// cutsPerDisk is after how many a new disk is taken, with other options, so that journals stay short.
	cutsPerDisk = 25
	// cutDelay is the longest between the floor and the cut, so that no answer foretells it.
	cutDelay = 20 * time.Millisecond
	// readerFile has the settings of a gateway at whose doors the clients do not knock.
	readerFile = "reader.yaml"
)

// cutOptions are the ways in which a disk is mounted, in turns.
var cutOptions = []string{"", "commit=1", "data=writeback"}

// onDisks lets run cut the power of one disk after the other, so often in all.
func onDisks(t *testing.T, run func(t *testing.T, dir string, disk *powered, cuts int)) {
	cuts := countFor(t, "GATEWAY_POWER_CUTS", powerCuts)
	needMounts(t)
	ran := false
	for n, done := 0, 0; done < cuts; n++ {
		options, here := cutOptions[n%len(cutOptions)], min(cutsPerDisk, cuts-done)
		t.Run(fmt.Sprintf("disk %d %s", n, options), func(t *testing.T) {
			dir := t.TempDir()
			run(t, dir, newPowered(t, dir, options), here)
			ran = true
		})
		if t.Failed() {
			return
		}
		if !ran {
			t.Skip("SKIPPED: no power was cut")
		}
		done += here
	}
}

// TestPowerCuts cuts the power of the ext4 below a gateway again and again while clients of both doors load it, and mounts it
// again. After every cut all that was answered is in the journal, as it was answered; so is all that was to be read after a
// process was killed, or had failed to sync, and was started again before the cut.
func TestPowerCuts(t *testing.T) {
	onDisks(t, func(t *testing.T, dir string, disk *powered, cuts int) {
		seed := rand.Uint64()
		t.Logf("%d cuts, seed %d", cuts, seed)
		began := time.Now()
		r := &cutting{torture: newTorture(t, seed), disk: disk}
		r.moveTo(dir)
		for n := range cuts {
			switch kind := n % 5; {
			case kind == 2:
				r.killReadCut()
			case kind == 3 && n%2 == 0 && canTrace:
				r.failReadCut()
			case kind == 3:
				r.breakReadCut()
			case kind == 4:
				r.cutInRecovery()
				fallthrough
			default:
				r.loadAndCut(n%2 == 0)
			}
			r.compare(false)
		}
		p := r.start()
		r.finish()
		r.checkBalances()
		if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
			t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, p.stderr.String())
		}
		r.compare(true)
		t.Logf("power cuts: %d; of them after a kill: %d, after EIO: %d, after EIO of a disk: %d, in a recovery: %d; answers: %d; "+
			"answers lost: 0 (0); %v", cuts+r.recoveries, r.kills, r.failures, r.breaks, r.recoveries, len(r.told.all()), time.Since(began).Round(time.Millisecond))
	})
}

// cutting is a run of TestPowerCuts.
type cutting struct {
	*torture
	disk                                *powered
	kills, failures, breaks, recoveries int
}

// moveTo moves the settings to the directory in which the disk is mounted.
func (r *cutting) moveTo(dir string) {
	r.t.Helper()
	settings, err := os.ReadFile(filepath.Join(r.dir, settingsFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, settingsFile), settings, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, readerFile), []byte(`
socket: { listeners: [ { address: "127.0.0.1:0", codec: json } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "" }
log: { level: warn }
`), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.dir = dir
}

// loadAndCut cuts the power under load. As when a whole machine goes dark, the process stands still before it; or it lives to
// see the disk fail.
func (r *cutting) loadAndCut(dark bool) {
	r.t.Helper()
	p := r.start()
	r.await(tortureFloor + r.random.IntN(tortureFloor))
	<-time.After(time.Duration(r.random.Int64N(int64(cutDelay))))
	if dark {
		freeze(r.t, p)
	}
	r.disk.cut()
	p.kill()
	r.disk.restore()
}

// freeze stops every thread of a process.
func freeze(t *testing.T, p *process) {
	t.Helper()
	pid := p.cmd.Process.Pid
	err := syscall.Kill(pid, syscall.SIGSTOP)
	if err == nil {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
	}
	if err != nil {
		t.Fatalf("stop the process: %v", err)
	}
}

// cutInRecovery cuts the power at any moment of a start.
func (r *cutting) cutInRecovery() {
	r.t.Helper()
	r.recoveries++
	early := exec.Command("gateway")
	early.Dir = r.dir
	if err := early.Start(); err != nil {
		r.t.Fatal(err)
	}
	<-time.After(time.Duration(r.random.Int64N(int64(2 * recoveryTime))))
	r.disk.cut()
	_ = early.Process.Kill()
	_ = early.Wait()
	r.disk.restore()
}

// killReadCut kills the gateway under load, lets another show what it finds, and cuts the power.
func (r *cutting) killReadCut() {
	r.t.Helper()
	r.kills++
	p := r.start()
	r.await(tortureFloor + r.random.IntN(tortureFloor))
	if _, err := p.stop(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	r.readAndCut()
}

// failReadCut lets every sync fail under load, from one on, and lets another gateway, which sees what the system has kept in
// memory, show what it finds; then it cuts the power.
func (r *cutting) failReadCut() {
	r.t.Helper()
	r.failures++
	before := r.answers()
	p := startTraced(r.t, r.dir, fault{call: "fdatasync", from: 200 + r.random.IntN(200), every: true, errno: syscall.EIO}, func() {})
	r.loadUntil(p.ended)
	if code := p.wait(r.t); code != exitBroken {
		r.t.Fatalf("after %s failed: exit code %d\n%s", p.hit, code, p.stderr.String())
	}
	if got := r.answers() - before; got < tortureFloor {
		r.t.Fatalf("void: %d answers before the sync failed, the floor is %d", got, tortureFloor)
	}
	r.readAndCut()
}

// breakReadCut is failReadCut with a disk that breaks and is well again. When ext4 had something of its own to write meanwhile it
// can be written no more, no other gateway can start, and the cut comes at once.
func (r *cutting) breakReadCut() {
	r.t.Helper()
	p := r.start()
	r.await(tortureFloor + r.random.IntN(tortureFloor))
	r.disk.fail(true)
	var code int
	var err error
	ended := make(chan struct{})
	go func() {
		code, err = p.wait()
		close(ended)
	}()
	r.loadUntil(ended)
	r.disk.fail(false)
	if code != exitBroken || err != nil {
		r.t.Fatalf("on a disk that breaks: exit code %d, %v\n%s", code, err, p.stderr.String())
	}
	probe := filepath.Join(r.disk.at, "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		r.disk.cut()
		r.disk.restore()
		return
	}
	r.breaks++
	r.readAndCut()
}

// loadUntil lets the clients go on until something has ended: otherwise they wait for who counts their answers.
func (r *cutting) loadUntil(ended <-chan struct{}) {
	r.t.Helper()
	late := time.NewTimer(2 * patience)
	defer late.Stop()
	for {
		select {
		case <-r.doors[0].reached:
		case <-r.doors[1].reached:
		case <-ended:
			return
		case <-late.C:
			r.t.Fatal("void: what the clients were to load for does not come")
		}
	}
}

func (r *cutting) answers() (sum int64) {
	for _, d := range r.doors {
		sum += d.answered.Load()
	}
	return sum
}

// readAndCut lets a gateway of its own recover, and cuts the power: what could be read of it must still be there.
func (r *cutting) readAndCut() {
	r.t.Helper()
	p, err := startGateway(r.dir, "", "--config", readerFile)
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.kill()
	seen := dumpOf(r.t, r.dir)
	r.disk.cut()
	p.kill()
	r.disk.restore()
	checkPrefix(r.t, seen, dumpOf(r.t, r.dir))
}

// checkPrefix makes sure that a journal begins with what was seen of it.
func checkPrefix(t *testing.T, seen, left []wire.Entry) {
	t.Helper()
	if len(left) < len(seen) {
		t.Fatalf("%d entries were seen, %d are left", len(seen), len(left))
	}
	if n := len(seen); n > 0 && left[n-1].Hash != seen[n-1].Hash {
		t.Fatalf("entry %d was %+v, and now it is %+v", n, seen[n-1], left[n-1])
	}
}

// TestPowerCutsOfSessions is TestPowerCuts under devices whose sessions persist; what it asks of them is what
// TestTortureOfSessions does.
func TestPowerCutsOfSessions(t *testing.T) {
	onDisks(t, func(t *testing.T, dir string, disk *powered, cuts int) {
		seed := rand.Uint64()
		t.Logf("%d cuts, seed %d", cuts, seed)
		began := time.Now()
		f := newFleet(newKillableIn(t, dir), seed)
		defer f.abandon()
		for range cuts {
			f.await(sessionFloor + f.random.IntN(sessionFloor))
			<-time.After(f.upTo(cutDelay))
			freeze(t, f.process)
			disk.cut()
			f.process.kill()
			disk.restore()
			f.start()
		}
		f.end()
		f.mustBeWell()
		f.settle()
		entries := f.check()
		t.Logf("power cuts under devices: %d; operations: %d; redeliveries: %d; replies twice: %d; entries: %d; %v",
			cuts, f.operations(), f.redeliveries(), f.resent(), entries, time.Since(began).Round(time.Millisecond))
		if f.operations() < cuts*sessionFloor || f.redeliveries() < cuts {
			t.Fatal("void: too little was under way when the power was cut")
		}
	})
}
