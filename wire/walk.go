package wire

import "bytes"

const (
	// maxDepth is how deep maps and lists may nest: the message, its object, and one that stands where a scalar should.
	maxDepth = 3
	// maxKeys is the most keys of one map.
	maxKeys = 32
	// keptScratch is the most scratch memory, in bytes, that a reader keeps between messages.
	keptScratch = 4 << 10
)

// What is wrong with the shape of a message that can be read to its end.
const (
	faultRepeated  = "a repeated field; send each once"
	faultNotScalar = "a map or list where a field is passed over; send it without"
)

// scanner reads the tokens of one format from the front of a buffer. Its errors are ErrIncomplete or a *Fault, which ends
// the message.
type scanner interface {
	// reset makes b the buffer and forgets everything else.
	reset(b []byte)
	// offset returns how many bytes have been read.
	offset() int
	// next reads a scalar, or opens a map or list. It sets the kind of v as soon as that is known, even if an error follows.
	next(v *value) error
	// more reports whether the open container c, of which count items were read, has another one.
	more(c container, count int) (bool, error)
	// key reads the key of an item of a map.
	key() ([]byte, error)
}

// container is an open map or list.
type container struct {
	kind valueKind
	size int // the items it declares, in msgpack
}

// place is where in a message a key stands.
type place uint8

const (
	inMessage place = iota
	inObject        // in the map that is the value of target.object
	elsewhere       // in a value that has no meaning
)

// target is what the values of a message are read into.
type target interface {
	// place returns where the value of a key goes, nil for nowhere, and what is wrong with the key, if anything.
	place(at place, key []byte) (*value, string)
	// object returns the one value whose map is read like the message itself; nil: none is.
	object() *value
}

// reader walks through a message and puts its values in their places. It believes no length and recurses no deeper than
// maxDepth. One goroutine at a time uses it.
type reader struct {
	scan   scanner
	keys   [][]byte // of the maps that are open, those of the outermost first
	passed value    // the last value that was passed over
	wrong  string   // what is wrong with the shape of the message
}

// read reads one message, a map, from the front of b. The values in t are valid until the next read.
func (r *reader) read(b []byte, t target) (n int, err error) {
	b = b[:min(len(b), MaxMessage)]
	r.scan.reset(b)
	r.keys, r.wrong, r.passed = r.keys[:0], "", value{}
	err = r.scan.next(&r.passed)
	if r.passed.given() && r.passed.kind != mapping {
		return 0, malformed("an operation is a map; send one")
	}
	if err == nil {
		err = r.items(t, r.passed.container(), inMessage, 1)
	}
	if err == ErrIncomplete && len(b) == MaxMessage {
		return 0, tooLarge()
	}
	if err != nil {
		return 0, err
	}
	return r.scan.offset(), nil
}

// release lets go of the caller's memory.
func (r *reader) release() {
	r.scan.reset(nil)
	clear(r.keys[:cap(r.keys)])
	r.passed = value{}
}

// items reads what the container c holds. It is at a place, and depth containers are open.
func (r *reader) items(t target, c container, at place, depth int) error {
	outer := len(r.keys)
	defer func() { r.keys = r.keys[:outer] }()
	for count := 0; ; count++ {
		more, err := r.scan.more(c, count)
		if err != nil || !more {
			return err
		}
		to := &r.passed
		if c.kind == mapping {
			if to, err = r.key(t, at, outer); err != nil {
				return err
			}
		}
		if err := r.scan.next(to); err != nil {
			return err
		}
		if !to.kind.container() {
			continue
		}
		if depth == maxDepth {
			return malformed("maps and lists too deep; send an operation")
		}
		inner := elsewhere
		if at == inMessage && to == t.object() && to.kind == mapping {
			inner = inObject
		} else if at != elsewhere && to == &r.passed {
			r.fault(faultNotScalar)
		}
		if err := r.items(t, to.container(), inner, depth+1); err != nil {
			return err
		}
	}
}

// key reads a key of the innermost map, whose earlier keys are r.keys[outer:], and returns where its value goes.
func (r *reader) key(t target, at place, outer int) (*value, error) {
	key, err := r.scan.key()
	if err != nil {
		return nil, err
	}
	if len(r.keys)-outer == maxKeys {
		return nil, tooManyKeys()
	}
	repeated := false
	for _, known := range r.keys[outer:] {
		repeated = repeated || bytes.Equal(known, key)
	}
	r.keys = append(r.keys, key)
	if repeated {
		r.fault(faultRepeated)
		return &r.passed, nil
	}
	if at == elsewhere {
		return &r.passed, nil
	}
	to, wrong := t.place(at, key)
	if wrong != "" {
		r.fault(wrong)
	}
	if to == nil {
		to = &r.passed
	}
	return to, nil
}

// fault keeps the first thing that is wrong. A repeated field outranks the others: it leaves open what was meant.
func (r *reader) fault(wrong string) {
	if r.wrong == "" || wrong == faultRepeated {
		r.wrong = wrong
	}
}

func tooManyKeys() *Fault { return malformed("too many fields; send an operation") }

// scratch returns memory of a finished message for the next one.
func scratch(used []byte) []byte {
	if cap(used) > keptScratch {
		return nil
	}
	return used[:0]
}
