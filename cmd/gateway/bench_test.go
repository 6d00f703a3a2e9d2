package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
)

// A bench loads each door and tells what it measured.
func TestBench(t *testing.T) {
	doors := trialGateway(t)
	table := []command{benchCommand()}
	for name, args := range map[string]string{
		"single":  "--address " + doors.socket,
		"session": "--session --address " + doors.session,
		"mqtt":    "--via mqtt --address " + doors.mqtt,
	} {
		line := "bench --json --clients 3 --in-flight 4 --duration 100ms --accounts 20 " + args
		got := runLine(t, table, strings.Fields(line)...)
		var r benchResult
		if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != exitDone || got.stderr != "" {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		if r.Answered < 12 || r.Errors != 0 || r.Refused != 0 || r.P50 < 1 || r.P99 < r.P50 || r.P999 < r.P99 || r.Max < r.P999 ||
			r.Seconds < 0.1 || r.Generator <= 0 || r.PerSecond < 100 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	got := runLine(t, table, "bench", "--duration", "10ms", "--address", doors.socket)
	if got.code != exitDone || !strings.HasPrefix(got.stdout, "16 clients, 1 in flight each, via socket, ") || strings.Count(got.stdout, "\n") != 6 {
		t.Errorf("%+v", got)
	}
}

// Without a gateway it is an error, and a load that cannot be is usage.
func TestBenchFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	table := []command{benchCommand()}
	got := runLine(t, table, "bench", "--clients", "2", "--timeout", "50ms", "--address", l.Addr().String())
	if got.code != exitRefused || !strings.Contains(got.stderr, "not sent") || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	for _, args := range []string{
		"--clients 0", "--clients 10001", "--in-flight 0", "--in-flight 257", "--accounts 1", "--accounts 1000001", "--duration 0s",
		"--timeout 0s", "--via mqtt --session", "--via mqtt --client-id x", "--via pigeon", "extra",
	} {
		if got := runLine(t, table, strings.Fields("bench "+args)...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
