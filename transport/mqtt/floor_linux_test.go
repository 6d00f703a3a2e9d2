package mqtt_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gateway/bank/journal"
)

const (
	// floorPage is what the disk is asked to keep at a time, and floorFile the zeros that it is written over, in bytes.
	floorPage = 4 << 10
	floorFile = 64 << 20
	// oneOperation is less than an answer takes: a client with so long to ask asks once.
	oneOperation = 20 * time.Microsecond
)

// floor is a file of zeros, as a journal keeps them ahead of itself, and what it takes to write a page and sync it.
type floor struct {
	file *os.File
	at   int64
	took []time.Duration
}

// newFloor makes the file beside the journals of [durable].
func newFloor(b *testing.B) *floor {
	b.Helper()
	dir, err := os.MkdirTemp(".", "bench-floor-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	file, err := os.Create(filepath.Join(dir, "zeros"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	if _, err := file.Write(make([]byte, floorFile)); err != nil {
		b.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		b.Fatal(err)
	}
	return &floor{file: file}
}

// keep writes a page and syncs it.
func (f *floor) keep(b *testing.B) {
	b.Helper()
	page := make([]byte, floorPage)
	for i := range page {
		page[i] = byte(i)
	}
	began := time.Now()
	if _, err := f.file.WriteAt(page, f.at); err != nil {
		b.Fatal(err)
	}
	if err := unix.Fdatasync(int(f.file.Fd())); err != nil {
		b.Fatal(err)
	}
	f.took = append(f.took, time.Since(began))
	f.at = (f.at + floorPage) % floorFile
}

// measure has the echo answer one operation and keeps a page, again and again. A disk is slower when it comes from rest, and
// between two operations of one client it rests: page after page took 105 µs where it took 240 after a round trip.
func (f *floor) measure(b *testing.B, echo *contender, length time.Duration) {
	b.Helper()
	client := echo.clients[0]
	for deadline := time.Now().Add(length); time.Now().Before(deadline); {
		if _, err := client.run(time.Now().Add(oneOperation)); err != nil {
			b.Fatal(err)
		}
		echo.latency = append(echo.latency, client.latency...)
		f.keep(b)
	}
}

func (f *floor) median() time.Duration {
	slices.Sort(f.took)
	return f.took[len(f.took)/2]
}

// BenchmarkOneAtATime claims that a client with one operation on the way waits at most 1.5 times as long, at the median, as
// the network and the disk take by themselves, one after the other: to be answered by a stock mochi that keeps nothing, and to
// sync a page appended to a file of zeros. All in one run, in turns.
func BenchmarkOneAtATime(b *testing.B) {
	const length = 500 * time.Millisecond
	defer journal.AddProcessors()()
	disk := newFloor(b)
	echo := &contender{name: "echo", address: stockAddress(b)}
	gateway := &contender{name: "durable", address: ours(b, durable(b))}
	for _, c := range []*contender{echo, gateway} {
		c.clients = []*loader{newLoader(b, c.address, "c0", 1)}
	}
	for b.Loop() {
		runtime.GC()
		disk.measure(b, echo, length)
		gateway.measure(b, length)
	}
	least := disk.median() + echo.quantile(0.5)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(disk.median().Microseconds()), "sync-p50-us")
	b.ReportMetric(float64(echo.quantile(0.5).Microseconds()), "echo-p50-us")
	b.ReportMetric(float64(gateway.quantile(0.5).Microseconds()), "p50-us")
	b.ReportMetric(float64(gateway.quantile(0.5))/float64(least), "x-floor")
}
