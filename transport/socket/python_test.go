package socket_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// TestLegacyClients runs real clients of the legacy bank, at every pickle protocol of every Python here, against a listener.
// The client itself checks what it receives.
func TestLegacyClients(t *testing.T) {
	if err := exec.Command("python3", "-c", "").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("python3: %v", err)
		}
		t.Skipf("THE LEGACY CLIENTS ARE NOT TRIED: python3: %v", err)
	}
	for _, python := range []string{"python3", "python2.7", "python3.6", "python3.8", "python3.12", "python3.13"} {
		if exec.Command(python, "-c", "").Run() != nil {
			continue // one is enough; the others are welcome
		}
		t.Run(python, func(t *testing.T) {
			s := start(t, setup{codec: wire.NewCodec(wire.Pickle, 2)})
			host, port, err := net.SplitHostPort(s.address)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(python, "-B", "testdata/legacy.py", port, host).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "done" {
				t.Fatalf("%v\n%s", err, out)
			}
			s.stop()
			got := map[bank.Account]bank.Amount{}
			for _, e := range s.memory.Entries() {
				for _, p := range e.Postings {
					got[p.Account] += p.Amount
				}
			}
			for _, protocol := range []string{"0", "1", "2"} {
				a, b := got[bank.Account("a"+protocol)], got[bank.Account("b"+protocol)]
				if a != 21_00 || b != 12_50 {
					t.Errorf("protocol %s: %s and %s", protocol, a.Format(2), b.Format(2))
				}
			}
		})
	}
}
