package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
)

const (
	// ordealClients is the number of clients of each door, and ordealWorkers that of the operations of each on their way at once.
	ordealClients, ordealWorkers = 4, 4
	// ordealAccounts is few enough that transfers meet all the time.
	ordealAccounts = 8
	// ordealPatience is after how long a client gives an operation up, which is then in doubt.
	ordealPatience = time.Second
	// ordealFloor is how many answers there are in a second in which nothing befalls the gateway. A run with fewer is void.
	ordealFloor = 200
	// ordealRest is how long nothing befalls it, before and after each nemesis.
	ordealRest = 300 * time.Millisecond
	// settleMost is within what time of a recovery every client is answered again and every doubt is settled.
	settleMost = 10 * time.Second
	// settleAim is what that time shall be on a machine of one's own.
	settleAim = 5 * time.Second
	// stopMost is how long a stop under load may take.
	stopMost = 10 * time.Second
	// swizzleStep is the time from one link to the next when links are stopped one by one.
	swizzleStep = 40 * time.Millisecond
)

// nemesis is one thing that befalls a gateway under load. When strike returns, it is over and the gateway is up.
type nemesis struct {
	name   string
	strike func(o *ordeal)
	// lacks says what this machine has not got for it; "" when it has everything. nil: it needs nothing.
	lacks func(o *ordeal) string
}

// ordeal is a gateway under load by both doors, a bank run as Jepsen makes them: few accounts, transfers mixed with balances and
// reads of all accounts, while one nemesis after the other befalls it.
type ordeal struct {
	*torture
	*tally
	process *process
	limits  processLimits // of the process
	small   bool          // the disk is the ordeal's own, and can be filled
}

// tally is the figures of one ordeal, or of several.
type tally struct {
	calm     time.Duration // in which nothing befell the gateway
	answers  int64         // in that time
	all      int64         // answers in all
	strikes  int
	doubtful int // operations that were in doubt and are settled
	names    []string
	rows     map[string]*nemesisRow // by nemesis
}

// nemesisRow is the figures of one nemesis.
type nemesisRow struct {
	strikes int
	slowest time.Duration // from its end until all is settled
}

// processLimits are what a process has less of than others.
type processLimits struct {
	groups []string // directories of control groups
	files  int      // open files; 0: as many as the test
}

func newOrdeal(t *testing.T, dir string, seed uint64, figures *tally) *ordeal {
	t.Helper()
	o := &ordeal{tally: figures, torture: newTortureWith(t, seed, tortureOptions{
		dir: dir, clients: ordealClients, workers: ordealWorkers, patience: ordealPatience, cabled: true, operation: ordealOperation,
	})}
	o.restart(processLimits{})
	return o
}

func newTally() *tally { return &tally{rows: map[string]*nemesisRow{}} }

// ordealOperation lets a worker read all accounts in turn between its other operations.
func ordealOperation(random *rand.Rand, n int) client.Operation {
	account := func() string { return "acc-" + strconv.Itoa(random.IntN(ordealAccounts)) }
	amount := strconv.Itoa(1 + random.IntN(5))
	switch kind := random.IntN(10); {
	case n/ordealAccounts%4 == 3:
		return client.Operation{Kind: bank.KindBalance, Account: "acc-" + strconv.Itoa(n%ordealAccounts)}
	case kind < 6:
		return client.Operation{Kind: bank.KindTransfer, Account: account(), To: account(), Amount: amount, Memo: "ordeal"}
	case kind < 8:
		return client.Operation{Kind: bank.KindDeposit, Account: account(), Amount: amount}
	case kind < 9:
		return client.Operation{Kind: bank.KindWithdraw, Account: account(), Amount: amount}
	default:
		return client.Operation{Kind: bank.KindBalance, Account: account()}
	}
}

// restart starts the gateway, which does not run, within limits.
func (o *ordeal) restart(l processLimits) {
	o.t.Helper()
	o.limits = l
	var script strings.Builder
	for _, group := range l.groups {
		fmt.Fprintf(&script, "echo $$ > %s/cgroup.procs || exit 1\n", group)
	}
	if l.files > 0 {
		fmt.Fprintf(&script, "ulimit -n %d || exit 1\n", l.files)
	}
	script.WriteString("exec gateway")
	p := &process{cmd: exec.Command("sh", "-c", script.String())}
	p.cmd.Dir = o.dir
	if err := p.start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { p.kill() })
	o.process = p
}

// end ends the gateway with a signal, by which or with exit code 0 it must end.
func (o *ordeal) end(signal syscall.Signal) {
	o.t.Helper()
	want := exitDone
	if signal == syscall.SIGKILL {
		want = -1
	}
	began := time.Now()
	code, err := o.process.stop(signal)
	if took := time.Since(began); code != want || err != nil || took > stopMost {
		o.t.Fatalf("%v ended it after %v with %d, %v, want %d\n%s", signal, took, code, err, want, o.process.stderr.String())
	}
}

// endure lets a nemesis befall the gateway, and checks what has to hold after it.
func (o *ordeal) endure(n nemesis) {
	o.t.Helper()
	o.rest()
	o.strike(n)
	o.rest()
	o.check(n.name)
}

// strike lets a nemesis befall the gateway, and everything settle.
func (o *ordeal) strike(n nemesis) {
	o.t.Helper()
	o.strikes++
	n.strike(o)
	took := o.settle(n.name)
	r := o.rows[n.name]
	if r == nil {
		r = &nemesisRow{}
		o.rows[n.name], o.names = r, append(o.names, n.name)
	}
	r.strikes++
	r.slowest = max(r.slowest, took)
}

// rest counts the answers of a time in which nothing happens.
func (o *ordeal) rest() {
	began, before := time.Now(), o.answered()
	<-time.After(ordealRest)
	o.calm += time.Since(began)
	o.answers += o.answered() - before
}

func (o *ordeal) answered() (sum int64) {
	for _, d := range o.doors {
		sum += d.answered.Load()
	}
	return sum
}

// settle waits until every client is answered again, and asks by id what became of all that had no answer.
func (o *ordeal) settle(after string) time.Duration {
	o.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithDeadline(o.t.Context(), began.Add(settleMost))
	defer cancel()
	for _, d := range o.doors {
		d.cable.set(cableWhole)
	}
	for _, d := range o.doors {
		if _, err := o.askFor(ctx, d, "settler", client.Operation{Kind: bank.KindBalance, Account: "acc-0"}); err != nil {
			o.t.Fatalf("%v after %s, %s is not answered: %v\n%s", time.Since(began), after, d.name, err, o.process.stderr.String())
		}
	}
	o.mu.Lock()
	doubts := o.doubts
	o.doubts = nil
	o.mu.Unlock()
	reached := time.Since(began)
	o.doubtful += len(doubts)
	var asking sync.WaitGroup
	lost := make(chan error, len(doubts))
	for _, u := range doubts {
		asking.Go(func() {
			if _, err := o.askFor(ctx, u.door, "settler", client.Operation{Kind: bank.KindStatus, ID: u.id}); err != nil {
				lost <- fmt.Errorf("%s: %w", u.id, err)
			}
		})
	}
	asking.Wait()
	if len(lost) > 0 {
		o.t.Fatalf("%v after %s, %v of them until everybody was answered, nobody knows what became of %d of %d, one of them %v\n%s",
			time.Since(began), after, reached, len(lost), len(doubts), <-lost, o.process.stderr.String())
	}
	return time.Since(began)
}

// check lets everybody pause, stops the gateway and compares its journal with all that clients were told. Then it goes on.
func (o *ordeal) check(after string) {
	o.t.Helper()
	o.gate.Lock()
	defer o.gate.Unlock()
	o.end(syscall.SIGTERM)
	o.compare(false)
	if o.t.Failed() {
		o.t.Fatalf("after %s\n%s", after, o.process.stderr.String())
	}
	o.restart(processLimits{})
}

// conclude ends the run.
func (o *ordeal) conclude() {
	o.t.Helper()
	o.finish()
	o.all += o.answered()
}

// judge prints the figures as "row: figure (aim)". With too little load they are void.
func (y *tally) judge(t *testing.T) {
	t.Helper()
	rate := float64(y.answers) / y.calm.Seconds()
	for _, name := range y.names {
		t.Logf("%s: %d times; everybody answered, every doubt settled %v later at most (%v)", name, y.rows[name].strikes,
			y.rows[name].slowest.Round(time.Millisecond), settleAim)
	}
	t.Logf("answers a second in between: %.0f (%d)", rate, ordealFloor)
	t.Logf("%d answers, %d doubts settled by id; promises broken: 0 (0)", y.all, y.doubtful)
	if rate < ordealFloor {
		t.Fatalf("void: %.0f answers a second while nothing befell the gateway, the floor is %d", rate, ordealFloor)
	}
}

// undergo is a test of one nemesis, which strikes a few times, and more often in a torture.
func undergo(t *testing.T, n nemesis) {
	o := newOrdeal(t, t.TempDir(), drawSeed(t), newTally())
	if n.lacks != nil {
		if reason := n.lacks(o); reason != "" {
			t.Skipf("SKIPPED: %s: %s", n.name, reason)
		}
	}
	for range nemesisSize(1, 5) {
		o.endure(n)
	}
	o.conclude()
	o.judge(t)
}

// nemesisSize returns how much a nemesis does: GATEWAY_TORTURE asks for all of it.
func nemesisSize[T any](small, whole T) T {
	if os.Getenv("GATEWAY_TORTURE") != "" {
		return whole
	}
	return small
}

// needTorture skips what takes long and needs root besides.
func needTorture(t *testing.T) {
	t.Helper()
	if os.Getenv("GATEWAY_TORTURE") == "" {
		t.Skip("SKIPPED: GATEWAY_TORTURE is not set; make torture sets it")
	}
}

// upTo draws a time.
func (o *ordeal) upTo(longest time.Duration) time.Duration {
	return time.Duration(o.random.Int64N(int64(longest)))
}

var nemesisKill = nemesis{name: "kill -9", strike: func(o *ordeal) {
	<-time.After(o.upTo(killDelay))
	o.end(syscall.SIGKILL)
	o.restart(o.limits)
}}

var nemesisKillInRecovery = nemesis{name: "kill -9 in recovery", strike: func(o *ordeal) {
	o.end(syscall.SIGKILL)
	for range 3 {
		o.killEarly()
	}
	o.restart(o.limits)
}}

var nemesisStop = nemesis{name: "SIGTERM", strike: func(o *ordeal) {
	o.end(syscall.SIGTERM)
	o.restart(o.limits)
}}

// pauseLeast and pauseMost bound how long a gateway is stopped; GATEWAY_PAUSE sets another most.
const pauseLeast, pauseMost = 100 * time.Millisecond, 3 * time.Second

var nemesisPause = nemesis{name: "SIGSTOP", strike: func(o *ordeal) {
	most := nemesisSize(4*pauseLeast, pauseMost)
	if text, ok := os.LookupEnv("GATEWAY_PAUSE"); ok {
		var err error
		if most, err = time.ParseDuration(text); err != nil || most <= pauseLeast {
			o.t.Fatalf("GATEWAY_PAUSE=%q: want a duration above %v: %v", text, pauseLeast, err)
		}
	}
	signalled := o.process.cmd.Process.Signal(syscall.SIGSTOP)
	<-time.After(pauseLeast + o.upTo(most-pauseLeast))
	if err := errors.Join(signalled, o.process.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
		o.t.Fatal(err)
	}
}}

var nemesisLinks = nemesis{name: "links harmed one by one", strike: func(o *ordeal) { o.swizzle(o.random) }}

// swizzle harms the links one by one, each in its own way, and mends them in another order.
func (o *ordeal) swizzle(random *rand.Rand) {
	for _, i := range random.Perm(len(o.doors)) {
		o.doors[i].cable.set([]cableState{cableHeld, cableSlow, cableHalving, cableCut}[random.IntN(4)])
		<-time.After(swizzleStep)
	}
	for _, i := range random.Perm(len(o.doors)) {
		o.doors[i].cable.set(cableWhole)
		<-time.After(swizzleStep)
	}
}

func TestUnderKillsNothingIsLostOrDoneTwice(t *testing.T) { undergo(t, nemesisKill) }

func TestUnderKillsInRecoveryNothingIsLostOrDoneTwice(t *testing.T) {
	undergo(t, nemesisKillInRecovery)
}

func TestUnderPausesNothingIsLostOrDoneTwice(t *testing.T) { undergo(t, nemesisPause) }

func TestUnderLinksThatBreakStallAndHalveNothingIsLostOrDoneTwice(t *testing.T) {
	undergo(t, nemesisLinks)
}
