package statelog

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"gateway/disk"
)

// writer appends to the log of the last generation. It belongs to the goroutine that runs.
type writer struct {
	fsys   disk.FS
	owner  [16]byte
	ahead  int64 // Options.AheadBytes
	random io.Reader
	size   *atomic.Int64 // Log.size

	file     disk.File
	name     string
	seed     uint32
	capacity int64    // bytes that were filled with zeros
	end      position // behind the last frame
	durable  position // all before it is synced
	lost     error    // why records were lost that nobody was told of, or nil
}

// use makes a file whose content is durable the one to append to.
func (w *writer) use(file disk.File, h *header, end position, capacity int64) {
	w.file, w.name, w.seed = file, logName(h.generation), h.seed()
	w.capacity, w.end, w.durable = capacity, end, end
}

// write appends frames and syncs them if that is awaited. After an error nothing can be said of what is behind durable.
func (w *writer) write(frames []byte, awaited bool) error {
	if len(frames) == 0 {
		return nil
	}
	if err := w.makeRoom(w.end.offset + int64(len(frames)) + frameHeader); err != nil {
		return fmt.Errorf("make room in %s: %w", w.name, err)
	}
	var flags uint32
	if w.end == w.durable {
		flags = sealedFlag
	}
	last := sealAll(frames, w.seed, w.end.seq+1, flags)
	if n, err := w.file.WriteAt(frames, w.end.offset); err != nil {
		return fmt.Errorf("write %d of %d bytes at %d of %s: %w", n, len(frames), w.end.offset, w.name, err)
	}
	w.end = position{w.end.offset + int64(len(frames)), last}
	w.size.Add(int64(len(frames)))
	if awaited {
		return w.sync()
	}
	return nil
}

// makeRoom fills the log with zeros, ahead of what is needed or, when space is short, up to there. What is written is synced
// before, lest a failure to fill be one to sync it.
func (w *writer) makeRoom(need int64) error {
	if need <= w.capacity {
		return nil
	}
	if err := w.sync(); err != nil {
		return err
	}
	capacity, err := fill(w.file, w.capacity, need, (need/w.ahead+1)*w.ahead)
	if err == nil {
		w.capacity = capacity
	}
	return err
}

// fill fills a file with zeros from a place up to the one wanted or, when space is short, to the one that must be, and
// returns which.
func fill(file disk.File, from, least, wanted int64) (int64, error) {
	if err := disk.Zero(file, from, wanted); !disk.LacksSpace(err) {
		return wanted, err
	}
	return least, disk.Zero(file, from, least)
}

func (w *writer) sync() error {
	if w.end == w.durable {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.name, err)
	}
	w.durable = w.end
	return nil
}

// rewind takes back all that is not durable, from the disk too: nothing of it may be found behind what is written next.
func (w *writer) rewind() error {
	if err := w.file.Truncate(w.durable.offset); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	w.size.Add(w.durable.offset - w.end.offset)
	w.end, w.capacity = w.durable, w.durable.offset
	return nil
}

// mark marks the end of a log that is durable. It is not synced, which costs a microsecond: it survives the end of the
// process and not a power cut. Where there is no room, there is no mark.
func (w *writer) mark() error {
	if w.end.offset+frameHeader > w.capacity {
		return nil
	}
	_, err := w.file.WriteAt(markFrame(w.seed, w.end.seq+1), w.end.offset)
	if err != nil && !disk.LacksSpace(err) {
		return fmt.Errorf("mark the end of %s: %w", w.name, err)
	}
	return nil
}

// settle makes all durable, marks the end and leaves the file at its least. It does without the last two where there is no
// space even for them.
func (w *writer) settle() error {
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.mark(); err != nil {
		return err
	}
	err := w.file.Truncate(min(w.end.offset+frameHeader, w.capacity))
	if err == nil {
		err = w.file.Sync()
	}
	if disk.LacksSpace(err) {
		return nil
	}
	return err
}

// turn is a generation that is to begin.
type turn struct {
	generation uint64
	file       disk.File // a draft full of zeros
	capacity   int64     // of it, bytes
	before     int64     // how many bytes were appended before it; set when it has begun
	begun      chan error
}

// turnTo goes on with the log of another generation. It gets its name once the log before it is durable to its end.
func (w *writer) turnTo(t *turn) error {
	if err := w.sync(); err != nil {
		return err
	}
	h, err := newHeader(header{magic: logMagic, owner: w.owner, generation: t.generation, first: w.end.seq + 1}, w.random)
	if err != nil {
		return err
	}
	if err := publishLog(w.fsys, t.file, h); err != nil {
		return err
	}
	w.file.Close()
	w.use(t.file, h, position{sector, w.end.seq}, t.capacity)
	t.before = w.size.Load()
	return nil
}

// prepareTurn makes the draft of a log.
func prepareTurn(fsys disk.FS, generation uint64, ahead int64) (*turn, error) {
	t := &turn{generation: generation, begun: make(chan error, 1)}
	draft := logName(generation) + disk.Unfinished
	var err error
	if t.file, err = fsys.Create(draft); err != nil {
		return nil, disk.DropDraft(fsys, draft, err)
	}
	const least = sector + frameHeader
	if t.capacity, err = fill(t.file, 0, least, max(ahead, least)); err != nil {
		t.file.Close()
		return nil, disk.DropDraft(fsys, draft, err)
	}
	return t, nil
}

// errUnsure says that nobody can tell which log a start will find.
var errUnsure = errors.New("a name may be durable or not")

// publishLog gives a draft its header, the mark of its end and its name.
func publishLog(fsys disk.FS, file disk.File, h *header) error {
	name := logName(h.generation)
	if _, err := file.WriteAt(append(h.sector(), markFrame(h.seed(), h.first)...), 0); err != nil {
		return fmt.Errorf("begin %s: %w", name, err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	if err := fsys.Rename(name+disk.Unfinished, name); err != nil {
		return err
	}
	if err := fsys.SyncDir(); err != nil {
		return fmt.Errorf("%w: %s: %w", errUnsure, name, err)
	}
	return nil
}
