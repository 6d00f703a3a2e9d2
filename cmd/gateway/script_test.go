package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait for a process of a test; a wait that reaches it has failed.
const patience = 30 * time.Second

// scriptCommands are the commands that our scripts have besides testscript's own:
//
//	exits CODE COMMAND...    runs the command, which must exit with that very code
//	start NAME ARG...        runs `gateway ARG...`, waits for its ready line and sets $READY to it
//	                         and $SOCKET0, $SOCKET1, $MQTT0, $ADMIN0… to the addresses in it
//	end NAME SIGNAL [CODE]   signals it (TERM, INT, KILL) and waits until it has ended, with that code
//	signal NAME SIGNAL       signals it and goes on
//	fetch STATUS URL         gets the page until it has that status, and prints it
//	flip FILE OFFSET         changes one byte of the file; a negative offset counts from its end
//	say ADDRESS TEXT         sends the text to a socket that takes one operation, and prints the reply
//	reload NAME OUTCOME N    sends SIGHUP and waits until there were so many reloads of that outcome
//	hold                     binds an address and sets $HELD to it until the script ends
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": scriptExits, "start": scriptStart, "end": scriptEnd, "signal": scriptSignal, "fetch": scriptFetch, "flip": scriptFlip,
		"say": scriptSay, "hold": scriptHold, "reload": scriptReload,
	}
}

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := exitDone
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		if fault := tellsOf(line, nil); fault != "" {
			ts.Fatalf("stderr: %s: %q", fault, line)
		}
	}
}

// process is a gateway that a test has started.
type process struct {
	cmd       *exec.Cmd
	stderr    bytes.Buffer
	ready     string              // its ready line
	addresses map[string][]string // by door
}

// startGateway starts a gateway in a directory, which it finds by path unless that is empty, and waits for its ready
// line.
func startGateway(dir, path string, args ...string) (*process, error) {
	var env []string
	if path != "" {
		env = []string{"PATH=" + path}
	}
	return startGatewayIn(dir, env, args...)
}

// serveWith starts a gateway in a directory of its own, with these settings, and kills it when the test ends.
func serveWith(t *testing.T, settings string, env ...string) *process {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startGatewayIn(dir, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	return p
}

// startGatewayIn is startGateway with env besides the environment of the test.
func startGatewayIn(dir string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command("gateway", args...)}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	return p, p.start()
}

// start starts the command and waits for its ready line.
func (p *process) start() error {
	p.cmd.Stderr, p.addresses = io.MultiWriter(&p.stderr, logs.writer()), map[string][]string{}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) == 0 || fields[0] != "ready" {
		_ = p.cmd.Wait()
		return errors.New("no ready line but " + strconv.Quote(line) + "\n" + p.stderr.String())
	}
	p.ready = line
	for _, field := range fields[1:] {
		door, addresses, _ := strings.Cut(field, "=")
		p.addresses[door] = strings.Split(addresses, ",")
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return nil
}

// stop signals the gateway and returns its exit code once it has ended: -1 when the signal ended it.
func (p *process) stop(signal syscall.Signal) (int, error) {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return 0, err
	}
	return p.wait()
}

// kill ends the gateway if it still runs, and reports whether it did.
func (p *process) kill() bool {
	if p.cmd.ProcessState != nil {
		return false
	}
	_ = p.cmd.Process.Kill()
	_, _ = p.wait()
	return true
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
	ts.Setenv("READY", strings.TrimSpace(p.ready))
	running(ts)[args[0]] = p
	ts.Defer(func() {
		if p.kill() {
			ts.Logf("%s\n%s", args[0], p.stderr.String())
		}
	})
}

// runningKey finds the processes of a script.
type runningKey struct{}

func running(ts *testscript.TestScript) map[string]*process {
	return ts.Value(runningKey{}).(map[string]*process)
}

// scriptProcess returns the process and the signal that a command names.
func scriptProcess(ts *testscript.TestScript, args []string) (*process, syscall.Signal) {
	p := running(ts)[args[0]]
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	signal, known := signals[args[1]]
	if p == nil || !known {
		ts.Fatalf("no process %s, or no signal %s", args[0], args[1])
	}
	return p, signal
}

func scriptSignal(ts *testscript.TestScript, _ bool, args []string) {
	p, signal := scriptProcess(ts, args)
	ts.Check(p.cmd.Process.Signal(signal))
}

func scriptEnd(ts *testscript.TestScript, _ bool, args []string) {
	p, signal := scriptProcess(ts, args)
	code, err := p.stop(signal)
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

func scriptReload(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(running(ts)[args[0]].cmd.Process.Signal(syscall.SIGHUP))
	want := fmt.Sprintf("gateway_reloads_total{outcome=%q} %s\n", args[1], args[2])
	for deadline := time.Now().Add(patience); ; {
		page, err := http.Get("http://" + ts.Getenv("ADMIN0") + "/metrics")
		ts.Check(err)
		body, err := io.ReadAll(page.Body)
		ts.Check(err)
		ts.Check(page.Body.Close())
		if strings.Contains(string(body), want) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %s", want)
		}
	}
}

func scriptFetch(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: patience}
	for deadline := time.Now().Add(patience); ; {
		page, err := client.Get(args[1])
		ts.Check(err)
		body, err := io.ReadAll(page.Body)
		ts.Check(err)
		ts.Check(page.Body.Close())
		if strconv.Itoa(page.StatusCode) == args[0] {
			_, err = ts.Stdout().Write(body)
			ts.Check(err)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("status %d, want %s\n%s", page.StatusCode, args[0], body)
		}
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

func scriptSay(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.Dial("tcp", args[0])
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(patience)))
	const ack = "true\n"
	greeting := make([]byte, len(ack))
	_, err = io.ReadFull(conn, greeting)
	ts.Check(err)
	if string(greeting) != ack {
		ts.Fatalf("greeted by %q", greeting)
	}
	_, err = io.WriteString(conn, args[1]+"\n")
	ts.Check(err)
	_, err = io.Copy(ts.Stdout(), conn)
	ts.Check(err)
}
