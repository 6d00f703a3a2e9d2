package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"gateway/wire"
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
	// dumpEvery is after how many rounds all that was answered is compared with the journal.
	dumpEvery = 25
)

// TestTorture kills a gateway again and again while clients of both doors load it, and restarts it. The clients live
// through it all: what was not answered is repeated with its id. In the end every operation was answered, once, as its
// one entry in the journal says; nothing else is in the journal; the balances are the sums of the postings, and the sum
// of the balances is zero.
func TestTorture(t *testing.T) {
	rounds := countFor(t, "GATEWAY_TORTURE", tortureRounds)
	seed := rand.Uint64()
	t.Logf("%d rounds, seed %d", rounds, seed)
	run := newTorture(t, seed)
	for round := range rounds {
		run.loadAndKill(round)
		if round%dumpEvery == dumpEvery-1 {
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

// torture is one run: a directory, two doors with fixed addresses and their clients.
type torture struct {
	t      *testing.T
	dir    string
	random *rand.Rand
	doors  []*tortureDoor
	ctx    context.Context // of every operation; it ends with the test
	stop   chan struct{}   // closed: no new operations
	work   sync.WaitGroup

	mu     sync.Mutex
	asked  map[string]outcome // what every answered operation, by id, was told
	failed error              // the first answer that cannot be
}

// outcome is an operation and its answer.
type outcome struct {
	op    client.Operation
	reply client.Reply
}

type tortureDoor struct {
	name     string
	client   *client.Client
	answered atomic.Int64
	repeated atomic.Int64
	reached  chan struct{} // a token for each answer; a door that is far ahead of the other waits for the killer here
}

func newTorture(t *testing.T, seed uint64) *torture {
	r := &torture{
		t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 1)), ctx: t.Context(), stop: make(chan struct{}),
		asked: map[string]outcome{},
	}
	sockets, broker := freeAddresses(t, r.random)
	settings := fmt.Sprintf(`
socket: { listeners: [ { address: "%s", codec: msgpack, session: true } ] }
mqtt: { listeners: [ { address: "%s" } ] }
admin: { address: "" }
log: { level: warn }
`, sockets, broker)
	if err := os.WriteFile(filepath.Join(r.dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	bySocket, err := client.NewSocket(sockets, client.SocketOptions{Session: true})
	if err != nil {
		t.Fatal(err)
	}
	byMQTT, err := client.NewMQTT(broker, client.MQTTOptions{ClientID: "torture"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*client.Client{"socket": bySocket, "mqtt": byMQTT} {
		t.Cleanup(c.Close)
		d := &tortureDoor{name: name, client: c, reached: make(chan struct{}, 2*tortureFloor)}
		r.doors = append(r.doors, d)
		for w := range tortureWorkers {
			random := rand.New(rand.NewPCG(seed, uint64(2+w)))
			r.work.Go(func() { r.load(d, fmt.Sprintf("%s-%d", name, w), random) })
		}
	}
	return r
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
		op := tortureOperation(random)
		op.ID = worker + "-" + strconv.Itoa(n)
		reply, err := d.client.Do(r.ctx, op)
		if err != nil {
			r.fail(fmt.Errorf("%s was never answered: %w", op.ID, err))
			return
		}
		if reply.Duplicate {
			d.repeated.Add(1)
		}
		r.mu.Lock()
		r.asked[op.ID] = outcome{op, reply}
		r.mu.Unlock()
		d.answered.Add(1)
		select {
		case d.reached <- struct{}{}:
		case <-r.stop:
		}
	}
}

func tortureOperation(random *rand.Rand) client.Operation {
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
		early := exec.Command("gateway")
		early.Dir = r.dir
		if err := early.Start(); err != nil {
			r.t.Fatal(err)
		}
		<-time.After(time.Duration(r.random.Int64N(int64(recoveryTime))))
		_ = early.Process.Kill()
		_ = early.Wait()
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

// compare joins the journal with what the clients were told. In the end the two must be the same set; before, the
// journal may hold what is not answered yet.
func (r *torture) compare(final bool) {
	r.t.Helper()
	entries := dumpedEntries(r.t, r.dir)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		r.t.Fatal(r.failed)
	}
	for id, o := range r.asked {
		e, ok := entries[id]
		if !ok {
			r.t.Errorf("%s was answered %s, seq %d, and is not in the journal", id, o.reply.Code, o.reply.Seq)
			continue
		}
		if err := o.matches(e); err != nil {
			r.t.Errorf("%s: %v", id, err)
		}
	}
	if final && len(entries) != len(r.asked) {
		r.t.Errorf("%d entries for %d operations", len(entries), len(r.asked))
	}
}

// matches compares what a client was told with the entry of its operation.
func (o *outcome) matches(e wire.Entry) error {
	if e.Seq != o.reply.Seq || e.Code != o.reply.Code.String() || e.Kind != o.op.Kind.String() || e.Memo != o.op.Memo {
		return fmt.Errorf("entry %d, %s %s, and the client was told %d, %s", e.Seq, e.Kind, e.Code, o.reply.Seq, o.reply.Code)
	}
	amount, err := bank.ParseAmount(o.op.Amount, 2)
	if err != nil {
		return err
	}
	account := bank.Account(o.op.Account)
	want := []wire.EntryPosting{}
	switch {
	case o.reply.Code != bank.OK:
	case o.op.Kind == bank.KindDeposit:
		want = moved(bank.CashAccount, account, amount)
	case o.op.Kind == bank.KindWithdraw:
		want = moved(account, bank.CashAccount, amount)
	default:
		want = moved(account, bank.Account(o.op.To), amount)
	}
	if fmt.Sprint(e.Postings) != fmt.Sprint(want) {
		return fmt.Errorf("postings %v, want %v", e.Postings, want)
	}
	return nil
}

// moved is how an entry tells a movement.
func moved(from, to bank.Account, amount bank.Amount) []wire.EntryPosting {
	return []wire.EntryPosting{{Account: from, Amount: -amount}, {Account: to, Amount: amount}}
}

// dumpedEntries returns the entries of a journal by their ids, and checks that no id has two.
func dumpedEntries(t *testing.T, dir string) map[string]wire.Entry {
	t.Helper()
	entries := map[string]wire.Entry{}
	for _, e := range dumpOf(t, dir) {
		if _, twice := entries[e.ID]; twice {
			t.Fatalf("entry %d: id %s twice", e.Seq, e.ID)
		}
		entries[e.ID] = e
	}
	return entries
}

// dumpOf reads the journal of a directory by the command, which checks it on the way, and checks that entries follow one
// another and that each sums to zero.
func dumpOf(t *testing.T, dir string) []wire.Entry {
	t.Helper()
	cmd := exec.Command("gateway", "journal", "dump")
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("journal dump: %v\n%s", err, complaint.String())
	}
	var entries []wire.Entry
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var e wire.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("line %d: %v", len(entries)+1, err)
		}
		var sum bank.Amount
		for _, p := range e.Postings {
			sum += p.Amount
		}
		entries = append(entries, e)
		if e.Seq != uint64(len(entries)) || sum != 0 {
			t.Fatalf("line %d: seq %d, sum %d", len(entries), e.Seq, sum)
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return entries
}

// checkBalances asks every balance and a part of the statuses by each door, after all work is done.
func (r *torture) checkBalances() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	want := map[string]bank.Amount{}
	for _, o := range r.asked {
		if o.reply.Code != bank.OK {
			continue
		}
		amount, err := bank.ParseAmount(o.op.Amount, 2)
		if err != nil {
			r.t.Fatal(err)
		}
		switch o.op.Kind {
		case bank.KindDeposit:
			want[o.op.Account] += amount
		case bank.KindWithdraw:
			want[o.op.Account] -= amount
		default:
			want[o.op.Account] -= amount
			want[o.op.To] += amount
		}
	}
	for _, d := range r.doors {
		for account, balance := range want {
			reply, err := d.client.Do(ctx, client.Operation{Kind: bank.KindBalance, Account: account})
			if err != nil || reply.Balance != balance.Format(2) {
				r.t.Errorf("%s: balance of %s is %q, %v, want %s", d.name, account, reply.Balance, err, balance.Format(2))
			}
		}
		if err := r.checkStatuses(ctx, d); err != nil {
			r.t.Errorf("%s: %v", d.name, err)
		}
	}
}

// checkStatuses asks what became of some operations; the answer must be the first one.
func (r *torture) checkStatuses(ctx context.Context, d *tortureDoor) error {
	left := 1000
	for id, o := range r.asked {
		if left--; left < 0 {
			return nil
		}
		reply, err := d.client.Do(ctx, client.Operation{Kind: bank.KindStatus, ID: id})
		switch {
		case err != nil:
			return err
		case !reply.Duplicate:
			return errors.New("a status that is no duplicate")
		case reply.Seq != o.reply.Seq || reply.Code != o.reply.Code || reply.Balance != o.reply.Balance || !reply.Time.Equal(o.reply.Time):
			return fmt.Errorf("status of %s: %+v, the first answer was %+v", id, reply, o.reply)
		}
	}
	return nil
}
