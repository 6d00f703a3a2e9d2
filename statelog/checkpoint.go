package statelog

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"gateway/disk"
)

// draftBytes is how much of a checkpoint is written and synced at once: a sync of a group beside it waits for so much.
const draftBytes = 256 << 10

// Checkpoint begins a new generation and calls write, on this goroutine. Once write has returned, the records that it emitted
// replace all that were appended before it was called; those that were appended since are kept behind them. So what write
// emits must hold everything appended before, and may hold what is appended beside it, which is then replayed again.
//
// Where space is short, write is called twice: first to learn how much it emits. One that may not fit is not begun, and while there is
// no more space not measured again for a while, up to a minute: whoever gets [ErrNoSpace] may try again as often as he likes.
//
// A checkpoint is whole or not at all. After an error of write's, which is returned as it is, of [ErrNoSpace], [ErrTooLarge]
// or [ErrClosed], the records before are still there, and another may be tried. There is one at a time; others wait.
func (l *Log) Checkpoint(write func(emit func(record []byte) error) error) error {
	l.checkpoint.Lock()
	defer l.checkpoint.Unlock()
	if err := l.stopped(); err != nil {
		return err
	}
	ahead, err := l.room(write)
	if err != nil {
		return err
	}
	before, err := l.turn(ahead)
	if err != nil {
		return err
	}
	d := &draft{l: l, name: checkName(l.generation)}
	if err := d.compose(write); err != nil {
		if err = d.drop(err); errors.Is(err, ErrNoSpace) {
			l.surprised()
		}
		return err
	}
	l.lack = lack{}
	l.size.Add(-before)
	names, err := l.fsys.List()
	if err == nil {
		err = removeBefore(l.fsys, names, l.generation)
	}
	if err != nil {
		return l.fail(err)
	}
	return nil
}

// turn begins the next generation, its log filled ahead so far, and returns how many bytes were appended before it.
func (l *Log) turn(ahead int64) (before int64, err error) {
	t, err := prepareTurn(l.fsys, l.generation+1, ahead)
	if err != nil {
		return 0, l.judge(fmt.Errorf("prepare %s: %w", logName(l.generation+1), err))
	}
	if err = l.enqueue(t); err == nil {
		err = <-t.begun
	}
	if err != nil {
		t.file.Close()
		if l.Err() != nil {
			return 0, err
		}
		if worse := disk.DropDraft(l.fsys, logName(t.generation)+disk.Unfinished, err); worse != err {
			return 0, l.fail(worse)
		}
		return 0, err
	}
	l.generation = t.generation
	return t.before, nil
}

// enqueue makes what is appended from now on the new generation's.
func (l *Log) enqueue(t *turn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.stoppedLocked(); err != nil {
		return err
	}
	l.groups = append(l.groups, &group{turn: t})
	l.changed.Signal()
	return nil
}

// judge makes of an error of the disk what the caller is told: for want of space the log goes on, anything else ends it.
func (l *Log) judge(err error) error {
	if disk.LacksSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return l.fail(err)
}

// draft is a checkpoint being written.
type draft struct {
	l      *Log
	name   string // that it will have
	file   disk.File
	seed   uint32
	seq    uint64 // of the last frame
	buf    []byte
	offset int64 // where in the file buf begins
	err    error // of the first emit that failed
}

// compose writes the whole checkpoint and gives it its name.
func (d *draft) compose(write func(emit func([]byte) error) error) error {
	var err error
	if d.file, err = d.l.fsys.Create(d.name + disk.Unfinished); err != nil {
		return d.l.judge(err)
	}
	defer d.file.Close()
	h, err := newHeader(header{magic: checkMagic, owner: d.l.owner, generation: d.l.generation, first: 1}, d.l.random)
	if err != nil {
		return err
	}
	d.seed, d.buf = h.seed(), h.sector()
	if err := write(d.emit); err != nil {
		return err
	}
	if d.err != nil {
		return d.err
	}
	d.buf = append(d.buf, markFrame(d.seed, d.seq+1)...)
	if err := d.flush(); err != nil {
		return err
	}
	if err := disk.Publish(d.l.fsys, d.name+disk.Unfinished, d.name); err != nil {
		return d.l.judge(fmt.Errorf("name %s: %w", d.name, err))
	}
	return nil
}

// emit adds a record.
func (d *draft) emit(record []byte) error {
	if d.err == nil && len(record) > MaxRecordBytes {
		d.err = fmt.Errorf("%w: %d bytes", ErrTooLarge, len(record))
	}
	if d.err != nil {
		return d.err
	}
	at := len(d.buf)
	d.buf = appendFrame(d.buf, record)
	d.seq++
	seal(d.buf[at:], d.seed, d.seq, 0)
	if len(d.buf) >= draftBytes {
		d.err = d.flush()
	}
	return d.err
}

// flush writes what has gathered and syncs it.
func (d *draft) flush() error {
	if err := d.l.stopped(); err != nil {
		return err
	}
	_, err := d.file.WriteAt(d.buf, d.offset)
	if err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		return d.l.judge(fmt.Errorf("write %s: %w", d.name, err))
	}
	d.offset += int64(len(d.buf))
	d.buf = d.buf[:0]
	return nil
}

// drop removes what there is of a checkpoint that will not be finished, so that it takes no space, and returns err. One that
// only lacked space for its name may have it after all: it is as good as what it replaces, which is kept.
func (d *draft) drop(err error) error {
	if d.l.Err() != nil {
		return err
	}
	worse := d.l.fsys.Remove(d.name + disk.Unfinished)
	if worse != nil && !errors.Is(worse, fs.ErrNotExist) && !disk.LacksSpace(worse) {
		return d.l.fail(worse)
	}
	return err
}

// removeBefore removes the files of the generations before one whose checkpoint is durable, and those that were not
// finished. What cannot be removed for want of space goes another time.
func removeBefore(fsys disk.FS, names []string, generation uint64) error {
	for _, name := range names {
		if !isBefore(name, generation) {
			continue
		}
		if err := fsys.Remove(name); err != nil && !disk.LacksSpace(err) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

func isBefore(name string, generation uint64) bool {
	if strings.HasSuffix(name, disk.Unfinished) {
		return true
	}
	for _, format := range []string{logFormat, checkFormat} {
		if found, ok := generationOf(name, format); ok && found < generation {
			return true
		}
	}
	return false
}
