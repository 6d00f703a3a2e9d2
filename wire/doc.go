// Package wire turns bytes into a [bank.Operation] and a [bank.Reply] into bytes, in three formats: Python pickle,
// msgpack and JSON. It is pure: it knows no sockets, no topics and no clock.
//
// A [Codec] is the bank's side of a format, a [Client] the other side. Two maps are understood, the canonical one and that
// of the legacy bank, whose Portuguese words live in legacy.go and nowhere else. Every format ends in the same fields, and
// one function judges those, so that a message means the same however it was written. PROTOCOL.md shows the bytes.
//
// Every format knows its own end: [Codec.Decode] is called with all the bytes that have come so far, and says
// [ErrIncomplete] until they hold a whole message. Nothing is read into maps or interfaces, no declared length is believed
// before its bytes are there, nothing nests deeper than three levels, and a message is refused at its first byte that
// cannot belong to a legal one.
package wire
