package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/term"

	"gateway/bank"
	"gateway/client"
)

const (
	// maxBenchClients and maxBenchInFlight bound the load; their product bounds the operations on the way, and
	// maxBenchAccounts the accounts.
	maxBenchClients  = 10000
	maxBenchInFlight = 256
	maxBenchAccounts = 1000000
	// benchFunds, in whole units, is what every account gets first, so that transfers are not refused.
	benchFunds = "1000"
	// benchMeters bounds the histograms: workers share them.
	benchMeters = 16
	// Latencies are kept from a microsecond to a minute with three digits.
	benchLeast, benchMost, benchDigits = 1, int64(time.Minute / time.Microsecond), 3
	// benchEvery is the time between two progress lines.
	benchEvery = time.Second
)

const benchAbout = `It first gives money to accounts whose names begin with "bench-", then deposits
into them and transfers between them, each operation with an id of its own. It
leaves that money there: do not run it against a bank that matters.

Via socket every operation takes a connection, unless --session. Exits 1 when an
operation had no answer. The generator shares the machine with the gateway if
they run on one; "generator" says how many CPUs it took.

Examples:

  gateway bench --clients 16 --duration 10s
  gateway bench --via mqtt --clients 50 --in-flight 8 --json
  gateway bench --session --address 127.0.0.1:9997 --in-flight 32
`

func benchCommand() command {
	return command{
		name: "bench", summary: "Measure a gateway under load.", about: benchAbout,
		flags: func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
			var b bench
			b.door.declare(fs)
			fs.BoolVar(&b.door.session, "session", false, "Via socket, one connection per client; the listener must have `session: true`.")
			fs.IntVar(&b.clients, "clients", 16, "Have `N` clients.")
			fs.IntVar(&b.inFlight, "in-flight", 1, "Each client has `N` operations on the way.")
			fs.IntVar(&b.accounts, "accounts", 1000, "Move money between `N` accounts.")
			fs.DurationVar(&b.duration, "duration", 10*time.Second, "How long, as in 10s or 5m.")
			fs.DurationVar(&b.patience, "timeout", tellerTimeout, "How long to try one operation before it counts as an error.")
			fs.BoolVar(&b.json, "json", false, "Print the result as one line of JSON.")
			return b.run
		},
	}
}

// bench is a load and what it measured.
type bench struct {
	door               door
	clients, inFlight  int
	accounts           int
	duration, patience time.Duration
	json               bool

	meters   [benchMeters]meter
	finished atomic.Int64 // operations answered since the start, for the progress line

	failing sync.Mutex // guards failure
	failure error      // the first
}

// meter is what some of the workers measured.
type meter struct {
	mu       sync.Mutex // guards all below
	times    *hdrhistogram.Histogram
	refusals map[string]int64 // by code
	errors   int64
}

// benchResult is what a bench prints. Times are in microseconds.
type benchResult struct {
	Via       string           `json:"via"`
	Clients   int              `json:"clients"`
	InFlight  int              `json:"in_flight"`
	Session   bool             `json:"session"`
	Seconds   float64          `json:"seconds"`
	Answered  int64            `json:"answered"`
	PerSecond float64          `json:"ops_per_second"`
	P50       int64            `json:"p50_us"`
	P99       int64            `json:"p99_us"`
	P999      int64            `json:"p99_9_us"`
	Max       int64            `json:"max_us"`
	Refused   int64            `json:"refused"`
	Refusals  map[string]int64 `json:"refusals,omitempty"`
	Errors    int64            `json:"errors"`
	Generator float64          `json:"generator_cpus"`
}

func (b *bench) run(ctx context.Context, env *environment, _ []string) int {
	clients, err := b.open()
	if err != nil {
		env.complain("bench: %v", err)
		return exitUsage
	}
	defer closeAll(clients)
	if err := b.fund(ctx, clients); err != nil {
		env.complain("bench: give money to the accounts: %v", err)
		return exitRefused
	}
	result := b.measure(ctx, env, clients)
	if err := b.print(env.stdout, &result); err != nil {
		env.complain("bench: print the result: %v", err)
	}
	if b.failure != nil {
		env.complain("bench: the first of %d errors: %v", result.Errors, b.failure)
		return exitRefused
	}
	if result.Answered == 0 {
		env.complain("bench: no operation was answered")
		return exitRefused
	}
	return exitDone
}

// open checks the load and returns a client for each of b.clients.
func (b *bench) open() ([]*client.Client, error) {
	switch {
	case b.clients < 1 || b.clients > maxBenchClients:
		return nil, fmt.Errorf("--clients %d: want 1 to %d", b.clients, maxBenchClients)
	case b.inFlight < 1 || b.inFlight > maxBenchInFlight:
		return nil, fmt.Errorf("--in-flight %d: want 1 to %d", b.inFlight, maxBenchInFlight)
	case b.accounts < 2 || b.accounts > maxBenchAccounts:
		return nil, fmt.Errorf("--accounts %d: want 2 to %d", b.accounts, maxBenchAccounts)
	case b.duration <= 0 || b.patience <= 0:
		return nil, errors.New("--duration and --timeout must be more than nothing")
	case b.door.session && b.door.via != "socket":
		return nil, errors.New("--session is for --via socket")
	case b.door.clientID != "" && b.clients > 1:
		return nil, errors.New("--client-id is for one client")
	}
	b.door.inFlight = b.inFlight
	clients := make([]*client.Client, 0, b.clients)
	for range b.clients {
		c, err := b.door.open()
		if err != nil {
			closeAll(clients)
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeAll(clients []*client.Client) {
	var closing sync.WaitGroup
	for _, c := range clients {
		closing.Go(c.Close)
	}
	closing.Wait()
}

// fund gives every account money, with all clients at once.
func (b *bench) fund(ctx context.Context, clients []*client.Client) error {
	var next atomic.Int64
	var funding sync.WaitGroup
	work := func(c *client.Client) {
		for n := next.Add(1) - 1; n < int64(b.accounts) && ctx.Err() == nil && !b.failed(); n = next.Add(1) - 1 {
			err := b.do(ctx, c, client.Operation{Kind: bank.KindDeposit, Account: benchAccount(int(n)), Amount: benchFunds}, nil)
			if err != nil {
				b.fail(err)
			}
		}
	}
	for _, c := range clients {
		for range b.inFlight {
			funding.Go(func() { work(c) })
		}
	}
	funding.Wait()
	if b.failure == nil {
		return ctx.Err()
	}
	return b.failure
}

func benchAccount(n int) string { return fmt.Sprintf("bench-%d", n) }

// fail keeps the first failure.
func (b *bench) fail(err error) {
	b.failing.Lock()
	defer b.failing.Unlock()
	if b.failure == nil {
		b.failure = err
	}
}

func (b *bench) failed() bool {
	b.failing.Lock()
	defer b.failing.Unlock()
	return b.failure != nil
}

// do asks for op. With m, it measures, and a refusal is no error.
func (b *bench) do(ctx context.Context, c *client.Client, op client.Operation, m *meter) error {
	ctx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	began := time.Now()
	reply, err := c.Do(ctx, op)
	switch took := time.Since(began); {
	case m != nil:
		m.note(reply, err, took)
	case err == nil && !reply.Done():
		return errors.New(reply.Msg)
	}
	return err
}

func (m *meter) note(reply client.Reply, err error, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.errors++
		return
	}
	if !reply.Done() {
		m.refusals[reply.Code.String()]++
	}
	m.times.RecordValue(min(max(took.Microseconds(), benchLeast), benchMost))
}

// measure loads the gateway for the duration, or until ctx ends, and waits for what is on the way then.
func (b *bench) measure(ctx context.Context, env *environment, clients []*client.Client) benchResult {
	for i := range b.meters {
		b.meters[i].times = hdrhistogram.New(benchLeast, benchMost, benchDigits)
		b.meters[i].refusals = make(map[string]int64)
	}
	cpu, began := cpuTime(), time.Now() // before the timer: no load is told to be shorter than it was asked to be
	loading, stop := context.WithTimeout(ctx, b.duration)
	defer stop()
	var workers sync.WaitGroup
	for i, c := range clients {
		for j := range b.inFlight {
			m := &b.meters[(i*b.inFlight+j)%benchMeters]
			workers.Go(func() { b.load(loading, context.WithoutCancel(ctx), c, m) })
		}
	}
	var showing sync.WaitGroup
	done := make(chan struct{})
	if isTerminal(env.stderr) {
		showing.Go(func() { b.show(env.stderr, done) })
	}
	workers.Wait()
	took := time.Since(began)
	close(done)
	showing.Wait()
	return b.result(took, cpuTime()-cpu)
}

// load asks for one operation after the other until loading ends. What is on the way then has its own time, bounded by asking.
func (b *bench) load(loading, asking context.Context, c *client.Client, m *meter) {
	for loading.Err() == nil {
		payer := rand.IntN(b.accounts)
		op := client.Operation{Kind: bank.KindDeposit, Account: benchAccount(payer), Amount: "1"}
		if rand.IntN(2) == 0 {
			op.Kind, op.To = bank.KindTransfer, benchAccount((payer+1+rand.IntN(b.accounts-1))%b.accounts)
		}
		err := b.do(asking, c, op, m)
		if err == nil {
			b.finished.Add(1)
			continue
		}
		b.fail(err)
		if errors.Is(err, client.ErrRefused) {
			return
		}
	}
}

// show prints a line that overwrites itself until done.
func (b *bench) show(w io.Writer, done <-chan struct{}) {
	ticker := time.NewTicker(benchEvery)
	defer ticker.Stop()
	began, before := time.Now(), int64(0)
	for {
		select {
		case <-done:
			fmt.Fprint(w, "\r\x1b[K")
			return
		case <-ticker.C:
			finished := b.finished.Load()
			fmt.Fprintf(w, "\r\x1b[K%4.0fs of %s  %d ops/s", time.Since(began).Seconds(), b.duration, finished-before)
			before = finished
		}
	}
}

func (b *bench) result(took, cpu time.Duration) benchResult {
	all := hdrhistogram.New(benchLeast, benchMost, benchDigits)
	r := benchResult{
		Via: b.door.via, Clients: b.clients, InFlight: b.inFlight, Session: b.door.session, Seconds: took.Seconds(),
		Refusals: make(map[string]int64), Generator: cpu.Seconds() / took.Seconds(),
	}
	for i := range b.meters {
		m := &b.meters[i]
		all.Merge(m.times)
		r.Errors += m.errors
		for code, n := range m.refusals {
			r.Refusals[code] += n
			r.Refused += n
		}
	}
	r.Answered = all.TotalCount()
	r.PerSecond = float64(r.Answered) / took.Seconds()
	r.P50, r.P99 = all.ValueAtPercentile(50), all.ValueAtPercentile(99)
	r.P999, r.Max = all.ValueAtPercentile(99.9), all.Max()
	return r
}

func (b *bench) print(w io.Writer, r *benchResult) error {
	if b.json {
		return json.NewEncoder(w).Encode(r)
	}
	milliseconds := func(micros int64) string { return fmt.Sprintf("%.2f ms", float64(micros)/1000) }
	_, err := fmt.Fprintf(w, "%d clients, %d in flight each, via %s, %.1f s\n", r.Clients, r.InFlight, r.Via, r.Seconds)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "answered   %d, %.0f/s\nlatency    p50 %s, p99 %s, p99.9 %s, max %s\nrefused    %d\nerrors     %d\ngenerator  %.2f CPUs\n",
		r.Answered, r.PerSecond, milliseconds(r.P50), milliseconds(r.P99), milliseconds(r.P999), milliseconds(r.Max),
		r.Refused, r.Errors, r.Generator)
	return err
}

// isTerminal reports whether a person watches what is written to w.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// cpuTime returns the time that this process has spent on CPUs.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
