package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// explanations says why some mutants may survive, by their keys. The change in a key may be "*": all of that function.
type explanations map[string]string

// readExplanations reads a file of paragraphs: the keys of mutants, one a line, and then the reason in lines that are indented.
// Lines that begin with # are comments. A file that is not there explains nothing.
func readExplanations(path string) (explanations, error) {
	all := explanations{}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var keys []string
	reason := ""
	for i, line := range append(strings.Split(string(b), "\n"), "") {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			if (len(keys) == 0) != (reason == "") {
				return nil, fmt.Errorf("%s:%d: keys without a reason, or a reason without keys", path, i+1)
			}
			for _, key := range keys {
				all[key] = reason
			}
			keys, reason = nil, ""
		case line[0] == ' ' || line[0] == '\t':
			reason += line
		case !strings.Contains(line, ": "):
			return nil, fmt.Errorf("%s:%d: not \"file function: change\"", path, i+1)
		default:
			keys = append(keys, line)
		}
	}
	return all, nil
}

// of returns the key that explains a mutant, or "".
func (e explanations) of(m *mutant) string {
	for _, key := range [2]string{m.key(), m.file + " " + m.function + ": *"} {
		if e[key] != "" {
			return key
		}
	}
	return ""
}

// report is what became of some mutants of a package.
type report struct {
	code         *code
	mutants      []*mutant
	all          bool // they are all there are
	explanations explanations
}

// print prints it. It returns false when a survivor is not explained, or what is explained is no mutant.
func (r *report) print(out io.Writer) bool {
	count := map[verdict]int{}
	used, explained := map[string]bool{}, 0
	var open []*mutant
	for _, m := range r.mutants {
		count[m.verdict]++
		if m.verdict >= killed {
			continue
		}
		if key := r.explanations.of(m); key != "" {
			used[key] = true
			explained++
		} else {
			open = append(open, m)
		}
	}
	for _, m := range open {
		how := map[verdict]string{survived: "survived", unreached: "not reached"}[m.verdict]
		fmt.Fprintf(out, "%s:%d: %s: %s: %s\n", m.file, m.line, m.function, m.change, how)
	}
	gone := r.unused(out, used)
	r.sums(out, count, explained)
	return len(open) == 0 && !gone
}

// unused prints the explanations that explain nothing, and returns whether any is of no mutant.
func (r *report) unused(out io.Writer, used map[string]bool) (gone bool) {
	if !r.all {
		return false
	}
	known, files := map[string]*mutant{}, map[string]bool{}
	for _, m := range r.code.mutants {
		known[m.key()] = m
	}
	for _, f := range r.code.files {
		files[f.name] = true
	}
	for _, key := range slices.Sorted(maps.Keys(r.explanations)) {
		file, _, _ := strings.Cut(key, " ")
		switch m := known[key]; {
		case used[key] || !files[file]:
		case m == nil:
			gone = true
			fmt.Fprintf(out, "explained, but there is none: %s\n", key)
		default:
			fmt.Fprintf(out, "explained, but killed: %s %s\n", key, m.by)
		}
	}
	return gone
}

func (r *report) sums(out io.Writer, count map[verdict]int, explained int) {
	dead := count[killed] + count[killedByTime]
	all := dead + count[survived] + count[unreached]
	fmt.Fprintf(out, "%s: %d mutants, %d killed (%d by time), %d survived, %d not reached: %.1f%% killed; %d of the rest explained\n",
		r.code.path, all, dead, count[killedByTime], count[survived], count[unreached], 100*float64(dead)/float64(max(all, 1)), explained)
	for _, why := range slices.Sorted(maps.Keys(r.code.skipped)) {
		fmt.Fprintf(out, "skipped: %d: %s\n", r.code.skipped[why], why)
	}
}
