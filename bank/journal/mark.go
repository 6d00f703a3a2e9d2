package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"gateway/disk"
)

// The mark says how far the journal is known to be durable. It is written after each sync of a batch and not synced itself,
// which costs a microsecond. It survives the end of the process, not a power cut, after which it may be older than the
// journal but never newer. What is wrong before the mark was durable once, and so is damage; only after it can a batch be
// torn.
//
// There are two slots and each mark is written into the older one, so that a torn mark leaves the one before. A slot:
//
//	0    8  magic
//	8   16  the journal's id
//	24   8  generation: how many marks there were before
//	32  56  position
//	88   4  CRC32C of all that is before it
const (
	markName  = "mark"
	markMagic = "gwmark1\n"
	markSlot  = 4096 // bytes from one slot to the other: a block of any disk
	markBytes = 92
)

type mark struct {
	id         [16]byte
	generation uint64
	position   position
}

func (m *mark) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, markMagic...)
	dst = append(dst, m.id[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, m.generation)
	dst = m.position.append(dst)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parse reads one slot and reports whether there is a mark in it.
func (m *mark) parse(b *[markBytes]byte) bool {
	if !bytes.HasPrefix(b[:], []byte(markMagic)) || binary.LittleEndian.Uint32(b[88:]) != crc32.Checksum(b[:88], castagnoli) {
		return false
	}
	copy(m.id[:], b[8:])
	m.generation = binary.LittleEndian.Uint64(b[24:])
	m.position.parse(b[32:])
	return true
}

// markFile is the open file of the marks.
type markFile struct {
	file disk.File
	last mark
	buf  []byte
}

// write writes the next mark. It does not sync.
func (f *markFile) write(p position) error {
	f.last.generation++
	f.last.position = p
	f.buf = f.last.append(f.buf[:0])
	_, err := f.file.WriteAt(f.buf, int64(f.last.generation%2)*markSlot)
	return err
}

// readMark returns the newest mark, or nil when there is none: it was not written yet, or both slots are torn.
func readMark(fsys disk.FS) (*mark, error) {
	file, err := fsys.Open(markName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var newest *mark
	for slot := range int64(2) {
		var b [markBytes]byte
		if n, err := file.ReadAt(b[:], slot*markSlot); n < len(b) && err != io.EOF {
			return nil, fmt.Errorf("read %s: %w", markName, err)
		}
		var m mark
		if m.parse(&b) && (newest == nil || m.generation > newest.generation) {
			newest = &m
		}
	}
	return newest, nil
}
