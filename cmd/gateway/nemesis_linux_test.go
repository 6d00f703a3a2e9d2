package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
)

const (
	// memoryMost is what a gateway lives in under load, in bytes.
	memoryMost = 128 << 20
	// squeezeStep is by how much a gateway may grow while its memory is taken away, in bytes, and squeezeEvery how often.
	squeezeStep, squeezeEvery = 64 << 10, 20 * time.Millisecond
	// diskRate is the number of writes that a slow disk does in a second, and syncDelay how long a slow sync takes.
	diskRate, syncDelay = 20, 50 * time.Millisecond
	// fewFiles is the number of open files that a gateway gets when they are few, and floodConnections how many want one.
	fewFiles, floodConnections = 64, 200
	// floodEvery is the time from one connection of a flood to the next, once those are there.
	floodEvery = 20 * time.Millisecond
	// floodBusy is the part of a processor that turning a flood away may take.
	floodBusy = 0.2
	// refusalPatience is how long one write is tried while the disk is full, and refusalTries how many are.
	refusalPatience, refusalTries = 400 * time.Millisecond, 100
	// smallDisk is the size of a disk that is filled, in MiB, besides what it takes to fill it once more.
	smallDisk = 64
	// fillWrites is more than the gateway writes from one time that the disk is full to the next, in MiB.
	fillWrites = 2
)

// controlGroup makes a control group for one process; it ends with the test. Without root or version 1 of them it says why.
func controlGroup(t *testing.T, controller string) (dir, reason string) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join("/sys/fs/cgroup", controller), "gateway-")
	if err != nil {
		return "", fmt.Sprintf("no control group of version 1: %v", err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(patience); os.Remove(dir) != nil && time.Now().Before(deadline); {
			<-time.After(squeezeEvery) // its last process is just ending
		}
	})
	return dir, ""
}

// setGroup sets a value of a control group.
func setGroup(dir, name, value string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600)
}

func lacksControlGroup(controller string) func(*ordeal) string {
	return func(o *ordeal) string {
		_, reason := controlGroup(o.t, controller)
		return reason
	}
}

// group makes a control group with a value, on a machine that does not lack them.
func (o *ordeal) group(controller, name, value string) (dir string) {
	o.t.Helper()
	dir, reason := controlGroup(o.t, controller)
	if reason != "" {
		o.t.Fatal(reason)
	}
	if err := setGroup(dir, name, value); err != nil {
		o.t.Fatal(err)
	}
	return dir
}

// within restarts the gateway in a control group.
func (o *ordeal) within(dir string) string {
	o.t.Helper()
	o.end(syscall.SIGTERM)
	o.restart(processLimits{groups: []string{dir}})
	return dir
}

// nemesisSlowDisk lets the disk do few writes a second for a gateway that runs.
var nemesisSlowDisk = nemesis{name: "slow disk", lacks: lacksSlowDisk, strike: func(o *ordeal) {
	const writes = "blkio.throttle.write_iops_device"
	disk := diskOf(o.t, o.dir)
	dir := o.group("blkio", writes, fmt.Sprintf("%s %d", disk, diskRate))
	moved := setGroup(dir, "cgroup.procs", strconv.Itoa(o.process.cmd.Process.Pid))
	o.mustAnswer(nemesisSize(2*time.Second, 5*time.Second))
	if err := errors.Join(moved, setGroup(dir, writes, disk+" 0")); err != nil {
		o.t.Fatal(err)
	}
}}

// diskOf names the disk of a directory as the kernel does.
func diskOf(t *testing.T, dir string) string {
	t.Helper()
	var info syscall.Stat_t
	if err := syscall.Stat(dir, &info); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", info.Dev>>8&0xfff, info.Dev&0xff|info.Dev>>12&0xfff00)
}

func lacksSlowDisk(o *ordeal) string {
	dir, reason := controlGroup(o.t, "blkio")
	if reason != "" {
		return reason
	}
	if err := setGroup(dir, "blkio.throttle.write_iops_device", fmt.Sprintf("%s %d", diskOf(o.t, o.dir), diskRate)); err != nil {
		return fmt.Sprintf("the directory is on no disk that can be slowed: %v", err)
	}
	return ""
}

// mustAnswer lets time pass, in which every door has to answer something.
func (o *ordeal) mustAnswer(length time.Duration) {
	o.t.Helper()
	before := map[string]int64{}
	for _, d := range o.doors {
		before[doorOf(d)] += d.answered.Load()
	}
	<-time.After(length)
	after := map[string]int64{}
	for _, d := range o.doors {
		after[doorOf(d)] += d.answered.Load()
	}
	for door := range before {
		if after[door] == before[door] {
			o.t.Errorf("%s answers nothing in %v", door, length)
		}
	}
}

func doorOf(d *tortureDoor) string {
	door, _, _ := strings.Cut(d.name, "-")
	return door
}

// nemesisSlowSyncs makes each sync of the gateway take long.
var nemesisSlowSyncs = nemesis{
	name:  "slow syncs",
	lacks: lacksStrace,
	strike: func(o *ordeal) {
		trace := exec.Command("strace", "-f", "-q", "-o", "/dev/null", "-p", strconv.Itoa(o.process.cmd.Process.Pid),
			"-e", "trace=fdatasync", "-e", fmt.Sprintf("inject=fdatasync:delay_enter=%d", syncDelay.Microseconds()))
		var said bytes.Buffer
		trace.Stderr = &said
		if err := trace.Start(); err != nil {
			o.t.Fatal(err)
		}
		o.mustAnswer(nemesisSize(time.Second, 3*time.Second))
		if err := trace.Process.Signal(syscall.SIGTERM); err != nil {
			o.t.Fatalf("void: no sync was slow: %v", err)
		}
		var end *exec.ExitError
		if err := trace.Wait(); errors.As(err, &end) && end.Exited() && end.ExitCode() == 1 {
			o.t.Fatalf("void: no sync was slow: strace: %v\n%s", err, &said)
		}
	},
}

func lacksStrace(o *ordeal) string {
	_, err := exec.LookPath("strace")
	switch {
	case err == nil:
		return ""
	case os.Getenv("CI") == "true":
		o.t.Fatal(err)
	}
	return "strace is not installed"
}

// nemesisLittleMemory must be enough.
var nemesisLittleMemory = nemesis{name: "128 MiB of memory", lacks: lacksControlGroup("memory"), strike: func(o *ordeal) {
	dir := o.within(o.group("memory", "memory.limit_in_bytes", strconv.Itoa(memoryMost)))
	o.mustAnswer(nemesisSize(time.Second, 3*time.Second))
	if killed := outOfMemory(o.t, dir); killed > 0 {
		o.t.Fatalf("%d MiB are not enough\n%s", memoryMost>>20, o.process.stderr.String())
	}
}}

// outOfMemory returns how many processes of a control group the kernel has killed.
func outOfMemory(t *testing.T, dir string) (killed int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "oom_kill %d", &killed); err == nil {
			return killed
		}
	}
	t.Skip("SKIPPED: this kernel does not tell whom it has killed for want of memory")
	return 0
}

// nemesisNoMemory takes the memory away until the kernel kills the gateway, which is as good as kill -9.
var nemesisNoMemory = nemesis{name: "killed for want of memory", lacks: lacksControlGroup("memory"), strike: func(o *ordeal) {
	dir := o.within(o.group("memory", "memory.limit_in_bytes", strconv.Itoa(memoryMost)))
	for deadline := time.Now().Add(patience); outOfMemory(o.t, dir) == 0; {
		if time.Now().After(deadline) {
			o.t.Fatal("void: the kernel does not kill it")
		}
		used, err := os.ReadFile(filepath.Join(dir, "memory.usage_in_bytes"))
		if err != nil {
			o.t.Fatal(err)
		}
		bytes, err := strconv.Atoi(strings.TrimSpace(string(used)))
		if err != nil {
			o.t.Fatal(err)
		}
		_ = setGroup(dir, "memory.limit_in_bytes", strconv.Itoa(bytes-squeezeStep)) // refused while nothing can be given back
		<-time.After(squeezeEvery)
	}
	if code, err := o.process.wait(); code != -1 || err != nil {
		o.t.Fatalf("exit code %d, %v\n%s", code, err, o.process.stderr.String())
	}
	o.restart(processLimits{})
}}

// nemesisFewDescriptors floods a gateway with more connections than it can open files. Those that it has go on, and it does not spin.
var nemesisFewDescriptors = nemesis{name: "few descriptors", strike: func(o *ordeal) {
	o.end(syscall.SIGTERM)
	o.restart(processLimits{files: fewFiles})
	o.settle("a start with few descriptors")
	flooding, cancel := context.WithCancel(o.t.Context())
	flooded := make(chan struct{})
	go func() { o.flood(flooding); close(flooded) }()
	defer func() { cancel(); <-flooded }()
	busy := o.idleFor(nemesisSize(time.Second, 3*time.Second))
	o.t.Logf("processor while it is flooded and asked nothing: %.0f %% (%.0f %%)", 100*busy, 100*floodBusy)
	if busy > floodBusy {
		o.t.Errorf("a flood takes %.0f %% of a processor", 100*busy)
	}
	o.mustAnswer(nemesisSize(500*time.Millisecond, 3*time.Second))
}}

// flood opens floodConnections at once and then one after the other, and closes none, until ctx ends.
func (o *ordeal) flood(ctx context.Context) {
	ticks := time.NewTicker(floodEvery)
	defer ticks.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		door := []string{"socket", "mqtt"}[i%2]
		conn, err := net.DialTimeout("tcp", o.process.addresses[door][0], time.Second)
		if err == nil {
			defer conn.Close()
		}
		if i < floodConnections {
			continue
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// idleFor lets nobody ask anything for a while and returns which part of a processor the gateway took.
func (o *ordeal) idleFor(length time.Duration) float64 {
	o.t.Helper()
	o.gate.Lock()
	defer o.gate.Unlock()
	before, err := processorOf(o.process.cmd.Process.Pid)
	began := time.Now()
	<-time.After(length)
	after, err2 := processorOf(o.process.cmd.Process.Pid)
	if err := errors.Join(err, err2); err != nil {
		o.t.Fatal(err)
	}
	return (after - before).Seconds() / time.Since(began).Seconds()
}

// mountSmallDisk returns a directory on a disk of its own, of so many MiB.
func mountSmallDisk(t *testing.T, size int) (dir, reason string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size)); err != nil {
		return "", fmt.Sprintf("no disk could be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir, ""
}

// nemesisFullDisk fills the disk and frees it.
var nemesisFullDisk = nemesis{name: "full disk", strike: func(o *ordeal) {
	free := o.fill()
	o.mustRefuseWrites()
	free()
}}

// fill fills the disk until free is called.
func (o *ordeal) fill() (free func()) {
	o.t.Helper()
	path := filepath.Join(o.dir, "ballast")
	file, err := os.Create(path)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := io.Copy(file, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		o.t.Fatalf("fill the disk: %v", err)
	}
	_ = file.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			o.t.Fatal(err)
		}
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// mustRefuseWrites waits until each door says that nothing can be written; balances go on meanwhile.
func (o *ordeal) mustRefuseWrites() {
	o.t.Helper()
	for _, d := range []*tortureDoor{o.doors[0], o.doors[1]} {
		for n := 0; ; n++ {
			ctx, cancel := context.WithTimeout(o.t.Context(), refusalPatience)
			op := client.Operation{Kind: bank.KindDeposit, Account: "acc-0", Amount: "1", ID: fmt.Sprintf("full-%d-%d-%s", o.strikes, n, d.name)}
			_, err := o.askFor(ctx, d, "filler", op)
			cancel()
			var unknown *client.UnknownError
			if errors.As(err, &unknown) && unknown.Last != nil && unknown.Last.Code == bank.Unavailable {
				break
			}
			if n == refusalTries {
				o.t.Fatalf("the disk is full, and %s still says %v", d.name, err)
			}
		}
		ctx, cancel := context.WithTimeout(o.t.Context(), settleMost)
		defer cancel()
		if _, err := o.askFor(ctx, d, "filler", client.Operation{Kind: bank.KindBalance, Account: "acc-0"}); err != nil {
			o.t.Fatalf("the disk is full, and %s tells no balance: %v", d.name, err)
		}
	}
}

func TestUnderASlowDiskEverybodyWaitsAndNothingIsLost(t *testing.T) {
	needTorture(t)
	undergo(t, nemesisSlowDisk)
}

func TestUnderSlowSyncsEverybodyWaitsAndNothingIsLost(t *testing.T) { undergo(t, nemesisSlowSyncs) }

func TestUnderAMemoryLimitItLives(t *testing.T) {
	needTorture(t)
	undergo(t, nemesisLittleMemory)
}

func TestUnderKillsForWantOfMemoryNothingIsLostOrDoneTwice(t *testing.T) {
	needTorture(t)
	undergo(t, nemesisNoMemory)
}

func TestUnderFewDescriptorsItNeitherSpinsNorStops(t *testing.T) { undergo(t, nemesisFewDescriptors) }

// TestUnderAFullDiskWritesAreRefusedAndServiceResumes fills and frees a small disk, GATEWAY_FILLS times.
func TestUnderAFullDiskWritesAreRefusedAndServiceResumes(t *testing.T) {
	needTorture(t)
	fills := countFor(t, "GATEWAY_FILLS", nemesisSize(2, 20))
	dir, reason := mountSmallDisk(t, smallDisk+fills*fillWrites)
	if reason != "" {
		t.Skipf("SKIPPED: %s", reason)
	}
	o := newOrdeal(t, dir, drawSeed(t), newTally())
	o.rest()
	for n := range fills {
		o.strike(nemesisFullDisk)
		o.rest()
		if every := max(dumpEvery, fills/mostDumps); n%every == every-1 || n == fills-1 {
			o.check(nemesisFullDisk.name)
		}
	}
	o.conclude()
	o.judge(t)
}
