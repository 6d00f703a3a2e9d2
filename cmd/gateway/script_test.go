package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait for a process of a test; a wait that reaches it has failed.
const patience = 30 * time.Second

// scriptCommands are the commands that our scripts have besides testscript's own:
//
//	exits CODE COMMAND...    runs the command, which must exit with that very code
//	start NAME ARG...        runs `gateway ARG...`, waits for its ready line and sets $SOCKET0, $SOCKET1, $MQTT0, $ADMIN0…
//	stop NAME SIGNAL [CODE]  signals it (TERM, INT, KILL) and waits until it has ended, with that code
//	fetch STATUS URL         gets the page, which must have that status, and prints it
//	flip FILE OFFSET         changes one byte of the file; a negative offset counts from its end
//	hold                     binds an address and sets $HELD to it until the script ends
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": scriptExits, "start": scriptStart, "stop": scriptStop, "fetch": scriptFetch, "flip": scriptFlip,
		"hold": scriptHold,
	}
}

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[1], args[2:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err = cmd.Run()
	if ctx.Err() != nil {
		ts.Fatalf("%s has not ended after %v", args[1], patience)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// process is a gateway that a test has started.
type process struct {
	cmd       *exec.Cmd
	stderr    bytes.Buffer
	addresses map[string][]string // by door
}

// startGateway starts a gateway in a directory and waits for its ready line.
func startGateway(dir, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command("gateway", args...), addresses: map[string][]string{}}
	p.cmd.Dir, p.cmd.Stderr = dir, &p.stderr
	if path != "" {
		p.cmd.Env = append(os.Environ(), "PATH="+path)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) == 0 || fields[0] != "ready" {
		_ = p.cmd.Wait()
		return p, errors.New("no ready line but " + strconv.Quote(line) + "\n" + p.stderr.String())
	}
	for _, field := range fields[1:] {
		door, addresses, _ := strings.Cut(field, "=")
		p.addresses[door] = strings.Split(addresses, ",")
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return p, nil
}

// stop signals the gateway and returns its exit code once it has ended: -1 when the signal ended it.
func (p *process) stop(signal syscall.Signal) (int, error) {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return 0, err
	}
	return p.wait()
}

func (p *process) wait() (int, error) {
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

func scriptStart(ts *testscript.TestScript, _ bool, args []string) {
	p, err := startGateway(ts.MkAbs("."), ts.Getenv("PATH"), args[1:]...)
	if err != nil {
		ts.Fatalf("%v", err)
	}
	for door, addresses := range p.addresses {
		for i, address := range addresses {
			ts.Setenv(strings.ToUpper(door)+strconv.Itoa(i), address)
		}
	}
	running(ts)[args[0]] = p
	ts.Defer(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_, _ = p.wait()
			ts.Logf("%s\n%s", args[0], p.stderr.String())
		}
	})
}

// runningKey finds the processes of a script.
type runningKey struct{}

func running(ts *testscript.TestScript) map[string]*process {
	return ts.Value(runningKey{}).(map[string]*process)
}

func scriptStop(ts *testscript.TestScript, _ bool, args []string) {
	p := running(ts)[args[0]]
	if p == nil {
		ts.Fatalf("nothing runs by the name %s", args[0])
	}
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	code, err := p.stop(signals[args[1]])
	ts.Check(err)
	ts.Logf("%s", p.stderr.String())
	_, err = ts.Stderr().Write(p.stderr.Bytes())
	ts.Check(err)
	want := -1
	if len(args) > 2 {
		want, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func scriptFetch(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: patience}
	page, err := client.Get(args[1])
	ts.Check(err)
	defer page.Body.Close()
	_, err = io.Copy(ts.Stdout(), page.Body)
	ts.Check(err)
	if strconv.Itoa(page.StatusCode) != args[0] {
		ts.Fatalf("status %d, want %s", page.StatusCode, args[0])
	}
}

func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	content := []byte(ts.ReadFile(args[0]))
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	if offset < 0 {
		offset += len(content)
	}
	content[offset] ^= 0x40
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o600))
}

func scriptHold(ts *testscript.TestScript, _ bool, _ []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
	ts.Setenv("HELD", ln.Addr().String())
}
