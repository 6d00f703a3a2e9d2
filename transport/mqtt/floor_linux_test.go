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

// measure writes and syncs page after page.
func (f *floor) measure(b *testing.B, length time.Duration) {
	b.Helper()
	page := make([]byte, floorPage)
	for i := range page {
		page[i] = byte(i)
	}
	for deadline := time.Now().Add(length); time.Now().Before(deadline); {
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
}

func (f *floor) median() time.Duration {
	slices.Sort(f.took)
	return f.took[len(f.took)/2]
}

// BenchmarkOneAtATime claims that a client with one operation on the way waits at most 1.5 times as long, at the median, as
// the disk and the network take by themselves: to sync a page appended to a file of zeros, and to be answered by a stock
// mochi that keeps nothing. All in one run, in turns.
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
		disk.measure(b, length)
		echo.measure(b, length)
		gateway.measure(b, length)
	}
	least := disk.median() + echo.quantile(0.5)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(disk.median().Microseconds()), "sync-p50-us")
	b.ReportMetric(float64(echo.quantile(0.5).Microseconds()), "echo-p50-us")
	b.ReportMetric(float64(gateway.quantile(0.5).Microseconds()), "p50-us")
	b.ReportMetric(float64(gateway.quantile(0.5))/float64(least), "x-floor")
}
