package bugbank_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the tree that bugs are planted in.
const root = ".."

// bug is one file of the bank.
type bug struct {
	name    string // of the file, without what it ends with
	planted string
	breaks  string
	checks  []check
	edits   []edit
}

// check is a test that must catch a bug. Its variable, NAME=value or "", keeps short what would draw more than is needed.
type check struct{ variable, test, pkg string }

func (c check) String() string {
	return strings.TrimSpace(c.variable + " go test -run " + c.test + " " + c.pkg)
}

// edit is what a bug changes in one file.
type edit struct {
	path  string // in the tree
	hunks []hunk
}

// hunk replaces lines by others. Those around them are in both.
type hunk struct{ before, after []byte }

// readBank reads all bugs, by their numbers.
func readBank(t *testing.T) []*bug {
	t.Helper()
	paths, err := filepath.Glob("*.patch")
	if err != nil {
		t.Fatal(err)
	}
	var bugs []*bug
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := parseBug(strings.TrimSuffix(path, ".patch"), string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		bugs = append(bugs, b)
	}
	return bugs
}

// beginsDiff is how the diff of each file begins.
const beginsDiff = "diff --git "

var command = regexp.MustCompile(`^(?:([A-Z_]+=\S+) )?go test -run (Test\w+(?:/\S+)?) (\./\S+)$`)

// parseBug reads a bug from the text of its file.
func parseBug(name, text string) (*bug, error) {
	header, diff, found := strings.Cut(text, "\n"+beginsDiff)
	if !found {
		return nil, fmt.Errorf("there is no diff")
	}
	b := &bug{name: name}
	for _, line := range strings.Split(strings.TrimSpace(header), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case key == "planted" && b.planted == "":
			b.planted = value
		case key == "breaks" && b.breaks == "":
			b.breaks = value
		case key == "check" && command.MatchString(value):
			part := command.FindStringSubmatch(value)
			b.checks = append(b.checks, check{part[1], part[2], part[3]})
		case b.planted != "" && b.breaks == "": // goes on
			b.planted += " " + line
		default:
			return nil, fmt.Errorf("the header has the line %q", line)
		}
	}
	if b.planted == "" || b.breaks == "" || len(b.checks) == 0 {
		return nil, fmt.Errorf("the header must say what is planted, what it breaks and which check fails")
	}
	for _, part := range strings.Split(diff, "\n"+beginsDiff) {
		e, err := parseEdit(part)
		if err != nil {
			return nil, err
		}
		b.edits = append(b.edits, e)
	}
	return b, nil
}

var hunkHead = regexp.MustCompile(`^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@`)

// parseEdit reads the diff of one file, from behind beginsDiff on.
func parseEdit(diff string) (edit, error) {
	var e edit
	heads := []string(nil)
	for line := range strings.Lines(strings.TrimSuffix(diff, "\n") + "\n") {
		path, names := strings.CutPrefix(line, "+++ b/")
		switch {
		case len(e.hunks) == 0 && names:
			e.path = strings.TrimSpace(path)
		case hunkHead.MatchString(line):
			e.hunks = append(e.hunks, hunk{})
			heads = append(heads, line)
		case len(e.hunks) > 0:
			h := &e.hunks[len(e.hunks)-1]
			if line[0] != '+' {
				h.before = append(h.before, line[1:]...)
			}
			if line[0] != '-' {
				h.after = append(h.after, line[1:]...)
			}
			if !strings.Contains(" +-", line[:1]) {
				return e, fmt.Errorf("the diff has the line %q", line)
			}
		}
	}
	if e.path == "" || len(e.hunks) == 0 {
		return e, fmt.Errorf("a diff without a file or without a hunk")
	}
	for i, h := range e.hunks {
		counts := hunkHead.FindStringSubmatch(heads[i])
		for side, lines := range [][]byte{h.before, h.after} {
			if said := counts[1+side]; said != "" && said != fmt.Sprint(bytes.Count(lines, []byte("\n"))) {
				return e, fmt.Errorf("%s: a hunk has other lines than it says: %s", e.path, strings.TrimSpace(heads[i]))
			}
		}
	}
	return e, nil
}

// apply returns the file with the bug in it.
func (e *edit) apply(source []byte) ([]byte, error) {
	for i, h := range e.hunks {
		switch found := bytes.Count(source, h.before); {
		case found == 0:
			return nil, fmt.Errorf("%s: the lines of hunk %d are not there any more", e.path, i+1)
		case found > 1:
			return nil, fmt.Errorf("%s: the lines of hunk %d are there %d times", e.path, i+1, found)
		case bytes.Equal(h.before, h.after):
			return nil, fmt.Errorf("%s: hunk %d changes nothing", e.path, i+1)
		}
		source = bytes.Replace(source, h.before, h.after, 1)
	}
	return source, nil
}

// plant returns the files of the tree that the bug changes as they are with it.
func (b *bug) plant() (map[string][]byte, error) {
	files := map[string][]byte{}
	for i := range b.edits {
		e := &b.edits[i]
		source, err := os.ReadFile(filepath.Join(root, e.path))
		if err != nil {
			return nil, err
		}
		if files[e.path], err = e.apply(source); err != nil {
			return nil, err
		}
	}
	return files, nil
}
