package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"
	"time"

	"gateway/bank"
	"gateway/disk"
)

// A snapshot is a copy of the book, which spares a start the reading of all entries. The journal is the truth: a snapshot
// that cannot be read is passed over.
//
// The parts of the book are copied one after the other while batches go on, each stamped with the last entry it holds. So a
// snapshot stands between two positions: at the start the first part was copied, at the end the last. It gets its name when
// the end is durable. Who loads it posts the entries from the start on, and each part passes over those it holds.
//
// A sector of header, then the parts, in order:
//
//	0    8  magic                         0  4  CRC32C of all of the part that follows, begun with the journal's seed
//	8    4  format version                4  4  number of the part
//	12   4  number of parts               8  8  bytes of the part's content
//	16  16  the journal's id             16  8  seq of the last entry it holds
//	32  56  start                        24     the content: see [bank.Ledger.AppendShard]
//	88  56  end
//	144  8  time of the entry before the start, microseconds since 1970
//	152  8  bytes of the file
//	508  4  CRC32C of all that is before it
const (
	snapshotMagic  = "gwsnaps\n"
	snapshotPrefix = "snapshot-"
	snapshotDraft  = "snapshot" + disk.Unfinished

	partHeader = 24 // bytes
)

// errSnapshot says that a snapshot cannot be used.
var errSnapshot = errors.New("the snapshot is not whole")

type snapshotHeader struct {
	name       string
	id         [16]byte
	start, end position
	time       time.Time
	bytes      int64
}

func snapshotName(seq uint64) string { return fmt.Sprintf("%s%016x", snapshotPrefix, seq) }

func (h *snapshotHeader) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, snapshotMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, FormatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, bank.Shards)
	dst = append(dst, h.id[:]...)
	dst = h.start.append(dst)
	dst = h.end.append(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.time.UnixMicro()))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.bytes))
	return sealSector(dst, at)
}

// parse reads a header and says what is wrong with it.
func (h *snapshotHeader) parse(b []byte) (reason string) {
	reason, err := checkSector(b, snapshotMagic)
	if err != nil {
		return err.Error()
	}
	if reason != "" {
		return reason
	}
	if parts := binary.LittleEndian.Uint32(b[12:]); parts != bank.Shards {
		return fmt.Sprintf("it has %d parts", parts)
	}
	copy(h.id[:], b[16:])
	h.start.parse(b[32:])
	h.end.parse(b[88:])
	h.time = time.UnixMicro(int64(binary.LittleEndian.Uint64(b[144:]))).UTC()
	h.bytes = int64(binary.LittleEndian.Uint64(b[152:]))
	return ""
}

// findSnapshots reads the headers of all snapshots: the newest first, and the names of those that cannot be used. One that
// a gateway beside us has just removed is no snapshot.
func findSnapshots(fsys disk.FS, names []string, ours *identity) (usable []*snapshotHeader, rejected []string, err error) {
	for _, name := range slices.Backward(names) {
		if !strings.HasPrefix(name, snapshotPrefix) || strings.HasSuffix(name, disk.Unfinished) {
			continue
		}
		sector, err := disk.Head(fsys, name, sector)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
		h := &snapshotHeader{name: name}
		if h.parse(sector) != "" || h.id != ours.id || snapshotName(h.end.seq) != name || h.start.after(&h.end) {
			rejected = append(rejected, name)
			continue
		}
		usable = append(usable, h)
	}
	return usable, rejected, nil
}

// load sets the ledger, which must be new, to what the snapshot holds. After an error the ledger is of no use; one that
// wraps errSnapshot is the snapshot's fault.
func (h *snapshotHeader) load(fsys disk.FS, ours *identity, ledger *bank.Ledger) error {
	err := h.read(fsys, ours, func(i int, asOf uint64, part []byte) error {
		if err := ledger.LoadShard(i, asOf, part); err != nil {
			return fmt.Errorf("%w: part %d: %w", errSnapshot, i, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ledger.Resume(h.start.seq, h.time)
	return nil
}

// read calls f with every part, which is f's until it returns, and the last entry that it holds. An error that wraps
// errSnapshot says that the snapshot is not whole; one of f's is returned as it is.
func (h *snapshotHeader) read(fsys disk.FS, ours *identity, f func(i int, asOf uint64, part []byte) error) error {
	file, err := fsys.Open(h.name)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := newFrameReader(file, ours.seed(0), sector)
	if err != nil {
		return err
	}
	if r.Size() != h.bytes {
		return fmt.Errorf("%w: %d bytes instead of %d", errSnapshot, r.Size(), h.bytes)
	}
	for i := range bank.Shards {
		part, asOf, err := r.part(i)
		if err != nil {
			return err
		}
		if asOf < h.start.seq || asOf > h.end.seq {
			return fmt.Errorf("%w: part %d is of another time", errSnapshot, i)
		}
		if err := f(i, asOf, part); err != nil {
			return err
		}
		r.Take(partHeader + len(part))
	}
	if r.Offset() != r.Size() {
		return fmt.Errorf("%w: it goes on after its end", errSnapshot)
	}
	return nil
}

// part returns the content of part i without taking it. It is valid until the next call.
func (r *frameReader) part(i int) (content []byte, asOf uint64, err error) {
	head, err := r.Peek(partHeader)
	if err != nil {
		return nil, 0, err
	}
	left := uint64(r.Left()) - partHeader
	if len(head) < partHeader || binary.LittleEndian.Uint64(head[8:]) > left {
		return nil, 0, fmt.Errorf("%w: part %d is cut short", errSnapshot, i)
	}
	whole, err := r.Peek(partHeader + int(binary.LittleEndian.Uint64(head[8:])))
	if err != nil {
		return nil, 0, err
	}
	if !intact(whole, r.seed) || binary.LittleEndian.Uint32(whole[4:]) != uint32(i) {
		return nil, 0, fmt.Errorf("%w: the checksum of part %d does not hold", errSnapshot, i)
	}
	return whole[partHeader:], binary.LittleEndian.Uint64(whole[16:]), nil
}

// sealPart fills in the header of a part; the content is behind it.
func sealPart(part []byte, i int, asOf uint64, seed uint32) {
	binary.LittleEndian.PutUint32(part[4:], uint32(i))
	binary.LittleEndian.PutUint64(part[8:], uint64(len(part)-partHeader))
	binary.LittleEndian.PutUint64(part[16:], asOf)
	binary.LittleEndian.PutUint32(part, crc32.Update(seed, castagnoli, part[4:]))
}
