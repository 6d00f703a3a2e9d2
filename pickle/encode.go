package pickle

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

// encodedProtocol is the protocol of what this package writes: every Python since 2.3 reads it.
const encodedProtocol = 2

// AppendTrue appends a whole message that is True.
func AppendTrue(dst []byte) []byte {
	return append(dst, opProto, encodedProtocol, opNewTrue, opStop)
}

// AppendDict appends a whole message that is a dict of the given items. Their values may be None, Bool, Int within 64
// bits, Float and Str; their strings must be UTF-8 for Python to read them. It panics on any other value, for what is
// written is ours and never a client's.
func AppendDict(dst []byte, items []Item) []byte {
	dst = append(dst, opProto, encodedProtocol, opEmptyDict, opMark)
	for i := range items {
		dst = appendString(dst, items[i].Key)
		dst = appendScalar(dst, &items[i].Value)
	}
	return append(dst, opSetItems, opStop)
}

func appendScalar(dst []byte, v *Value) []byte {
	switch v.Kind {
	case None:
		return append(dst, opNone)
	case Bool:
		switch v.Text {
		case "True":
			return append(dst, opNewTrue)
		case "False":
			return append(dst, opNewFalse)
		}
	case Int:
		if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil {
			return appendInt(dst, n)
		}
	case Float:
		return binary.BigEndian.AppendUint64(append(dst, opBinFloat), math.Float64bits(v.Float))
	case Str:
		return appendString(dst, v.Text)
	}
	panic("pickle: value cannot be written")
}

func appendString(dst []byte, s string) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, opBinUnicode), uint32(len(s)))
	return append(dst, s...)
}

// appendInt appends the shortest form of n.
func appendInt(dst []byte, n int64) []byte {
	switch {
	case n >= 0 && n <= math.MaxUint8:
		return append(dst, opBinInt1, byte(n))
	case n >= 0 && n <= math.MaxUint16:
		return binary.LittleEndian.AppendUint16(append(dst, opBinInt2), uint16(n))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return binary.LittleEndian.AppendUint32(append(dst, opBinInt), uint32(n))
	}
	// Two's complement: the magnitude's bits and one for the sign.
	size := bits.Len64(uint64(n^n>>63))/8 + 1
	dst = append(dst, opLong1, byte(size))
	for i := range size {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}
