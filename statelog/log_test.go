package statelog_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/statelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ignore([]byte) error { return nil }

func open(t testing.TB, fsys disk.FS) *statelog.Log {
	t.Helper()
	log, err := statelog.Open(fsys, owner, statelog.Options{AheadBytes: 4096}, ignore)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func closeLog(t testing.TB, log *statelog.Log) {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// await appends a record and returns what its owner is told.
func await(log *statelog.Log, record string) error {
	told := make(chan error)
	log.Append([]byte(record), func(err error) { told <- err })
	return <-told
}

// awaitRefusal waits until all that was appended is written, without a sync.
func awaitRefusal(t testing.TB, log *statelog.Log) {
	t.Helper()
	told := make(chan error)
	log.Append(tooLarge, func(err error) { told <- err })
	if err := <-told; !errors.Is(err, statelog.ErrTooLarge) {
		t.Errorf("a record of %d bytes: %v", len(tooLarge), err)
	}
}

// contents are the records that a log replays.
func contents(t testing.TB, fsys disk.FS) (records []string) {
	t.Helper()
	log, err := statelog.Open(fsys, owner, statelog.Options{}, func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, log)
	return records
}

// TestARealDirectory keeps records of every size over restarts and checkpoints in one.
func TestARealDirectory(t *testing.T) {
	fsys, err := disk.Dir(t.TempDir() + "/state")
	if err != nil {
		t.Fatal(err)
	}
	log := open(t, fsys)
	if _, err := statelog.Open(fsys, owner, statelog.Options{}, ignore); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("the second Open: %v", err)
	}
	records := []string{"", "one", strings.Repeat("x", statelog.MaxRecordBytes), strings.Repeat("\x00", 1000)}
	for _, record := range records {
		if err := await(log, record); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, log)
	closeLog(t, log)
	if got := contents(t, fsys); !slices.Equal(got, records) {
		t.Errorf("replayed are %d records", len(got))
	}
	log = open(t, fsys)
	if size := log.Size(); size != int64(4*16+3+statelog.MaxRecordBytes+1000) {
		t.Errorf("the size is %d", size)
	}
	err = log.Checkpoint(func(emit func([]byte) error) error {
		if err := await(log, "beside"); err != nil {
			return err
		}
		return errors.Join(emit(nil), emit([]byte(records[2])), emit([]byte("three")))
	})
	if err != nil || log.Size() != 16+int64(len("beside")) {
		t.Errorf("checkpoint: %v, the size is %d", err, log.Size())
	}
	closeLog(t, log)
	if got := contents(t, fsys); !slices.Equal(got, []string{"", records[2], "three", "beside"}) {
		t.Errorf("replayed are %d records", len(got))
	}
	names, err := fsys.List()
	slices.Sort(names)
	if want := []string{"LOCK", "gen-0000000000000002.ckpt", "gen-0000000000000002.log"}; !slices.Equal(names, want) {
		t.Errorf("left are %v, %v", names, err)
	}
}

// TestAStartAfterACloseWritesNothing but the name of what it finds.
func TestAStartAfterACloseWritesNothing(t *testing.T) {
	disk := disktest.New(1)
	log := open(t, disk)
	if err := await(log, "one"); err != nil {
		t.Fatal(err)
	}
	disk.Kill() // at rest, which is as good
	log.Close()
	for range 2 {
		before := disk.Ops()
		log = open(t, disk)
		if n := disk.Ops() - before; n != 1 {
			t.Errorf("%d operations", n)
		}
		closeLog(t, log)
	}
}

// TestManyShareASync counts the syncs of what gathers while one is under way, and the order of the dones.
func TestManyShareASync(t *testing.T) {
	fsys := disktest.New(1)
	log := open(t, fsys)
	syncing, goOn := make(chan struct{}), make(chan struct{})
	syncs := 0
	fsys.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Sync {
			if syncs++; syncs == 1 {
				close(syncing)
				<-goOn
			}
		}
		return nil
	}
	var told []int
	var all sync.WaitGroup
	done := func(i int) func(error) {
		all.Add(1)
		return func(err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
			told = append(told, i)
			all.Done()
		}
	}
	record := []byte("first")
	log.Append(record, done(0))
	<-syncing
	for i := 1; i <= 100; i++ {
		record = append(record[:0], fmt.Sprintf("record %d", i)...) // Append has copied the one before
		log.Append(record, done(i))
	}
	close(goOn)
	all.Wait()
	if syncs != 2 || len(told) != 101 || !slices.IsSorted(told) {
		t.Errorf("%d syncs; told were %v", syncs, told)
	}
	closeLog(t, log)
	if got := contents(t, fsys); len(got) != 101 || got[100] != "record 100" || got[1] != "record 1" {
		t.Errorf("replayed are %q", got)
	}
}

// TestRecordsThatNobodyAwaitsCostNoSync, and survive the end of the process.
func TestRecordsThatNobodyAwaitsCostNoSync(t *testing.T) {
	fsys := disktest.New(1)
	log := open(t, fsys)
	fsys.Before = func(op disktest.Op) error {
		if op.Kind == disktest.Sync {
			t.Errorf("%v", op)
		}
		return nil
	}
	for range 10 {
		log.Append([]byte("x"), nil)
		awaitRefusal(t, log)
	}
	fsys.Before = nil
	fsys.Kill()
	log.Close()
	if got := contents(t, fsys); len(got) != 10 {
		t.Errorf("replayed are %q", got)
	}
}

// TestTheLimits reaches each: a record that is too large, in a log and in a checkpoint, and too much that waits. Each is told
// in the order of Append, and the log goes on.
func TestTheLimits(t *testing.T) {
	fsys, err := disk.Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := open(t, fsys)
	held, goOn := make(chan struct{}), make(chan struct{})
	log.Append(tooLarge, func(error) { close(held); <-goOn })
	<-held
	large := make([]byte, statelog.MaxRecordBytes)
	const fits = statelog.MaxGatheredBytes / (statelog.MaxRecordBytes + 16)
	told := make(chan error, fits+10)
	done := func(err error) { told <- err }
	want := []error{statelog.ErrTooLarge}
	log.Append(tooLarge, done)
	for range fits {
		log.Append(large, done)
		want = append(want, nil)
	}
	log.Append(large, done)
	log.Append([]byte("small"), done)
	want = append(want, statelog.ErrOverloaded, nil)
	log.Append(large, nil) // is lost, which the next group is told
	close(goOn)
	for i, want := range want {
		if err := <-told; !errors.Is(err, want) {
			t.Errorf("done %d was told %v, want %v", i, err, want)
		}
	}
	if err := await(log, "told"); !errors.Is(err, statelog.ErrOverloaded) {
		t.Errorf("after a loss: %v", err)
	}
	for _, stubborn := range []bool{false, true} {
		err := log.Checkpoint(func(emit func([]byte) error) error {
			if err := emit(tooLarge); !stubborn {
				return err
			}
			return nil
		})
		if !errors.Is(err, statelog.ErrTooLarge) {
			t.Errorf("a checkpoint: %v", err)
		}
	}
	if err := await(log, "last"); err != nil {
		t.Error(err)
	}
	closeLog(t, log)
	if got := contents(t, fsys); len(got) != fits+2 || got[fits+1] != "last" {
		t.Errorf("%d records are left", len(got))
	}
}

// TestClose writes what has gathered; after it everything is refused.
func TestClose(t *testing.T) {
	fsys := disktest.New(1)
	log := open(t, fsys)
	var told []error
	for range 3 {
		log.Append([]byte("x"), func(err error) { told = append(told, err) })
		log.Append([]byte("y"), nil)
	}
	closeLog(t, log)
	if len(told) != 3 || errors.Join(told...) != nil {
		t.Errorf("told were %v", told)
	}
	log.Append([]byte("z"), nil)
	var late error
	log.Append([]byte("z"), func(err error) { late = err })
	checkpoint := log.Checkpoint(func(func([]byte) error) error { return errors.New("called") })
	if late != statelog.ErrClosed || checkpoint != statelog.ErrClosed || log.Err() != nil {
		t.Errorf("told were %v, %v, %v", late, checkpoint, log.Err())
	}
	disk := fsys.Fork(1)
	if got := strings.Join(contents(t, disk), ""); got != "xyxyxy" {
		t.Errorf("replayed are %s", got)
	}
}

// TestCloseEndsACheckpoint that is under way, without it.
func TestCloseEndsACheckpoint(t *testing.T) {
	fsys := disktest.New(1)
	log := open(t, fsys)
	if err := await(log, "kept"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	err := log.Checkpoint(func(emit func([]byte) error) error {
		go func() { closed <- log.Close() }()
		for {
			if err := emit(make([]byte, 1000)); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, statelog.ErrClosed) {
		t.Errorf("the checkpoint: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got := contents(t, fsys); len(got) != 1 || got[0] != "kept" {
		t.Errorf("replayed are %q", got)
	}
}

// TestAStartGoesOnOnlyWithWhatIsStillThere: after a failed sync the system may show what the disk does not have, once. A start that
// has told it, and finds something else when it writes it anew, fails; the next one tells what there is.
func TestAStartGoesOnOnlyWithWhatIsStillThere(t *testing.T) {
	d := disktest.New(1)
	log := open(t, d)
	if err := await(log, "first"); err != nil {
		t.Fatal(err)
	}
	names, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	name := names[slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") })]
	was := len(strings.TrimRight(string(d.Bytes(name)), "\x00"))
	log.Append([]byte("second"), nil)
	awaitRefusal(t, log)
	closed := d
	d = d.Fork(1)
	closed.Kill()
	log.Close() // which has nothing to write on
	forgetful := &disktest.Forgetful{FS: d, Name: name, From: int64(was)}
	if log, err := statelog.Open(forgetful, owner, statelog.Options{}, ignore); err == nil {
		log.Close()
		t.Error("it goes on")
	} else if !strings.Contains(err.Error(), "start again") {
		t.Error(err)
	}
	if got := contents(t, d); !slices.Equal(got, []string{"first"}) {
		t.Errorf("the next start tells %q", got)
	}
}

// TestAnotherOwner is refused, and so is an error of replay's.
func TestAnotherOwner(t *testing.T) {
	fsys := disktest.New(1)
	log := open(t, fsys)
	if err := await(log, "mine"); err != nil {
		t.Fatal(err)
	}
	closeLog(t, log)
	before := fsys.Ops()
	if _, err := statelog.Open(fsys, [16]byte{}, statelog.Options{}, ignore); !errors.Is(err, statelog.ErrOwner) {
		t.Errorf("another owner: %v", err)
	}
	refusal := errors.New("not this one")
	_, err := statelog.Open(fsys, owner, statelog.Options{}, func([]byte) error { return refusal })
	if !errors.Is(err, refusal) {
		t.Errorf("replay: %v", err)
	}
	if fsys.Ops() != before {
		t.Error("the log was changed")
	}
	if got := contents(t, fsys); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("replayed are %q", got)
	}
}

// TestALargeCheckpoint replaces a large one, in more pieces than one.
func TestALargeCheckpoint(t *testing.T) {
	fsys := disktest.New(1)
	log := open(t, fsys)
	record := bytes.Repeat([]byte("0123456789"), 100)
	for _, n := range []int{2000, 1500} {
		err := log.Checkpoint(func(emit func([]byte) error) error {
			for range n {
				if err := emit(record); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, log)
	if got := contents(t, fsys); len(got) != 1500 || got[1499] != string(record) {
		t.Errorf("replayed are %d records", len(got))
	}
}
