package main

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"gateway/bank"
)

// observeAll makes every metric show at least one value.
func observeAll(m *metrics) {
	for _, d := range m.doors {
		d.Operation(bank.KindDeposit, bank.OK, 3*time.Millisecond)
		d.Operation(0, bank.Malformed, time.Microsecond)
		d.Operation(200, 200, time.Hour) // no kind and no code of ours: passed over
		d.Connection(true)
		d.Connection(true)
		d.Connection(false)
		d.Rejected("connections")
		d.Limited("in_flight")
		d.Limited("none of ours") // passed over
	}
	m.journal.Synced(7, 700, time.Millisecond)
	m.journal.Snapshot(42, time.Second, nil)
	m.journal.Snapshot(43, time.Second, errors.New("no space"))
	m.bank.Batch(8, 9, time.Millisecond)
	m.bank.Yield("yield-1", bank.Reply{Code: bank.OK}, nil)
	m.bank.Yield("yield-1", bank.Reply{Code: bank.OK, Duplicate: true}, nil)
	m.gauge("ready", "1 while operations are accepted, else 0.", nil, func() float64 { return 1 })
}

func TestMetricsLint(t *testing.T) {
	m := newMetrics(build{version: "v1", commit: "abc", goVersion: "go1"})
	observeAll(m)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsPage pins the names that dashboards and alarms are built on.
func TestMetricsPage(t *testing.T) {
	m := newMetrics(build{version: "v1", commit: "abc", goVersion: "go1"})
	observeAll(m)
	answer := httptest.NewRecorder()
	m.handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`gateway_operations_total{code="ok",kind="deposit",transport="socket"} 1`,
		`gateway_operations_total{code="ok",kind="deposit",transport="mqtt"} 1`,
		`gateway_operations_total{code="malformed",kind="unknown",transport="mqtt"} 1`,
		`gateway_operations_total{code="insufficient_funds",kind="withdraw",transport="socket"} 0`,
		`gateway_operation_duration_seconds_bucket{kind="deposit",transport="socket",le="0.0001"} 0`,
		`gateway_operation_duration_seconds_bucket{kind="deposit",transport="socket",le="0.005"} 1`,
		`gateway_operation_duration_seconds_bucket{kind="deposit",transport="socket",le="10"} 1`,
		`gateway_connections{transport="socket"} 1`,
		`gateway_connections_rejected_total{reason="connections",transport="mqtt"} 1`,
		`gateway_connections_rejected_total{reason="tls",transport="socket"} 0`,
		`gateway_limits_reached_total{limit="in_flight",transport="socket"} 1`,
		`gateway_limits_reached_total{limit="in_flight",transport="mqtt"} 1`,
		`gateway_limits_reached_total{limit="read_timeout",transport="socket"} 0`,
		`gateway_limits_reached_total{limit="sessions_per_principal",transport="mqtt"} 0`,
		`gateway_operations_denied_total{code="overloaded",transport="socket"} 0`,
		`gateway_logins_total{outcome="delayed"} 0`,
		`gateway_journal_sync_duration_seconds_count 1`,
		`gateway_journal_batch_entries_sum 7`,
		`gateway_journal_bytes_total 700`,
		`gateway_journal_snapshot_seq 42`,
		`gateway_journal_snapshot_failures_total 1`,
		`gateway_batch_operations_sum 8`,
		`gateway_queue_waiting 9`,
		`gateway_yields_total{outcome="ok"} 1`,
		`gateway_yields_total{outcome="repeated"} 1`,
		`gateway_build_info{commit="abc",go="go1",version="v1"} 1`,
		`gateway_ready 1`,
		"go_goroutines ",
		"process_open_fds ",
	} {
		if !strings.Contains(string(page), "\n"+want) {
			t.Errorf("%s is missing", want)
		}
	}
}

// TestOperationCost keeps the search by label off the way of an operation.
func TestOperationCost(t *testing.T) {
	d := newMetrics(build{}).doors[bank.DoorSocket]
	if n := testing.AllocsPerRun(100, func() { d.Operation(bank.KindDeposit, bank.OK, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations per operation, want none", n)
	}
}
