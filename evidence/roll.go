package evidence

import (
	"bytes"
	"fmt"
	"io"
)

// roll is a file of signed heads in order, with an empty line behind each. What else is in it is passed over: a head that was
// torn by a crash.
type roll struct {
	file io.ReaderAt
	size int64
}

const (
	recordEnd   = "\n"
	maxRecord   = MaxHead + len(recordEnd) // bytes
	windowBytes = 4 * maxRecord            // read at once
)

// record is a head in a roll.
type record struct {
	Head
	signature signature
	signed    string
	at, next  int64 // where it begins, and where the next one may
}

// next returns the first record that begins at from or behind it, or false. Its signature is not checked.
func (r roll) next(from int64) (record, bool, error) {
	var buf [2 + windowBytes]byte
	for ; from < r.size; from += int64(windowBytes - maxRecord) {
		begin := max(from-2, 0)
		b := buf[:min(from+int64(windowBytes), r.size)-begin]
		if n, err := r.file.ReadAt(b, begin); n < len(b) {
			return record{}, false, fmt.Errorf("read at %d: %w", begin, err)
		}
		for at := int(from - begin); ; {
			start := bytes.Index(b[at:], []byte(headTitle))
			if start < 0 {
				break
			}
			at += start
			if begin+int64(at) == 0 || at >= 2 && string(b[at-2:at]) == "\n\n" {
				if found, ok := parseRecord(b[at:], begin+int64(at)); ok {
					return found, true, nil
				}
			}
			at += len(headTitle)
		}
	}
	return record{}, false, nil
}

// parseRecord reads a record from the front of b, which is at that place.
func parseRecord(b []byte, at int64) (record, bool) {
	text := bytes.Index(b, []byte("\n\n"))
	if text < 0 {
		return record{}, false
	}
	end := bytes.Index(b[text+2:], []byte("\n"+recordEnd))
	if end < 0 {
		return record{}, false
	}
	end += text + 3
	found := record{signed: string(b[:end]), at: at, next: at + int64(end+len(recordEnd))}
	var ok bool
	found.Head, found.signature, ok = splitHead(found.signed)
	return found, ok
}

// last returns the last record of those near the end.
func (r roll) last() (last record, ok bool, err error) {
	from := max(r.size-int64(windowBytes), 0)
	for {
		found, more, err := r.next(from)
		if err != nil || !more {
			return last, ok, err
		}
		last, ok, from = found, true, found.next
	}
}

// find returns the first record whose seq is not below the given one, or false. Records are in the order of their seq.
func (r roll) find(seq uint64) (record, bool, error) {
	low, high := int64(0), r.size // it begins at low or behind it; at high or behind it there is a record that is not before it
	for low < high {
		middle := low + (high-low)/2
		found, ok, err := r.next(middle)
		if err != nil {
			return record{}, false, err
		}
		if ok && found.Seq < seq {
			low = found.next
		} else {
			high = middle
		}
	}
	return r.next(low)
}
