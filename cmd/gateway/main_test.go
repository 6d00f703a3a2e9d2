package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the scripts print into them")

// raceOptions keeps a program built with the race detector from waiting a second at its end, which many here reach.
const raceOptions = "atexit_sleep_ms=10"

func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", raceOptions); err != nil {
		panic(err)
	}
	testscript.Main(watchedRun{m}, map[string]func(){"gateway": main})
}

// TestScripts runs the sessions in testdata/script: the real program as its own process. A script may use, besides
// testscript's own commands, those of scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: scriptCommands(), UpdateScripts: *update, RequireExplicitExec: true,
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", raceOptions)
			env.Values[runningKey{}] = map[string]*process{}
			return nil
		},
	})
}
