package journal

import (
	"fmt"
	"time"

	"gateway/bank"
	"gateway/disk"
)

// writer appends entries. It belongs to the committer.
//
// Entries gather in buf, which goes to the file in one write, followed by one sync, followed by the mark. When a segment has
// no room for the next entry, what has gathered is written and synced first, so that a batch never lies in two segments and
// a segment that has been followed by another is durable to its end.
type writer struct {
	identity *identity
	ahead    *preparer
	mark     *markFile
	observer Observer
	largest  int64 // Options.SegmentBytes

	file     disk.File
	capacity int64
	seed     uint32
	base     int64 // where in the file buf begins
	buf      []byte
	entries  int      // in buf
	flushed  int64    // bytes written so far, for who wants to count
	first    bool     // the next entry begins a batch
	end      position // after the last entry in buf
}

// add appends e to the buffer and returns its reference. Errors that wrap [ErrNoSpace] leave everything as it was.
func (w *writer) add(e *bank.Entry) (ref uint64, err error) {
	at := len(w.buf)
	w.buf = appendFrame(w.buf, e)
	size := int64(len(w.buf) - at)
	if size > frameHeader+MaxEntryBytes {
		w.buf = w.buf[:at]
		return 0, fmt.Errorf("%w for an entry of %d bytes", ErrNoSpace, size)
	}
	if w.end.offset+size > w.capacity {
		if at, err = w.turn(at); err != nil {
			return 0, err
		}
	}
	ref = refTo(w.end.segment, w.end.offset)
	w.end.hash = seal(w.buf[at:], w.seed, w.first, &w.end.hash)
	w.end.seq++
	w.end.offset += size
	w.first = false
	w.entries++
	return ref, nil
}

// turn goes on to the next segment with the frame at buf[at:], which does not fit into this one, and returns where it is in
// the buffer then.
func (w *writer) turn(at int) (int, error) {
	next, err := w.ahead.take(sector + int64(len(w.buf)-at))
	if err != nil {
		w.buf = w.buf[:at]
		return 0, err
	}
	frame := append([]byte(nil), w.buf[at:]...)
	w.buf = w.buf[:at]
	if err := w.flush(); err != nil {
		next.file.Close()
		return 0, err
	}
	w.file.Close()
	header := segmentHeader{identity: *w.identity, number: next.number, first: w.end.seq + 1, before: w.end.hash}
	w.end.segment, w.end.offset = next.number, sector
	w.use(next.file, next.capacity)
	w.buf = append(header.append(w.buf[:0]), frame...)
	w.base = 0
	return sector, nil
}

// use makes file the segment to write on in, at w.end, and asks for the one after it.
func (w *writer) use(file disk.File, capacity int64) {
	w.file, w.capacity = file, capacity
	w.seed = w.identity.seed(w.end.segment)
	w.base = w.end.offset
	w.first = true
	w.ahead.request(w.end.segment+1, min(w.largest, capacity*segmentGrowth))
}

// flush makes durable what has gathered.
func (w *writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	began := time.Now()
	if n, err := w.file.WriteAt(w.buf, w.base); err != nil {
		return fmt.Errorf("write %d of %d bytes at %d of %s: %w", n, len(w.buf), w.base, segmentName(w.end.segment), err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", segmentName(w.end.segment), err)
	}
	if err := w.mark.write(w.end); err != nil {
		return fmt.Errorf("write %s: %w", markName, err)
	}
	w.observer.Synced(w.entries, len(w.buf), time.Since(began))
	w.flushed += int64(len(w.buf))
	w.base = w.end.offset
	w.buf = w.buf[:0]
	if cap(w.buf) > keptBuffer {
		w.buf = nil
	}
	w.entries, w.first = 0, true
	return nil
}

// gathered returns the buffer from the frame at ref on, when it is still in the buffer.
func (w *writer) gathered(segment uint64, offset int64) []byte {
	if segment != w.end.segment || offset < w.base || offset >= w.end.offset {
		return nil
	}
	return w.buf[offset-w.base:]
}
