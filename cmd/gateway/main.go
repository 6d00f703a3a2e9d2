// Command gateway is one bank behind two doors: sockets for clients of the legacy protocol, and an MQTT broker.
//
// This package is the only one that knows all the others. Each command is a [command] of one table; serve.go ties the
// server together.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The exit codes, which let a supervisor choose what to do next. From 65 on they are those of sysexits.h.
const (
	exitDone     = 0  // done
	exitRefused  = 1  // the bank, or a check, said no
	exitUsage    = 2  // the command line is wrong
	exitNoAnswer = 3  // the outcome of an operation is unknown
	exitDamaged  = 65 // the journal is damaged: do not restart, restore
	exitBroken   = 70 // a write or a sync failed: look at the disk, then restart
	exitLocked   = 73 // another process has the directory
	exitPassing  = 75 // a passing fault outside: restart
	exitSettings = 78 // the settings are wrong: do not restart, mend them
)

// environment is what a command sees of the process it runs in.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
}

// complain writes one line to stderr, in the form that all complaints of this program have.
func (e *environment) complain(format string, args ...any) {
	fmt.Fprintf(e.stderr, "gateway: "+format+"\n", args...)
}

// command is one verb of the program.
type command struct {
	name    string // "deposit", or two words: "journal verify"
	args    string // "ACCOUNT AMOUNT"; what is in brackets may be left out
	summary string // one line
	about   string // examples and prose of the long help, at most 80 columns
	// flags declares the command's flags and returns what runs it: args are the positional arguments, as many as the
	// args above allow, and the result is the exit code. ctx ends at the first SIGINT or SIGTERM.
	flags func(*flag.FlagSet) func(ctx context.Context, env *environment, args []string) int
}

// commands returns the table of commands in the order that the help tells them.
func commands() []command {
	table := []command{serveCommand(), checkCommand()}
	table = append(table, tellerCommands()...)
	table = append(table, journalCommands()...)
	return append(table, backupCommand(), receiptCommand(), benchCommand(), passwdCommand(), versionCommand())
}

func main() {
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more must not stop a bank
	env := &environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}
	os.Exit(run(untilSignal(), env, commands(), os.Args[1:]))
}

// exitSignalled and the number of a signal make the exit code of a process that it ends, as shells have it.
const exitSignalled = 128

// untilSignal returns a context that ends at the first SIGINT or SIGTERM. The second ends the process at once.
func untilSignal() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		again := (<-signals).(syscall.Signal)
		os.Exit(exitSignalled + int(again))
	}()
	return ctx
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, env *environment, table []command, args []string) int {
	switch first := firstOf(args); {
	case first == "-h" || first == "-help" || first == "--help":
		return printHelp(env, helpOfProgram(table))
	case first == "help":
		return runHelp(env, table, args[1:])
	case first == "--version" || first == "-version":
		args = []string{"version"}
	case first == "" || strings.HasPrefix(first, "-"):
		args = append([]string{"serve"}, args...)
	}
	c, rest, ok := find(table, args)
	if !ok {
		return explainUnknown(env, table, args)
	}
	return c.run(ctx, env, rest)
}

func firstOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// find returns the command that args begin with and what follows its name.
func find(table []command, args []string) (c *command, rest []string, ok bool) {
	for i := range table {
		words := strings.Fields(table[i].name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == table[i].name {
			return &table[i], args[len(words):], true
		}
	}
	return nil, nil, false
}

// run parses args and runs the command. Flags may stand before, between and after the positional arguments.
func (c *command) run(ctx context.Context, env *environment, args []string) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	do := c.flags(fs)
	positional, err := parseArgs(fs, args)
	if err == flag.ErrHelp {
		return printHelp(env, helpOfCommand(c))
	}
	if err == nil {
		err = c.checkCount(positional)
	}
	if err != nil {
		env.complain("%s: %v", c.name, err)
		env.complain("see: gateway %s --help", c.name)
		return exitUsage
	}
	return do(ctx, env, positional)
}

// checkCount refuses too few and too many positional arguments.
func (c *command) checkCount(args []string) error {
	names := strings.Fields(c.args)
	needed := 0
	for _, name := range names {
		if !strings.HasPrefix(name, "[") {
			needed++
		}
	}
	switch {
	case len(args) < needed:
		return fmt.Errorf("%s is missing", names[len(args)])
	case len(args) > len(names):
		return fmt.Errorf("%q is one argument too many", args[len(names)])
	}
	return nil
}

// parseArgs sets the flags in args and returns what is left. It differs from fs.Parse in three ways: a flag may follow
// a positional argument, an unknown flag is answered with the one that was probably meant, and what begins with a minus
// and a digit is no flag.
func parseArgs(fs *flag.FlagSet, args []string) (positional []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			return append(positional, args...), nil
		}
		if len(arg) < 2 || arg[0] != '-' || ('0' <= arg[1] && arg[1] <= '9') {
			positional = append(positional, arg)
			continue
		}
		if args, err = setFlag(fs, arg, args); err != nil {
			return nil, err
		}
	}
	return positional, nil
}

// setFlag sets the flag that arg names, with a value from arg or from the front of rest, and returns what is left of
// rest.
func setFlag(fs *flag.FlagSet, arg string, rest []string) ([]string, error) {
	dashed, value, hasValue := strings.Cut(arg, "=")
	name := strings.TrimPrefix(dashed[1:], "-")
	f := fs.Lookup(name)
	switch {
	case f == nil && (name == "h" || name == "help"):
		return nil, flag.ErrHelp
	case f == nil:
		return nil, fmt.Errorf("unknown flag %s%s", dashed, maybeMeant("--", name, flagNames(fs)))
	}
	if !hasValue {
		switch {
		case isToggle(f):
			value = "true"
		case len(rest) == 0:
			return nil, fmt.Errorf("--%s needs a value", name)
		default:
			value, rest = rest[0], rest[1:]
		}
	}
	if err := fs.Set(name, value); err != nil {
		return nil, fmt.Errorf("--%s %s: %w", name, value, err)
	}
	return rest, nil
}

func flagNames(fs *flag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return append(names, "help")
}

// explainUnknown says that there is no such command, and which one was probably meant.
func explainUnknown(env *environment, table []command, args []string) int {
	var names, below []string
	for _, c := range table {
		group, word, pair := strings.Cut(c.name, " ")
		names = append(names, c.name)
		if pair && group == args[0] {
			below = append(below, word)
		}
	}
	if len(below) == 0 {
		env.complain("unknown command %q%s", args[0], maybeMeant("", args[0], append(names, "help")))
		env.complain("see: gateway --help")
		return exitUsage
	}
	if len(args) > 1 && (args[1] == "-h" || args[1] == "-help" || args[1] == "--help") {
		return runHelp(env, table, args[:1])
	}
	env.complain("%s: say what to do with it: %s", args[0], strings.Join(below, " or "))
	env.complain("see: gateway %s --help", args[0])
	return exitUsage
}
