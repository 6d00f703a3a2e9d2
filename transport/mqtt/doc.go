// Package mqtt serves the bank as an MQTT broker: a client publishes operations to one topic and is answered on a topic of
// its own. PUBACK and PUBREC mean that the operation is decided and on stable storage; they are never sent before.
//
// A [Server] serves any number of [Listener] values, over TCP and WebSocket, to clients of MQTT 3.1, 3.1.1 and 5. Each
// connection is read by a conn, which cuts the stream into packets and holds each against the standard. It takes the
// packets that carry operations and their acknowledgements itself and passes the rest on to mochi, which keeps the
// handshake, subscriptions, pings and the end of a connection. mochi's own delivery state stays empty: it loses messages
// when a client's packet id meets one of the broker's, drops what a slow reader does not take, and acknowledges before
// anybody has done anything.
//
// What was promised to a client is a session: plain state, apart from connections. Its inbound half knows the packet ids
// that came and what they were answered; its outbound half holds the replies that are owed, in the order of their entries,
// until the client has acknowledged them. An exchange is one operation on its way through both. A session belongs to a
// principal, outlives its connection when the client asked for that, and has at most one connection at a time.
//
// With [Keeping] such a session outlives the process as well. What is to be known of an operation is a note in the journal's
// entry that decides it; everything else is a record of a [Store]. A [Recovery] makes sessions of both again, and the keeper
// writes checkpoints. Nothing that a client may rely on is said before what it rests on is durable.
//
// An auditor hears what all others do, and nobody waits for it. The entries of the journal are read for it by its feed, at its
// own speed and without a gap. Copies of operations and replies come by the mirror, and are dropped where it is too slow.
// Of the signed heads of the journal it is sent the newest.
//
// A connection is three goroutines: one reads, one writes whatever is ready in a single write, and mochi has one of its own,
// which sleeps. That of an auditor has one more, its feed, and another for heads. A place is reserved before an operation is submitted, so the bank's callback always finds room.
package mqtt
