package journal_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gateway/bank"
	"gateway/bank/journal"
)

const (
	benchAccounts = 10_000
	// benchFrame is how many bytes a transfer of these benchmarks takes in the journal.
	benchFrame = 108
)

// bare is the baseline: an engine that appends the bytes of as many transfers to a file that was filled with zeros before,
// and syncs. It judges nothing and remembers nothing.
type bare struct {
	file *os.File
	buf  []byte
	at   int64
	size int64
}

func newBare(b *testing.B, dir string, size int64) *bare {
	file, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := file.Sync(); err != nil {
		b.Fatal(err)
	}
	return &bare{file: file, size: size}
}

func (e *bare) Commit(_ context.Context, ops []bank.Operation, replies []bank.Reply) error {
	var frame [benchFrame]byte
	e.buf = e.buf[:0]
	for i := range ops {
		e.buf = append(e.buf, frame[:]...)
		replies[i].Code = bank.OK
	}
	if e.at+int64(len(e.buf)) > e.size {
		e.at = 0
	}
	if _, err := e.file.WriteAt(e.buf, e.at); err != nil {
		return err
	}
	e.at += int64(len(e.buf))
	return unix.Fdatasync(int(e.file.Fd()))
}

func (e *bare) Close() error { return e.file.Close() }

// load puts an engine behind a Banco.
type load struct {
	banco  *bank.Banco
	stop   func()
	prefix string // of ids
	sent   int64
	mu     sync.Mutex      // guards waits
	waits  []time.Duration // of one in sampleEvery
}

const (
	sampleEvery = 32
	sessions    = 16
)

func newLoad(b *testing.B, engine bank.Engine, prefix string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{banco: bank.New(engine, bank.Options{}), prefix: prefix}
	stopped := make(chan error, 1)
	go func() { stopped <- l.banco.Run(ctx) }()
	l.stop = func() {
		cancel()
		if err := <-stopped; err != nil {
			b.Fatal(err)
		}
	}
	return l
}

func benchAccount(n int) bank.Account { return bank.Account("acct-" + strconv.Itoa(100000+n)) }

var benchNames = func() []bank.Account {
	names := make([]bank.Account, benchAccounts)
	for n := range names {
		names[n] = benchAccount(n)
	}
	return names
}()

// run sends n transfers, with inFlight on their way at any time, and returns how long that took. They come from as many
// callers as there are in flight, each of whom waits for its answer; or, when windowed is true, from a few sessions that
// take a place before they submit and give it back when they are answered.
func (l *load) run(b *testing.B, n, inFlight int, windowed bool) time.Duration {
	var all sync.WaitGroup
	var failed atomic.Int64
	clients := inFlight
	if windowed {
		clients = sessions
	}
	each := int64(n / clients)
	began := time.Now()
	for i := range int64(clients) {
		s := &session{load: l, random: rand.New(rand.NewPCG(uint64(l.sent), uint64(i))), places: make(chan struct{}, inFlight/clients)}
		first := l.sent + i*each
		all.Go(func() {
			if windowed {
				failed.Add(s.send(first, first+each))
			} else {
				failed.Add(s.call(first, first+each))
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	l.sent += int64(clients) * each
	if failed.Load() > 0 {
		b.Fatalf("%d transfers failed", failed.Load())
	}
	return took
}

// session is one client.
type session struct {
	load   *load
	random *rand.Rand
	places chan struct{}
	failed int64
}

func (s *session) transfer(n int64) bank.Operation {
	return bank.Operation{
		Kind: bank.KindTransfer, Principal: "anonymous", Amount: 100, ID: benchID(s.load.prefix, n),
		Account: benchNames[s.random.IntN(benchAccounts)], To: benchNames[s.random.IntN(benchAccounts)],
		Origin: bank.Origin{Door: bank.DoorMQTT, Peer: benchPeer},
	}
}

var benchPeer = netip.MustParseAddrPort("127.0.0.1:54321")

// call does the transfers from first to last one after the other.
func (s *session) call(first, last int64) (failed int64) {
	for n := first; n < last; n++ {
		began := time.Now()
		if r, err := s.load.banco.Do(context.Background(), s.transfer(n)); err != nil || r.Code != bank.OK {
			failed++
		}
		if n%sampleEvery == 0 {
			s.load.waited(time.Since(began))
		}
	}
	return failed
}

func (l *load) waited(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = append(l.waits, took)
}

// send submits the transfers from first to last without waiting for each.
func (s *session) send(first, last int64) (failed int64) {
	for n := first; n < last; n++ {
		s.places <- struct{}{}
		submitted := time.Now()
		err := s.load.banco.Submit(context.Background(), s.transfer(n), func(r bank.Reply, err error) {
			if err != nil || r.Code != bank.OK {
				s.failed++ // the committer alone calls
			}
			if n%sampleEvery == 0 {
				s.load.waited(time.Since(submitted))
			}
			<-s.places
		})
		if err != nil {
			failed++
		}
	}
	for range cap(s.places) {
		s.places <- struct{}{}
	}
	return failed + s.failed
}

// benchID is an id of 16 bytes.
func benchID(prefix string, n int64) string {
	const digits = "0000000000000000"
	var text [16]byte
	b := append(text[:0], prefix...)
	number := strconv.AppendInt(nil, n, 10)
	b = append(b, digits[:16-len(b)-len(number)]...)
	return string(append(b, number...))
}

func (l *load) p99() time.Duration {
	slices.Sort(l.waits)
	return l.waits[len(l.waits)*99/100]
}

// BenchmarkEngineAgainstBareLoop claims that the engine reaches at least 0.6 of a loop that only appends and syncs the same
// bytes, behind the same Banco and under the same load: as many callers of Do as there are operations in flight. The
// windowed load costs nearly nothing itself and so shows the engine alone; nothing is claimed of that.
func BenchmarkEngineAgainstBareLoop(b *testing.B) {
	for _, windowed := range []bool{false, true} {
		for _, inFlight := range []int{64, 512, 4096} {
			name := fmt.Sprint(inFlight, "callers")
			if windowed {
				name = fmt.Sprint(inFlight, "windowed")
			}
			b.Run(name, func(b *testing.B) { benchAgainstBare(b, inFlight, windowed) })
		}
	}
}

func benchAgainstBare(b *testing.B, inFlight int, windowed bool) {
	dir := b.TempDir()
	engine := open(b, filepath.Join(dir, "journal"), benchOptions)
	fundBench(b, engine)
	ours := newLoad(b, engine, "op-")
	base := newLoad(b, newBare(b, dir, 256<<20), "op-")
	n := inFlight * 48
	ours.run(b, n, inFlight, windowed)
	base.run(b, n, inFlight, windowed)
	ours.waits, base.waits = nil, nil
	var took, baseTook time.Duration
	rounds := 0
	runtime.GC()
	for b.Loop() {
		baseTook += base.run(b, n, inFlight, windowed)
		took += ours.run(b, n, inFlight, windowed)
		rounds++
	}
	ops := float64(rounds * n)
	b.ReportMetric(baseTook.Seconds()/took.Seconds(), "ratio")
	b.ReportMetric(ops/took.Seconds(), "ops/s")
	b.ReportMetric(ops/baseTook.Seconds(), "bare-ops/s")
	b.ReportMetric(float64(ours.p99().Microseconds()), "p99-us")
	b.ReportMetric(float64(base.p99().Microseconds()), "bare-p99-us")
	b.ReportMetric(0, "ns/op")
	ours.stop()
	base.stop()
	closeEngine(b, engine)
}

// fill commits n transfers in batches of batch.
func fillBench(b testing.TB, engine bank.Engine, from, n int64) {
	const batch = 8192
	random := rand.New(rand.NewPCG(uint64(from), 9))
	peer := netip.MustParseAddrPort("127.0.0.1:54321")
	ops := make([]bank.Operation, 0, batch)
	replies := make([]bank.Reply, batch)
	for i := from; i < from+n; i++ {
		ops = append(ops, bank.Operation{
			Kind: bank.KindTransfer, Principal: "anonymous", Amount: 100, ID: benchID("op-", i),
			Account: benchNames[random.IntN(benchAccounts)], To: benchNames[random.IntN(benchAccounts)],
			Origin: bank.Origin{Door: bank.DoorMQTT, Peer: peer},
		})
		if len(ops) == batch || i == from+n-1 {
			if err := engine.Commit(context.Background(), ops, replies[:len(ops)]); err != nil {
				b.Fatal(err)
			}
			ops = ops[:0]
		}
	}
}

func fundBench(b testing.TB, engine bank.Engine) {
	ops := make([]bank.Operation, benchAccounts)
	for n := range ops {
		ops[n] = bank.Operation{Kind: bank.KindDeposit, Principal: "anonymous", Account: benchAccount(n), Amount: 1 << 40}
	}
	commit(b, engine, ops...)
}

// entriesWanted is how many entries the long benchmarks write: JOURNAL_ENTRIES, or a tenth of what the goals speak of.
func entriesWanted(b *testing.B) int64 {
	n, err := strconv.ParseInt(cmp.Or(os.Getenv("JOURNAL_ENTRIES"), "1000000"), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func directoryBytes(b testing.TB, dir string) (total int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, entry := range entries {
		if s, err := entry.Info(); err == nil {
			total += s.Size()
		}
	}
	return total
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

var benchOptions = journal.Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2}

// BenchmarkStart claims that a journal of 10 million entries opens within 5 s of a clean stop, that a transfer with an id of
// 16 bytes takes at most 160 bytes of disk, snapshots and all, and an id at most 40 bytes of memory; and that Verify reads
// 300,000 entries a second. Run it with JOURNAL_ENTRIES=10000000 and -benchtime 1x.
func BenchmarkStart(b *testing.B) {
	n := entriesWanted(b)
	dir := b.TempDir()
	engine := open(b, dir, benchOptions)
	fundBench(b, engine)
	empty := heap()
	began := time.Now()
	fillBench(b, engine, 0, n)
	written := time.Since(began)
	held := heap() - empty
	began = time.Now()
	closeEngine(b, engine)
	closing := time.Since(began)
	var opening, verifying time.Duration
	rounds := 0
	for b.Loop() {
		began := time.Now()
		engine := open(b, dir, benchOptions)
		opening += time.Since(began)
		closeEngine(b, engine)
		began = time.Now()
		if _, err := journal.Verify(dir); err != nil {
			b.Fatal(err)
		}
		verifying += time.Since(began)
		rounds++
	}
	b.ReportMetric(closing.Seconds(), "s-to-close")
	b.ReportMetric(float64(n)/written.Seconds(), "written/s")
	b.ReportMetric(float64(directoryBytes(b, dir))/float64(n), "disk-B/transfer")
	b.ReportMetric(float64(held)/float64(n), "B/id")
	b.ReportMetric(opening.Seconds()/float64(rounds), "s-to-open")
	b.ReportMetric(float64(n)*float64(rounds)/verifying.Seconds(), "verified/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkVerify claims that Verify reads 300,000 entries a second: of files that the system has in memory, of files that it
// has not, and beside an engine that commits as fast as it can.
func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	engine := open(b, dir, benchOptions)
	fundBench(b, engine)
	n := entriesWanted(b)
	fillBench(b, engine, 0, n)
	rate := func(prepare func()) float64 {
		prepare()
		began := time.Now()
		report, err := journal.Verify(dir)
		if err != nil {
			b.Fatal(err)
		}
		return float64(report.Entries) / time.Since(began).Seconds()
	}
	var warm, cold, live float64
	rounds := 0.0
	for b.Loop() {
		warm += rate(func() {})
		cold += rate(func() { forgetFiles(b, dir) })
		rounds++
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- writeUntil(engine, stop) }()
	live = rate(func() {})
	close(stop)
	if err := <-stopped; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(warm/rounds, "verified/s")
	b.ReportMetric(cold/rounds, "cold-verified/s")
	b.ReportMetric(live, "live-verified/s")
	b.ReportMetric(0, "ns/op")
	closeEngine(b, engine)
}

// forgetFiles makes the system forget what it has in memory of a directory's files.
func forgetFiles(b *testing.B, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, entry := range entries {
		file, err := os.Open(filepath.Join(dir, entry.Name()))
		if err == nil {
			err = errors.Join(file.Sync(), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED), file.Close())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFlatness claims that an engine with 11 million operations behind it is as fast as one with a million: at least 0.9
// under the load of BenchmarkEngineAgainstBareLoop, 4,096 callers. The two do a million operations each, in turns, because a
// shared disk changes its pace from second to second. With JOURNAL_ENTRIES=12000000 it says so of the goal's figures; by
// default of a twelfth of them.
func BenchmarkFlatness(b *testing.B) {
	const turns = 20
	part := entriesWanted(b) / 12
	young, old := newAged(b, part), newAged(b, 11*part)
	for range turns {
		young.took += young.callers.run(b, int(part/turns), 4096, false)
		old.took += old.callers.run(b, int(part/turns), 4096, false)
	}
	for b.Loop() {
	}
	b.ReportMetric(young.took.Seconds()/old.took.Seconds(), "ratio")
	b.ReportMetric(float64(part)/young.took.Seconds(), "young-ops/s")
	b.ReportMetric(float64(part)/old.took.Seconds(), "old-ops/s")
	b.ReportMetric(0, "ns/op")
	for _, aged := range []*aged{young, old} {
		aged.callers.stop()
		closeEngine(b, aged.engine)
	}
}

// aged is an engine with some operations behind it, under load.
type aged struct {
	engine  *journal.Engine
	callers *load
	took    time.Duration
}

func newAged(b *testing.B, entries int64) *aged {
	engine := open(b, b.TempDir(), benchOptions)
	fundBench(b, engine)
	fillBench(b, engine, 0, entries)
	return &aged{engine: engine, callers: newLoad(b, engine, "c-")}
}

// BenchmarkMemoryPerAccount claims at most 150 bytes an account.
func BenchmarkMemoryPerAccount(b *testing.B) {
	n := 500_000
	engine := open(b, b.TempDir(), benchOptions)
	empty := heap()
	ops := make([]bank.Operation, 0, bank.DefaultBatch)
	for i := range n {
		ops = append(ops, bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: benchAccount(i), Amount: 1})
		if len(ops) == cap(ops) || i == n-1 {
			commit(b, engine, ops...)
			ops = ops[:0]
		}
	}
	ops = nil
	for b.Loop() {
	}
	b.ReportMetric(float64(heap()-empty)/float64(n), "B/account")
	b.ReportMetric(0, "ns/op")
	closeEngine(b, engine)
}
