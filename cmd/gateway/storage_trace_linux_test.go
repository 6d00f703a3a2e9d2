package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// strike is what becomes of a system call that is struck.
type strike int

const (
	strikeError strike = iota // it is not made, and fails with the fault's errno
	strikeKill                // the process is killed before it
	strikeShort               // it writes half of what it was asked to, and says so
	strikeLie                 // it is not made, and says that it was
)

// fault is a strike at the calls of one kind that concern the traced directory.
type fault struct {
	call  string // "pwrite64"
	from  int    // which of the whole process, counted from 1; 0: none is struck
	every bool   // and all after it
	strike
	errno syscall.Errno
}

// way is how the call is struck.
func (f fault) way() string {
	switch f.strike {
	case strikeKill:
		return "SIGKILL"
	case strikeShort:
		return "short"
	case strikeLie:
		return "lie"
	}
	return unix.ErrnoName(f.errno)
}

func (f fault) String() string { return fmt.Sprintf("%s %d %s", f.call, f.from, f.way()) }

// callKind is a system call that can be struck.
type callKind struct {
	name string
	path int // which argument is the path of its file, counted from 1; 0: the first is a descriptor of it
}

// isWrite and isSync tell what a call is for.
func (k callKind) isWrite() bool { return strings.Contains(k.name, "write") }
func (k callKind) isSync() bool  { return strings.Contains(k.name, "sync") }

// traced is a gateway whose system calls this process sees. strace counts the calls of each thread for itself, and Go moves
// its goroutines between threads; here they are counted as the process makes them, so that "the kth" means one call.
type traced struct {
	pid    int
	cmd    *exec.Cmd
	stderr bytes.Buffer // once it has ended
	told   *os.File     // what becomes stderr
	dir    string       // whose files count
	fault  fault
	struck func()        // called when the first is struck, while the process stands still
	ended  chan struct{} // closed when it has ended, and all below is set
	code   int           // its exit code; -1 when a signal ended it
	err    error
	calls  map[string]int // by kind
	hit    string         // the call that was struck first
	file   string         // of it
	again  []string       // later writes and syncs of the same file

	mu   sync.Mutex // guards over: no signal may reach another process of the same number
	over bool
}

// startTraced starts `gateway` in dir, of which the directory data counts. It does not wait until it is ready.
func startTraced(t *testing.T, dir string, f fault, struck func()) *traced {
	t.Helper()
	if !canTrace {
		t.Skipf("SKIPPED: the registers of %s are not known here, so no system call was failed", runtime.GOARCH)
	}
	told, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.EvalSymlinks(filepath.Join(dir, dataDirectory))
	if err != nil {
		t.Fatal(err)
	}
	p := &traced{
		cmd: exec.Command("gateway"), told: told, dir: data, fault: f, struck: struck, ended: make(chan struct{}),
		calls: map[string]int{},
	}
	p.cmd.Dir, p.cmd.Stderr = dir, told
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	started := make(chan error)
	go p.trace(started)
	if err := <-started; err != nil {
		t.Skipf("SKIPPED: no process may be traced here, so no system call was failed: %v", err)
	}
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.ended
	})
	return p
}

func (p *traced) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = syscall.Kill(p.pid, signal)
	}
}

// wait returns the exit code once the process has ended. One that does not end says where it stands.
func (p *traced) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT)
		<-p.ended
	}
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.code
}

// trace starts the process and looks after it until it has ended. Only the thread that started it may.
func (p *traced) trace(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	if err != nil {
		close(p.ended)
		started <- err
		return
	}
	p.pid = p.cmd.Process.Pid
	var status unix.WaitStatus
	if _, err = unix.Wait4(p.pid, &status, 0, nil); err == nil {
		err = unix.PtraceSetOptions(p.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
	}
	if err == nil {
		err = unix.PtraceSyscall(p.pid, 0)
	}
	started <- err
	if err == nil {
		p.err = p.follow()
	} else {
		_ = p.cmd.Process.Kill()
		_, _ = unix.Wait4(p.pid, &status, 0, nil)
	}
	log, logErr := os.ReadFile(p.told.Name())
	p.err = errors.Join(p.err, logErr, p.told.Close(), p.cmd.Process.Release())
	p.stderr.Write(log)
	if _, err := logs.writer().Write(log); err != nil {
		p.err = errors.Join(p.err, err)
	}
	close(p.ended)
}

// tracedThread is a thread of the process: what it is about to be told of the call that it is in, if that was struck.
type tracedThread struct {
	inCall bool
	result *uint64
}

// follow lets every thread go from one system call to the next.
func (p *traced) follow() error {
	threads := map[int]*tracedThread{p.pid: {}}
	for {
		var status unix.WaitStatus
		id, err := unix.Wait4(-p.pid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the traced process: %w", err)
		}
		if status.Exited() || status.Signaled() {
			if delete(threads, id); id != p.pid {
				continue
			}
			p.mu.Lock()
			p.over = true
			p.mu.Unlock()
			p.code = status.ExitStatus() // -1 after a signal
			return nil
		}
		deliver := 0
		switch thread, signal := threads[id], status.StopSignal(); {
		case thread == nil: // a new one begins with a stop
			threads[id] = &tracedThread{}
		case signal == unix.SIGTRAP|0x80:
			if err := p.pass(id, thread); err != nil && err != unix.ESRCH {
				return fmt.Errorf("trace: %w", err)
			}
		case signal != unix.SIGTRAP:
			deliver = int(signal)
		}
		if err := unix.PtraceSyscall(id, deliver); err != nil && err != unix.ESRCH { // killed meanwhile
			return fmt.Errorf("trace on: %w", err)
		}
	}
}

// pass is called when a thread enters a system call and when it leaves it.
func (p *traced) pass(id int, thread *tracedThread) error {
	if thread.inCall = !thread.inCall; !thread.inCall && thread.result == nil {
		return nil
	}
	var regs registers
	if err := regs.get(id); err != nil {
		return err
	}
	if thread.inCall {
		return p.enter(id, thread, &regs)
	}
	regs.setResult(*thread.result)
	thread.result = nil
	return regs.set(id)
}

// enter counts a call, and strikes it if it is its turn.
func (p *traced) enter(id int, thread *tracedThread, regs *registers) error {
	kind, known := callKinds[regs.number()]
	if !known {
		return nil
	}
	file, ours := p.fileOf(kind, regs)
	if !ours {
		return nil
	}
	p.calls[kind.name]++
	n := p.calls[kind.name]
	if kind.name != p.fault.call || p.fault.from == 0 || n < p.fault.from || n > p.fault.from && !p.fault.every {
		if p.hit != "" && file == p.file && (kind.isWrite() || kind.isSync()) {
			p.again = append(p.again, kind.name)
		}
		return nil
	}
	if p.hit == "" {
		p.hit, p.file = fmt.Sprintf("%s %d of %s", kind.name, n, file), file
		p.struck()
	}
	switch p.fault.strike {
	case strikeKill:
		return unix.Kill(p.pid, unix.SIGKILL)
	case strikeShort:
		regs.setArgument2((regs.argument(2) + 1) / 2)
		return regs.set(id)
	case strikeLie:
		thread.result = new(uint64)
		if kind.isWrite() {
			*thread.result = regs.argument(2)
		}
	default:
		thread.result = new(-uint64(p.fault.errno))
	}
	regs.drop()
	return regs.set(id)
}

// fileOf returns the name, within the directory, of the file that a call is about, and whether it lies there.
func (p *traced) fileOf(kind callKind, regs *registers) (string, bool) {
	var path string
	if kind.path > 0 {
		path = p.text(regs.argument(kind.path - 1))
	} else {
		path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, int32(regs.argument(0)))) // not every one is a file
	}
	if path == p.dir {
		return ".", true
	}
	return strings.CutPrefix(path, p.dir+"/")
}

// text reads a text of the process. It may end with a page, behind which there is none.
func (p *traced) text(at uint64) string {
	b := make([]byte, unix.PathMax)
	first := min(len(b), os.Getpagesize()-int(at)%os.Getpagesize())
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(p.pid, local, []unix.RemoteIovec{
		{Base: uintptr(at), Len: first}, {Base: uintptr(at) + uintptr(first), Len: len(b) - first},
	}, 0)
	if err != nil {
		return ""
	}
	text, _, _ := strings.Cut(string(b[:n]), "\x00")
	return text
}
