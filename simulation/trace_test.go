package simulation

import (
	"fmt"
	"hash/maphash"
	"strings"

	"gateway/disk/disktest"
)

// line is one thing that happened. It becomes text only when somebody wants to read it.
type line struct {
	what string
	who  string
	n, m int64
	op   disktest.Op
}

func (l line) String() string {
	text := l.what
	if l.who != "" {
		text += " " + l.who
	}
	if l.op != (disktest.Op{}) {
		return text + ": " + l.op.String()
	}
	return fmt.Sprintf("%s %d %d", text, l.n, l.m)
}

// trace is all that happened in a run, in order. Two runs of a seed have the same.
type trace struct {
	lines []line
	sum   uint64
}

// traceSeed makes sums comparable within a process.
var traceSeed = maphash.MakeSeed()

func (t *trace) add(l line) {
	t.lines = append(t.lines, l)
	t.sum = maphash.Comparable(traceSeed, struct {
		before uint64
		line   line
	}{t.sum, l})
}

// last tells the last n lines.
func (t *trace) last(n int) string { return t.tell(max(0, len(t.lines)-n), len(t.lines)) }

// around tells what happened around a line.
func (t *trace) around(at int) string { return t.tell(max(0, at-10), min(at+5, len(t.lines))) }

func (t *trace) tell(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%5d  %v\n", i, t.lines[i])
	}
	return b.String()
}

// parts returns the first line in which two traces are not the same.
func (t *trace) parts(other *trace) int {
	n := min(len(t.lines), len(other.lines))
	for i := range n {
		if t.lines[i] != other.lines[i] {
			return i
		}
	}
	return n
}
