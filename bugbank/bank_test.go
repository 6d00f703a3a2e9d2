package bugbank_test

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fewest is how many bugs there are, at least.
const fewest = 25

// TestEveryBugCanBePlanted holds the bank against the tree: bugs are numbered without a gap, each changes what it says to what a
// careful engineer would have formatted so, and its checks are tests that there are.
func TestEveryBugCanBePlanted(t *testing.T) {
	bugs := readBank(t)
	if len(bugs) < fewest {
		t.Errorf("there are %d bugs, fewer than %d", len(bugs), fewest)
	}
	for i, b := range bugs {
		if number := fmt.Sprintf("%02d-", i+1); !strings.HasPrefix(b.name, number) {
			t.Errorf("%s stands in the place of %s", b.name, number)
		}
		if !regexp.MustCompile(`^(I\d+|contract §\d+), `).MatchString(b.breaks) {
			t.Errorf("%s breaks %q, which is no promise", b.name, b.breaks)
		}
		files, err := b.plant()
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		for path, source := range files {
			formatted, err := format.Source(source)
			if err != nil || !bytes.Equal(formatted, source) {
				t.Errorf("%s: gofmt would have %s otherwise: %v", b.name, path, err)
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s changes %s, which is not what runs", b.name, path)
			}
		}
		for _, c := range b.checks {
			if !c.exists(t) {
				t.Errorf("%s: there is no test for %v", b.name, c)
			}
		}
	}
}

// exists reports whether the package has a test of that name.
func (c check) exists(t *testing.T) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, c.pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(c.test, "/")
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(source, []byte("\nfunc "+name+"(t *testing.T) {")) {
			return true
		}
	}
	return false
}

// TestABugThatDoesNotFitIsTold spoils a bug in the ways that a tree which goes on would, and a hasty hand.
func TestABugThatDoesNotFitIsTold(t *testing.T) {
	const source = "a\nb\nc\nd\nb\nc\n"
	const whole = "planted: One thing,\nand another.\nbreaks: I1, one promise\ncheck: go test -run TestX ./x\n\n" +
		"diff --git a/x.go b/x.go\n--- a/x.go\n+++ b/x.go\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
	for _, c := range []struct {
		name, old, new, want string
	}{
		{"as it is", "", "", ""},
		{"the lines have changed", " a\n", " A\n", "not there any more"},
		{"the lines are there twice", " a\n-b\n+B\n", "-b\n+B\n", "there 2 times"},
		{"nothing changes", "+B", "+b", "changes nothing"},
		{"a line is missing", " c\n", "", "other lines than it says"},
		{"a line is no line of a diff", " c\n", "c\n", `the line "c\n"`},
		{"no promise", "breaks: I1, one promise\n", "", "must say"},
		{"no check", "check: go test -run TestX ./x\n", "", "must say"},
		{"a check that is something else", "go test -run TestX", "go run", "the line"},
		{"no diff", "diff --git", "diff", "no diff"},
		{"no file", "+++ b/x.go\n", "", "without a file"},
	} {
		text := whole
		if c.old != "" {
			text = strings.Replace(whole, c.old, c.new, 1)
		}
		if strings.Contains(c.want, "times") {
			text = strings.Replace(text, "-1,3 +1,3", "-1,2 +1,2", 1)
		}
		b, err := parseBug("01-x", text)
		var planted []byte
		if err == nil {
			planted, err = b.edits[0].apply([]byte(source))
		}
		switch {
		case c.want == "" && (err != nil || string(planted) != "a\nB\nc\nd\nb\nc\n" || b.planted != "One thing, and another."):
			t.Errorf("%s: %q, %v", c.name, planted, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
