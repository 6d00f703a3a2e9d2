package main

import (
	"strings"
	"testing"
)

// TestHelpFits keeps every help text within a terminal's width and free of what terminals show differently.
func TestHelpFits(t *testing.T) {
	table := commands()
	texts := map[string]string{"gateway": helpOfProgram(table)}
	for i := range table {
		texts[table[i].name] = helpOfCommand(&table[i])
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if len(line) > helpColumns || strings.ContainsRune(line, '\t') || line != strings.TrimRight(line, " ") {
				t.Errorf("%s: a line of %d columns, with a tab or with blanks at its end: %q", name, len(line), line)
			}
		}
		for _, section := range []string{"Usage:\n", "Options:\n", "Examples:\n"} {
			if strings.Count(text, "\n"+section) != 1 {
				t.Errorf("%s: not one section %q", name, section)
			}
		}
	}
}

func TestMaybeMeant(t *testing.T) {
	known := []string{"balance", "deposit", "withdraw", "open", "journal verify", "help"}
	for typed, want := range map[string]string{
		"balanse":                 "; did you mean balance?",
		"blaance":                 "; did you mean balance?",
		"widthdraw":               "; did you mean withdraw?",
		"oepn":                    "; did you mean open?",
		"journal-verify":          "; did you mean journal verify?",
		"x":                       "",
		"":                        "",
		"saldo":                   "",
		strings.Repeat("a", 1000): "",
	} {
		if got := maybeMeant("", typed, known); got != want {
			t.Errorf("%.20q: %q, want %q", typed, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"same", "same", 0},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q to %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
