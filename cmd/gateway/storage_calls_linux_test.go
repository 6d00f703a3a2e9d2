package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/client"
	"gateway/disk"
	"gateway/wire"
)

const (
	// strikes is how many system calls are struck, drawn from all; GATEWAY_STRIKES sets another number.
	strikes = 10
	// scriptLength is the number of operations of a script: enough to fill the first segments of a small disk.
	scriptLength = 30
	// repeatEvery is after how many operations one is asked again.
	repeatEvery = 6
)

// TestEveryCall lets a gateway do the same few things again and again on a small disk, from its start to its stop, and each time
// strikes one of the system calls that concern its files: the kth of its kind in the whole process. Then a gateway that is not
// struck takes over.
//
// After a write or a sync has failed nothing is acknowledged, nothing is tried again, and the exit code is 70. What was
// acknowledged is in the journal once, as it was answered; an id that is asked again gets that answer; and the journal
// verifies. A write that claims to have been made is not survived, but found.
func TestEveryCall(t *testing.T) {
	count := countFor(t, "GATEWAY_STRIKES", strikes)
	acts := []*act{newAct(t, "new", nil), newAct(t, "after a cut", cutState)}
	var all []func()
	table := &strikeTable{rows: map[string]*strikeRow{}}
	for _, a := range acts {
		for _, f := range a.faults(t) {
			all = append(all, func() { a.strike(t, f, table) })
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	t.Logf("%d calls can be struck", len(all))
	for _, strikeOne := range all[:min(count, len(all))] {
		if strikeOne(); t.Failed() {
			break
		}
	}
	table.print(t)
	t.Log("acknowledgements after a failed write or sync of the journal: 0 (0)")
}

// act is what is done each time: a directory to begin with, and a script.
type act struct {
	name   string
	dir    string
	begin  string // a directory whose files the data begins with; "": none
	script *script
}

// newAct mounts a small disk and, with prepare, has it filled with what the act begins with.
func newAct(t *testing.T, name string, prepare func(*testing.T, *act)) *act {
	t.Helper()
	a := &act{name: name, dir: t.TempDir()}
	mountSmall(t, a.dir)
	sockets, broker := freeAddresses(t, rand.New(rand.NewPCG(rand.Uint64(), 1)))
	settings := fmt.Sprintf(`
socket: { listeners: [ { address: "%s", codec: msgpack, session: true } ] }
mqtt: { listeners: [ { address: "%s" } ] }
admin: { address: "" }
log: { level: warn }
`, sockets, broker)
	if err := os.WriteFile(filepath.Join(a.dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	a.script = &script{sockets: sockets, broker: broker}
	if prepare != nil {
		prepare(t, a)
	}
	return a
}

func (a *act) data() string { return filepath.Join(a.dir, dataDirectory) }

// cutState leaves in begin what a power cut leaves: behind a clean stop with a snapshot there are entries of which the mark
// does not know.
func cutState(t *testing.T, a *act) {
	t.Helper()
	mark := filepath.Join(a.data(), "mark")
	var old []byte
	for n, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		p, err := startGateway(a.dir, "")
		if err != nil {
			t.Fatal(err)
		}
		s := a.script.start(t, fmt.Sprintf("before-%d", n))
		s.finish()
		if _, err := p.stop(end); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if old, err = os.ReadFile(mark); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.begin = t.TempDir()
	if err := errors.Join(os.WriteFile(mark, old, 0o600), copyTree(a.data(), a.begin)); err != nil {
		t.Fatal(err)
	}
}

// reset makes the data what the act begins with.
func (a *act) reset(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(a.data())
	for _, entry := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(a.data(), entry.Name())))
	}
	if a.begin != "" {
		err = errors.Join(err, copyTree(a.begin, a.data()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// How a call of each kind is struck. A disk that is full refuses calls that need space.
var strikesOf = map[string][]fault{
	"write": changing(short, lie), "pwrite64": changing(short, lie), "fsync": changing(), "fdatasync": changing(),
	"ftruncate": changing(), "fallocate": changing(), "renameat": changing(), "renameat2": changing(), "mkdirat": changing(),
	"openat": changing(), "unlinkat": changing(), "statfs": {eio, kill}, "read": {eio, eintr}, "pread64": {eio, eintr, short},
	"getdents64": {eio},
}

var (
	eio    = fault{errno: syscall.EIO}
	enospc = fault{errno: syscall.ENOSPC}
	eintr  = fault{errno: syscall.EINTR}
	kill   = fault{strike: strikeKill}
	short  = fault{strike: strikeShort}
	lie    = fault{strike: strikeLie}
)

// changing returns the ways to strike a call that changes something, and more.
func changing(more ...fault) []fault { return append([]fault{eio, enospc, eintr, kill}, more...) }

// faults counts the calls of an undisturbed run, and returns every strike at every one.
func (a *act) faults(t *testing.T) (all []fault) {
	t.Helper()
	p, _ := a.perform(t, fault{})
	if code := p.wait(t); code != exitDone {
		t.Fatalf("undisturbed: exit code %d\n%s", code, p.stderr.String())
	}
	for _, call := range slices.Sorted(maps.Keys(p.calls)) {
		t.Logf("%s: %d of %s", a.name, p.calls[call], call)
		for _, f := range strikesOf[call] {
			for f.call, f.from = call, 1; f.from <= p.calls[call]; f.from++ {
				all = append(all, f)
			}
		}
	}
	return all
}

// perform lets a gateway do everything, and returns it once it has ended, and the script, which may wait for another.
func (a *act) perform(t *testing.T, f fault) (*traced, *scriptRun) {
	t.Helper()
	a.reset(t)
	s := a.script.start(t, "run")
	p := startTraced(t, a.dir, f, s.note)
	select {
	case <-p.ended:
	case <-s.done:
		p.signal(syscall.SIGTERM)
	case <-time.After(patience):
		t.Errorf("%s, %v: the script does not end", a.name, f)
	}
	p.wait(t)
	return p, s
}

// strike performs the act with one strike, and checks what came of it.
func (a *act) strike(t *testing.T, f fault, table *strikeTable) {
	t.Helper()
	p, s := a.perform(t, f)
	late := s.answered.Load() - s.answeredThen
	err := f.judge(p, late)
	row := table.row(f, p)
	if f.losesWrite() {
		row.beside += late
	}
	if err == nil {
		err = a.takeOver(t, f, s, row)
	}
	s.close()
	if err != nil {
		t.Errorf("%s, %v, struck %s: exit code %d: %v\n%s", a.name, f, p.hit, p.code, err, p.stderr.String())
	}
}

// judge checks how the process that was struck has ended.
func (f fault) judge(p *traced, late int64) error {
	if p.hit == "" { // this time there were fewer calls
		if p.code != exitDone {
			return errors.New("without a strike")
		}
		return nil
	}
	want := []int{exitDone, exitBroken}
	switch {
	case f.strike == strikeKill:
		want = []int{-1}
	case f.strike == strikeShort, f.errno == syscall.EINTR:
		want = []int{exitDone}
	case f.strike == strikeLie: // a start may read what it has written
		want = append(want, exitDamaged)
	case f.errno == syscall.EIO && f.call != "statfs":
		want = []int{exitBroken}
		if log := p.stderr.String(); strings.Contains(log, "no more heads") && !strings.Contains(log, "the engine failed") &&
			!strings.Contains(log, "the journal has failed") {
			want = []int{exitDone}
		}
	}
	if !slices.Contains(want, p.code) {
		return fmt.Errorf("want one of %v", want)
	}
	name := strings.TrimSuffix(filepath.Base(p.file), disk.Unfinished) // it has its own by the time that a lie is found
	if p.code == exitBroken && !strings.Contains(p.stderr.String(), name) {
		return errors.New("the log does not name the file")
	}
	if !f.losesWrite() {
		return nil
	}
	if len(p.again) > 0 {
		return fmt.Errorf("then %v of the same file", p.again)
	}
	if late > 0 && (filepath.Ext(p.file) == ".seg" || p.file == "mark") { // beside others, what is durable is told
		return fmt.Errorf("%d acknowledgements after the error", late)
	}
	return nil
}

// losesWrite reports whether the strike is a write or a sync of a file that fails.
func (f fault) losesWrite() bool {
	return f.errno == syscall.EIO && (f.call == "pwrite64" || f.call == "fdatasync")
}

// takeOver lets a gateway that is not struck finish the script, and compares what was told with the journal.
func (a *act) takeOver(t *testing.T, f fault, s *scriptRun, row *strikeRow) error {
	t.Helper()
	p, err := startGateway(a.dir, "")
	if err != nil && f.strike == strikeLie && strings.Contains(err.Error(), "exit=65") && damageLine.MatchString(err.Error()) {
		row.found++
		return nil
	}
	if err != nil {
		return err
	}
	defer p.kill()
	s.finish()
	if err := s.ask(); err != nil {
		return err
	}
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		return fmt.Errorf("clean stop of the next: exit code %d, %w\n%s", code, err, p.stderr.String())
	}
	report, err := journal.Verify(a.data())
	if err != nil {
		return err
	}
	entries := dumpedEntries(t, a.dir)
	if len(entries) != int(report.Entries) {
		return fmt.Errorf("%d entries are told, %d verified", len(entries), report.Entries)
	}
	return s.compare(entries)
}

// script is a fixed list of operations, which clients of both doors ask in turns.
type script struct{ sockets, broker string }

// scriptRun is one run of it. Its clients repeat what was not answered.
type scriptRun struct {
	t            *testing.T
	name         string
	ctx          context.Context
	clients      [2]*client.Client
	done         chan struct{} // closed at the end of the script, with told and err set
	told         map[string]outcome
	err          error
	answered     atomic.Int64
	answeredThen int64 // when a call was struck
}

// start begins the script. Its ids begin with name.
func (s *script) start(t *testing.T, name string) *scriptRun {
	t.Helper()
	bySocket, err := client.NewSocket(s.sockets, client.SocketOptions{Session: true})
	if err != nil {
		t.Fatal(err)
	}
	byMQTT, err := client.NewMQTT(s.broker, client.MQTTOptions{ClientID: name})
	if err != nil {
		t.Fatal(err)
	}
	r := &scriptRun{
		t: t, name: name, ctx: t.Context(), clients: [2]*client.Client{bySocket, byMQTT}, done: make(chan struct{}),
		told: map[string]outcome{},
	}
	t.Cleanup(r.close)
	go r.run()
	return r
}

func (r *scriptRun) close() {
	for _, c := range r.clients {
		c.Close()
	}
}

// run asks everything. Some are asked again, by the other door, and must be told the same.
func (r *scriptRun) run() {
	defer close(r.done)
	random := rand.New(rand.NewPCG(scriptLength, 1))
	var ops []client.Operation
	for n := range scriptLength {
		op := tortureOperation(random, n)
		op.ID, op.Memo = fmt.Sprint(r.name, "-", n), strings.Repeat("memo ", 25)
		if n%repeatEvery == repeatEvery-1 {
			op = ops[n-repeatEvery/2]
		}
		ops = append(ops, op)
		reply, err := r.clients[n%2].Do(r.ctx, op)
		if err != nil {
			r.err = fmt.Errorf("%s was never answered: %w", op.ID, err)
			return
		}
		r.answered.Add(1)
		first, again := r.told[op.ID]
		if !again {
			r.told[op.ID] = outcome{op, reply}
		} else if err := sameReply(first.reply, reply); err != nil {
			r.err = fmt.Errorf("%s asked again: %w", op.ID, err)
			return
		}
	}
}

// sameReply compares what a client was told again with what it was told first.
func sameReply(first, again client.Reply) error {
	if !again.Duplicate || again.Seq != first.Seq || again.Code != first.Code || again.Balance != first.Balance || !again.Time.Equal(first.Time) {
		return fmt.Errorf("told %+v, and first %+v", again, first)
	}
	return nil
}

// note is called when a call is struck.
func (r *scriptRun) note() { r.answeredThen = r.answered.Load() }

// finish waits for the end of the script.
func (r *scriptRun) finish() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatal("the script does not end although the gateway is up")
	}
	if r.err != nil {
		r.t.Fatal(r.err)
	}
}

// ask asks what became of every operation.
func (r *scriptRun) ask() error {
	n := 0
	for id, o := range r.told {
		reply, err := r.clients[n%2].Do(r.ctx, client.Operation{Kind: bank.KindStatus, ID: id})
		if err == nil {
			err = sameReply(o.reply, reply)
		}
		if err != nil {
			return fmt.Errorf("status of %s: %w", id, err)
		}
		n++
	}
	return nil
}

// outcome is an operation and its answer.
type outcome struct {
	op    client.Operation
	reply client.Reply
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

// compare joins what was told with the entries of this run.
func (r *scriptRun) compare(entries map[string]wire.Entry) error {
	ours := 0
	for id := range entries {
		if strings.HasPrefix(id, r.name) {
			ours++
		}
	}
	if ours != len(r.told) {
		return fmt.Errorf("%d entries for %d operations", ours, len(r.told))
	}
	for id, o := range r.told {
		if err := o.matches(entries[id]); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	return nil
}

// strikeTable counts what came of the strikes, by kind.
type strikeTable struct{ rows map[string]*strikeRow }

type strikeRow struct {
	struck, missed, found int
	beside                int64 // acknowledged after it: entries that were durable
	exits                 map[int]int
}

func (s *strikeTable) row(f fault, p *traced) *strikeRow {
	name := f.call + " " + f.way()
	row := s.rows[name]
	if row == nil {
		row = &strikeRow{exits: map[int]int{}}
		s.rows[name] = row
	}
	if p.hit == "" {
		row.missed++
		return row
	}
	row.struck++
	row.exits[p.code]++
	return row
}

func (s *strikeTable) print(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(s.rows)) {
		row := s.rows[name]
		t.Logf("%s: struck %d, exits %v, not reached %d, found as damage %d, acknowledged beside it %d",
			name, row.struck, row.exits, row.missed, row.found, row.beside)
	}
}

// copyTree copies a directory with the modes of its files into one that may be there.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}
