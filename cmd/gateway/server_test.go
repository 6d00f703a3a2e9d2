package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/config"
	"gateway/disk/disktest"
	"gateway/statelog"
	"gateway/transport/mqtt"
)

// gated is an engine whose Commit waits until it is let go, and then fails if it was told to.
type gated struct {
	*bank.Memory
	commits chan struct{} // a token for each Commit that began
	release chan error    // what each returns; nil commits
}

func newGated() *gated {
	return &gated{
		Memory:  bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now),
		commits: make(chan struct{}, 16), release: make(chan error, 16),
	}
}

func (g *gated) Commit(ctx context.Context, ops []bank.Operation, replies []bank.Reply) error {
	g.commits <- struct{}{}
	if err := <-g.release; err != nil {
		return err
	}
	return g.Memory.Commit(ctx, ops, replies)
}

// trial is a server in this process, before an engine of the test's.
type trial struct {
	t       *testing.T
	address map[string]string // the first of each door
	stop    context.CancelFunc
	ended   chan error
}

// trialSettings has one JSON socket and the admin.
func trialSettings() config.Config {
	settings := config.Default()
	settings.Socket.Listeners = []config.SocketListener{{Address: "127.0.0.1:0", Codec: config.JSON}}
	settings.MQTT.Listeners = []config.MQTTListener{{Address: "127.0.0.1:0"}}
	settings.Admin.Address = "127.0.0.1:0"
	return settings
}

func startTrial(t *testing.T, engine bank.Engine, settings config.Config) *trial {
	t.Helper()
	return startTrialOn(t, &storage{engine: engine}, settings)
}

func startTrialOn(t *testing.T, kept *storage, settings config.Config) *trial {
	t.Helper()
	return startTrialTelling(t, kept, settings, &herald{logger: slog.New(slog.DiscardHandler)})
}

// startTrialTelling starts a server that tells systemd by a herald of the test's.
func startTrialTelling(t *testing.T, kept *storage, settings config.Config, tell *herald) *trial {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	stdout, out := io.Pipe()
	tell.stdout = out
	r := &trial{t: t, address: map[string]string{}, stop: stop, ended: make(chan error, 1)}
	go func() {
		logger := slog.New(slog.NewTextHandler(logs.writer(), &slog.HandlerOptions{Level: slog.LevelDebug}))
		err := serveStorage(ctx, settings, reloads{}, kept, newMetrics(build{}), logger, tell)
		out.CloseWithError(errors.Join(io.ErrUnexpectedEOF, err))
		r.ended <- err
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(line)[1:] {
		door, addresses, _ := strings.Cut(field, "=")
		r.address[door], _, _ = strings.Cut(addresses, ",")
	}
	return r
}

// ask sends an operation by the JSON socket; the answer comes by the channel.
func (r *trial) ask(request string) <-chan string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address["socket"])
	if err != nil {
		r.t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.ReadFull(conn, make([]byte, len("true\n")))
		_, _ = io.WriteString(conn, request)
		answer, err := io.ReadAll(conn)
		if err != nil {
			answer = append(answer, err.Error()...)
		}
		answered <- string(answer)
	}()
	return answered
}

// askUntilHeld asks until an operation waits for the end of an investment's hold, and returns where its answer comes.
func (r *trial) askUntilHeld() <-chan string {
	r.t.Helper()
	for {
		answer := r.ask(trialDeposit)
		select {
		case <-answer:
		case <-time.After(200 * time.Millisecond):
			return answer
		}
	}
}

// TestTheOperatorsHTTPTakesFewFiles: whoever opens connections to it, and leaves them open, closes his own.
func TestTheOperatorsHTTPTakesFewFiles(t *testing.T) {
	r := startTrial(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), trialSettings())
	var held []net.Conn
	for range 5 * adminConnections {
		conn, err := net.Dial("tcp", r.address["admin"])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_, _ = conn.Read(make([]byte, 1))
		held = append(held, conn)
	}
	var page *http.Response
	err := io.EOF
	for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); { // it gives those who just came a moment
		page, err = http.Get("http://" + r.address["admin"] + "/readyz")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if page.StatusCode != http.StatusOK {
		t.Error(page.Status)
	}
	open := 0
	for _, conn := range held {
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open > adminConnections || open == 0 {
		t.Errorf("%d are open", open)
	}
}

func (r *trial) readiness() string { return r.fetch("/readyz") }

// fetch returns the status and the body of a page of the admin's.
func (r *trial) fetch(path string) string {
	r.t.Helper()
	client := http.Client{Timeout: patience}
	page, err := client.Get("http://" + r.address["admin"] + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer page.Body.Close()
	body, err := io.ReadAll(page.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprint(page.StatusCode, " ", string(body))
}

// awaitReadiness waits until readiness is want.
func (r *trial) awaitReadiness(want string) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		got := r.readiness()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("readiness %q, want %q", got, want)
		}
	}
}

// end waits for the server's end and returns why it ended.
func (r *trial) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the server does not end")
		return nil
	}
}

const trialDeposit = `{"op":"deposit","account":"ana","amount":"20.00","id":"a1"}`

// TestStopAnswersWhatWasAccepted stops a server in the middle of a commit.
func TestStopAnswersWhatWasAccepted(t *testing.T) {
	engine := newGated()
	r := startTrial(t, engine, trialSettings())
	if got := r.readiness(); got != "200 ready\n" {
		t.Errorf("readiness %q", got)
	}
	answer := r.ask(trialDeposit)
	<-engine.commits
	r.stop()
	r.awaitReadiness("503 not ready: stopping\n")
	for { // the listener closes
		conn, err := net.Dial("tcp", r.address["socket"])
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	engine.release <- nil
	if got := <-answer; !strings.Contains(got, `"balance":"20.00"`) {
		t.Errorf("an accepted operation was answered %q", got)
	}
	if err := r.end(); err != nil {
		t.Errorf("a clean stop ended with %v", err)
	}
	if got := engine.Entries(); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
}

// TestEngineFailureEndsTheServer answers what waits and leaves with the code of a failed write.
func TestEngineFailureEndsTheServer(t *testing.T) {
	engine := newGated()
	r := startTrial(t, engine, trialSettings())
	answer := r.ask(trialDeposit)
	<-engine.commits
	engine.release <- fmt.Errorf("sync: %w", syscall.EIO)
	if got := <-answer; !strings.Contains(got, `"code":"unavailable"`) {
		t.Errorf("a failed operation was answered %q", got)
	}
	err := r.end()
	if !errors.Is(err, errEngine) || !errors.Is(err, syscall.EIO) || exitCode(err) != exitBroken {
		t.Errorf("ended with %v, exit %d", err, exitCode(err))
	}
}

// TestFailureOfTheSessionsEndsTheServer leaves when what MQTT sessions are owed cannot be kept any more.
func TestFailureOfTheSessionsEndsTheServer(t *testing.T) {
	disk := disktest.New(1)
	sessions, err := statelog.Open(disk, [16]byte{1}, statelog.Options{}, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	r := startTrialOn(t, &storage{engine: bank.NewMemory(bank.Rules{}, time.Now), sessions: sessions}, trialSettings())
	disk.Before = func(disktest.Op) error { return syscall.EIO }
	began := time.Now()
	sessions.Append([]byte("x"), func(error) {})
	err = r.end()
	if took := time.Since(began); took > watchEvery/2 {
		t.Errorf("it went on for %v", took)
	}
	if !errors.Is(err, errEngine) || !errors.Is(err, syscall.EIO) || exitCode(err) != exitBroken {
		t.Errorf("ended with %v, exit %d", err, exitCode(err))
	}
}

// TestSessionsThatCannotBeWrittenStopTheStart leaves with the code of a failed write, not with that of a passing fault: a
// supervisor that starts it again does not mend a disk.
func TestSessionsThatCannotBeWrittenStopTheStart(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		disk := disktest.New(1)
		sessions, err := statelog.Open(disk, [16]byte{1}, statelog.Options{}, func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		disk.Before = func(disktest.Op) error { return fault }
		keeping := &mqtt.Keeping{Store: sessionStore{sessions}, Recovery: mqtt.NewRecovery(), Seq: func() uint64 { return 0 }}
		kept := &storage{sessions: sessions, keeping: keeping}
		banco, logger := bank.New(newGated(), bank.Options{}), slog.New(slog.DiscardHandler)
		s := &server{bank: banco, desk: kept.desk(banco, logger), kept: kept, logger: logger}
		if err := s.listen(t.Context(), trialSettings(), newMetrics(build{})); !errors.Is(err, fault) || exitCode(err) != exitBroken {
			t.Errorf("listen: %v, exit %d", err, exitCode(err))
		}
		_ = sessions.Close()
	}
}

// failing is an engine that has failed where no operation saw it.
type failing struct {
	*bank.Memory
	err error
}

func (f *failing) Ready() error { return f.err }

// TestIdleEngineFailureEndsTheServer leaves although nobody asks for anything.
func TestIdleEngineFailureEndsTheServer(t *testing.T) {
	engine := &failing{bank.NewMemory(bank.Rules{}, time.Now), fmt.Errorf("%w: %w", journal.ErrFailed, syscall.EIO)}
	err := startTrial(t, engine, trialSettings()).end()
	if !errors.Is(err, syscall.EIO) || exitCode(err) != exitBroken {
		t.Errorf("ended with %v, exit %d", err, exitCode(err))
	}
}

// TestLackOfSpaceDoesNotEndTheServer stays, not ready, until there is space again.
func TestLackOfSpaceDoesNotEndTheServer(t *testing.T) {
	engine := &failing{bank.NewMemory(bank.Rules{}, time.Now), journal.ErrNoSpace}
	r := startTrial(t, engine, trialSettings())
	r.awaitReadiness("503 not ready: " + journal.ErrNoSpace.Error() + "\n")
	select {
	case err := <-r.ended:
		t.Errorf("ended with %v", err)
	case <-time.After(watchEvery + watchEvery/2):
	}
	r.stop()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestStopEndsAHold does not let an investment's hold keep a stop waiting.
func TestStopEndsAHold(t *testing.T) {
	settings := trialSettings()
	settings.Bank.Investment = config.Investment{
		Enabled: true, FirstAfter: time.Millisecond, Every: 10 * time.Hour, Hold: time.Hour, Rate: "0.10",
	}
	r := startTrial(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), settings)
	held := r.askUntilHeld()
	began := time.Now()
	r.stop()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if got := <-held; !strings.Contains(got, `"code":"ok"`) {
		t.Errorf("the operation that was held was answered %q", got)
	}
	if took := time.Since(began); took > settleTimeout+drainTimeout {
		t.Errorf("the stop took %v", took)
	}
}

// TestSecondSignalKills does not let a stop that waits keep an operator waiting.
func TestSecondSignalKills(t *testing.T) {
	settings := `
bank: { investment: { enabled: true, first_after: 1ms, every: 2h, hold: 1h } }
socket: { listeners: [ { address: "127.0.0.1:0", codec: json } ] }
mqtt: { listeners: [] }
admin: { address: "127.0.0.1:0" }
`
	p := serveWith(t, settings)
	r := &trial{t: t, address: map[string]string{"socket": p.addresses["socket"][0], "admin": p.addresses["admin"][0]}}
	r.askUntilHeld() // the stop waits for it
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.awaitReadiness("503 not ready: stopping\n")
	began := time.Now()
	code, err := p.stop(syscall.SIGTERM)
	if took := time.Since(began); err != nil || code != exitSignalled+int(syscall.SIGTERM) || took > settleTimeout/2 {
		t.Errorf("exit code %d after %v, %v\n%s", code, took, err, p.stderr.String())
	}
}

// TestLostListenerEndsTheServer leaves with the code that a restart may heal.
func TestLostListenerEndsTheServer(t *testing.T) {
	banco := bank.New(bank.NewMemory(bank.Rules{}, time.Now), bank.Options{})
	logger := slog.New(slog.DiscardHandler)
	s := &server{bank: banco, desk: new(storage).desk(banco, logger), kept: new(storage), logger: logger}
	if err := s.listen(t.Context(), trialSettings(), newMetrics(build{})); err != nil {
		t.Fatal(err)
	}
	s.start(t.Context())
	if err := s.socketDoors[0].Net.Close(); err != nil {
		t.Fatal(err)
	}
	err := s.stop(s.wait(t.Context()))
	if !errors.Is(err, errDoor) || exitCode(err) != exitPassing {
		t.Errorf("ended with %v, exit %d", err, exitCode(err))
	}
}

// TestListenBindsAllOrNone gives back what it bound before the address that it could not have.
func TestListenBindsAllOrNone(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	settings := trialSettings()
	settings.Admin.Address = held.Addr().String()
	banco, logger := bank.New(newGated(), bank.Options{}), slog.New(slog.DiscardHandler)
	s := &server{bank: banco, desk: new(storage).desk(banco, logger), kept: new(storage), logger: logger}
	err = s.listen(t.Context(), settings, newMetrics(build{}))
	if !errors.Is(err, syscall.EADDRINUSE) || exitCode(err) != exitPassing || !strings.Contains(err.Error(), "admin.address") {
		t.Fatalf("listen: %v, exit %d", err, exitCode(err))
	}
	if again, err := net.Listen("tcp", s.socketDoors[0].Net.Addr().String()); err != nil {
		t.Errorf("the socket's listener was kept: %v", err)
	} else {
		_ = again.Close()
	}
}

func TestExitCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{&journal.DamageError{}, exitDamaged},
		{fmt.Errorf("%w: %w", errEngine, &journal.DamageError{}), exitDamaged},
		{journal.ErrFormat, exitSettings},
		{journal.ErrLocked, exitLocked},
		{journal.ErrDecimals, exitSettings},
		{fmt.Errorf("%w: %w", errEngine, os.ErrPermission), exitBroken},
		{fmt.Errorf("%w: %w", errListen, os.ErrPermission), exitSettings},
		{fmt.Errorf("%w: %w", errListen, syscall.EADDRINUSE), exitPassing},
		{fmt.Errorf("%w: %w", errListen, syscall.EADDRNOTAVAIL), exitPassing},
		{errDoor, exitPassing},
		{fmt.Errorf("listeners[0]: %w: %w", errSettings, os.ErrNotExist), exitSettings},
		{fmt.Errorf("open the journal: %w", &os.PathError{Op: "mkdir", Err: syscall.ENOTDIR}), exitSettings},
		{fmt.Errorf("open the journal: %w", &os.PathError{Op: "mkdir", Err: syscall.ENOENT}), exitSettings},
		{fmt.Errorf("open the journal: %w", &os.PathError{Op: "mkdir", Err: syscall.ENOSPC}), exitBroken},
		{errors.New("something else"), exitBroken},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

// TestConnectionsAreCountedTogether gives the only place to a socket, so that the broker has none.
func TestConnectionsAreCountedTogether(t *testing.T) {
	settings := trialSettings()
	settings.Socket.Listeners[0].Session = true
	settings.Limits.Connections = 1
	r := startTrial(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), settings)
	dial := func(door string) net.Conn {
		conn, err := net.Dial("tcp", r.address[door])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	first := dial("socket")
	if _, err := io.WriteString(first, trialDeposit); err != nil { // a client that is known keeps its place
		t.Fatal(err)
	}
	greeting := make([]byte, len(`true`)+len("\n")+len(`{"status":true`))
	if _, err := io.ReadFull(first, greeting); err != nil || string(greeting) != "true\n"+`{"status":true` {
		t.Fatalf("greeted by %q, %v", greeting, err)
	}
	for _, door := range []string{"mqtt", "socket"} {
		if n, err := dial(door).Read(greeting); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes, %v, from a gateway that is full", door, n, err)
		}
	}
	if got := r.fetch("/metrics"); !strings.Contains(got, `gateway_connections_rejected_total{reason="connections",transport="mqtt"} 1`) {
		t.Error("the connection turned away by the broker was not counted")
	}
}
