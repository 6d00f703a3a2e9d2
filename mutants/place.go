package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// mutant is one change.
type mutant struct {
	id       int
	place    int    // the id of the first mutant of its place
	file     string // below the module
	line     int
	function string // "" outside of functions
	change   string // from what to what
	verdict  verdict
	by       string // which test killed it
}

// key names a mutant in explained.txt, for as long as its function is not changed there.
func (m *mutant) key() string { return m.file + " " + m.function + ": " + m.change }

// place is a piece of a file that has mutants. Its text is replaced by one that asks which of them to be; in that text the
// piece as it is stands once, with the places within it replaced in their turn, and each changed piece once, with nothing
// replaced in it, because only one mutant is alive at a time.
type place struct {
	start, end int // bytes
	mutants    []*mutant
	write      writing
	within     []*place
}

// writing returns what stands in the place of a piece of text: first and after bound the ids of its mutants, and inner returns a
// part of the piece with the places in it replaced.
type writing func(first, after int, inner func(start, end int) string) string

// sort puts the places into the order of the text, and each before those within it.
func (f *source) sort() {
	slices.SortStableFunc(f.places, func(a, b *place) int { return cmp.Or(a.start-b.start, b.end-a.end) })
}

// render returns the file's text with every place in it replaced. The places are sorted, and this is done once.
func (f *source) render() string {
	root := &place{end: len(f.text)}
	open := []*place{root}
	for _, p := range f.places {
		for open[len(open)-1].end < p.end || open[len(open)-1].end <= p.start {
			open = open[:len(open)-1]
		}
		parent := open[len(open)-1]
		parent.within = append(parent.within, p)
		open = append(open, p)
	}
	return f.inner(root, 0, len(f.text))
}

// inner returns a part of a place's text with the places in it replaced.
func (f *source) inner(p *place, start, end int) string {
	var b strings.Builder
	at := start
	for _, q := range p.within {
		if q.start < start || q.end > end {
			continue
		}
		b.WriteString(f.text[at:q.start])
		first := q.mutants[0].id
		b.WriteString(q.write(first, first+len(q.mutants), func(start, end int) string { return f.inner(q, start, end) }))
		at = q.end
	}
	b.WriteString(f.text[at:end])
	return b.String()
}

// number tells mutants of the same key apart, in their order.
func number(mutants []*mutant) {
	seen := map[string]int{}
	for _, m := range mutants {
		key := m.key()
		if seen[key]++; seen[key] > 1 {
			m.change += fmt.Sprintf(" #%d", seen[key])
		}
	}
}
