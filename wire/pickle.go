package wire

import (
	"errors"
	"strconv"
	"strings"

	"gateway/bank"
	"gateway/pickle"
)

// pickleCodec is the codec of the legacy bank's clients.
type pickleCodec struct {
	decimals int
	reader   *pickle.Reader
}

func newPickleCodec(decimals int) *pickleCodec {
	return &pickleCodec{decimals: decimals, reader: pickle.NewReader(pickledClasses())}
}

func (c *pickleCodec) Format() Format { return Pickle }

func (c *pickleCodec) Ack() []byte { return Pickle.Ack() }

func pickleAck() []byte { return pickle.AppendTrue(nil) }

func (c *pickleCodec) MaxMessage() int { return pickle.MaxMessage }

func (c *pickleCodec) Space([]byte) int { return 0 }

func (c *pickleCodec) Decode(b []byte, op *bank.Operation) (int, error) {
	*op = bank.Operation{}
	v, n, err := c.reader.Decode(b)
	switch {
	case errors.Is(err, pickle.ErrIncomplete):
		return 0, ErrIncomplete
	case errors.Is(err, pickle.ErrTooLarge):
		return 0, tooLarge()
	case err != nil:
		return 0, malformed(faultPickle + ": " + strings.TrimPrefix(err.Error(), "pickle: "))
	}
	var f fields
	wrong := f.unpickle(&v)
	if fault := f.operation(op, c.decimals, wrong); fault != nil {
		return n, fault
	}
	return n, nil
}

// unpickle puts what a pickle says in its places and returns what is wrong with its shape. An instance is read as the
// legacy map that it stands for.
func (f *fields) unpickle(v *pickle.Value) (wrong string) {
	if v.Kind == pickle.Object {
		f.legacy.class = value{kind: text, text: []byte(v.Class.Name)}
		f.legacy.object.kind = mapping
		return f.attributes(v.Items)
	}
	for i := range v.Items {
		it := &v.Items[i]
		to := f.legacy.place([]byte(it.Key))
		if to == nil {
			return faultLegacyField
		}
		*to = pickled(&it.Value)
		if to == &f.legacy.object {
			wrong = f.attributes(it.Value.Items)
		}
	}
	return wrong
}

// attributes puts an object's attributes in their places. All are scalars: package pickle lets no others in.
func (f *fields) attributes(items []pickle.Item) (wrong string) {
	for i := range items {
		it := &items[i]
		to, other := f.place(inObject, []byte(it.Key))
		if other != "" {
			wrong = other
		}
		if to != nil {
			*to = pickled(&it.Value)
		}
	}
	if f.legacy.amount.kind == text {
		f.legacy.amount.kind = opaque // a str is no number in Python, whatever is written in it
	}
	return wrong
}

func pickled(v *pickle.Value) value {
	switch v.Kind {
	case pickle.None:
		return value{kind: null}
	case pickle.Bool:
		return value{kind: boolean}
	case pickle.Int, pickle.Float, pickle.Decimal:
		return value{kind: number, text: []byte(v.Text)}
	case pickle.Str:
		return value{kind: text, text: []byte(v.Text)}
	case pickle.Dict:
		return value{kind: mapping}
	}
	return value{kind: opaque}
}

// AppendReply appends {'status': bool, 'msg': number, text or None} and nothing else, as the legacy bank did.
func (c *pickleCodec) AppendReply(dst []byte, r *bank.Reply) []byte {
	v := viewOf(r, c.decimals)
	status := "False"
	if v.status {
		status = "True"
	}
	return pickle.AppendDict(dst, []pickle.Item{
		{Key: "status", Value: pickle.Value{Kind: pickle.Bool, Text: status}},
		{Key: "msg", Value: v.pickled()},
	})
}

func (v *view) pickled() pickle.Value {
	if !v.status {
		return pickle.Value{Kind: pickle.Str, Text: v.text}
	}
	if v.number == "" {
		return pickle.Value{Kind: pickle.None}
	}
	if n, whole := v.whole(); whole {
		return pickle.Value{Kind: pickle.Int, Text: strconv.FormatInt(n, 10)}
	}
	return pickle.Value{Kind: pickle.Float, Float: v.float()}
}
