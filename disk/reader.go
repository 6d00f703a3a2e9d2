package disk

import (
	"encoding/binary"
	"io"
)

const (
	readBytes = 1 << 20  // read at once
	tailBytes = 64 << 10 // by who follows a file that is being written
)

// Head returns the first n bytes of a file, or fewer when it has fewer.
func Head(fsys FS, name string, n int) ([]byte, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	head := make([]byte, n)
	n, err = file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return head[:n], nil
}

// Reader reads a file from one place to its end, with a bounded buffer that grows only for who peeks further. The file does
// not grow for it: it ends where it ended when the Reader was made, or where [Reader.Extend] says.
type Reader struct {
	file   File
	size   int64  // of the file
	atOnce int64  // bytes
	offset int64  // of the next byte
	buf    []byte // what is read from offset on
	spare  []byte // the whole buffer, of which buf is the end
}

// NewReader returns a reader of a file from that offset on.
func NewReader(file File, offset int64) (*Reader, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	return &Reader{file: file, size: size, atOnce: readBytes, offset: offset}, nil
}

// NewTail returns a reader of a file that is being written: from that offset to end, and not a byte further, because what is
// there may still change. It keeps less in memory than others do.
func NewTail(file File, offset, end int64) *Reader {
	return &Reader{file: file, size: end, atOnce: tailBytes, offset: offset}
}

// Extend moves the end: the bytes before it will not change any more.
func (r *Reader) Extend(end int64) { r.size = end }

// Part returns another reader of the same file: from that offset to end.
func (r *Reader) Part(offset, end int64) *Reader {
	return &Reader{file: r.file, size: end, atOnce: r.atOnce, offset: offset}
}

// Size is that of the file, or of what may be read of it.
func (r *Reader) Size() int64 { return r.size }

// Offset is that of the next byte.
func (r *Reader) Offset() int64 { return r.offset }

// Left is how many bytes there are from the next on.
func (r *Reader) Left() int64 { return r.size - r.offset }

// Peek returns the next n bytes without taking them, or fewer at the end of the file. They are valid until the next call.
func (r *Reader) Peek(n int) ([]byte, error) {
	if left := r.Left(); int64(n) > left {
		n = int(max(left, 0))
	}
	if len(r.buf) >= n {
		return r.buf[:n], nil
	}
	want := int64(n)
	if want <= r.atOnce {
		want = r.atOnce
	} else {
		want += r.atOnce // who peeks far does so again a little further on
	}
	want = min(want, r.Left())
	if int64(cap(r.spare)) < want {
		grown := make([]byte, want)
		copy(grown, r.buf)
		r.spare = grown
	} else {
		r.spare = r.spare[:cap(r.spare)]
		copy(r.spare, r.buf)
	}
	held := len(r.buf)
	got, err := r.file.ReadAt(r.spare[held:want], r.offset+int64(held))
	if err != nil && err != io.EOF {
		return nil, err
	}
	r.buf = r.spare[:held+got]
	return r.buf[:min(n, len(r.buf))], nil
}

// Take goes on behind the next n bytes, which were peeked.
func (r *Reader) Take(n int) {
	r.buf = r.buf[n:]
	r.offset += int64(n)
}

// Tail looks through the rest of the file and returns the place after the last byte that is not zero, or where it began when
// there is none. It calls visit at every place where something may begin whose first zerosInFront bytes, and no more, may be
// zero by chance; visit peeks and takes nothing.
func (r *Reader) Tail(zerosInFront int, visit func() error) (used int64, err error) {
	used = r.offset
	for {
		chunk, err := r.window()
		if err != nil {
			return used, err
		}
		zeros := leadingZeros(chunk)
		if int64(zeros) == r.Left() || len(chunk) <= zerosInFront && zeros == len(chunk) {
			return used, nil // the second when the file was cut short meanwhile
		}
		if zeros == len(chunk) {
			r.Take(len(chunk) - zerosInFront)
			continue
		}
		if zeros > zerosInFront {
			r.Take(zeros - zerosInFront)
			continue
		}
		if err := visit(); err != nil {
			return used, err
		}
		if zeros == 0 {
			used = r.offset + 1
		}
		r.Take(1)
	}
}

// window returns what is read already, when that is enough to go on with, or reads on.
func (r *Reader) window() ([]byte, error) {
	const enough = 4096
	if len(r.buf) >= enough {
		return r.buf, nil
	}
	return r.Peek(readBytes)
}

func leadingZeros(b []byte) int {
	n := 0
	for len(b)-n >= 8 && binary.LittleEndian.Uint64(b[n:]) == 0 {
		n += 8
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}
