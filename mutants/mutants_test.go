package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is short because two mutants never end, and long because tests of other packages run beside these.
const patience = 2 * time.Second

// TestMutantsOfALittlePackage holds the whole tool to a package of which it is known what survives, and to explanations that
// are right, wrong and another's.
func TestMutantsOfALittlePackage(t *testing.T) {
	want, err := os.ReadFile("testdata/little.golden")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s := settings{pattern: "./testdata/little", explained: "testdata/little.txt", again: "Book", short: "-test.short", patience: patience}
	good, err := run(&s, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if good {
		t.Error("nothing is complained about")
	}
	if out.String() != string(want) {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}

// TestOnlyWhatIsAskedForIsMade looks at one mutant, which dies of the test that looks at it.
func TestOnlyWhatIsAskedForIsMade(t *testing.T) {
	var out strings.Builder
	s := settings{pattern: "./testdata/little", explained: "testdata/none.txt", only: "Book.Mean: b.moved ==→ !=", patience: patience}
	if good, err := run(&s, &out, io.Discard); !good || err != nil || !strings.Contains(out.String(), ": 1 mutants, 1 killed (0 by time)") {
		t.Errorf("%v, %v, it printed\n%s", good, err, out.String())
	}
}

func TestAPackageWithoutTestsIsRefused(t *testing.T) {
	s := settings{pattern: "./testdata/untested"}
	if _, err := run(&s, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "no tests") {
		t.Errorf("it said %v", err)
	}
}

func TestExplanationsHaveKeysAndReasons(t *testing.T) {
	for _, text := range []string{
		"a.go f: change\n", "a.go f: change\n\n  a reason\n", "  a reason\n", "a key without a change\n  a reason\n",
	} {
		path := filepath.Join(t.TempDir(), "explained.txt")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if all, err := readExplanations(path); err == nil {
			t.Errorf("%q is read as %v", text, all)
		}
	}
}

// Only tests that have failed kill a mutant, and not whatever else has ended their run.
func TestARunThatSomethingElseHasEndedKillsNothing(t *testing.T) {
	for script, want := range map[string]verdict{
		"kill -9 $$": survived,
		"echo 'flag provided but not defined: -x'; exit 2":                  survived,
		"echo 'mkdir: no space left on device'; exit 1":                     survived,
		"echo '--- FAIL: TestX (0.00s)'; exit 1":                            killed,
		"echo '--- PASS: TestX (0.00s)'; echo 'goleak: Errors on'; exit 1":  killed,
		"echo 'panic: index out of range'; exit 2":                          killed,
		"echo 'fatal error: all goroutines are asleep - deadlock!'; exit 2": killed,
		"echo 'panic: test timed out after 1s'; exit 2":                     killedByTime,
		"exit 0": survived,
	} {
		dir := t.TempDir()
		s := &suite{binary: filepath.Join(dir, "tests"), dir: dir, scratch: dir, patience: time.Minute}
		if err := os.WriteFile(s.binary, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.try(&mutant{}, []string{"TestX"}, time.Second, filepath.Join(dir, "temp")); got != want {
			t.Errorf("%s: %v, want %v", script, got, want)
		}
	}
}
