package pickle

import (
	"bytes"
	"unicode/utf8"
)

// A namedGlobal is a name that GLOBAL and STACK_GLOBAL may use, and what it stands for.
type namedGlobal struct {
	Class
	role role
}

// A role says in which call a global may appear.
type role uint8

const (
	roleClass       role = iota // a class of the caller: NEWOBJ, or an argument of _reconstructor
	roleReconstruct             // copyreg._reconstructor(class, object, None): a new object, protocols 0 and 1
	roleObject                  // the type object, only as that argument
	roleDecimal                 // decimal.Decimal(str)
	roleEncode                  // _codecs.encode(str, 'latin1'): bytes, protocols 0 to 2
	roleBytes                   // bytes(): the empty bytes there
)

// builtinGlobals returns the names picklers need besides the classes, under their Python 2 and Python 3 modules
// (protocols up to 2 use the former unless the pickler was told fix_imports=False).
func builtinGlobals() []namedGlobal {
	return []namedGlobal{
		{Class{"copy_reg", "_reconstructor"}, roleReconstruct},
		{Class{"copyreg", "_reconstructor"}, roleReconstruct},
		{Class{"__builtin__", "object"}, roleObject},
		{Class{"builtins", "object"}, roleObject},
		{Class{"decimal", "Decimal"}, roleDecimal},
		{Class{"_codecs", "encode"}, roleEncode},
		{Class{"__builtin__", "bytes"}, roleBytes},
		{Class{"builtins", "bytes"}, roleBytes},
	}
}

// globalLines takes a module's line and a name's line. Each is judged as far as it has come.
func (d *decoder) globalLines() error {
	module, rest, whole := cutLine(d.b[d.pos:])
	if !whole {
		for i := range d.globals {
			if begins(d.globals[i].Module, module) {
				return ErrIncomplete
			}
		}
		return faultGlobal
	}
	name, _, whole := cutLine(rest)
	if whole {
		d.pos += len(module) + 1 + len(name) + 1
		return d.pushGlobal(module, name)
	}
	for i := range d.globals {
		if d.globals[i].Module == string(module) && begins(d.globals[i].Name, name) {
			return ErrIncomplete
		}
	}
	return faultGlobal
}

// cutLine splits b behind its first line; without a newline the line is all there is so far.
func cutLine(b []byte) (line, rest []byte, whole bool) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:], true
	}
	return b, nil, false
}

func begins(s string, prefix []byte) bool {
	return len(s) >= len(prefix) && s[:len(prefix)] == string(prefix)
}

// stackGlobal takes module and name from the stack.
func (d *decoder) stackGlobal() error {
	if d.depth < 2 || d.stack[d.depth-2].kind != Str || d.stack[d.depth-1].kind != Str {
		return faultOperand
	}
	d.depth -= 2
	return d.pushGlobal(d.textOf(d.stack[d.depth]), d.textOf(d.stack[d.depth+1]))
}

func (d *decoder) pushGlobal(module, name []byte) error {
	for i := range d.globals {
		if d.globals[i].Name == string(name) && d.globals[i].Module == string(module) {
			return d.push(cell{kind: global, index: uint16(i)})
		}
	}
	return faultGlobal
}

// roleOf returns the role of c, or false when it is no global.
func (d *decoder) roleOf(c cell) (role, bool) {
	if c.kind != global {
		return 0, false
	}
	return d.globals[c.index].role, true
}

func (d *decoder) markedTuple() error {
	m := d.lastMark()
	if m < 0 {
		return faultMark
	}
	return d.tuple(m+1, m)
}

// tuple makes a tuple of the cells from a place on and puts it at the place to, if an allowed call takes it.
func (d *decoder) tuple(from, to int) error {
	if from < 0 {
		return faultOperand
	}
	args := d.stack[from:d.depth]
	var c cell
	switch {
	case len(args) == 0:
		c.kind = noArgs
	case len(args) == 1 && args[0].kind == Str:
		c = args[0]
		c.kind = textArgs
	case len(args) == 2 && args[0].kind == Str && args[1].kind == Str && string(d.textOf(args[1])) == "latin1":
		c = args[0]
		c.kind = latin1Args
	case len(args) == 3 && d.isGlobal(args[0], roleClass) && d.isGlobal(args[1], roleObject) && args[2].kind == None:
		c = args[0]
		c.kind = newObjectArgs
	default:
		return faultCall
	}
	d.depth = to
	return d.push(c)
}

func (d *decoder) isGlobal(c cell, want role) bool {
	got, ok := d.roleOf(c)
	return ok && got == want
}

// reduce replaces a callable and its arguments by the value the call stands for. Nothing is called.
func (d *decoder) reduce() error {
	if d.depth < 2 {
		return faultOperand
	}
	args := d.stack[d.depth-1]
	callee, ok := d.roleOf(d.stack[d.depth-2])
	if !ok {
		return faultOperand
	}
	d.depth -= 2
	switch {
	case callee == roleReconstruct && args.kind == newObjectArgs:
		return d.pushObject(args.index)
	case callee == roleDecimal && args.kind == textArgs:
		args.kind = Decimal
		return d.push(args)
	case callee == roleEncode && args.kind == latin1Args:
		return d.pushLatin1(args)
	case callee == roleBytes && args.kind == noArgs:
		return d.push(cell{kind: Bytes})
	}
	return faultCall
}

// pushLatin1 pushes the bytes that a string of characters up to U+00FF stands for.
func (d *decoder) pushLatin1(c cell) error {
	off := len(d.text)
	for i, end := int(c.off), int(c.off+c.size); i < end; {
		r, size := utf8.DecodeRune(d.text[i:end])
		if r > 0xff {
			return faultCall
		}
		d.text = append(d.text, byte(r))
		i += size
	}
	return d.pushText(Bytes, off)
}

func (d *decoder) newObject() error {
	if d.depth < 2 || !d.isGlobal(d.stack[d.depth-2], roleClass) || d.stack[d.depth-1].kind != noArgs {
		return faultCall
	}
	d.depth -= 2
	return d.pushObject(d.stack[d.depth].index)
}

// pushObject pushes a new object of a class. It can only be the message itself, which stands at the bottom.
func (d *decoder) pushObject(class uint16) error {
	if d.depth != 0 {
		return faultPlace
	}
	return d.push(cell{kind: Object, index: class})
}

// build gives the object its state, once.
func (d *decoder) build() error {
	if d.depth != 2 {
		return faultOperand
	}
	object, state := &d.stack[0], d.stack[1]
	if object.kind != Object || object.state != 0 || state.kind != Dict {
		return faultOperand
	}
	if d.dicts[state.index].outer {
		return faultDepth
	}
	object.state = state.index + 1
	d.depth = 1
	return nil
}

func (d *decoder) newDict() error {
	if d.dictCount == len(d.dicts) {
		return faultDepth
	}
	d.dicts[d.dictCount] = dict{}
	d.dictCount++
	return d.push(cell{kind: Dict, index: uint16(d.dictCount - 1)})
}

// setItems puts the keys and values on top of the stack into the dict below them: one pair (SETITEM), all from the mark
// on (SETITEMS), or those into a new dict (DICT).
func (d *decoder) setItems(op byte) error {
	from := d.depth - 2
	if op != opSetItem {
		m := d.lastMark()
		if m < 0 {
			return faultMark
		}
		from = m + 1
	}
	if from < 0 {
		return faultOperand
	}
	pairs := d.stack[from:d.depth]
	d.depth = from
	if op != opSetItem {
		d.depth-- // the mark goes too
	}
	if op == opDict {
		// The new dict takes the mark's place, just below pairs.
		if err := d.newDict(); err != nil {
			return err
		}
	}
	if d.depth == 0 || d.stack[d.depth-1].kind != Dict {
		return faultOperand
	}
	if len(pairs)%2 != 0 {
		return faultItem
	}
	for i := 0; i < len(pairs); i += 2 {
		if err := d.setItem(d.stack[d.depth-1].index, pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) setItem(owner uint16, key, value cell) error {
	if key.kind != Str {
		return faultItem
	}
	into := &d.dicts[owner]
	switch {
	case value.kind == Dict && d.dicts[value.index].outer:
		return faultDepth
	case value.kind == Dict:
		into.outer = true
	case !value.kind.scalar():
		return faultItem
	}
	if into.count == MaxItems {
		return faultItems
	}
	name := d.textOf(key)
	for i := range d.items[:d.itemCount] {
		if it := &d.items[i]; it.owner == owner && bytes.Equal(d.textOf(it.key), name) {
			return faultRepeated
		}
	}
	// There is room: an item takes two opcodes at least, those that pushed its key and its value.
	d.items[d.itemCount] = item{owner, key, value}
	d.itemCount++
	into.count++
	return nil
}
