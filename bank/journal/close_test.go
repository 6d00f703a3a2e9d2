package journal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"gateway/bank/journal"
	"gateway/disk"
	"gateway/disk/disktest"
)

// prepared opens a journal beside whose traffic goroutines work, writes a batch and waits until the next segment is prepared. It is
// for a synctest bubble.
func prepared(t *testing.T, d *disktest.Disk, fsys disk.FS) *journal.Engine {
	t.Helper()
	o := options()
	o.FS = fsys
	engine := open(t, "", o)
	commit(t, engine, deposit("a", 1, ""), deposit("a", 2, ""))
	synctest.Wait()
	if names := segmentsOf(d); len(names) != 2 {
		t.Fatalf("the segments are %v", names)
	}
	return engine
}

// TestCloseLeavesTheFilesAtTheirLeast: the segment that was prepared is gone, the last has no room left, and all that is left, the
// mark too, is what a power cut leaves.
func TestCloseLeavesTheFilesAtTheirLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New(1)
		files := &counted{FS: d}
		closeEngine(t, prepared(t, d, files))
		if left := files.open.Load(); left != 0 {
			t.Errorf("%d files are open", left)
		}
		for seed := range uint64(20) {
			after := d.Fork(seed)
			after.Cut(rand.New(rand.NewPCG(seed, 1)))
			b := after.Bytes(firstSegment)
			if names := segmentsOf(after); len(names) != 1 || len(b) <= headerBytes || b[len(b)-1] == 0 {
				t.Fatalf("left are %v, of which the first has %d bytes", names, len(b))
			}
			if !bytes.Equal(after.Bytes("mark"), d.Bytes("mark")) {
				t.Fatal("the mark is not what was written")
			}
		}
	})
}

// TestWhatCloseCannotDoItTells fails each operation of it, the last of them to give back the directory.
func TestWhatCloseCannotDoItTells(t *testing.T) {
	for k := 0; ; k++ {
		failed := false
		synctest.Test(t, func(t *testing.T) {
			d := disktest.New(1)
			engine := prepared(t, d, d)
			first := d.Ops()
			d.Before = func(op disktest.Op) error {
				if op.Kind != disktest.Read && op.Index == first+k {
					failed = true
					return syscall.EIO
				}
				return nil
			}
			if err := engine.Close(); errors.Is(err, syscall.EIO) != failed || !failed && err != nil {
				t.Errorf("operation %d: %v", k, err)
			}
		})
		if !failed {
			if k < 12 {
				t.Errorf("Close has only %d operations", k)
			}
			break
		}
	}
	o := options()
	o.FS, o.Inline = stuck{disktest.New(1)}, true
	if err := open(t, "", o).Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the lock: %v", err)
	}
}

// stuck is a disk whose lock cannot be given back.
type stuck struct{ disk.FS }

func (stuck) Lock(string) (io.Closer, error) { return stuck{}, nil }

func (stuck) Close() error { return syscall.EIO }

// logbook is a log that keeps its lines, each with its attributes, and tells of each that is an error.
type logbook struct {
	slog.Handler
	lines  []string
	errors chan struct{}
}

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.lines = append(l.lines, line)
	if r.Level >= slog.LevelError {
		close(l.errors)
	}
	return nil
}

// TestWhatFailsBesideABatchIsTold fails, while a batch is synced, the segment that is prepared beside it, or the snapshot. The batch is
// durable, and not answered: the engine has stopped. The log says why, in one line.
func TestWhatFailsBesideABatchIsTold(t *testing.T) {
	for file, what := range map[string]string{
		"journal-0000000000000002.seg.tmp": "prepare journal-0000000000000002.seg", "snapshot.tmp": "write a snapshot",
	} {
		synctest.Test(t, func(t *testing.T) {
			d, log, fail := disktest.New(1), &logbook{errors: make(chan struct{})}, make(chan struct{})
			var second atomic.Bool
			d.Before = func(op disktest.Op) error {
				if op.Kind == disktest.Create && op.File == file {
					<-fail
					return syscall.EIO
				}
				if op.Kind == disktest.Sync && op.File == firstSegment && second.Load() {
					close(fail)
					<-log.errors
				}
				return nil
			}
			o := options()
			o.FS, o.SnapshotEvery, o.Logger = d, 2, slog.New(log)
			engine := open(t, "", o)
			commit(t, engine, deposit("a", 1, ""), deposit("a", 2, ""))
			second.Store(true)
			_, err := bankCommit(engine, deposit("a", 3, ""))
			for _, err := range []error{err, engine.Ready()} {
				if !errors.Is(err, journal.ErrFailed) || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), what) {
					t.Errorf("%s: %v", file, err)
				}
			}
			if last := log.lines[len(log.lines)-1]; !strings.HasPrefix(last, "the journal has failed error=") || !strings.Contains(last, what) {
				t.Errorf("%s: the log tells %q", file, log.lines)
			}
			if engine.Seq() != 3 {
				t.Errorf("%s: the last entry is %d", file, engine.Seq())
			}
			closeEngine(t, engine)
		})
	}
}
