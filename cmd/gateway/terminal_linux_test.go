package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is one that a test types at.
type terminal struct {
	t     *testing.T
	keys  *os.File // types, and sees the screen
	line  *os.File // what a program is connected to
	shown strings.Builder
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	return &terminal{t: t, keys: keys, line: line}
}

// run starts `gateway passwd` at the terminal; what it prints goes elsewhere.
func (s *terminal) run() (cmd *exec.Cmd, printed *bytes.Buffer) {
	s.t.Helper()
	printed = new(bytes.Buffer)
	cmd = exec.Command("gateway", "passwd")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.line, printed, s.line
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	s.t.Cleanup(func() { late.Stop() })
	return cmd, printed
}

// await reads the screen until it ends with the text, and then waits until what is typed is not shown.
func (s *terminal) await(prompt string) {
	s.t.Helper()
	for !strings.HasSuffix(s.shown.String(), prompt) {
		s.shown.Write(s.read())
	}
	for deadline := time.Now().Add(patience); s.echoes(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("at %q the terminal shows what is typed", prompt)
		}
	}
}

// read returns what comes onto the screen next.
func (s *terminal) read() []byte {
	s.t.Helper()
	poll := []unix.PollFd{{Fd: int32(s.keys.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(patience/time.Millisecond))
	for err == unix.EINTR {
		n, err = unix.Poll(poll, int(patience/time.Millisecond))
	}
	if n == 0 || err != nil {
		s.t.Fatalf("after %q nothing comes: %v", s.shown.String(), err)
	}
	some := make([]byte, 256)
	n, err = s.keys.Read(some)
	if err != nil {
		s.t.Fatalf("after %q: %v", s.shown.String(), err)
	}
	return some[:n]
}

// echoes reports whether the terminal shows what is typed.
func (s *terminal) echoes() bool {
	s.t.Helper()
	state, err := unix.IoctlGetTermios(int(s.line.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// typeAt types when the prompt is there and what is typed is not shown.
func (s *terminal) typeAt(prompt, typed string) {
	s.t.Helper()
	s.await(prompt)
	if _, err := s.keys.WriteString(typed); err != nil {
		s.t.Fatal(err)
	}
}

// TestPasswdShowsNothing types a password at a terminal, twice.
func TestPasswdShowsNothing(t *testing.T) {
	password := logs.never("unsichtbar")
	s := openTerminal(t)
	cmd, printed := s.run()
	s.typeAt("Password: ", password+"\n")
	s.typeAt("Again: ", password+"\n")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, s.shown.String())
	}
	if hash := printed.String(); !strings.HasPrefix(hash, "$argon2id$v=19$") || strings.Count(hash, "\n") != 1 {
		t.Errorf("printed %q", hash)
	}
	for !strings.HasSuffix(s.shown.String(), "Again: \r\n") {
		s.shown.Write(s.read())
	}
	if got := s.shown.String(); got != "Password: \r\nAgain: \r\n" {
		t.Errorf("the terminal shows %q", got)
	}
	if !s.echoes() {
		t.Error("the terminal shows no more what is typed")
	}
}

// TestPasswdLeavesTheTerminalAsItWas at either prompt, also when it is interrupted.
func TestPasswdLeavesTheTerminalAsItWas(t *testing.T) {
	for name, keys := range map[string]string{"an interrupt": "\x03", "nothing": "\n"} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " at the first prompt: ", first), func(t *testing.T) {
				s := openTerminal(t)
				cmd, printed := s.run()
				if first {
					s.typeAt("Password: ", keys)
				} else {
					s.typeAt("Password: ", "geheim\n")
					s.typeAt("Again: ", keys)
				}
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != exitRefused || printed.Len() > 0 {
					t.Errorf("exit code %d, printed %q\n%s", code, printed, s.shown.String())
				}
				if !s.echoes() {
					t.Error("the terminal shows no more what is typed")
				}
			})
		}
	}
}
