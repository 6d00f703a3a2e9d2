package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"

	"gateway/bank"
)

// A frame holds one entry, all integers little-endian:
//
//	0   4  CRC32C of all that follows, begun with the segment's seed
//	4   4  bytes of the entry; the highest bit is set in the first frame of a batch
//	8   8  the link: the first bytes of the hash of the entry before; zeros before the first
//	16  n  the entry's canonical bytes: their format and its seq come first
//
// The hash of an entry is SHA-256 over the hash of the entry before, all of it, and the canonical bytes. Whoever reads a
// segment computes it from the hash in the header on, and holds it against the next header, the mark and the snapshots. The
// link finds at once, and at its place, an entry that follows from another than the one before it. More of the hash would
// find no more and cost each transfer a fifth of its bytes.
//
// The seed is secret to the journal, so that nothing a client puts into a memo can look like a frame, and differs from
// segment to segment, so that no frame is taken for one in a place that is not its own.
const (
	frameHeader = 16 // bytes
	frameLink   = 8  // where the link begins
	linkBytes   = 8
	firstFlag   = 1 << 31

	// MaxEntryBytes bounds the canonical bytes of one entry: a yield over some 40 million accounts. An operation that
	// would need more is answered [bank.Unavailable].
	MaxEntryBytes = 1 << 30
	// smallestEntry is a lower bound of the canonical bytes of an entry; no frame is shorter.
	smallestEntry = 16
)

type hash [sha256.Size]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends e in a frame that is not sealed yet.
func appendFrame(dst []byte, e *bank.Entry) []byte {
	var header [frameHeader]byte
	return e.AppendCanonical(append(dst, header[:]...))
}

// seal fills in the header of a frame, once its place is known, and returns the entry's hash.
func seal(frame []byte, seed uint32, first bool, previous *hash) hash {
	length := uint32(len(frame) - frameHeader)
	if first {
		length |= firstFlag
	}
	binary.LittleEndian.PutUint32(frame[4:], length)
	copy(frame[frameLink:], previous[:linkBytes])
	binary.LittleEndian.PutUint32(frame, crc32.Update(seed, castagnoli, frame[4:]))
	return hashOf(frame, previous)
}

// hashOf returns the hash of the entry in a frame.
func hashOf(frame []byte, previous *hash) hash {
	var text [sha256.Size + 256]byte // of nearly all entries
	canonical := frame[frameHeader:]
	if len(canonical) > len(text)-sha256.Size {
		h := sha256.New()
		h.Write(previous[:])
		h.Write(canonical)
		return hash(h.Sum(nil))
	}
	copy(text[:], previous[:])
	return sha256.Sum256(text[:sha256.Size+copy(text[sha256.Size:], canonical)])
}

// follows reports whether the entry in a frame comes next after the one with that hash and seq.
func follows(frame []byte, previous *hash, seq uint64) bool {
	return bytes.Equal(frame[frameLink:frameLink+linkBytes], previous[:linkBytes]) && seqOf(frame) == seq+1
}

// frameSize reads the size of a frame from its first bytes, 8 or more, and whether it begins a batch. It reports false when
// no frame is that long.
func frameSize(b []byte) (size int64, first, ok bool) {
	length := binary.LittleEndian.Uint32(b[4:])
	first = length&firstFlag != 0
	length &^= firstFlag
	return frameHeader + int64(length), first, length >= smallestEntry && length <= MaxEntryBytes
}

// intact reports whether the checksum of a whole frame holds.
func intact(frame []byte, seed uint32) bool {
	return binary.LittleEndian.Uint32(frame) == crc32.Update(seed, castagnoli, frame[4:])
}

// seqOf reads an entry's seq from its frame, or from the first bytes of one; zero when it is none.
func seqOf(frame []byte) uint64 {
	if len(frame) <= frameHeader || frame[frameHeader] != bank.EntryFormat {
		return 0
	}
	seq, _ := binary.Uvarint(frame[frameHeader+1:]) // zero when it is not whole
	return seq
}
