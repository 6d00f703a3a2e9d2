package pickle

// The opcodes of the subset, named as in CPython's pickletools. All others are refused.
const (
	opMark            = '('
	opStop            = '.'
	opNone            = 'N'
	opInt             = 'I'
	opLong            = 'L'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opFloat           = 'F'
	opBinFloat        = 'G'
	opString          = 'S'
	opBinString       = 'T'
	opShortBinString  = 'U'
	opUnicode         = 'V'
	opBinUnicode      = 'X'
	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opGlobal          = 'c'
	opReduce          = 'R'
	opBuild           = 'b'
	opTuple           = 't'
	opEmptyTuple      = ')'
	opDict            = 'd'
	opEmptyDict       = '}'
	opSetItem         = 's'
	opSetItems        = 'u'
	opPut             = 'p'
	opBinPut          = 'q'
	opGet             = 'g'
	opBinGet          = 'h'
	opProto           = 0x80
	opNewObj          = 0x81
	opTuple1          = 0x85
	opTuple2          = 0x86
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opLong4           = 0x8b
	opShortBinUnicode = 0x8c
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
)

// step carries out one opcode whose arguments follow at d.pos. It returns ErrIncomplete when they end too early to
// judge, and a fault when they or the stack are wrong.
func (d *decoder) step(op byte) error {
	switch op {
	case opProto:
		return d.proto()
	case opFrame:
		return d.frame()
	case opMark:
		return d.push(cell{kind: mark})
	case opNone:
		return d.push(cell{kind: None})
	case opNewTrue:
		return d.push(cell{kind: Bool, index: 1})
	case opNewFalse:
		return d.push(cell{kind: Bool})
	case opInt, opLong:
		return d.integerLine(op)
	case opBinInt, opBinInt1, opBinInt2:
		return d.integer(op)
	case opLong1:
		return d.long(1)
	case opLong4:
		return d.long(4)
	case opFloat:
		return d.floatLine()
	case opBinFloat:
		return d.float()
	case opString:
		return d.quotedLine()
	case opUnicode:
		return d.unicodeLine()
	case opBinString, opShortBinString, opBinUnicode, opShortBinUnicode, opBinBytes, opShortBinBytes:
		return d.counted(op)
	case opGlobal:
		return d.globalLines()
	case opStackGlobal:
		return d.stackGlobal()
	case opEmptyTuple:
		return d.tuple(d.depth, d.depth)
	case opTuple1:
		return d.tuple(d.depth-1, d.depth-1)
	case opTuple2:
		return d.tuple(d.depth-2, d.depth-2)
	case opTuple:
		return d.markedTuple()
	case opReduce:
		return d.reduce()
	case opNewObj:
		return d.newObject()
	case opBuild:
		return d.build()
	case opEmptyDict:
		return d.newDict()
	case opDict, opSetItem, opSetItems:
		return d.setItems(op)
	case opPut, opBinPut, opMemoize:
		return d.put(op)
	case opGet, opBinGet:
		return d.get(op)
	}
	return faultOpcode
}

// proto takes the protocol's number, which only says what the message may use and therefore changes nothing here.
func (d *decoder) proto() error {
	if d.pos != 1 {
		return faultProtocol
	}
	if d.pos == len(d.b) {
		return ErrIncomplete
	}
	if d.b[d.pos] > MaxProtocol {
		return faultProtocol
	}
	d.pos++
	return nil
}

// frame takes a frame's length. Frames are a reader's hint for prefetching; the message is bounded without them.
func (d *decoder) frame() error {
	_, err := d.length(8, MaxMessage, faultFrame)
	return err
}

// length takes an unsigned little-endian number of width bytes that may be at most limit. Each byte only adds to it, so
// it is judged as they come.
func (d *decoder) length(width, limit int, over fault) (int, error) {
	var n uint64
	for i := range width {
		if d.pos+i == len(d.b) {
			return 0, ErrIncomplete
		}
		n |= uint64(d.b[d.pos+i]) << (8 * i)
		if n > uint64(limit) {
			return 0, over
		}
	}
	d.pos += width
	return int(n), nil
}

// put remembers the top of the stack.
func (d *decoder) put(op byte) error {
	if d.depth == 0 || d.stack[d.depth-1].kind == mark {
		return faultOperand
	}
	i, err := d.memoLen, error(nil)
	if op != opMemoize {
		i, err = d.memoIndex(op == opPut)
	}
	if err != nil {
		return err
	}
	if i >= MaxMemo {
		return faultMemo
	}
	if d.memo[i].kind == 0 {
		d.memoLen++
	}
	d.memo[i] = d.stack[d.depth-1]
	return nil
}

// get pushes what was remembered. Picklers name a container again only when the value holds it twice; no legal message
// does, and without such references nothing can be shared, cyclic or exponential.
func (d *decoder) get(op byte) error {
	i, err := d.memoIndex(op == opGet)
	if err != nil {
		return err
	}
	c := d.memo[i]
	if c.kind == 0 {
		return faultMemo
	}
	if !c.kind.scalar() && c.kind != global {
		return faultShared
	}
	return d.push(c)
}

// memoIndex takes the index of a memo entry, one byte or a line of decimal digits.
func (d *decoder) memoIndex(line bool) (int, error) {
	if !line {
		return d.length(1, MaxMemo-1, faultMemo)
	}
	rest := d.b[d.pos:]
	n := 0
	for i, c := range rest {
		switch {
		case c == '\n' && i > 0:
			d.pos += i + 1
			return n, nil
		case !digit(c) || i > 0 && n == 0:
			return 0, faultMemo
		}
		if n = 10*n + int(c-'0'); n >= MaxMemo {
			return 0, faultMemo
		}
	}
	return 0, ErrIncomplete
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
