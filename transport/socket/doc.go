// Package socket serves the bank over TCP: the server sends an ack, the client sends operations, the server answers them.
// What was accepted is answered, whatever the peer does; a peer that does not keep its part costs nobody else anything.
//
// A [Server] serves any number of [Listener] values, each with one [wire.Codec]. A connection carries one operation, or, where
// the Listener says Session, any number of them, pipelined and answered in their order. The bytes are PROTOCOL.md's.
//
// A connection of one operation is one goroutine; a session is two, a reader and a writer, with as many places between them
// as operations may be in flight. No operation is repeated by the server: a client whose reply was lost asks with its id.
//
// When [Server.Serve] is told to stop, an operation that has not wholly been read by then, or that was read and not yet
// submitted, is refused as unavailable; it has changed nothing. A connection that has sent none yet is told the same where
// it owes one, and closed without a word between the operations of a session.
package socket
