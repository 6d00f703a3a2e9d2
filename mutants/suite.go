package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slower is how many times as long as without a mutant tests may take, besides the patience.
	slower = 5
	// quick is how long the first tests take that a mutant meets. Each further lot takes up to four times as long as the one
	// before.
	quick = 100 * time.Millisecond
	// atOnce is how many mutants live at once.
	atOnce = 2
)

// verdict is what became of a mutant.
type verdict int

const (
	unreached verdict = iota // no test comes by
	survived
	killed
	killedByTime
)

// suite is a package's tests, with the mutants in its code.
type suite struct {
	binary  string
	dir     string // of the package: where its tests run
	scratch string
	flags   []string
	// patience is how much longer than several times as long tests may take: the machine has other things to do as well.
	patience time.Duration
	tests    []*test // the quickest first
}

// test is one function.
type test struct {
	name    string
	took    time.Duration
	reaches []bool // by the first id of a place
}

// record runs each test whose name matches, without a mutant, to learn how long it takes and what it reaches.
func (s *suite) record(match string, mutants int) error {
	matching, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	list, err := s.command(context.Background(), nil, "-test.list=^(Test|Example|Fuzz)").Output()
	if err != nil {
		return fmt.Errorf("list the tests: %w", err)
	}
	for _, name := range strings.Fields(string(list)) {
		if !matching.MatchString(name) {
			continue
		}
		t := &test{name: name, reaches: make([]bool, mutants)}
		if err := s.recordOne(t); err != nil {
			return fmt.Errorf("%s without a mutant: %w", name, err)
		}
		s.tests = append(s.tests, t)
	}
	slices.SortFunc(s.tests, func(a, b *test) int { return int(a.took - b.took) })
	return nil
}

func (s *suite) recordOne(t *test) error {
	path := filepath.Join(s.scratch, "reached")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	began := time.Now()
	run := s.command(context.Background(), []string{reachedVariable + "=" + path}, "-test.run=^"+t.name+"$")
	if said, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	t.took = time.Since(began)
	ids, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for ; len(ids) >= 4; ids = ids[4:] {
		t.reaches[binary.LittleEndian.Uint32(ids)] = true
	}
	return nil
}

// command makes a run of the tests.
func (s *suite) command(ctx context.Context, env []string, flags ...string) *exec.Cmd {
	run := exec.CommandContext(ctx, s.binary, slices.Concat([]string{"-test.failfast", "-test.count=1"}, flags, s.flags)...)
	run.Dir = s.dir
	run.Env = append(os.Environ(), env...)
	run.WaitDelay = time.Second // for what a test has started and not ended
	return run
}

// meet gives each mutant its verdict.
func (s *suite) meet(mutants []*mutant, progress io.Writer) error {
	var next, done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range atOnce {
		temp, err := os.MkdirTemp(s.scratch, "temp")
		if err != nil {
			return err
		}
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(mutants) {
					return
				}
				s.meetOne(mutants[i], temp)
				if n := done.Add(1); n%100 == 0 {
					fmt.Fprintf(progress, "%d of %d after %v\n", n, len(mutants), time.Since(began).Round(time.Second))
				}
			}
		})
	}
	all.Wait()
	return nil
}

// meetOne gives one mutant its verdict. Its tests keep their own files in temp.
func (s *suite) meetOne(m *mutant, temp string) {
	var reaching []*test
	for _, t := range s.tests {
		if t.reaches[m.place] {
			reaching = append(reaching, t)
		}
	}
	if len(reaching) > 0 {
		m.verdict = survived
	}
	for limit := quick; len(reaching) > 0; limit *= 4 {
		var names []string
		var took time.Duration
		for len(reaching) > 0 && (len(names) == 0 || took+reaching[0].took <= limit) {
			names = append(names, reaching[0].name)
			took += reaching[0].took
			reaching = reaching[1:]
		}
		if m.verdict, m.by = s.try(m, names, took, temp); m.verdict != survived {
			return
		}
	}
}

// failed is what tests say that have failed: by themselves, by a panic, or at their very end, as goleak does.
var failed = regexp.MustCompile(`(?m)^(?:\s*--- FAIL: (\S+)|panic: |fatal error: |goleak: )`)

// try runs some tests, which take so long without it, on a mutant. A run that could not be made, or that something else has ended
// than its tests, has killed nothing.
func (s *suite) try(m *mutant, names []string, took time.Duration, temp string) (verdict, string) {
	limit := took*slower + s.patience
	ctx, cancel := context.WithTimeout(context.Background(), limit+s.patience)
	defer cancel()
	run := s.command(ctx, []string{fmt.Sprint(aliveVariable, "=", m.id), "TMPDIR=" + temp},
		"-test.run=^("+strings.Join(names, "|")+")$", "-test.timeout="+limit.String())
	said, err := run.CombinedOutput()
	removeWithin(temp)
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		return survived, ""
	case ctx.Err() != nil || bytes.Contains(said, []byte("panic: test timed out")):
		return killedByTime, ""
	}
	by := failed.FindSubmatch(said)
	if by == nil {
		return survived, ""
	}
	return killed, string(by[1])
}

// removeWithin removes what tests that did not end have left.
func removeWithin(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range left {
		os.RemoveAll(path)
	}
}

// unexplained returns the mutants that no test has killed, though one has reached them, and that may not live.
func unexplained(mutants []*mutant, explained explanations) (all []*mutant) {
	for _, m := range mutants {
		if m.verdict == survived && explained.of(m) == "" {
			all = append(all, m)
		}
	}
	return all
}
