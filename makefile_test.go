package gateway_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// fakeGo stands for the go command where the tree has one package with two fuzz targets. The second finds nothing; each run of the
// first ends as the next line of the file $RUNS says: passed, failed, late (of Go's own deadline), or found (and late as well).
const fakeGo = `#!/bin/sh
case "$*:$(head -n 1 "$RUNS")" in
"list ./...:no packages") exit 1 ;;
"list ./...:"*) echo some/package ;;
*-list*:"no build") exit 1 ;;
*-list*) printf 'FuzzFirst\nFuzzSecond\nok some/package\n' ;;
*FuzzSecond*) ;;
*)
	end=$(head -n 1 "$RUNS")
	sed -i 1d "$RUNS"
	case "$end" in
	passed) exit 0 ;;
	late) echo "    context deadline exceeded" ;;
	found) echo "    context deadline exceeded"; echo "    Failing input written to testdata/fuzz/FuzzFirst/0" ;;
	esac
	exit 1
	;;
esac
`

func TestMakeFuzzFailsWhenATargetFails(t *testing.T) {
	make, err := exec.LookPath("make")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED: ", err)
	}
	dir := t.TempDir()
	fake, runs := filepath.Join(dir, "go"), filepath.Join(dir, "runs")
	if err := os.WriteFile(fake, []byte(fakeGo), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		runs string
		fine bool
	}{
		{runs: "passed\n", fine: true},
		{runs: "late\npassed\n", fine: true},
		{runs: "late\nlate\n"},
		{runs: "late\nfailed\n"},
		{runs: "failed\npassed\n"},
		{runs: "found\npassed\n"},
		{runs: "no packages\npassed\n"},
		{runs: "no build\npassed\n"},
	} {
		if err := os.WriteFile(runs, []byte(test.runs), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(make, "fuzz", "GO="+fake)
		command.Env = append(os.Environ(), "RUNS="+runs)
		if output, err := command.CombinedOutput(); (err == nil) != test.fine {
			t.Errorf("a target whose runs end %q: %v\n%s", test.runs, err, output)
		}
	}
}
