package statelog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"gateway/disk"
)

// Every file is a sector of header and frames behind it:
//
//	0    8  magic: a log's or a checkpoint's
//	8    4  format version
//	12   4  zeros
//	16  16  owner
//	32  16  key, drawn for each file
//	48   8  generation, from 1
//	56   8  seq of the first frame
//	64      zeros
//	508  4  CRC32C of all that is before it, in every version
//
// The seqs of the logs go on from one to the next; those of a checkpoint begin with 1. A file gets its name when its header
// is durable, a log also when the one before is durable to its end, a checkpoint when all of it is.
const (
	// FormatVersion is the version of all files of a log.
	FormatVersion = 1

	sector      = 512 // bytes: what a disk writes in one piece, if anything
	magicBytes  = 8
	logMagic    = "gwstlog\n"
	checkMagic  = "gwstckp\n"
	logFormat   = "gen-%016x.log"
	checkFormat = "gen-%016x.ckpt"
	lockName    = "LOCK"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first sector of a file.
type header struct {
	magic      string
	owner, key [16]byte
	generation uint64
	first      uint64 // seq
}

// newHeader draws a header's key.
func newHeader(h header, random io.Reader) (*header, error) {
	if _, err := io.ReadFull(random, h.key[:]); err != nil {
		return nil, fmt.Errorf("draw the key of generation %d: %w", h.generation, err)
	}
	return &h, nil
}

// sector returns the header's bytes.
func (h *header) sector() []byte {
	b := append(make([]byte, 0, sector), h.magic...)
	b = binary.LittleEndian.AppendUint32(b, FormatVersion)
	b = append(b, 0, 0, 0, 0)
	b = append(b, h.owner[:]...)
	b = append(b, h.key[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.generation)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = b[:sector-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// seed is what the checksums of the file's frames begin with: the header's, so that a frame of another file, generation or
// owner is never taken for one of this. The key makes it a secret, so that nothing within a record can look like a frame.
func (h *header) seed() uint32 { return crc32.Checksum(h.sector(), castagnoli) }

// readHeader reads and checks the header of a file that has its name.
func readHeader(fsys disk.FS, name string, want header) (*header, error) {
	b, err := disk.Head(fsys, name, sector)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	damage := DamageError{File: name}
	switch {
	case len(b) < sector:
		damage.Reason = "the header is cut short"
	case !bytes.HasPrefix(b, []byte(want.magic)):
		damage.Reason = "the header does not begin as it must"
	case binary.LittleEndian.Uint32(b[sector-4:]) != crc32.Checksum(b[:sector-4], castagnoli):
		damage.Reason = "the checksum of the header does not hold"
	}
	if damage.Reason != "" {
		return nil, &damage
	}
	if version := binary.LittleEndian.Uint32(b[magicBytes:]); version != FormatVersion {
		return nil, fmt.Errorf("%s: %w: version %d, this program reads %d", name, ErrFormat, version, FormatVersion)
	}
	h := want
	copy(h.owner[:], b[16:])
	copy(h.key[:], b[32:])
	h.generation = binary.LittleEndian.Uint64(b[48:])
	h.first = binary.LittleEndian.Uint64(b[56:])
	if h.owner != want.owner {
		return nil, fmt.Errorf("%s: %w", name, ErrOwner)
	}
	if h.generation != want.generation {
		damage.Reason = fmt.Sprintf("it is of generation %d", h.generation)
		return nil, &damage
	}
	return &h, nil
}

func logName(generation uint64) string   { return fmt.Sprintf(logFormat, generation) }
func checkName(generation uint64) string { return fmt.Sprintf(checkFormat, generation) }

// generationOf reads a name back; false when no file of that format is called so.
func generationOf(name, format string) (uint64, bool) {
	var generation uint64
	if _, err := fmt.Sscanf(name, format, &generation); err != nil || fmt.Sprintf(format, generation) != name {
		return 0, false
	}
	return generation, generation > 0
}
