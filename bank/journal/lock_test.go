package journal_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gateway/bank/journal"
)

// childDirectory names the directory that a child process of this test opens.
const childDirectory = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDirectory)
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := journal.Open(dir, options()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
}

// TestASecondProcessIsRefused opens a directory that another process has open, and again after that was killed.
func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDirectory+"="+dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	_, err = journal.Open(dir, options())
	if !errors.Is(err, journal.ErrLocked) || strings.Contains(err.Error(), "\n") {
		t.Errorf("with a child: %v", err)
	}
	if _, err := journal.Verify(dir); err != nil {
		t.Errorf("verify beside it: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	engine := open(t, dir, options())
	if _, err := journal.Open(dir, options()); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("within a process: %v", err)
	}
	closeEngine(t, engine)
	closeEngine(t, open(t, dir, options()))
}
