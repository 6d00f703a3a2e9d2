package main

import (
	"context"
	"flag"
	"fmt"
	"runtime/debug"
)

// version is set by the linker (-ldflags "-X main.version=v1.2.3"); without it the module's own version is told. Nothing
// else writes it.
var version string

func versionCommand() command {
	return command{
		name:    "version",
		summary: "Print the version, the commit and the Go version.",
		about:   "Examples:\n\n  gateway version\n",
		flags: func(*flag.FlagSet) func(context.Context, *environment, []string) int {
			return func(_ context.Context, env *environment, _ []string) int {
				b := readBuild()
				fmt.Fprintf(env.stdout, "gateway %s\ncommit %s\n%s\n", b.version, b.commit, b.goVersion)
				return exitDone
			}
		},
	}
}

// build tells where this program comes from.
type build struct {
	version, commit, goVersion string
}

func readBuild() build {
	b := build{version: version, commit: "unknown", goVersion: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.goVersion = info.GoVersion
	if b.version == "" {
		b.version = info.Main.Version
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = " with changes"
		}
	}
	b.commit += dirty
	return b
}
