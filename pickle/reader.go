package pickle

import (
	"math"
	"strconv"
	"sync"
)

// A Reader decodes messages that name only the classes it was made with. It is safe for concurrent use.
type Reader struct {
	globals  []namedGlobal
	decoders sync.Pool // of *decoder
}

// NewReader returns a Reader for messages that name only the given classes. It keeps a copy of the list.
func NewReader(classes []Class) *Reader {
	r := &Reader{globals: builtinGlobals()}
	for _, c := range classes {
		r.globals = append(r.globals, namedGlobal{c, roleClass})
	}
	r.decoders.New = func() any { return new(decoder) }
	return r
}

// Decode reads one message from the front of b and returns its value and how many bytes it took. The bytes after it are
// not looked at.
//
// ErrIncomplete asks for more bytes: call again with all of them from the first one. ErrTooLarge says that MaxMessage
// bytes were not enough. Any other error wraps ErrMalformed and tells opcode, offset and reason, and nothing else of the
// content; more bytes would not change it. With an error, the count is zero.
func (r *Reader) Decode(b []byte) (Value, int, error) {
	d := r.decoders.Get().(*decoder)
	defer r.decoders.Put(d)
	d.reset(b, r.globals)
	defer d.release()
	if err := d.run(); err != nil {
		return Value{}, 0, err
	}
	return d.value(), d.pos, nil
}

// A decoder is the machine a message drives: a stack, a memo, and the items set so far. All of it is flat and of fixed
// size but text, whose growth MaxMessage bounds; so nothing recurses, and a used decoder is as good as a new one.
type decoder struct {
	b       []byte // the message so far, at most MaxMessage bytes
	pos     int    // the next byte of b
	globals []namedGlobal

	stack   [MaxStack]cell
	depth   int
	memo    [MaxMemo]cell
	memoLen int

	text      []byte // the content of all strings and numbers; cells point into it
	items     [MaxOpcodes / 2]item
	itemCount int
	dicts     [1 + MaxItems]dict
	dictCount int
}

// A cell is what stands on the stack or in the memo.
type cell struct {
	kind      Kind
	index     uint16 // of a dict or global, of the class of an object or of its arguments; 1 for True
	state     uint16 // an object's dict, plus one; 0 before BUILD
	off, size uint32 // into decoder.text
	float     float64
}

// Kinds of cells that are no values. A tuple is only ever the arguments of a call, so it becomes one of the four lists
// of arguments that an allowed call takes, and anything else is refused when the tuple is made.
const (
	mark          Kind = Dict + 1 + iota
	global             // index into decoder.globals
	noArgs             // ()
	textArgs           // (str,)
	latin1Args         // (str, 'latin1')
	newObjectArgs      // (class, object, None)
)

// An item is an entry of dict number owner.
type item struct {
	owner      uint16
	key, value cell
}

// A dict counts its items; they lie in decoder.items among those of others.
type dict struct {
	count int
	outer bool // has a dict among its values
}

func (d *decoder) reset(b []byte, globals []namedGlobal) {
	d.b, d.pos, d.globals = b[:min(len(b), MaxMessage)], 0, globals
	d.depth, d.memo, d.memoLen = 0, [MaxMemo]cell{}, 0
	d.text, d.itemCount, d.dictCount = d.text[:0], 0, 0
}

// release lets go of the caller's memory.
func (d *decoder) release() { d.b, d.globals = nil, nil }

// run carries out opcodes until STOP. After nil, d.value is the message and d.pos its length.
func (d *decoder) run() error {
	for opcodes := 1; d.pos < len(d.b); opcodes++ {
		at := d.pos
		op := d.b[at]
		d.pos++
		if opcodes > MaxOpcodes {
			return malformed(op, at, faultOpcodes)
		}
		if op == opStop {
			if d.depth != 1 || d.stack[0].kind != Object && d.stack[0].kind != Dict {
				return malformed(op, at, faultResult)
			}
			return nil
		}
		err := d.step(op)
		if err == ErrIncomplete {
			break
		}
		if err != nil {
			return malformed(op, at, err)
		}
	}
	if len(d.b) == MaxMessage {
		return ErrTooLarge
	}
	return ErrIncomplete
}

func (d *decoder) push(c cell) error {
	if d.depth == MaxStack {
		return faultStack
	}
	d.stack[d.depth] = c
	d.depth++
	return nil
}

// pushText pushes a value whose text is everything in d.text from off on.
func (d *decoder) pushText(kind Kind, off int) error {
	return d.push(cell{kind: kind, off: uint32(off), size: uint32(len(d.text) - off)})
}

// textOf returns the text of a cell; it is valid until the next reset.
func (d *decoder) textOf(c cell) []byte { return d.text[c.off : c.off+c.size] }

// lastMark returns the place of the topmost mark, or -1.
func (d *decoder) lastMark() int {
	i := d.depth - 1
	for i >= 0 && d.stack[i].kind != mark {
		i--
	}
	return i
}

// value builds the message's value from the one cell left on the stack: one string for all its texts, one slice for all
// its items, those of a dict side by side.
func (d *decoder) value() Value {
	items := d.items[:d.itemCount]
	for i := range items {
		if c := &items[i].value; c.kind == Float {
			c.off = uint32(len(d.text))
			d.text = appendFloat(d.text, c.float)
			c.size = uint32(len(d.text)) - c.off
		}
	}
	text := string(d.text)
	all := make([]Item, len(items))
	var lists [1 + MaxItems][]Item // by dict
	for i := range d.dicts[:d.dictCount] {
		n := d.dicts[i].count
		lists[i], all = all[:n:n], all[n:]
	}
	var filled [1 + MaxItems]int
	for i := range items {
		it := &items[i]
		to := &lists[it.owner][filled[it.owner]]
		filled[it.owner]++
		to.Key = text[it.key.off : it.key.off+it.key.size]
		to.Value = it.value.value(text)
		if it.value.kind == Dict {
			to.Value.Items = lists[it.value.index]
		}
	}
	root := d.stack[0]
	switch {
	case root.kind == Dict:
		return Value{Kind: Dict, Items: lists[root.index]}
	case root.state != 0:
		return Value{Kind: Object, Class: d.globals[root.index].Class, Items: lists[root.state-1]}
	}
	return Value{Kind: Object, Class: d.globals[root.index].Class}
}

// value returns the value of a cell whose text lies in text; a dict's items are left to the caller.
func (c cell) value(text string) Value {
	v := Value{Kind: c.kind, Text: text[c.off : c.off+c.size], Float: c.float}
	if c.kind == Bool {
		v.Text = boolText(c.index == 1)
	}
	return v
}

func boolText(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// appendFloat appends the text of a Float as Value.Text promises it.
func appendFloat(dst []byte, f float64) []byte {
	size := math.Abs(f)
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case size != 0 && (size < smallestPlain || size >= largestPlain):
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// Floats from smallestPlain up to largestPlain are written without an exponent. Others would take up to 327 bytes each.
const (
	smallestPlain = 1e-21
	largestPlain  = 1e21
)
