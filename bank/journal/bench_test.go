package journal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gateway/bank"
	"gateway/bank/journal"
)

const (
	benchAccounts = 10_000
	// benchFrame is how many bytes a transfer of these benchmarks takes in the journal; TestDiskPerTransfer keeps it true.
	benchFrame = 121
	fundedSeqs = benchAccounts // entries before the first transfer
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

// load puts an engine behind a Banco and keeps a number of transfers in flight.
type load struct {
	banco  *bank.Banco
	stop   func()
	random *rand.Rand
	prefix string // of ids
	next   int
	waits  []time.Duration // of one in sampleEvery
}

const (
	sampleEvery = 32
	stride      = 64 // operations that a submitter sends at once
)

func newLoad(b *testing.B, engine bank.Engine, prefix string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{banco: bank.New(engine, bank.Options{}), random: rand.New(rand.NewPCG(1, 2)), prefix: prefix}
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

// fund gives every account enough.
func (l *load) fund(b *testing.B) {
	for n := range benchAccounts {
		op := bank.Operation{Kind: bank.KindDeposit, Principal: "anonymous", Account: benchAccount(n), Amount: 1 << 40}
		last := n == benchAccounts-1
		done := make(chan bank.Reply, 1)
		if err := l.banco.Submit(context.Background(), op, func(r bank.Reply, err error) {
			if last {
				done <- r
			}
		}); err != nil {
			b.Fatal(err)
		}
		if last {
			if r := <-done; r.Code != bank.OK {
				b.Fatal(r)
			}
		}
	}
}

var benchNames = func() []bank.Account {
	names := make([]bank.Account, benchAccounts)
	for n := range names {
		names[n] = benchAccount(n)
	}
	return names
}()

// run sends n transfers, with inFlight on their way at any time, and returns how long that took.
func (l *load) run(b *testing.B, n, inFlight int) time.Duration {
	step := min(stride, inFlight)
	tokens := make(chan struct{}, inFlight/step)
	for range inFlight / step {
		tokens <- struct{}{}
	}
	var answered, failed atomic.Int64
	ctx := context.Background()
	peer := netip.MustParseAddrPort("127.0.0.1:54321")
	id := make([]byte, 0, 16)
	began := time.Now()
	for sent := 0; sent < n; sent++ {
		if sent%step == 0 {
			<-tokens
		}
		l.next++
		id = append(id[:0], l.prefix...)
		id = append(id, "000000000000"[:16-len(l.prefix)-digits(l.next)]...)
		id = strconv.AppendInt(id, int64(l.next), 10)
		op := bank.Operation{
			Kind: bank.KindTransfer, Principal: "anonymous", Amount: 100, ID: string(id),
			Account: benchNames[l.random.IntN(benchAccounts)], To: benchNames[l.random.IntN(benchAccounts)],
			Origin: bank.Origin{Door: bank.DoorMQTT, Peer: peer},
		}
		var submitted time.Time
		sampled := sent%sampleEvery == 0
		if sampled {
			submitted = time.Now()
		}
		err := l.banco.Submit(ctx, op, func(r bank.Reply, err error) {
			if err != nil || r.Code != bank.OK {
				failed.Add(1)
			}
			if sampled {
				l.waits = append(l.waits, time.Since(submitted)) // the committer alone calls
			}
			if answered.Add(1)%int64(step) == 0 {
				tokens <- struct{}{}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for range inFlight / step {
		<-tokens
	}
	took := time.Since(began)
	if failed.Load() > 0 {
		b.Fatalf("%d transfers failed", failed.Load())
	}
	return took
}

func digits(n int) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

func (l *load) p99() time.Duration {
	slices.Sort(l.waits)
	return l.waits[len(l.waits)*99/100]
}

// BenchmarkEngineAgainstBareLoop claims that the engine reaches at least 0.6 of a loop that only appends and syncs the same
// bytes, behind the same Banco and under the same load.
func BenchmarkEngineAgainstBareLoop(b *testing.B) {
	for _, inFlight := range []int{64, 512, 4096} {
		b.Run(fmt.Sprint(inFlight, "inflight"), func(b *testing.B) {
			dir := b.TempDir()
			engine := open(b, filepath.Join(dir, "journal"), journal.Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2})
			ours := newLoad(b, engine, "op-")
			ours.fund(b)
			base := newLoad(b, newBare(b, dir, 256<<20), "op-")
			n := inFlight * 64
			ours.run(b, n, inFlight)
			base.run(b, n, inFlight)
			var took, baseTook time.Duration
			rounds := 0
			runtime.GC()
			for b.Loop() {
				baseTook += base.run(b, n, inFlight)
				took += ours.run(b, n, inFlight)
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
		})
	}
}
