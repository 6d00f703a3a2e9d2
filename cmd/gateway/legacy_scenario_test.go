package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gateway/bank"
)

// scene is one part of a file of testdata/legacy: what is asked in order, of accounts that nothing else uses.
type scene struct {
	name     string
	decimals int
	lines    []line
}

// line is an operation, or "yield" or "restart", and what both banks are to answer.
type line struct {
	expression string
	want       verdict // without name
}

// has reports whether the scene has a line of that expression.
func (s *scene) has(expression string) bool {
	return slices.ContainsFunc(s.lines, func(l line) bool { return l.expression == expression })
}

// differs reports whether the scene shows a difference.
func (s *scene) differs() bool {
	return slices.ContainsFunc(s.lines, func(l line) bool { return l.want.old != l.want.here })
}

var columns = regexp.MustCompile(`^(.*?\S)(?: {2,}(\S.*?)(?: \| (.*))?)?$`)

// scenes reads a file of testdata/legacy.
func scenes(t *testing.T, name string) (list []scene) {
	t.Helper()
	file, err := os.ReadFile("testdata/legacy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(file)) {
		text = strings.TrimSpace(text)
		if head, is := strings.CutPrefix(text, "== "); is {
			s := scene{name: head, decimals: 2}
			if _, err := fmt.Sscanf(head, "%s %d decimals", &s.name, &s.decimals); err != nil {
				s.name = head
			}
			list = append(list, s)
		} else if text != "" && text[0] != '#' {
			c := columns.FindStringSubmatch(text)
			if c[3] == "" {
				c[3] = c[2]
			}
			last := &list[len(list)-1]
			last.lines = append(last.lines, line{c[1], verdict{old: c[2], here: c[3]}})
		}
	}
	return list
}

// differences are the rows of PROTOCOL.md, "Where we differ from the old bank, and why".
func differences(t *testing.T) map[string]bool {
	t.Helper()
	document, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(document), "\n## Where we differ from the old bank, and why\n")
	part, _, _ = strings.Cut(part, "\n## ")
	rows := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(part, -1) {
		rows[match[1]] = true
	}
	if !found || len(rows) == 0 {
		t.Fatal("PROTOCOL.md does not say where we differ from the old bank")
	}
	return rows
}

// TestEveryDifferenceHasARow holds the table of PROTOCOL.md and the scenes that show differences to one another.
func TestEveryDifferenceHasARow(t *testing.T) {
	rows, shown := differences(t), map[string]bool{}
	for _, s := range scenes(t, "differences.txt") {
		if !rows[s.name] {
			t.Errorf("PROTOCOL.md has no row %s", s.name)
		}
		if shown[s.name] = shown[s.name] || s.differs(); !s.differs() && s.decimals == 2 {
			t.Errorf("a scene of %s shows no difference", s.name)
		}
	}
	for name := range rows {
		if !shown[name] {
			t.Errorf("no scene shows %s", name)
		}
	}
}

// TestAgainstTheOldBank plays every scene at every pickle protocol: both banks must answer as it says.
func TestAgainstTheOldBank(t *testing.T) {
	all := append(scenes(t, "same.txt"), scenes(t, "differences.txt")...)
	for _, decimals := range []int{0, 2, bank.MaxDecimals} {
		t.Run(fmt.Sprint(decimals, " decimals"), func(t *testing.T) {
			t.Parallel()
			r := startRivals(t, decimals, "")
			for i := range all {
				if s := &all[i]; s.decimals == decimals && !s.has("yield") {
					for protocol := range 6 {
						prefix := fmt.Sprintf("%d.%d.", i, protocol)
						for _, complaint := range r.act(s, protocol, prefix) {
							t.Errorf("%s, protocol %d: %s", s.name, protocol, complaint)
						}
					}
				}
			}
			r.close(nil)
		})
	}
}

// act plays a scene and returns what was not answered as it says.
func (r *rivals) act(s *scene, protocol int, prefix string) (complaints []string) {
	r.t.Helper()
	for _, l := range s.lines {
		switch l.expression {
		case "restart":
			r.restart()
			continue
		case "yield":
			r.awaitYield()
			continue
		}
		got := r.play(r.make(letter{protocol, l.expression, prefix})[0])
		if code, _, own := strings.Cut(got.here, ": "); own && code == l.want.here {
			got.here = code
		}
		if got.old != l.want.old || got.here != l.want.here {
			complaints = append(complaints, fmt.Sprintf("%s is answered %q | %q", l.expression, got.old, got.here))
		}
		if got.name != "" && got.name != "same" && got.name != s.name {
			complaints = append(complaints, fmt.Sprintf("%s shows %s", l.expression, got.name))
		}
	}
	return complaints
}
