package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	unitFile = "../../deploy/gateway.service"
	// unitExposure is the worst that systemd may say of the unit, from 0 for an isolated service to 10.
	unitExposure = 1.5
	// mostConnections is the greatest limits.connections.
	mostConnections = 1_000_000
)

func analyzer(t *testing.T) string {
	t.Helper()
	return needed(t, "systemd-analyze", "apt-get install systemd")
}

// unit returns the values of each setting of the unit, in order.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}

// buildGateway builds the program as an operator does.
func buildGateway(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func TestTheUnitLeavesLittleOpen(t *testing.T) {
	out, err := exec.Command(analyzer(t), "security", "--offline=true", "--no-pager", unitFile).CombinedOutput()
	found := regexp.MustCompile(`Overall exposure level for gateway\.service: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if exposure, err := strconv.ParseFloat(string(found[1]), 64); err != nil || exposure > unitExposure {
		t.Errorf("exposure %s, want %v at most\n%s", found[1], unitExposure, out)
	}
}

// TestTheUnitIsUnderstood lets systemd read the unit: it warns of unknown settings and values.
func TestTheUnitIsUnderstood(t *testing.T) {
	analyze := analyzer(t)
	content, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	const installed = "ExecStart=/usr/local/bin/gateway "
	if !bytes.Contains(content, []byte(installed)) {
		t.Fatalf("the unit has no %s", installed)
	}
	here := filepath.Join(t.TempDir(), "gateway.service")
	content = bytes.Replace(content, []byte(installed), []byte("ExecStart="+buildGateway(t)+" "), 1)
	if err := os.WriteFile(here, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", here).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestTheUnitSuitsTheProgram holds the unit's figures to those of the program.
func TestTheUnitSuitsTheProgram(t *testing.T) {
	settings := unit(t)
	last := func(name string) string {
		values := settings[name]
		if len(values) == 0 {
			t.Fatalf("the unit does not set %s", name)
		}
		return values[len(values)-1]
	}
	hopeless := fmt.Sprint(exitUsage, " ", exitDamaged, " ", exitLocked, " ", exitSettings)
	if got := last("RestartPreventExitStatus"); got != hopeless || last("Restart") != "on-failure" {
		t.Errorf("no restart after %s, want after %s, and after all other failures", got, hopeless)
	}
	stop, err := time.ParseDuration(strings.Replace(last("TimeoutStopSec"), "min", "m", 1))
	if least := settleTimeout + drainTimeout + adminTimeout; err != nil || stop < 2*least {
		t.Errorf("a stop may take %v, %v, but the program takes %v", stop, err, least)
	}
	if files, err := strconv.Atoi(last("LimitNOFILE")); err != nil || files < mostConnections+1024 {
		t.Errorf("%d files, %v, for %d connections", files, err, mostConnections)
	}
	if last("Type") != "notify" || last("ExecReload") != "kill -HUP $MAINPID" {
		t.Errorf("type %s, reloaded by %s", last("Type"), last("ExecReload"))
	}
}

// allowedCalls returns the system calls that the unit lets through.
func allowedCalls(t *testing.T) map[string]bool {
	t.Helper()
	analyze := analyzer(t)
	var expand func(names []string) []string
	expand = func(names []string) []string {
		var calls []string
		for _, name := range names {
			if !strings.HasPrefix(name, "@") {
				calls = append(calls, name)
				continue
			}
			out, err := exec.Command(analyze, "syscall-filter", "--no-pager", name).Output()
			if err != nil {
				t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
			}
			var members []string
			for line := range strings.Lines(string(out)) {
				if fields := strings.Fields(line); len(fields) == 1 && fields[0] != name {
					members = append(members, fields[0])
				}
			}
			calls = append(calls, expand(members)...)
		}
		return calls
	}
	allowed := map[string]bool{}
	for _, value := range unit(t)["SystemCallFilter"] {
		names, deny := strings.CutPrefix(value, "~")
		for _, call := range expand(strings.Fields(names)) {
			allowed[call] = !deny
		}
	}
	return allowed
}

// TestTheUnitLetsThroughWhatTheProgramCalls traces the program from its start to its end, with something of everything
// in between, and finds no call that the unit's filter refuses and no memory that is written and executed.
func TestTheUnitLetsThroughWhatTheProgramCalls(t *testing.T) {
	allowed := allowedCalls(t)
	if !allowed["fdatasync"] || allowed["ptrace"] || allowed["mount"] || allowed["chown"] {
		t.Fatalf("the unit's filter is not understood: %d calls", len(allowed))
	}
	trace := traceGateway(t)
	call := regexp.MustCompile(`(?m)^\d+ +([a-z][a-z0-9_]*)\((.*)$`)
	called := map[string]bool{}
	for _, match := range call.FindAllSubmatch(trace, -1) {
		name, args := string(match[1]), string(match[2])
		if !allowed[name] && !called[name] {
			t.Errorf("the unit's filter refuses %s(%s", name, args)
		}
		called[name] = true
		if maps := name == "mmap" && strings.Contains(args, "PROT_WRITE"); (maps || name == "mprotect") && strings.Contains(args, "PROT_EXEC") {
			t.Errorf("MemoryDenyWriteExecute refuses %s(%s", name, args)
		}
	}
	for _, name := range []string{"fdatasync", "accept4", "sendto|write", "renameat|renameat2", "execve"} {
		if !slices.ContainsFunc(strings.Split(name, "|"), func(one string) bool { return called[one] }) {
			t.Errorf("%d calls were traced, but no %s", len(called), name)
		}
	}
}

// traceGateway returns strace's log of a run of the program.
func traceGateway(t *testing.T) []byte {
	t.Helper()
	strace := needed(t, "strace", "apt-get install strace")
	dir := t.TempDir()
	settings := `
socket: { listeners: [ { address: "127.0.0.1:0", codec: json } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" }, { address: "127.0.0.1:0", websocket: true } ] }
admin: { address: "127.0.0.1:0" }
`
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newSupervisor(t, filepath.Join(dir, "notify"))
	log := filepath.Join(dir, "trace")
	p := &process{cmd: exec.Command(strace, "-f", "-qq", "-e", "signal=none", "-o", log, buildGateway(t))}
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.socket, "WATCHDOG_USEC=1000000")
	p.cmd.Dir = dir
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	r := &trial{t: t, address: map[string]string{"socket": p.addresses["socket"][0], "admin": p.addresses["admin"][0]}}
	if got := <-r.ask(trialDeposit); !strings.Contains(got, `"code":"ok"`) {
		t.Errorf("under strace: %q", got)
	}
	if got := r.fetch("/metrics"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("under strace: %q", got)
	}
	m.expect("WATCHDOG=1", "STATUS=recovering the book", "READY=1")
	gateway := childOf(t, p.cmd.Process.Pid)
	if err := syscall.Kill(gateway, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.wait(); code != exitDone || err != nil {
		t.Fatalf("under strace: exit code %d, %v\n%s", code, err, p.stderr.String())
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// childOf returns the only child of a process: signals to strace do not reach what it traces.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(errors.Join(errors.New("not one child"), err))
	}
	return child
}
