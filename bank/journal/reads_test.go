package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
)

// blind is a disk of which one look fails, or all from one on: opening a file, listing, asking for a size or for space, reading.
type blind struct {
	disk.FS
	looks   atomic.Int64
	at      int64
	forever bool
	failed  string // the first look that did
}

func (b *blind) look(what string) error {
	if n := b.looks.Add(1) - 1; n == b.at || b.forever && n > b.at {
		if n == b.at {
			b.failed = what
		}
		return fmt.Errorf("look %d, %s: %w", n, what, syscall.EIO)
	}
	return nil
}

func (b *blind) Open(name string) (disk.File, error) { return b.file(name, b.FS.Open) }
func (b *blind) Edit(name string) (disk.File, error) { return b.file(name, b.FS.Edit) }

func (b *blind) file(name string, open func(string) (disk.File, error)) (disk.File, error) {
	if err := b.look("open " + name); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &blindFile{file, b}, nil
}

func (b *blind) List() ([]string, error) {
	if err := b.look("list"); err != nil {
		return nil, err
	}
	return b.FS.List()
}

func (b *blind) Space() (free, total int64, err error) {
	if err := b.look("space"); err != nil {
		return 0, 0, err
	}
	return b.FS.Space()
}

type blindFile struct {
	disk.File
	disk *blind
}

func (f *blindFile) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.disk.look(fmt.Sprintf("read %d bytes at %d", len(b), offset)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, offset)
}

func (f *blindFile) Size() (int64, error) {
	if err := f.disk.look("size"); err != nil {
		return 0, err
	}
	return f.File.Size()
}

// TestAFailedLookIsToldAndLosesNothing fails every look of some histories, once and for ever: while the journal is opened and
// told, while answers are read again, while it is followed and verified. What fails tells why, but for who asks how much space is left
// and can do without; nobody is told anything wrong, and a restart finds all that was answered.
func TestAFailedLookIsToldAndLosesNothing(t *testing.T) {
	failed := 0
	for seed := range uint64(max(4/thin(4), 1)) {
		for k := int64(0); ; k++ {
			s := newStory(seed)
			s.options.SegmentBytes, s.options.SnapshotEvery = 1024, 10
			if err := errors.Join(s.open(), s.run(6)); err != nil {
				t.Fatal(err)
			}
			s.disk.Kill() // the looks begin with a recovery
			looking := &blind{FS: s.disk, at: k, forever: k%2 == 0}
			s.options.FS = looking
			err := look(s, looking)
			if looking.looks.Load() <= k {
				break
			}
			if err != nil {
				failed++
			}
			if err != nil && !errors.Is(err, syscall.EIO) || err == nil && looking.failed != "space" {
				t.Fatalf("seed %d, look %d, %s: %v", seed, k, looking.failed, err)
			}
			if err := restarts(s); err != nil {
				t.Fatalf("seed %d, look %d: %v", seed, k, err)
			}
		}
	}
	if failed < 50 {
		t.Errorf("only %d looks failed", failed)
	}
	t.Logf("%d looks failed", failed)
}

// look does all that looks at a disk, and returns the first error.
func look(s *story, looking disk.FS) error {
	if err := s.open(); err != nil {
		return err
	}
	seen := uint64(0)
	if err := s.engine.Entries(0, func(e *bank.Entry) error { seen = e.Seq; return nil }); err != nil {
		return err
	}
	if seen != s.engine.Seq() {
		return fmt.Errorf("told up to entry %d of %d", seen, s.engine.Seq())
	}
	for range 6 {
		if err := s.commit(); err != nil {
			return err
		}
	}
	if err := askAgain(s); err != nil {
		return err
	}
	if last := s.engine.Seq(); last > 0 {
		if err := follow(context.Background(), s.engine, 0, last).err; err != nil {
			return err
		}
	}
	if report, err := journal.VerifyFS(looking); err != nil {
		return err
	} else if report.Entries != s.engine.Seq() {
		return fmt.Errorf("verified %d entries of %d", report.Entries, s.engine.Seq())
	}
	return s.engine.Close()
}

// askAgain asks for every answer that is known.
func askAgain(s *story) error {
	for _, known := range s.answered {
		if known.op.ID == "" || !known.reply.Recorded {
			continue
		}
		replies, err := bankCommit(s.engine, known.op)
		if err != nil {
			return err
		}
		known.reply.Duplicate, known.reply.Recorded = true, false
		if replies[0] != known.reply {
			return fmt.Errorf("%+v was answered\n%+v, is now\n%+v", known.op, known.reply, replies[0])
		}
	}
	return nil
}
