package main

import (
	"strings"
	"testing"

	"gateway/access"
)

func TestReadPasswordLine(t *testing.T) {
	longest := strings.Repeat("x", access.MaxPasswordBytes)
	for _, test := range []struct{ name, in, want, fault string }{
		{"a line", "secret\n", "secret", ""},
		{"no end", "secret", "secret", ""},
		{"windows", "secret\r\n", "secret", ""},
		{"blanks belong to it", "  s \n", "  s ", ""},
		{"longest", longest + "\r\n", longest, ""},
		{"too long", longest + "x\n", "", "longer than"},
		{"far too long", strings.Repeat("x", 1<<20), "", "longer than"},
		{"empty", "\n", "", "empty"},
		{"nothing", "", "", "empty"},
		{"two lines", "a\nb\n", "", "more than one line"},
		{"an empty second", "a\n\n", "", "more than one line"},
		{"two lines, the first the longest", longest + "\nb\n", "", "more than one line"},
		{"two lines, the first the longest, of windows", longest + "\r\nb", "", "more than one line"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readPasswordLine(strings.NewReader(test.in))
			switch {
			case test.fault == "" && (err != nil || string(got) != test.want):
				t.Errorf("%q, %v", got, err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("error %v, want %q in it", err, test.fault)
			}
		})
	}
}
