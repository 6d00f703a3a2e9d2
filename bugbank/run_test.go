package bugbank_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	// limit is how long it may take to build a tree with a bug and to catch that.
	limit = time.Minute
	// patience is how long a check may take without a bug, when it goes on to its end.
	patience = 15 * time.Minute
	// atOnce is how many checks run at once.
	atOnce = 2
)

// TestBugbank plants every bug and runs its checks, which must fail, within the limit and each by a test: those that pass on
// the tree as it is. GATEWAY_BUGBANK=1 asks for it.
func TestBugbank(t *testing.T) {
	if os.Getenv("GATEWAY_BUGBANK") == "" {
		t.Skip("SKIPPED: it takes minutes; make bugbank runs it")
	}
	began := time.Now()
	slots := make(chan struct{}, atOnce)
	sound := map[check]func() error{}
	bugs := readBank(t)
	for _, b := range bugs {
		for _, c := range b.checks {
			sound[c] = sync.OnceValue(func() error { return c.passes(t.Context()) })
		}
	}
	var mu sync.Mutex // guards rows
	rows := map[string]string{}
	t.Cleanup(func() {
		if len(rows) == 0 && !t.Failed() {
			t.Error("no bug has that name")
		}
		t.Logf("%d bugs, %v in all\n%s", len(rows), time.Since(began).Round(time.Second), table(rows))
	})
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, c := range b.checks {
				if err := sound[c](); err != nil {
					t.Fatalf("without the bug, %v: %v", c, err)
				}
			}
			caught, took, err := b.catch(t)
			if err != nil {
				t.Errorf("%s\n%v", b.planted, err)
				caught = []string{"NOT CAUGHT"}
			}
			mu.Lock()
			defer mu.Unlock()
			rows[b.name] = fmt.Sprintf("%s\t%s\t%s\t%.1f\n", b.name, b.breaks, strings.Join(caught, " "), took.Seconds())
		})
	}
}

// table writes the rows in order, under their heads.
func table(rows map[string]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "bug\tpromise\tcaught by\tseconds")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprint(w, rows[name])
	}
	w.Flush()
	return b.String()
}

// catch plants the bug and runs its checks. It returns the tests that failed, and how long that took with the build; an error
// when one of the checks did not fail as it must.
func (b *bug) catch(t *testing.T) (caught []string, took time.Duration, err error) {
	overlay, err := b.overlay(t.TempDir())
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for _, c := range b.checks {
		outcome, err := c.run(ctx, overlay)
		switch {
		case ctx.Err() != nil:
			return nil, time.Since(began), fmt.Errorf("%v: no verdict within %v", c, limit)
		case err != nil:
			return nil, time.Since(began), fmt.Errorf("%v: %w", c, err)
		case !slices.Contains(outcome.failed, c.test):
			return nil, time.Since(began), fmt.Errorf("%v does not fail\n%s", c, outcome.output)
		}
		for _, name := range outcome.failed {
			if name == c.test || !strings.Contains(name, "/") {
				caught = append(caught, name)
			}
		}
	}
	return caught, time.Since(began), nil
}

// overlay writes the planted files and what the go command's -overlay wants to know of them into a directory, and returns the
// path of the latter.
func (b *bug) overlay(dir string) (string, error) {
	files, err := b.plant()
	if err != nil {
		return "", err
	}
	tree, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, source := range files {
		planted := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(planted, source, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(tree, path)] = planted
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// passes returns why the check does not pass on the tree as it is.
func (c check) passes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	outcome, err := c.run(ctx, "")
	if err == nil && !slices.Contains(outcome.passed, c.test) {
		err = fmt.Errorf("it fails or is skipped\n%s", outcome.output)
	}
	return err
}

// outcome is what tests said.
type outcome struct {
	passed []string
	failed []string // among them those that the end of the process cut short
	output string
}

// run runs the check on the tree, with the overlay at that path unless it is empty. An error means that there is no verdict:
// the tree does not build, or ctx has ended. Then nothing of it runs any more.
func (c check) run(ctx context.Context, overlay string) (*outcome, error) {
	pattern := "^" + strings.ReplaceAll(c.test, "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-vet=off", "-run", pattern, c.pkg)
	cmd.Dir, cmd.Env = root, os.Environ()
	if c.variable != "" {
		cmd.Env = append(cmd.Env, c.variable)
	}
	if overlay != "" { // by the environment, so that a test which builds the gateway builds the bug
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOFLAGS=%s '-overlay=%s'", os.Getenv("GOFLAGS"), overlay))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var told, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &told, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	o, err := parseOutcome(&told)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, &stderr)
	}
	return o, nil
}

// parseOutcome reads what go test -json tells.
func parseOutcome(r io.Reader) (*outcome, error) {
	o := &outcome{}
	open := map[string]bool{}
	var output strings.Builder
	broken := false
	for lines := json.NewDecoder(r); ; {
		var event struct{ Action, Test, Output, FailedBuild string }
		if err := lines.Decode(&event); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		output.WriteString(event.Output)
		broken = broken || event.FailedBuild != "" || event.Action == "build-fail"
		if event.Test == "" {
			continue
		}
		switch event.Action {
		case "run":
			open[event.Test] = true
		case "pass":
			o.passed = append(o.passed, event.Test)
		case "fail":
			o.failed = append(o.failed, event.Test)
		}
		if event.Action == "pass" || event.Action == "fail" || event.Action == "skip" {
			delete(open, event.Test)
		}
	}
	o.failed = append(o.failed, slices.Sorted(maps.Keys(open))...)
	o.output = output.String()
	if broken {
		return nil, fmt.Errorf("it does not build\n%s", o.output)
	}
	return o, nil
}
