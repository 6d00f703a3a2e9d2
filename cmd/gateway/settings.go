package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"

	"gateway/config"
)

// settingsFile is where the settings are when --config does not say.
const settingsFile = "config.yaml"

func checkCommand() command {
	return command{
		name:    "check",
		summary: "Read the settings and print every problem.",
		about: `It prints each problem as FILE:LINE: message, all in one run, and exits 78; or
that the file is valid, and exits 0. The files that the settings name are read
and checked too.

Examples:

  gateway check
  gateway check --config /etc/gateway/config.yaml
`,
		flags: func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
			file := configFlag(fs)
			return func(_ context.Context, env *environment, _ []string) int {
				if _, ok := loadSettings(env, env.stdout, *file); !ok {
					return exitSettings
				}
				fmt.Fprintf(env.stdout, "%s is valid\n", *file)
				return exitDone
			}
		},
	}
}

func configFlag(fs *flag.FlagSet) *string {
	return fs.String("config", settingsFile, "Read the settings from `FILE`.")
}

// loadSettings reads the settings. When there are problems it prints them all to out, one per line, and reports false.
func loadSettings(env *environment, out io.Writer, file string) (config.Config, bool) {
	settings, err := config.Load(file, env.getenv)
	var problems config.Problems
	switch {
	case err == nil:
		return settings, true
	case errors.Is(err, fs.ErrNotExist):
		env.complain("%s is not there; start where it is, or name it with --config FILE", file)
	case errors.As(err, &problems):
		fmt.Fprintln(out, problems)
	default:
		env.complain("%v", err)
	}
	return settings, false
}
