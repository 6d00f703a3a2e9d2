package journal

import (
	"encoding/binary"
	"hash/crc32"

	"gateway/bank"
	"gateway/disk"
)

// VerifyFS is Verify on any FS.
func VerifyFS(fsys disk.FS) (Report, error) {
	return verify(fsys, func(*bank.Entry, [32]byte) error { return nil })
}

// DumpFS is Dump on any FS.
func DumpFS(fsys disk.FS, f func(*bank.Entry, [32]byte) error) (Report, error) {
	return verify(fsys, f)
}

// Frames returns the frames of a segment that is whole, each a copy.
func Frames(fsys disk.FS, name string) (frames [][]byte, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h, err := headerOf(fsys, name)
	if err != nil {
		return nil, err
	}
	r, err := newFrameReader(file, h.seed(h.number), sector)
	if err != nil {
		return nil, err
	}
	for {
		frame, _, reason, err := r.frame()
		if err != nil || reason != "" {
			return frames, err
		}
		frames = append(frames, append([]byte(nil), frame...))
		r.Take(len(frame))
	}
}

// Rewrite returns a segment of those frames, with checksums that hold; with chain also with links that do. It is what somebody
// can write who can read the files.
func Rewrite(fsys disk.FS, name string, frames [][]byte, chain bool) ([]byte, error) {
	h, err := headerOf(fsys, name)
	if err != nil {
		return nil, err
	}
	content, previous, seed := h.append(nil), h.before, h.seed(h.number)
	for _, frame := range frames {
		forged := append([]byte(nil), frame...)
		if _, first, _ := frameSize(forged); chain {
			previous = seal(forged, seed, first, &previous)
		} else {
			binary.LittleEndian.PutUint32(forged, crc32.Update(seed, castagnoli, forged[4:]))
		}
		content = append(content, forged...)
	}
	return content, nil
}

func headerOf(fsys disk.FS, name string) (h segmentHeader, err error) {
	b, err := disk.Head(fsys, name, sector)
	if err == nil {
		h.parse(b)
	}
	return h, err
}

// EntryOf reads the entry in a frame.
func EntryOf(frame []byte) (e bank.Entry, err error) {
	err = bank.ParseEntry(frame[frameHeader:], &e)
	return e, err
}

// WithEntry returns a frame with another entry in it, not sealed.
func WithEntry(frame []byte, e *bank.Entry) []byte {
	changed := e.AppendCanonical(append([]byte(nil), frame[:frameHeader]...))
	binary.LittleEndian.PutUint32(changed[4:], uint32(len(changed)-frameHeader)|binary.LittleEndian.Uint32(frame[4:])&firstFlag)
	return changed
}

// Forge returns a first segment that holds these entries, given by their bytes, and says that it begins with entry first. Its
// checksums, links and hashes are as the engine would have written them: it is what somebody makes who knows the format.
func Forge(first uint64, entries ...[]byte) []byte {
	header := segmentHeader{identity: identity{decimals: 2}, number: 1, first: first}
	segment := header.append(nil)
	var last hash
	for _, canonical := range entries {
		frame := append(make([]byte, frameHeader), canonical...)
		last = seal(frame, header.seed(1), true, &last)
		segment = append(segment, frame...)
	}
	return segment
}

// ResealHeader makes the checksum of a header hold again.
func ResealHeader(file []byte) { sealSector(file[:sector-4], 0) }

// Reseal makes the checksums of a snapshot hold again, of the journal that segment is of.
func Reseal(segment, snapshot []byte) {
	var ours segmentHeader
	ours.parse(segment)
	ResealHeader(snapshot)
	for part := snapshot[sector:]; len(part) >= partHeader; {
		size := partHeader + min(int(binary.LittleEndian.Uint64(part[8:])), len(part)-partHeader)
		binary.LittleEndian.PutUint32(part, crc32.Update(ours.seed(0), castagnoli, part[4:size]))
		part = part[size:]
	}
}

// Relink changes the link of the frame that begins at a place of a segment that [Forge] made, and makes its checksum hold again.
func Relink(segment []byte, at int) {
	var header segmentHeader
	header.parse(segment)
	size, _, _ := frameSize(segment[at:])
	frame := segment[at : at+int(size)]
	frame[frameLink] ^= 1
	binary.LittleEndian.PutUint32(frame, crc32.Update(header.seed(1), castagnoli, frame[4:]))
}

// Batch returns a frame that begins a batch with e, in the segment of that number of the journal that segment is of.
func Batch(segment []byte, number uint64, e *bank.Entry) []byte {
	var header segmentHeader
	header.parse(segment)
	frame := appendFrame(nil, e)
	seal(frame, header.seed(number), true, new(hash))
	return frame
}
