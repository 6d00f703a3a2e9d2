package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A segment is a file of frames behind one sector of header:
//
//	0    8  magic
//	8    4  format version
//	12   4  decimals of the bank
//	16  16  the journal's id
//	32  16  the journal's key: it scatters the fingerprints of ids and seeds the frames' checksums
//	48   8  number of the segment, from 1 without gaps
//	56   8  seq of its first entry
//	64  32  hash of the entry before that
//	96      zeros
//	508  4  CRC32C of all that is before it, in every version
//
// A segment is filled with zeros and synced before it is used. Its first frames are written together with its header.
const (
	// FormatVersion is the version of all files of a journal.
	FormatVersion = 1

	sector        = 512 // bytes: what a disk writes in one piece, if anything
	segmentMagic  = "gwjourn\n"
	segmentFormat = "journal-%016x.seg"
	lockName      = "LOCK"
)

// identity is what all files of one journal have in common.
type identity struct {
	decimals uint32
	id, key  [16]byte
}

func newIdentity(decimals int, random io.Reader) (identity, error) {
	ours := identity{decimals: uint32(decimals)}
	if _, err := io.ReadFull(random, ours.id[:]); err != nil {
		return ours, fmt.Errorf("draw the id: %w", err)
	}
	if _, err := io.ReadFull(random, ours.key[:]); err != nil {
		return ours, fmt.Errorf("draw the key: %w", err)
	}
	return ours, nil
}

// seed is what the checksums of a segment's frames begin with.
func (i *identity) seed(segment uint64) uint32 {
	var b [40]byte
	copy(b[:], i.id[:])
	copy(b[16:], i.key[:])
	binary.LittleEndian.PutUint64(b[32:], segment)
	return crc32.Checksum(b[:], castagnoli)
}

// segmentHeader is the first sector of a segment.
type segmentHeader struct {
	identity
	number uint64
	first  uint64 // seq
	before hash   // of entry first-1
}

func (h *segmentHeader) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, FormatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, h.decimals)
	dst = append(dst, h.id[:]...)
	dst = append(dst, h.key[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.number)
	dst = binary.LittleEndian.AppendUint64(dst, h.first)
	dst = append(dst, h.before[:]...)
	return sealSector(dst, at)
}

// sealSector fills the sector that begins at dst[at] up and ends it with its checksum.
func sealSector(dst []byte, at int) []byte {
	dst = append(dst, make([]byte, sector-4-(len(dst)-at))...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// checkSector checks the magic, the checksum and the version of a sector that [sealSector] made. A reason that is not empty
// says what is wrong with it; the error wraps [ErrFormat] when all that is wrong is that it is of another version.
func checkSector(b []byte, magic string) (reason string, err error) {
	switch {
	case len(b) < sector:
		return "the header is cut short", nil
	case !bytes.HasPrefix(b, []byte(magic)):
		return "the header does not begin as it must", nil
	case binary.LittleEndian.Uint32(b[sector-4:]) != crc32.Checksum(b[:sector-4], castagnoli):
		return "the checksum of the header does not hold", nil
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != FormatVersion {
		return "", fmt.Errorf("%w: version %d, this program reads %d", ErrFormat, version, FormatVersion)
	}
	return "", nil
}

// parse reads a checked sector.
func (h *segmentHeader) parse(b []byte) {
	h.decimals = binary.LittleEndian.Uint32(b[12:])
	copy(h.id[:], b[16:])
	copy(h.key[:], b[32:])
	h.number = binary.LittleEndian.Uint64(b[48:])
	h.first = binary.LittleEndian.Uint64(b[56:])
	copy(h.before[:], b[64:])
}

func segmentName(number uint64) string { return fmt.Sprintf(segmentFormat, number) }

// segmentNumber reads a name back; false when no segment is called so.
func segmentNumber(name string) (uint64, bool) {
	var number uint64
	if _, err := fmt.Sscanf(name, segmentFormat, &number); err != nil || segmentName(number) != name {
		return 0, false
	}
	return number, true
}

// position is a place between two entries.
type position struct {
	segment uint64
	offset  int64  // of the next frame
	seq     uint64 // of the entry before
	hash    hash   // of the entry before
}

// after reports whether p is a later place than q.
func (p *position) after(q *position) bool {
	return p.segment > q.segment || (p.segment == q.segment && p.offset > q.offset)
}

// A reference is the place of a frame as the ledger remembers it: the segment's number above refOffsetBits bits of offset.
const refOffsetBits = 40

func refTo(segment uint64, offset int64) uint64 { return segment<<refOffsetBits | uint64(offset) }

func splitRef(ref uint64) (segment uint64, offset int64) {
	return ref >> refOffsetBits, int64(ref & (1<<refOffsetBits - 1))
}

func (p *position) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, p.segment)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.offset))
	dst = binary.LittleEndian.AppendUint64(dst, p.seq)
	return append(dst, p.hash[:]...)
}

// parse reads a position from the front of b, which was checked by a checksum.
func (p *position) parse(b []byte) {
	p.segment = binary.LittleEndian.Uint64(b)
	p.offset = int64(binary.LittleEndian.Uint64(b[8:]))
	p.seq = binary.LittleEndian.Uint64(b[16:])
	copy(p.hash[:], b[24:])
}
