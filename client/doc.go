// Package client asks a gateway for operations, over a socket or over MQTT 5, with one promise: the same operation is
// carried out at most once, however often it had to be sent.
//
// [Client.Do] sends an [Operation] and waits for its [Reply]. When a connection breaks, when an answer stays away and when
// the bank is [bank.Overloaded] or [bank.Unavailable], it sends the operation again with the same id, until it has an
// answer or its context ends. An operation that writes and was given no id gets one: 26 characters, 128 random bits.
//
// What Do returns leaves no doubt about the money:
//
//   - a [Reply]: the bank's decision. A refusal is a Reply too, not an error;
//   - an [UnknownError], which is [ErrUnknown]: the operation was sent and no answer came that settles what became of it. It
//     may have happened. The error carries the id to ask about, with an operation of [bank.KindStatus] or by repeating the
//     same operation with that id;
//   - an error that is [ErrNotSent]: the operation never left, or every copy of it was turned away unread.
//
// An operation whose Do has ended is not sent again.
//
// [NewSocket] speaks msgpack or JSON to a socket listener: one connection per operation, or, for a listener with
// `session: true`, one connection that carries operations of many goroutines at once. Answers there come in the order of
// the operations, and each must also carry the id of its operation; an answer that does not breaks the connection and is
// believed by nobody. So every operation is sent with an id, even a balance, which the bank does not remember.
//
// [NewMQTT] speaks MQTT 5 to the broker's door, at QoS 1, with a session that outlives a broken connection: an answer that
// was on its way is delivered to the next one. Answers are matched by correlation data. [Client.Close] ends the session.
//
// A Client dials when the first operation asks for it, redials in one place with growing pauses, and bounds what is on its
// way at once. It may be used by any number of goroutines.
package client
