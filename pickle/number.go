package pickle

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strconv"
)

// integerLine takes the line of INT or LONG: an integer as Python writes it, for LONG with an L behind it (which old
// picklers may leave out). INT also spells bools, 00 and 01.
func (d *decoder) integerLine(op byte) error {
	rest := d.b[d.pos:]
	first := 0
	if len(rest) > 0 && rest[0] == '-' {
		first = 1
	}
	i := skipDigits(rest, first)
	text := rest[:i]
	isBool := op == opInt && (string(text) == "00" || string(text) == "01")
	if i-first > MaxText || i > first && rest[first] == '0' && i > 1 && !isBool {
		return faultNumber
	}
	if op == opLong && i > first && i < len(rest) && rest[i] == 'L' {
		i++
	}
	if i == len(rest) {
		return ErrIncomplete
	}
	if i == first || rest[i] != '\n' {
		return faultNumber
	}
	d.pos += i + 1
	if isBool {
		return d.push(cell{kind: Bool, index: uint16(text[1] - '0')})
	}
	off := len(d.text)
	d.text = append(d.text, text...)
	return d.pushText(Int, off)
}

// skipDigits returns where the decimal digits of b that start at i end.
func skipDigits(b []byte, i int) int {
	for i < len(b) && digit(b[i]) {
		i++
	}
	return i
}

// integer takes the argument of BININT (signed), BININT1 or BININT2 (unsigned).
func (d *decoder) integer(op byte) error {
	rest := d.b[d.pos:]
	width := 1
	switch op {
	case opBinInt:
		width = 4
	case opBinInt2:
		width = 2
	}
	if len(rest) < width {
		return ErrIncomplete
	}
	d.pos += width
	switch op {
	case opBinInt:
		return d.pushInt(int64(int32(binary.LittleEndian.Uint32(rest))))
	case opBinInt2:
		return d.pushInt(int64(binary.LittleEndian.Uint16(rest)))
	}
	return d.pushInt(int64(rest[0]))
}

func (d *decoder) pushInt(n int64) error {
	off := len(d.text)
	d.text = strconv.AppendInt(d.text, n, 10)
	return d.pushText(Int, off)
}

// long takes an integer of so many bytes as a length of the given width says: little-endian two's complement, none for
// zero.
func (d *decoder) long(width int) error {
	n, err := d.length(width, MaxLong, faultNumber)
	if err != nil {
		return err
	}
	if len(d.b)-d.pos < n {
		return ErrIncomplete
	}
	content := d.b[d.pos : d.pos+n]
	d.pos += n
	if n > 8 {
		return d.pushBig(content)
	}
	var v uint64
	for i, c := range content {
		v |= uint64(c) << (8 * i)
	}
	unused := 64 - 8*n
	return d.pushInt(int64(v<<unused) >> unused)
}

// pushBig pushes an integer beyond 64 bits. MaxLong keeps this, the one conversion that is not linear, to microseconds.
func (d *decoder) pushBig(content []byte) error {
	var magnitude [MaxLong]byte
	bigEndian := magnitude[:copy(magnitude[:], content)]
	slices.Reverse(bigEndian)
	v := new(big.Int).SetBytes(bigEndian)
	if bigEndian[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(content))))
	}
	off := len(d.text)
	d.text = v.Append(d.text, 10)
	return d.pushText(Int, off)
}

// float takes the argument of BINFLOAT.
func (d *decoder) float() error {
	rest := d.b[d.pos:]
	if len(rest) < 8 {
		return ErrIncomplete
	}
	d.pos += 8
	return d.push(cell{kind: Float, float: math.Float64frombits(binary.BigEndian.Uint64(rest))})
}

// floatLine takes the line of FLOAT: a float as Python's repr writes it.
func (d *decoder) floatLine() error {
	rest := d.b[d.pos:]
	end, whole := floatEnd(rest)
	switch {
	case end < 0 || end > MaxText:
		return faultNumber
	case !whole:
		return ErrIncomplete
	}
	// ParseFloat knows other spellings; floatEnd let only Python's through. It fails for what no float can hold.
	v, err := strconv.ParseFloat(string(rest[:end]), 64)
	if err != nil {
		return faultNumber
	}
	d.pos += end + 1
	return d.push(cell{kind: Float, float: v})
}

// floatEnd returns where the float at the front of b ends, or -1 when it is none, and whether its newline has come.
func floatEnd(b []byte) (end int, whole bool) {
	i := 0
	if len(b) > 0 && b[0] == '-' {
		i = 1
	}
	if word := b[i:min(i+3, len(b))]; i < len(b) && !digit(b[i]) {
		if !begins("inf", word) && (i > 0 || !begins("nan", word)) {
			return -1, false
		}
		if len(word) < 3 {
			return len(b), false
		}
		return floatLineEnd(b, i+3)
	}
	if i = digits(b, i); i < 0 || i == len(b) {
		return i, false
	}
	if b[i] == '.' {
		i = skipDigits(b, i+1)
	}
	if i < len(b) && b[i] == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		i = digits(b, i)
	}
	if i < 0 {
		return i, false
	}
	return floatLineEnd(b, i)
}

// floatLineEnd returns end if b ends there or its line does, else -1.
func floatLineEnd(b []byte, end int) (int, bool) {
	if end == len(b) {
		return end, false
	}
	if b[end] != '\n' {
		return -1, false
	}
	return end, true
}

// digits is skipDigits, but there must be one unless b ends first; else it returns -1.
func digits(b []byte, i int) int {
	end := skipDigits(b, i)
	if end == i && i < len(b) {
		return -1
	}
	return end
}
