package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
)

const (
	// tortureRounds is how often a gateway is killed; GATEWAY_TORTURE sets another number.
	tortureRounds = 5
	// tortureFloor is the load below which a kill proves nothing: answers by each door in a round.
	tortureFloor = 200
	// tortureWorkers is the number of operations on their way by each door.
	tortureWorkers = 48
	// tortureAccounts is few enough that operations meet.
	tortureAccounts = 40
	// recoveryTime is about how long a start takes.
	recoveryTime = 50 * time.Millisecond
	// dumpEvery is after how many rounds, at least, all that was answered is compared with the journal; and it is no more than
	// mostDumps times in a run, because each looks at everything since the beginning.
	dumpEvery = 25
	mostDumps = 10
)

// TestTorture kills a gateway again and again while clients of both doors load it, and restarts it. The clients live
// through it all: what was not answered is repeated with its id. In the end every operation was answered, once, as its
// one entry in the journal says; nothing else is in the journal; the balances are the sums of the postings, and the sum
// of the balances is zero.
func TestTorture(t *testing.T) {
	rounds := countFor(t, "GATEWAY_TORTURE", tortureRounds)
	t.Logf("%d rounds", rounds)
	run := newTorture(t, drawSeed(t))
	for round := range rounds {
		run.loadAndKill(round)
		if every := max(dumpEvery, rounds/mostDumps); round%every == every-1 {
			run.compare(false)
		}
	}
	p := run.start()
	run.finish()
	run.checkBalances()
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, p.stderr.String())
	}
	run.compare(true)
	for _, d := range run.doors {
		t.Logf("%s: %d answered, %d of them after a repetition", d.name, d.answered.Load(), d.repeated.Load())
	}
}

// countFor returns the number of rounds that the environment asks for, or that of the small run.
func countFor(t *testing.T, variable string, small int) int {
	t.Helper()
	text, ok := os.LookupEnv(variable)
	if !ok {
		return small
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of rounds", variable, text)
	}
	return n
}

// drawSeed returns what the choices of a run follow from, and tells it. GATEWAY_SEED repeats them.
func drawSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text, ok := os.LookupEnv("GATEWAY_SEED"); ok {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("GATEWAY_SEED: %v", err)
		}
	}
	t.Logf("seed %d", seed)
	return seed
}

// torture is one run: a directory, doors with fixed addresses and their clients.
type torture struct {
	t       *testing.T
	dir     string
	options tortureOptions
	random  *rand.Rand
	doors   []*tortureDoor
	stop    chan struct{} // closed: no new operations
	work    sync.WaitGroup
	told    *testimony

	// gate is held for reading while an operation is under way, and for writing while none shall be.
	gate sync.RWMutex

	mu     sync.Mutex // guards all below
	failed error      // the first answer that cannot be
	doubts []doubt    // what was not answered in time
}

// tortureOptions are what differs between runs. Those of TestTorture are plainTorture.
type tortureOptions struct {
	dir      string
	settings string // besides those of every run
	clients  int    // of each door
	workers  int    // of each client: operations on their way at once
	// patience is after how long an operation is given up; 0: never.
	patience time.Duration
	// paced makes a door that is far ahead of the other wait for the test, in await.
	paced bool
	// cabled puts a cable between each client and its door.
	cabled bool
	// operation returns a worker's nth. One that writes gets an id.
	operation func(random *rand.Rand, n int) client.Operation
}

func plainTorture(dir string) tortureOptions {
	return tortureOptions{dir: dir, clients: 1, workers: tortureWorkers, paced: true, operation: tortureOperation}
}

// doubt is an operation that was not answered in time.
type doubt struct {
	door *tortureDoor
	id   string
}

// tortureDoor is a door as one client sees it.
type tortureDoor struct {
	name     string
	client   *client.Client
	cable    *cable // nil: none
	answered atomic.Int64
	repeated atomic.Int64
	reached  chan struct{} // of a paced run: a token for each answer
}

func newTorture(t *testing.T, seed uint64) *torture {
	return newTortureWith(t, seed, plainTorture(t.TempDir()))
}

func newTortureWith(t *testing.T, seed uint64, options tortureOptions) *torture {
	r := &torture{
		t: t, dir: options.dir, options: options, random: rand.New(rand.NewPCG(seed, 1)), stop: make(chan struct{}), told: newTestimony(),
	}
	sockets, broker := freeAddresses(t, r.random)
	settings := fmt.Sprintf(`
socket: { listeners: [ { address: "%s", codec: msgpack, session: true } ] }
mqtt: { listeners: [ { address: "%s" } ] }
log: { level: warn }
%s
`, sockets, broker, cmp.Or(options.settings, `admin: { address: "" }`))
	if err := os.WriteFile(filepath.Join(r.dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range options.clients {
		r.enter(fmt.Sprint("socket-", n), sockets, seed, func(_, address string) (*client.Client, error) {
			return client.NewSocket(address, client.SocketOptions{Session: true})
		})
		r.enter(fmt.Sprint("mqtt-", n), broker, seed, func(name, address string) (*client.Client, error) {
			return client.NewMQTT(address, client.MQTTOptions{ClientID: "torture-" + name})
		})
	}
	return r
}

// enter makes a client and its workers.
func (r *torture) enter(name, address string, seed uint64, newClient func(name, address string) (*client.Client, error)) {
	r.t.Helper()
	d := &tortureDoor{name: name}
	if r.options.cabled {
		d.cable = layCable(r.t, address, r.random.Uint64())
		address = d.cable.address()
	}
	if r.options.paced {
		d.reached = make(chan struct{}, 2*tortureFloor)
	}
	var err error
	if d.client, err = newClient(name, address); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(d.client.Close)
	r.doors = append(r.doors, d)
	for w := range r.options.workers {
		random := rand.New(rand.NewPCG(seed, uint64(2+w+len(r.doors)*r.options.workers)))
		r.work.Go(func() { r.load(d, fmt.Sprintf("%s-%d", name, w), random) })
	}
}

// freeAddresses returns two addresses on loopback below the ports that outgoing connections take: a client that dials a
// port of those while nobody listens can meet itself.
func freeAddresses(t *testing.T, random *rand.Rand) (one, other string) {
	var found []string
	for range 100 {
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20000+random.IntN(10000)))
		if err != nil {
			continue
		}
		defer ln.Close()
		if found = append(found, ln.Addr().String()); len(found) == 2 {
			return found[0], found[1]
		}
	}
	t.Fatal("no free ports")
	return "", ""
}

// load asks one operation after the other until the run stops.
func (r *torture) load(d *tortureDoor, worker string, random *rand.Rand) {
	for n := 0; ; n++ {
		select {
		case <-r.stop:
			return
		default:
		}
		op := r.options.operation(random, n)
		if op.Kind.Moves() {
			op.ID = worker + "-" + strconv.Itoa(n)
		}
		r.gate.RLock()
		err := r.ask(d, worker, op)
		r.gate.RUnlock()
		if err != nil {
			r.fail(err)
			return
		}
		if d.reached == nil {
			continue
		}
		select {
		case d.reached <- struct{}{}:
		case <-r.stop:
		}
	}
}

// ask asks for one operation and notes what was told. Only a run whose clients are patient takes no answer for a failure.
func (r *torture) ask(d *tortureDoor, worker string, op client.Operation) error {
	ctx, cancel := r.t.Context(), func() {}
	if r.options.patience > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.options.patience)
	}
	defer cancel()
	_, err := r.askFor(ctx, d, worker, op)
	if err != nil && (r.options.patience == 0 || r.t.Context().Err() != nil) {
		return fmt.Errorf("%s of %s was never answered: %w", op.Kind, worker, err)
	}
	return r.failure()
}

// askFor asks for one operation until ctx ends, and notes what was told or that it is in doubt.
func (r *torture) askFor(ctx context.Context, d *tortureDoor, worker string, op client.Operation) (client.Reply, error) {
	place, err := r.told.ask(worker, op)
	if err != nil {
		r.fail(err)
		return client.Reply{}, err
	}
	reply, err := d.client.Do(ctx, op)
	if err == nil && reply.Code == bank.Overloaded {
		err = fmt.Errorf("answered %s", reply.Code)
	}
	if err != nil {
		if op.Kind.Moves() {
			r.mu.Lock()
			r.doubts = append(r.doubts, doubt{d, op.ID})
			r.mu.Unlock()
		}
		return reply, err
	}
	if reply.Duplicate {
		d.repeated.Add(1)
	}
	d.answered.Add(1)
	if err := r.told.answer(place, reply); err != nil {
		r.fail(err)
	}
	return reply, nil
}

func tortureOperation(random *rand.Rand, _ int) client.Operation {
	account := func() string { return "acc-" + strconv.Itoa(random.IntN(tortureAccounts)) }
	amount := fmt.Sprintf("%d.%02d", 1+random.IntN(50), random.IntN(100))
	switch random.IntN(4) {
	case 0, 1:
		return client.Operation{Kind: bank.KindDeposit, Account: account(), Amount: amount}
	case 2:
		return client.Operation{Kind: bank.KindWithdraw, Account: account(), Amount: amount}
	default:
		return client.Operation{Kind: bank.KindTransfer, Account: account(), To: account(), Amount: amount, Memo: "torture"}
	}
}

func (r *torture) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
}

func (r *torture) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *torture) start() *process {
	r.t.Helper()
	p, err := startGateway(r.dir, "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { p.kill() })
	return p
}

// loadAndKill starts the gateway, waits for the load of a round and kills it; then the journal must verify. Now and then
// it is killed in its recovery first.
func (r *torture) loadAndKill(round int) {
	r.t.Helper()
	if round%5 == 4 {
		r.killEarly()
	}
	p := r.start()
	r.await(tortureFloor + r.random.IntN(tortureFloor))
	if _, err := p.stop(syscall.SIGKILL); err != nil {
		r.t.Fatalf("round %d: %v", round, err)
	}
	verify := exec.Command("gateway", "journal", "verify")
	verify.Dir = r.dir
	if out, err := verify.CombinedOutput(); err != nil {
		r.t.Fatalf("round %d: journal verify: %v\n%s", round, err, out)
	}
}

// killEarly starts a gateway and kills it in its recovery, or about then.
func (r *torture) killEarly() {
	r.t.Helper()
	early := exec.Command("gateway")
	early.Dir = r.dir
	if err := early.Start(); err != nil {
		r.t.Fatal(err)
	}
	<-time.After(time.Duration(r.random.Int64N(int64(recoveryTime))))
	_ = early.Process.Kill()
	_ = early.Wait()
}

// await waits for n answers by each door, and then until both answer at the same time. A run that does not get there is
// void.
func (r *torture) await(n int) {
	r.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	before := make([]int64, len(r.doors))
	for i, d := range r.doors {
		before[i] = d.answered.Load()
		for len(d.reached) > 0 { // the last round's
			<-d.reached
		}
	}
	for _, d := range r.doors {
		for range n {
			d.awaitOne(r, late)
		}
	}
	for range tortureFloor / 2 {
		for _, d := range r.doors {
			d.awaitOne(r, late)
		}
	}
	for i, d := range r.doors {
		if got := d.answered.Load() - before[i]; got < tortureFloor {
			r.t.Fatalf("void: %d answers by %s, the floor is %d", got, d.name, tortureFloor)
		}
	}
}

func (d *tortureDoor) awaitOne(r *torture, late *time.Timer) {
	r.t.Helper()
	select {
	case <-d.reached:
	case <-late.C:
		r.t.Fatalf("void: %s does not answer; first failure: %v", d.name, r.failure())
	}
}

// finish lets every worker get its last answer.
func (r *torture) finish() {
	r.t.Helper()
	close(r.stop)
	done := make(chan struct{})
	go func() { r.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		r.t.Fatal("operations are not answered although the gateway is up")
	}
	if err := r.failure(); err != nil {
		r.t.Fatal(err)
	}
}
