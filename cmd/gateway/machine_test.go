package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// wakeEvery and syncEvery are the rests of the canaries.
	wakeEvery, syncEvery = 10 * time.Millisecond, 100 * time.Millisecond
	// leastPause is the pause from which on a canary keeps it.
	leastPause = 20 * time.Millisecond
	// syncedBytes is what the canary of the disk writes: a page.
	syncedBytes = 4096
)

// canary tells when the machine stood still for everybody: it does next to nothing, again and again, and keeps when that
// took long.
type canary struct {
	name    string
	longest time.Duration
	pauses  []pause // the goroutine's until it has ended
}

type pause struct{ began, ended time.Time }

// watch rests and pokes until stop is closed.
func (c *canary) watch(stop <-chan struct{}, rest time.Duration, poke func() error) error {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	for {
		due := time.Now().Add(rest)
		timer.Reset(rest)
		select {
		case <-stop:
			return nil
		case <-timer.C:
		}
		if err := poke(); err != nil {
			return err
		}
		now := time.Now()
		if took := now.Sub(due); took >= leastPause {
			c.pauses = append(c.pauses, pause{due, now})
			c.longest = max(c.longest, took)
		}
	}
}

// overlap returns how much of the time from began to ended was pause.
func (c *canary) overlap(began, ended time.Time) (sum time.Duration) {
	for _, p := range c.pauses {
		from, to := p.began, p.ended
		if from.Before(began) {
			from = began
		}
		if to.After(ended) {
			to = ended
		}
		sum += max(0, to.Sub(from))
	}
	return sum
}

// watchMachine starts a canary that only wakes and one that syncs a page to the disk of dir. The function that it returns
// ends them.
func watchMachine(t *testing.T, dir string) (canaries []*canary, end func()) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "canary"))
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, syncedBytes)
	canaries = []*canary{{name: "processors"}, {name: "disk"}}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { _ = canaries[0].watch(stop, wakeEvery, func() error { return nil }) })
	watching.Go(func() {
		err := canaries[1].watch(stop, syncEvery, func() error {
			if _, err := file.WriteAt(page, 0); err != nil {
				return err
			}
			return file.Sync()
		})
		if err != nil {
			t.Errorf("sync a page: %v", err)
		}
	})
	return canaries, sync.OnceFunc(func() {
		close(stop)
		watching.Wait()
		_ = file.Close()
	})
}

// memory is what a process holds, in KiB: all of it, and what no file is behind.
type memory struct{ resident, anonymous float64 }

// memoryOf reads it from Linux.
func memoryOf(pid int) (m memory, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	defer file.Close()
	fields := map[string]*float64{"VmRSS:": &m.resident, "RssAnon:": &m.anonymous}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), "\t")
		if value := fields[name]; value != nil {
			if _, err := fmt.Sscanf(rest, "%f kB", value); err != nil {
				return m, fmt.Errorf("%s %q: %w", name, rest, err)
			}
		}
	}
	if m.resident == 0 || m.anonymous == 0 {
		return m, io.ErrUnexpectedEOF
	}
	return m, nil
}

// processorOf returns how long a process has had a processor, as Linux tells it.
func processorOf(pid int) (time.Duration, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	const tick = time.Second / 100 // USER_HZ
	fields := strings.Fields(string(line[strings.LastIndexByte(string(line), ')')+1:]))
	if len(fields) < 13 {
		return 0, io.ErrUnexpectedEOF
	}
	user, err := strconv.Atoi(fields[11])
	kernel, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+kernel) * tick, errors.Join(err, err2)
}

// needLinux skips a test that measures another process.
func needLinux(t *testing.T) {
	t.Helper()
	if _, err := memoryOf(os.Getpid()); err != nil {
		t.Skipf("SKIPPED: this system does not tell the memory of a process as Linux does: %v", err)
	}
}

// allowFiles lets this process, and those that it starts, have as many open files.
func allowFiles(t *testing.T, files uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= files {
		return
	}
	limit.Cur, limit.Max = files, max(files, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("%d open files are needed: ulimit -n: %v", files, err)
	}
}

// TestCanaryKeepsPauses shows it a poke that takes long, and asks how much of other times that was.
func TestCanaryKeepsPauses(t *testing.T) {
	c, stop, left := new(canary), make(chan struct{}), 2
	poke := func() error {
		if left--; left == 0 {
			close(stop)
			<-time.After(2 * leastPause)
		}
		return nil
	}
	if err := c.watch(stop, time.Millisecond, poke); err != nil {
		t.Fatal(err)
	}
	if len(c.pauses) == 0 || c.longest < 2*leastPause {
		t.Fatalf("pauses %v, longest %v", c.pauses, c.longest)
	}
	p := pause{began: time.Unix(10, 0), ended: time.Unix(12, 0)}
	c.pauses = []pause{p, {time.Unix(20, 0), time.Unix(21, 0)}}
	for _, test := range []struct{ from, to, want int64 }{{0, 10, 0}, {0, 11, 1}, {11, 30, 2}, {10, 12, 2}, {13, 19, 0}, {0, 30, 3}} {
		if got := c.overlap(time.Unix(test.from, 0), time.Unix(test.to, 0)); got != time.Duration(test.want)*time.Second {
			t.Errorf("%v of the seconds %d to %d, want %d s", got, test.from, test.to, test.want)
		}
	}
}
