package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const about = `usage: mutants [flags] PACKAGE [TEST FLAGS]

It makes mutants of the package's code, runs the package's tests on each, and
prints those that survive. Exits 1 when one survives that is not explained, or
an explanation is of no mutant.

`

// memoryBytes bounds the memory of a test binary: a mutant may ask for more without end.
const memoryBytes = 4 << 30

// settings are what the command line says.
type settings struct {
	pattern   string   // of the package
	testFlags []string // for the test binary
	short     string   // and more of them, for the first round
	only      string
	explained string
	again     string
	patience  time.Duration
}

func main() {
	var s settings
	flags := flag.NewFlagSet("mutants", flag.ExitOnError)
	flags.StringVar(&s.only, "only", "", "make no other mutants than those whose \"file function: change\" matches `REGEXP`")
	flags.StringVar(&s.explained, "explained", "mutants/explained.txt", "`FILE` that says why some survive")
	flags.StringVar(&s.short, "short", "", "more test `FLAGS`, which make the tests short")
	flags.StringVar(&s.again, "again", "", "give survivors that are not explained to the tests that match `REGEXP`, without -short's flags")
	flags.DurationVar(&s.patience, "patience", 5*time.Second, "let tests take so much longer than five times as long")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), about)
		flags.PrintDefaults()
	}
	flags.Parse(os.Args[1:])
	if flags.NArg() == 0 {
		flags.Usage()
		os.Exit(2)
	}
	s.pattern, s.testFlags = flags.Arg(0), flags.Args()[1:]
	limit := syscall.Rlimit{Cur: memoryBytes, Max: memoryBytes}
	err := syscall.Setrlimit(syscall.RLIMIT_DATA, &limit)
	good := false
	if err == nil {
		good, err = run(&s, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

// run does it all. It returns false when there is something for somebody to look into.
func run(s *settings, out, progress io.Writer) (good bool, err error) {
	only, err := regexp.Compile(s.only)
	if err != nil {
		return false, err
	}
	explanations, err := readExplanations(s.explained)
	if err != nil {
		return false, err
	}
	c, err := load(s.pattern)
	if err != nil {
		return false, fmt.Errorf("load %s: %w", s.pattern, err)
	}
	c.findAll()
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	binary, err := c.build(dir)
	if err != nil {
		return false, fmt.Errorf("build the mutants: %w", err)
	}
	tests := &suite{binary: binary, dir: c.dir, scratch: dir, patience: s.patience}
	tests.flags = append(strings.Fields(s.short), s.testFlags...)
	fmt.Fprintf(progress, "%d mutants in %s\n", len(c.mutants), c.path)
	if err := tests.record("", len(c.mutants)); err != nil {
		return false, err
	}
	chosen := c.chosen(only)
	if err := tests.meet(chosen, progress); err != nil {
		return false, err
	}
	if s.again != "" {
		longer := &suite{binary: binary, dir: c.dir, scratch: dir, patience: s.patience, flags: s.testFlags}
		if err := longer.record(s.again, len(c.mutants)); err != nil {
			return false, err
		}
		if err := longer.meet(unexplained(chosen, explanations), progress); err != nil {
			return false, err
		}
	}
	r := report{code: c, mutants: chosen, all: s.only == "", explanations: explanations}
	return r.print(out), nil
}
