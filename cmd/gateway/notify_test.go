package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/config"
)

// supervisor is a systemd that hears what a gateway tells.
type supervisor struct {
	t      *testing.T
	conn   *net.UnixConn
	socket string // as NOTIFY_SOCKET has it
}

func newSupervisor(t *testing.T, socket string) *supervisor {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &supervisor{t, conn, socket}
}

// hear returns the next datagram that comes within the time, or "".
func (m *supervisor) hear(within time.Duration) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		m.t.Fatal(err)
	}
	datagram := make([]byte, 4096)
	n, err := m.conn.Read(datagram)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		m.t.Fatal(err)
	}
	return string(datagram[:n])
}

// expect returns what comes after the assignment in the datagram that begins with it. Before that one only those come
// that begin with what is passing.
func (m *supervisor) expect(assignment string, passing ...string) string {
	m.t.Helper()
	for {
		datagram := m.hear(patience)
		first, rest, _ := strings.Cut(datagram, "\n")
		if first == assignment {
			return rest
		}
		if !slices.Contains(passing, first) {
			m.t.Fatalf("told %q, want %s", datagram, assignment)
		}
	}
}

// heraldOf returns a herald in an environment, and its log.
func heraldOf(t *testing.T, variables map[string]string) (*herald, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	env := &environment{stdout: io.Discard, getenv: func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}}
	return newHerald(env, slog.New(slog.NewTextHandler(log, nil))), log
}

// TestSystemdIsTold follows the real program from its start to its end, by a socket of each sort.
func TestSystemdIsTold(t *testing.T) {
	dir := t.TempDir()
	settings := `
socket: { listeners: [ { address: "127.0.0.1:0", codec: json } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "127.0.0.1:0" }
`
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, socket := range map[string]string{
		"a path": filepath.Join(dir, "notify"), "an abstract socket": fmt.Sprintf("@gateway-test-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			m := newSupervisor(t, socket)
			p, err := startGatewayIn(dir, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=200000"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.kill()
			m.expect("STATUS=recovering the book")
			status := m.expect("READY=1")
			if want := "STATUS=serving " + strings.TrimPrefix(strings.TrimSpace(p.ready), "ready "); status != want {
				t.Errorf("ready with %q, want %q", status, want)
			}
			for _, address := range []string{p.addresses["socket"][0], p.addresses["mqtt"][0], p.addresses["admin"][0]} {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatalf("ready, but %v", err)
				}
				_ = conn.Close()
			}
			for range watchdogMeals + 1 {
				m.expect("WATCHDOG=1")
			}
			if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
				t.Errorf("exit code %d, %v\n%s", code, err, p.stderr.String())
			}
			m.expect("STOPPING=1", "WATCHDOG=1")
			if entries := dumpOf(t, dir); len(entries) != 0 {
				t.Errorf("the watchdog's questions left %d entries", len(entries))
			}
		})
	}
}

// TestSystemdIsNotToldReadyByAStartThatFails has an address that is taken.
func TestSystemdIsNotToldReadyByAStartThatFails(t *testing.T) {
	m := newSupervisor(t, filepath.Join(t.TempDir(), "notify"))
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	settings := trialSettings()
	settings.Admin.Address = held.Addr().String()
	tell, _ := heraldOf(t, map[string]string{"NOTIFY_SOCKET": m.socket, "WATCHDOG_USEC": "1000"})
	kept := &storage{engine: bank.NewMemory(bank.Rules{}, time.Now)}
	if err := serveStorage(t.Context(), settings, reloads{}, kept, newMetrics(build{}), slog.New(slog.DiscardHandler), tell); err == nil {
		t.Fatal("served on an address that was taken")
	}
	tell.notify("END=1")
	m.expect("END=1") // and nothing before it
}

// TestTheWatchdogIsFedOnlyWhileTheCommitterTurns blocks the engine's Commit, as a sync that hangs does.
func TestTheWatchdogIsFedOnlyWhileTheCommitterTurns(t *testing.T) {
	const period = 30 * time.Millisecond
	m := newSupervisor(t, filepath.Join(t.TempDir(), "notify"))
	tell, _ := heraldOf(t, map[string]string{
		"NOTIFY_SOCKET": m.socket, "WATCHDOG_USEC": strconv.FormatInt(period.Microseconds(), 10),
	})
	engine := newGated()
	engine.commits = make(chan struct{}, 1024) // nobody takes them after the last round
	r := startTrialTelling(t, &storage{engine: engine}, trialSettings(), tell)
	status := m.expect("READY=1")
	if !strings.Contains(status, r.address["mqtt"]) {
		t.Errorf("ready with %q", status)
	}
	for range 3 {
		<-engine.commits
		if got := m.hear(5 * period); got != "" {
			t.Fatalf("told %q while the committer was stuck", got)
		}
		engine.release <- nil
		m.expect("WATCHDOG=1")
	}
	page := r.fetch("/metrics")
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "gateway_operations_total{") && !strings.HasSuffix(line, " 0\n") {
			t.Errorf("the watchdog's questions are counted as a client's: %s", line)
		}
	}
	close(engine.release)
	r.stop()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	m.expect("STOPPING=1", "WATCHDOG=1")
	if entries := engine.Entries(); len(entries) != 0 {
		t.Errorf("the watchdog's questions left %d entries", len(entries))
	}
}

// TestAFailedBankDoesNotFeedTheWatchdog has an answer, but no bank behind it.
func TestAFailedBankDoesNotFeedTheWatchdog(t *testing.T) {
	m := newSupervisor(t, filepath.Join(t.TempDir(), "notify"))
	tell, _ := heraldOf(t, map[string]string{"NOTIFY_SOCKET": m.socket, "WATCHDOG_USEC": "3000"})
	engine := newGated()
	engine.release <- syscall.EIO
	banco := bank.New(engine, bank.Options{})
	committed := make(chan error, 1)
	go func() { committed <- banco.Run(t.Context()) }()
	stop := tell.watch(banco, 0)
	if err := <-committed; !errors.Is(err, syscall.EIO) {
		t.Errorf("the committer ended with %v", err)
	}
	if got := m.hear(50 * time.Millisecond); got != "" {
		t.Errorf("told %q by a bank that has failed", got)
	}
	stop()
}

// TestTheWatchdogBearsAHold asks systemd for as much more time as the bank takes by design.
func TestTheWatchdogBearsAHold(t *testing.T) {
	m := newSupervisor(t, filepath.Join(t.TempDir(), "notify"))
	tell, _ := heraldOf(t, map[string]string{"NOTIFY_SOCKET": m.socket, "WATCHDOG_USEC": "30000000"})
	banco := bank.New(bank.NewMemory(bank.Rules{}, time.Now), bank.Options{}) // nobody runs it: it answers nothing
	tell.watch(banco, longestHold(config.Investment{Enabled: true, Hold: 5 * time.Second}))()
	m.expect("WATCHDOG_USEC=35000000")
	tell.watch(banco, longestHold(config.Investment{Hold: 5 * time.Second}))()
	tell.notify("END=1")
	m.expect("END=1")
}

// TestAReloadIsTold has READY=1 after the reload and not before, also after one that failed.
func TestAReloadIsTold(t *testing.T) {
	m := newSupervisor(t, filepath.Join(t.TempDir(), "notify"))
	tell, _ := heraldOf(t, map[string]string{"NOTIFY_SOCKET": m.socket})
	for _, want := range []error{nil, errors.New("a line is wrong")} {
		before := monotonic()
		err := tell.reload(func() error {
			rest := m.expect("RELOADING=1")
			stamp, _, _ := strings.Cut(strings.TrimPrefix(rest, "MONOTONIC_USEC="), "\n")
			at, err := strconv.ParseInt(stamp, 10, 64)
			if told := time.Duration(at) * time.Microsecond; err != nil || told < before.Truncate(time.Microsecond) || told > monotonic() {
				t.Errorf("a reload at %v by the monotonic clock, which was at %v before it: %q", told, before, rest)
			}
			return want
		})
		if err != want {
			t.Errorf("reload: %v, want %v", err, want)
		}
		if status := m.expect("READY=1"); strings.Contains(status, "refused") != (want != nil) {
			t.Errorf("after %v: %q", want, status)
		}
	}
}

// TestNewHerald reads the environment as sd_watchdog_enabled(3) says, and leaves nothing of it to children.
func TestNewHerald(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		name                string
		socket, period, pid string
		want                time.Duration
		warns               bool
	}{
		{"all", "/s", "30000000", self, 30 * time.Second, false},
		{"whoever it is", "/s", "30000000", "", 30 * time.Second, false},
		{"another process", "/s", "30000000", "1", 0, false},
		{"nobody watches", "/s", "", "", 0, false},
		{"nobody hears", "", "30000000", self, 0, false},
		{"no number", "/s", "30s", self, 0, true},
		{"none at all", "/s", "0", self, 0, true},
		{"negative", "/s", "-5", self, 0, true},
		{"beyond time", "/s", "1152921504606846976", self, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			variables := map[string]string{}
			for name, value := range map[string]string{
				"NOTIFY_SOCKET": test.socket, "WATCHDOG_USEC": test.period, "WATCHDOG_PID": test.pid,
			} {
				if value != "" {
					variables[name] = value
					t.Setenv(name, value)
				}
			}
			tell, log := heraldOf(t, variables)
			if tell.socket != test.socket || tell.watchdog != test.want || (log.Len() > 0) != test.warns {
				t.Errorf("socket %q, watchdog %v, log %q", tell.socket, tell.watchdog, log)
			}
			for name := range variables {
				if value, ok := os.LookupEnv(name); ok {
					t.Errorf("children get %s=%s", name, value)
				}
			}
		})
	}
}

// TestASystemdThatDoesNotHear is logged, keeps nobody waiting for long and is no reason to stop.
func TestASystemdThatDoesNotHear(t *testing.T) {
	m := newSupervisor(t, filepath.Join(t.TempDir(), "notify"))
	deaf, log := heraldOf(t, map[string]string{"NOTIFY_SOCKET": m.socket})
	for log.Len() == 0 { // until the socket holds no more
		deaf.notify("STATUS=" + strings.Repeat("x", 4000))
	}
	if !strings.Contains(log.String(), `msg="systemd is not told" what="STATUS=xxx`) || !strings.Contains(log.String(), "timeout") {
		t.Errorf("logged %q", log)
	}
	absent, log := heraldOf(t, map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "none"), "WATCHDOG_USEC": "1000000"})
	r := startTrialTelling(t, &storage{engine: bank.NewMemory(bank.Rules{}, time.Now)}, trialSettings(), absent)
	r.stop()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), `what="READY=1"`) {
		t.Errorf("logged %q", log)
	}
}
