package wire

import (
	"sync"

	"gateway/bank"
)

// mapCodec is the codec of the formats whose messages are maps: msgpack and JSON.
type mapCodec struct {
	format   Format
	decimals int
	readers  sync.Pool // of *operationReader
	writers  sync.Pool // of *msgpackWriter
}

// operationReader reads operations. It is kept for its memory.
type operationReader struct {
	reader
	fields fields
}

func newMapCodec(f Format, decimals int) *mapCodec {
	c := &mapCodec{format: f, decimals: decimals}
	c.readers.New = func() any { return &operationReader{reader: newReader(f)} }
	c.writers.New = func() any { return newMsgpackWriter() }
	return c
}

func newReader(f Format) reader {
	if f == JSON {
		return reader{scan: new(jsonScanner)}
	}
	return reader{scan: newMsgpackScanner()}
}

func (c *mapCodec) Format() Format { return c.format }

func (c *mapCodec) Ack() []byte { return c.format.Ack() }

func (c *mapCodec) MaxMessage() int { return MaxMessage }

func (c *mapCodec) Decode(b []byte, op *bank.Operation) (int, error) {
	*op = bank.Operation{}
	r := c.readers.Get().(*operationReader)
	defer c.readers.Put(r)
	defer r.release()
	n, err := r.read(b, &r.fields)
	if err != nil {
		return 0, err
	}
	if fault := r.fields.operation(op, c.decimals, r.wrong); fault != nil {
		return n, fault
	}
	return n, nil
}

func (r *operationReader) release() {
	r.reader.release()
	r.fields = fields{}
}

func (c *mapCodec) AppendReply(dst []byte, r *bank.Reply) []byte {
	v := viewOf(r, c.decimals)
	if c.format == JSON {
		return v.appendJSON(dst)
	}
	w := c.writers.Get().(*msgpackWriter)
	defer c.writers.Put(w)
	w.b = dst
	w.message(&v)
	dst, w.b = w.b, nil
	return dst
}

func (c *mapCodec) Space(b []byte) int {
	n := 0
	for c.format == JSON && n < len(b) && jsonSpace(b[n]) {
		n++
	}
	return n
}
