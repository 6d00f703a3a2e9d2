package journal

import (
	"fmt"
	"io"
	"slices"

	"gateway/bank"
	"gateway/disk"
)

const (
	// openFiles bounds the older segments that are kept open for reading entries again.
	openFiles = 16
	// entryGuess is how many bytes are read for an entry of unknown size; nearly all are smaller.
	entryGuess = 512
)

// history reads entries again, for the ledger: those of the batch being judged from the writer's buffer, all others from
// their segment. It belongs to the committer.
type history struct {
	fsys   disk.FS
	writer *writer
	open   []pastSegment // the one used last is the last
	buf    []byte
}

type pastSegment struct {
	number uint64
	file   disk.File
}

// Entry implements [bank.History].
func (h *history) Entry(ref uint64, e *bank.Entry) error {
	segment, offset := splitRef(ref)
	frame := h.writer.gathered(segment, offset)
	if frame != nil {
		size, _, _ := frameSize(frame)
		frame = frame[:size]
	} else {
		var err error
		if frame, err = h.read(segment, offset); err != nil {
			return err
		}
	}
	if err := bank.ParseEntry(frame[frameHeader:], e); err != nil {
		return damageAt(ref, seqOf(frame), err)
	}
	return nil
}

func (h *history) read(segment uint64, offset int64) ([]byte, error) {
	file, err := h.file(segment)
	if err != nil {
		return nil, err
	}
	if h.buf == nil {
		h.buf = make([]byte, entryGuess)
	}
	n, err := file.ReadAt(h.buf, offset)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", segmentName(segment), err)
	}
	frame := h.buf[:n]
	damage := DamageError{File: segmentName(segment), Offset: offset, Seq: seqOf(frame), Reason: "there is no entry any more"}
	if n < frameHeader {
		return nil, &damage
	}
	size, _, ok := frameSize(frame)
	if !ok {
		return nil, &damage
	}
	if int64(n) < size {
		frame = make([]byte, size)
		switch n, err := file.ReadAt(frame, offset); {
		case int64(n) < size && err == io.EOF:
			return nil, &damage
		case int64(n) < size:
			return nil, fmt.Errorf("read %s: %w", segmentName(segment), err)
		}
	}
	if frame = frame[:size]; !intact(frame, h.writer.identity.seed(segment)) {
		return nil, &damage
	}
	return frame, nil
}

// file returns the open file of a segment. The one in use is the writer's; of the others the most recently used are kept.
func (h *history) file(segment uint64) (disk.File, error) {
	if segment == h.writer.end.segment {
		return h.writer.file, nil
	}
	if i := slices.IndexFunc(h.open, func(p pastSegment) bool { return p.number == segment }); i >= 0 {
		found := h.open[i]
		h.open = append(slices.Delete(h.open, i, i+1), found)
		return found.file, nil
	}
	file, err := h.fsys.Open(segmentName(segment))
	if err != nil {
		return nil, err
	}
	if len(h.open) == openFiles {
		h.open[0].file.Close()
		h.open = slices.Delete(h.open, 0, 1)
	}
	h.open = append(h.open, pastSegment{segment, file})
	return file, nil
}

func (h *history) close() {
	for _, p := range h.open {
		p.file.Close()
	}
}
