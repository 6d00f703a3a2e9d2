package statelog_test

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gateway/disk"
	"gateway/statelog"
)

const (
	benchRecord   = 64 // bytes
	benchWriters  = 64
	benchRecords  = 20_000
	benchPause    = 4 << 20 // bytes between two checkpoints
	benchEmission = 1000    // records of a checkpoint
)

// countingFS counts the syncs of its files.
type countingFS struct {
	disk.FS
	syncs *atomic.Int64
}

type countingFile struct {
	disk.File
	syncs *atomic.Int64
}

func (f countingFS) Create(name string) (disk.File, error) {
	file, err := f.FS.Create(name)
	return countingFile{file, f.syncs}, err
}

func (f countingFS) Edit(name string) (disk.File, error) {
	file, err := f.FS.Edit(name)
	return countingFile{file, f.syncs}, err
}

func (f countingFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

// BenchmarkAppend appends from 64 goroutines, each of which waits for its record, with checkpoints beside them; and by one
// that waits for each, whose baseline is a file filled with zeros that is written and synced as often.
func BenchmarkAppend(b *testing.B) {
	b.Run("writers=64", func(b *testing.B) { benchAppend(b, benchWriters, benchRecords) })
	b.Run("writers=1", func(b *testing.B) { benchAppend(b, 1, benchRecords/20) })
	b.Run("bare=1", func(b *testing.B) { benchBare(b, benchRecords/20) })
}

func benchAppend(b *testing.B, writers, records int) {
	real, err := disk.Dir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	var syncs atomic.Int64
	log, err := statelog.Open(countingFS{real, &syncs}, owner, statelog.Options{}, ignore)
	if err != nil {
		b.Fatal(err)
	}
	record := make([]byte, benchRecord)
	var mu sync.Mutex // guards waits
	var waits []time.Duration
	for b.Loop() {
		var left atomic.Int64
		left.Store(int64(records))
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				told := make(chan error, 1)
				var mine []time.Duration
				for left.Add(-1) >= 0 {
					began := time.Now()
					log.Append(record, func(err error) { told <- err })
					if err := <-told; err != nil {
						b.Error(err)
						return
					}
					mine = append(mine, time.Since(began))
				}
				mu.Lock()
				defer mu.Unlock()
				waits = append(waits, mine...)
			})
		}
		if log.Size() > benchPause {
			benchCheckpoint(b, log, record)
		}
		all.Wait()
	}
	report(b, waits, float64(syncs.Load()))
	closeLog(b, log)
}

func benchCheckpoint(b *testing.B, log *statelog.Log, record []byte) {
	err := log.Checkpoint(func(emit func([]byte) error) error {
		for range benchEmission {
			if err := emit(record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func benchBare(b *testing.B, records int) {
	fsys, err := disk.Dir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	file, err := fsys.Create("bare")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if err := disk.Zero(file, 0, int64(records*2*benchRecord)); err != nil {
		b.Fatal(err)
	}
	record := make([]byte, benchRecord+16)
	var waits []time.Duration
	for b.Loop() {
		for i := range records {
			began := time.Now()
			if _, err := file.WriteAt(record, int64(i*len(record))); err != nil {
				b.Fatal(err)
			}
			if err := file.Sync(); err != nil {
				b.Fatal(err)
			}
			waits = append(waits, time.Since(began))
		}
	}
	report(b, waits, float64(len(waits)))
}

func report(b *testing.B, waits []time.Duration, syncs float64) {
	b.ReportMetric(float64(len(waits))/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(len(waits))/syncs, "records/sync")
	slices.SortFunc(waits, cmp.Compare)
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
}
