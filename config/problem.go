package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with the settings. Message names the setting, says what is wrong and what to write
// instead; it never contains a password, a hash or a value taken from the environment.
type Problem struct {
	File    string
	Line    int // from 1
	Message string
}

// String returns "FILE:LINE: message", the form that editors jump to.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// Problems is everything wrong with a file, sorted by line. As an error it prints one problem per line.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sort orders problems by line; those of one line stay in the order they were found.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
}

// source remembers where settings were given: "socket.listeners[0].address" → its line.
type source struct {
	file  string
	lines map[string]int
}

// given reports whether the file has the setting.
func (s source) given(path string) bool {
	_, ok := s.lines[path]
	return ok
}

// line returns the line of a setting, or of what encloses it when it was left out.
func (s source) line(path string) int {
	for path != "" {
		if line, ok := s.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

// reader is one reading of one file: it decodes, then checks, and collects problems on the way. A setting has at most
// one problem: what is found first mutes what follows from it.
type reader struct {
	source
	getenv   func(string) (string, bool)
	exposed  string            // how the file's mode shows it to others, as "mode 0644"; "" if it does not
	written  map[string]string // settings with a value from the environment, as they stand in the file
	bad      map[string]bool   // settings that have a problem
	problems Problems
}

// problem notes what is wrong with a setting, on its line.
func (r *reader) problem(path, format string, args ...any) {
	r.problemAt(r.line(path), path, fmt.Sprintf(format, args...))
}

// problemAt notes what is wrong on a line: with a setting, or with the file when path is "".
func (r *reader) problemAt(line int, path, message string) {
	if path != "" && r.bad[path] || len(r.problems) > MaxProblems {
		return
	}
	r.bad[path] = true
	if path != "" {
		message = path + ": " + message
	}
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Message: message})
}

// sorted returns the problems by line. When there are too many, the last one says so instead of what it was.
func (r *reader) sorted() Problems {
	told := r.problems[:min(len(r.problems), MaxProblems)]
	told.sort()
	if len(told) < len(r.problems) {
		last := told[len(told)-1]
		told = append(told, Problem{last.File, last.Line, "too many problems; the rest is left out"})
	}
	return told
}

// sound reports whether none of the settings has a problem yet.
func (r *reader) sound(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool { return r.bad[path] })
}

// quote returns a setting's value for a message: as it stands in the file, cut to a readable length. What looks like a
// hash in the wrong place is not shown.
func (r *reader) quote(path, value string) string {
	const shown = 64 // bytes
	if written, ok := r.written[path]; ok {
		value = written
	}
	if strings.Contains(value, "$argon2") || strings.HasPrefix(value, "$2") {
		return redacted
	}
	if len(value) > shown {
		value = strings.ToValidUTF8(value[:shown], "") + "…"
	}
	return fmt.Sprintf("%q", value)
}
