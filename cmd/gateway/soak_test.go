package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"gateway/bank"
	"gateway/client"
)

const (
	// soakClients and soakLength are the small run; GATEWAY_SOAK, as in "2000 10m", sets another.
	soakClients, soakLength = 50, 3 * time.Second
	// soakEvery is the time from one operation of a client to its next.
	soakEvery = time.Second
	// soakLate is the time after which a reply is late.
	soakLate = time.Second
	// soakSamples is how often the memory is read, evenly over the run.
	soakSamples = 200
	// soakSteady is the length from which on the memory must stay what it is: before, the process is still warming up.
	soakSteady = 5 * time.Minute
	// soakGrowth is how much the memory may grow in a minute of the second half, in KiB.
	soakGrowth = 1024
)

// TestSoak lets many clients of MQTT 3.1.1 and 5 ask for an operation each second, at staggered times, and holds the gateway
// to four promises: no reply is lost, none comes twice, none is late, and its memory stays what it is.
//
// The time of an operation runs from when it was due until its reply, so that a generator that falls behind hides nothing. A
// reply is late when it took more than soakLate without the pauses of the machine, which canaries in this process measure.
// Every client deposits 1 into an account of its own, so that the balance in a reply tells which operation it answers;
// operations have no ids, for a bank remembers those for ever, by design, and memory would grow by them.
func TestSoak(t *testing.T) {
	needLinux(t)
	s := newSoak(t)
	s.connect()
	s.run()
	s.checkBalances()
	if code, err := s.process.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Errorf("clean stop: exit code %d, %v\n%s", code, err, s.process.stderr.String())
	}
	s.judge()
}

// soak is one run.
type soak struct {
	t        *testing.T
	dir      string
	process  *process
	clients  []*soaker
	rounds   int // operations of each client
	began    time.Time
	canaries []*canary
	memory   []memorySample

	mu         sync.Mutex // guards all below
	times      *hdrhistogram.Histogram
	slow       []pause // from when an operation was due to its reply, of those that took more than soakLate
	duplicates int
}

type memorySample struct {
	at time.Duration
	memory
}

// soaker is one client of a soak.
type soaker struct {
	*lean
	payload []byte
	phase   time.Duration
	acked   int
	replied int
}

func newSoak(t *testing.T) *soak {
	clients, length := soakClients, soakLength
	if text, ok := os.LookupEnv("GATEWAY_SOAK"); ok {
		count, duration, _ := strings.Cut(text, " ")
		var err, err2 error
		clients, err = strconv.Atoi(count)
		length, err2 = time.ParseDuration(duration)
		if err := errors.Join(err, err2); err != nil || clients < 1 || length < soakEvery {
			t.Fatalf("GATEWAY_SOAK=%q: want clients and a duration, as in \"2000 10m\": %v", text, err)
		}
	}
	s := &soak{
		t: t, dir: diskDir(t), rounds: int(length / soakEvery), times: hdrhistogram.New(benchLeast, benchMost, benchDigits),
		clients: make([]*soaker, clients),
	}
	s.process = startCrowded(t, s.dir, clients)
	return s
}

// diskDir returns a directory on the disk that this package is on; the temporary one may be no disk at all.
func diskDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "soak-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// startCrowded starts a gateway that takes so many clients.
func startCrowded(t *testing.T, dir string, clients int) *process {
	t.Helper()
	const spare = 100 // connections and files that are not the clients'
	allowFiles(t, uint64(clients+spare))
	settings := fmt.Sprintf(`
socket: { listeners: [ { address: "127.0.0.1:0", codec: msgpack, session: true } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "" }
limits: { connections: %d }
log: { level: warn }
`, clients+spare)
	if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startGateway(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	return p
}

// leanLevel makes every second client one of MQTT 3.1.1, and the others of 5.
func leanLevel(i int) byte { return byte(4 + i%2) }

func (s *soak) connect() {
	s.t.Helper()
	for i := range s.clients {
		id := fmt.Sprint("soak-", i)
		l, err := callLean(s.process.addresses["mqtt"][0], "", id, leanLevel(i))
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = l.conn.Close() })
		s.clients[i] = &soaker{
			lean: l, payload: []byte(`{"op":"deposit","account":"` + id + `","amount":1}`),
			phase: soakEvery * time.Duration(i) / time.Duration(len(s.clients)),
		}
	}
}

// due returns when a client's operation is, counted from 1.
func (s *soak) due(c *soaker, n int) time.Time {
	return s.began.Add(c.phase + time.Duration(n-1)*soakEvery)
}

// run sends every operation when it is due and waits for all replies.
func (s *soak) run() {
	canaries, endCanaries := watchMachine(s.t, s.dir)
	defer endCanaries()
	s.canaries = canaries
	s.began = time.Now().Add(soakEvery)
	length := time.Duration(s.rounds) * soakEvery
	stop := make(chan struct{})
	var sampling, reading sync.WaitGroup
	sampling.Go(func() { s.sample(stop, length/soakSamples) })
	for _, c := range s.clients {
		if err := c.conn.SetDeadline(s.began.Add(length + patience)); err != nil {
			s.t.Fatal(err)
		}
		reading.Go(func() {
			if err := s.hear(c); err != nil {
				s.t.Errorf("%s: %d acknowledged and %d replied of %d: %v", c.id, c.acked, c.replied, s.rounds, err)
			}
		})
	}
	s.send()
	close(stop)
	sampling.Wait()
	reading.Wait()
}

// send sends one operation after the other, each when it is due.
func (s *soak) send() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 1; n <= s.rounds; n++ {
		for _, c := range s.clients {
			if wait := time.Until(s.due(c, n)); wait > 0 {
				timer.Reset(wait)
				<-timer.C
			}
			if err := c.publish(soakPacketID(n), c.payload); err != nil {
				s.t.Errorf("%s: operation %d: %v", c.id, n, err)
				return
			}
		}
	}
}

func soakPacketID(n int) uint16 { return uint16(1 + (n-1)%65535) }

// hear takes what comes for a client until it has everything.
func (s *soak) hear(c *soaker) error {
	for c.acked < s.rounds || c.replied < s.rounds {
		p, err := c.next()
		if err != nil {
			return err
		}
		switch p.kind {
		case leanPuback:
			if c.acked++; p.id != soakPacketID(c.acked) {
				return fmt.Errorf("PUBACK of %d, want of %d", p.id, soakPacketID(c.acked))
			}
		case leanPublish:
			now := time.Now()
			if err := c.puback(p.id); err != nil {
				return err
			}
			if err := s.take(c, p.payload, now); err != nil {
				return err
			}
		default:
			return fmt.Errorf("packet type %d", p.kind)
		}
	}
	return nil
}

// take notes a reply. The balance says of which operation.
func (s *soak) take(c *soaker, payload []byte, now time.Time) error {
	var reply told
	if err := json.Unmarshal(payload, &reply); err != nil {
		return err
	}
	whole, _, _ := strings.Cut(reply.Balance, ".")
	n, err := strconv.Atoi(whole)
	if err != nil || reply.Code != "ok" || reply.Duplicate || n > c.replied+1 {
		return fmt.Errorf("reply %s behind that of operation %d", payload, c.replied)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= c.replied {
		s.duplicates++
		return nil
	}
	c.replied = n
	due := s.due(c, n)
	took := now.Sub(due)
	if took > soakLate {
		s.slow = append(s.slow, pause{due, now})
	}
	return s.times.RecordValue(min(max(took.Microseconds(), benchLeast), benchMost))
}

// sample reads the gateway's memory again and again.
func (s *soak) sample(stop <-chan struct{}, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		m, err := memoryOf(s.process.cmd.Process.Pid)
		if err != nil {
			s.t.Errorf("memory: %v", err)
			return
		}
		s.memory = append(s.memory, memorySample{time.Since(s.began), m})
	}
}

// checkBalances asks at the other door whether each operation was done once.
func (s *soak) checkBalances() {
	s.t.Helper()
	teller, err := client.NewSocket(s.process.addresses["socket"][0], client.SocketOptions{Session: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer teller.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	want := fmt.Sprint(s.rounds, ".00")
	for _, c := range s.clients {
		reply, err := teller.Do(ctx, client.Operation{Kind: bank.KindBalance, Account: c.id})
		if err != nil || reply.Balance != want {
			s.t.Errorf("%s has %s, %v, want %s", c.id, reply.Balance, err, want)
		}
	}
}

// judge prints what was measured and fails on what was promised.
func (s *soak) judge() {
	asked, replied := len(s.clients)*s.rounds, 0
	for _, c := range s.clients {
		replied += c.replied
	}
	late := 0
	for _, p := range s.slow {
		if !s.excused(p) {
			late++
		}
	}
	milliseconds := func(micros int64) float64 { return float64(micros) / 1000 }
	s.t.Logf("%d clients, %d operations each: %d asked, %d lost, %d replied to twice, %d late", len(s.clients), s.rounds,
		asked, asked-replied, s.duplicates, late)
	s.t.Logf("reply after: p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms; %d after more than %v, %d of them by the machine's pauses",
		milliseconds(s.times.ValueAtPercentile(50)), milliseconds(s.times.ValueAtPercentile(99)),
		milliseconds(s.times.ValueAtPercentile(99.9)), milliseconds(s.times.Max()), len(s.slow), soakLate, len(s.slow)-late)
	for _, c := range s.canaries {
		s.t.Logf("the machine's %s: %d pauses of %v or more, the longest %v", c.name, len(c.pauses), leastPause, c.longest.Round(time.Millisecond))
	}
	growth := s.judgeMemory()
	if replied != asked || s.duplicates > 0 || late > 0 {
		s.t.Error("a reply was lost, came twice or was late")
	}
	if time.Duration(s.rounds)*soakEvery >= soakSteady && growth > soakGrowth {
		s.t.Errorf("memory grows by %.0f KiB a minute, more than %d", growth, soakGrowth)
	}
}

// excused reports whether a reply was in time but for a pause of the machine.
func (s *soak) excused(p pause) bool {
	for _, c := range s.canaries {
		if p.ended.Sub(p.began)-c.overlap(p.began, p.ended) <= soakLate {
			return true
		}
	}
	return false
}

// judgeMemory prints the memory over the run and returns its growth in KiB a minute, over the second half.
func (s *soak) judgeMemory() (growth float64) {
	if len(s.memory) < 4 {
		s.t.Fatalf("%d samples of the memory", len(s.memory))
	}
	for _, part := range []struct {
		name string
		at   int
	}{{"a quarter", len(s.memory) / 4}, {"half", len(s.memory) / 2}, {"the end", len(s.memory) - 1}} {
		m := s.memory[part.at]
		s.t.Logf("memory at %s: %.1f MiB resident, %.1f MiB of it anonymous", part.name, m.resident/1024, m.anonymous/1024)
	}
	growth = slope(s.memory[len(s.memory)/2:])
	s.t.Logf("memory grows by %.0f KiB a minute in the second half", growth)
	return growth
}

// slope returns how much the resident memory grows in a minute, by the line of least squares.
func slope(samples []memorySample) float64 {
	var n, sumX, sumY, sumXX, sumXY float64
	for _, m := range samples {
		x, y := m.at.Minutes(), m.resident
		n, sumX, sumY, sumXX, sumXY = n+1, sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	return (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)
}

// TestSlope fits a line.
func TestSlope(t *testing.T) {
	var samples []memorySample
	for i := range 10 {
		samples = append(samples, memorySample{time.Duration(i) * time.Minute, memory{resident: 1000 + 3*float64(i) + float64(i%2)}})
	}
	if got := slope(samples); got < 2.9 || got > 3.1 {
		t.Errorf("%f KiB a minute, want about 3", got)
	}
}
