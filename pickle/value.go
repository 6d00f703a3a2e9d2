package pickle

// Kind says what a [Value] is. The zero Kind is no value at all.
type Kind uint8

// The kinds of values. None to Bytes are scalars.
const (
	None Kind = iota + 1
	Bool
	Int
	Float
	Decimal
	Str
	Bytes
	Object
	Dict
)

// A Value is a scalar, an object of an allowed class with its state, or a dict with string keys. It shares no memory
// with the bytes it was read from.
type Value struct {
	Kind Kind
	// Text is the content of a Str or Bytes, "True" or "False" of a Bool, and the number as text otherwise. Int: decimal
	// digits after an optional '-', no leading zeros. Float: the shortest decimal digits that read back equal, with an
	// exponent (e+21) only from 1e21 on and below 1e-21, or "nan", "inf", "-inf". Decimal: the string that was pickled,
	// unjudged.
	Text string
	// Float is the number of a Float.
	Float float64
	// Class is the class of an Object.
	Class Class
	// Items are the attributes of an Object or the entries of a Dict in order of arrival. Their keys are unique. An
	// Object pickled without attributes has none.
	Items []Item
}

// An Item is one attribute of an object or one entry of a dict.
type Item struct {
	Key   string
	Value Value
}

// A Class is the name of a Python class, compared byte by byte.
type Class struct{ Module, Name string }

// scalar tells whether k is the kind of a value that holds no other.
func (k Kind) scalar() bool { return k >= None && k <= Bytes }
