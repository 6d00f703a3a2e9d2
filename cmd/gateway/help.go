package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// helpColumns is the width that help texts keep within.
const helpColumns = 80

const programAbout = `Examples:

  gateway
  gateway serve --config /etc/gateway/config.yaml
  gateway deposit ana 20.00
  gateway journal verify
`

// runHelp prints the help of the program, of the command that args name, or of all commands that begin with its word.
func runHelp(env *environment, table []command, args []string) int {
	if len(args) == 0 {
		return printHelp(env, helpOfProgram(table))
	}
	if c, rest, ok := find(table, args); ok && len(rest) == 0 {
		return printHelp(env, helpOfCommand(c))
	}
	var texts []string
	for i := range table {
		if group, _, pair := strings.Cut(table[i].name, " "); pair && len(args) == 1 && group == args[0] {
			texts = append(texts, helpOfCommand(&table[i]))
		}
	}
	if len(texts) > 0 {
		return printHelp(env, strings.Join(texts, "\n"))
	}
	return explainUnknown(env, table, args)
}

func printHelp(env *environment, text string) int {
	if _, err := io.WriteString(env.stdout, text); err != nil {
		return exitRefused
	}
	return exitDone
}

// helpOfProgram is what `gateway --help` prints.
func helpOfProgram(table []command) string {
	var b strings.Builder
	b.WriteString("One bank behind two doors: sockets and MQTT.\n\nUsage:\n\n")
	b.WriteString("  gateway [COMMAND] [OPTIONS]\n\n")
	b.WriteString("  Without a command it serves with ./config.yaml.\n\nCommands:\n\n")
	width := 0
	for _, c := range table {
		width = max(width, len(c.name))
	}
	for _, c := range table {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, c.name, c.summary)
	}
	fmt.Fprintf(&b, "  %-*s  %s\n", width, "help", "Print the help of a command.")
	b.WriteString("\nOptions:\n\n  -h, --help\n        Print this help, or that of the command.\n\n")
	b.WriteString(programAbout)
	return b.String()
}

// helpOfCommand is what the command prints when asked for help.
func helpOfCommand(c *command) string {
	var b strings.Builder
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.flags(fs)
	usage := strings.TrimRight("gateway "+c.name+" [OPTIONS] "+c.args, " ")
	fmt.Fprintf(&b, "%s\n\nUsage:\n\n  %s\n\nOptions:\n\n", c.summary, usage)
	fs.VisitAll(func(f *flag.Flag) {
		placeholder, about := flag.UnquoteUsage(f)
		if isToggle(f) {
			placeholder = ""
		}
		fmt.Fprintf(&b, "  %s\n", strings.TrimRight("--"+f.Name+" "+strings.ToUpper(placeholder), " "))
		if f.DefValue != "" && f.DefValue != "false" {
			about += " Default: " + f.DefValue + "."
		}
		b.WriteString(wrap(about, "        "))
		b.WriteByte('\n')
	})
	b.WriteString("  -h, --help\n        Print this help.\n")
	if c.about != "" {
		b.WriteString("\n" + strings.TrimRight(c.about, "\n") + "\n")
	}
	return b.String()
}

// isToggle reports whether a flag takes no value.
func isToggle(f *flag.Flag) bool {
	toggle, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && toggle.IsBoolFlag()
}

// wrap breaks text into lines that begin with indent and keep within helpColumns, as far as its words allow.
func wrap(text, indent string) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && len(line)+1+len(word) > helpColumns {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}

// maybeMeant returns "; did you mean …?" with the known name nearest to a mistyped one, or "" when none is near.
func maybeMeant(prefix, typed string, known []string) string {
	if len(typed) == 0 || len(typed) > helpColumns {
		return ""
	}
	nearest, least := "", len(typed)/3+1
	for _, name := range known {
		if d := distance(typed, name); d <= least && d < len(name) && (nearest == "" || d < least) {
			nearest, least = name, d
		}
	}
	if nearest == "" {
		return ""
	}
	return "; did you mean " + prefix + nearest + "?"
}

// distance is the number of letters to insert, delete, change or swap with their neighbour to make b of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, above, row := rows[0], rows[1], rows[2]
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(above[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
