// Package packed takes apart what was put together with encoding/binary: integers as varints, and texts behind their lengths. It
// trusts no length, copies nothing, and accepts one form of each integer only, the shortest, so that what is signed or hashed has
// one spelling.
package packed

import "encoding/binary"

// Reader takes fields off the front of Rest. After a fault Bad is set and Rest is empty, so that all further fields are zero: a
// caller looks at Bad once, at the end. The zero value has nothing to read.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Fail makes what is being read bad: a field has a value that it cannot have.
func (r *Reader) Fail() { r.Rest, r.Bad = nil, true }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.Rest) == 0 {
		r.Bad = true
		return 0
	}
	b := r.Rest[0]
	r.Rest = r.Rest[1:]
	return b
}

// Bytes reads n bytes, which are part of what is read and have no room behind them.
func (r *Reader) Bytes(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// Uint16 reads an integer of two bytes, the greater first.
func (r *Reader) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uvarint reads what [binary.AppendUvarint] writes.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 || (n > 1 && r.Rest[n-1] == 0) { // the last byte of a shortest form is never zero
		r.Fail()
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Varint reads what [binary.AppendVarint] writes.
func (r *Reader) Varint() int64 {
	zigzag := r.Uvarint()
	return int64(zigzag>>1) ^ -int64(zigzag&1)
}

// Text reads a text that stands behind its length as a varint, and is no longer than limit.
func (r *Reader) Text(limit int) []byte {
	n := r.Uvarint()
	if n > uint64(limit) {
		r.Fail()
		return nil
	}
	return r.Bytes(n)
}

// AppendText appends a text behind its length as a varint.
func AppendText[T ~string | ~[]byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}
