package statelog

import (
	"encoding/binary"
	"hash/crc32"
)

// A frame holds one record, all integers little-endian:
//
//	0   4  CRC32C of all that follows, begun with the file's seed
//	4   4  bytes of the record, and the flags
//	8   8  seq
//	16  n  the record
const (
	frameHeader = 16 // bytes

	// sealedFlag says that all of the file before the frame was durable when it was written.
	sealedFlag = 1 << 31
	// markFlag says that there is no record: this is where the next frame goes, or where a checkpoint ends.
	markFlag   = 1 << 30
	lengthBits = 1<<30 - 1

	// MaxRecordBytes bounds a record.
	MaxRecordBytes = 1 << 20
)

// appendFrame appends a record in a frame that is not sealed yet: see [sealAll].
func appendFrame(dst, record []byte) []byte {
	var head [frameHeader]byte
	binary.LittleEndian.PutUint32(head[4:], uint32(len(record)))
	return append(append(dst, head[:]...), record...)
}

// seal fills in the header of a frame whose length is there already.
func seal(frame []byte, seed uint32, seq uint64, flags uint32) {
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader)|flags)
	binary.LittleEndian.PutUint64(frame[8:], seq)
	binary.LittleEndian.PutUint32(frame, crc32.Update(seed, castagnoli, frame[4:]))
}

// sealAll seals frames that lie behind one another, of which the first has that seq and those flags, and returns the seq of
// the last.
func sealAll(frames []byte, seed uint32, seq uint64, flags uint32) uint64 {
	for ; len(frames) > 0; seq++ {
		size := frameHeader + int(binary.LittleEndian.Uint32(frames[4:]))
		seal(frames[:size], seed, seq, flags)
		frames, flags = frames[size:], 0
	}
	return seq - 1
}

// markFrame returns a mark that stands where the frame with that seq would.
func markFrame(seed uint32, seq uint64) []byte {
	frame := make([]byte, frameHeader)
	seal(frame, seed, seq, sealedFlag|markFlag)
	return frame
}

// frameHead is what the first bytes of a frame say.
type frameHead struct {
	size         int64 // of the whole frame
	seq          uint64
	sealed, mark bool
}

// parseHead reads the header of a frame. It reports false when no frame begins so.
func parseHead(b []byte) (h frameHead, ok bool) {
	if len(b) < frameHeader {
		return h, false
	}
	word := binary.LittleEndian.Uint32(b[4:])
	length := word & lengthBits
	h = frameHead{int64(length) + frameHeader, binary.LittleEndian.Uint64(b[8:]), word&sealedFlag != 0, word&markFlag != 0}
	return h, length <= MaxRecordBytes && !(h.mark && (length > 0 || !h.sealed))
}

// intact reports whether the checksum of a whole frame holds.
func intact(frame []byte, seed uint32) bool {
	return binary.LittleEndian.Uint32(frame) == crc32.Update(seed, castagnoli, frame[4:])
}
