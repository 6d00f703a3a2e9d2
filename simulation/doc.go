// Package simulation runs the gateway in a world that is all drawn from one number: the same seed is the same run, to the byte.
// What runs is the real bank, journal, sessions' log and MQTT door, put together as cmd/gateway does it; what is simulated is
// everything around them: the disks, the network, the clocks, the clients, and the ends of the process.
//
// A run is a world. Its driver is the only thing that ever decides: it lets everything run until all of it waits (package
// testing/synctest tells when), looks at what could happen next, lets the seed pick one, and begins anew. What may happen next
// is a packet that arrives, in part or not at all; an operation on a disk that succeeds or fails; a commit that begins; an
// answer that is handed out; a client that asks, or asks again; time that passes, or a clock that jumps; a process that is
// stopped, killed, or loses its power. Every run draws which of these there are in it, and how often: a run without faults
// goes deeper, and a run with few kinds meets their combinations.
//
// The book is what a judge who saw everything knows: what was asked and told, when, and what the rules, put a second time in
// package banktest, make of it. Checks hold the gateway against it, after each restart and at the end of a run: they are the
// promises of RELIABILITY.md and have a name and a function each. A run that breaks one prints its seed, the last of what
// happened, and the command that plays it again.
//
// # Caveats
//
// A write to a client never blocks: who blocks in one holds a lock, and one who waits for a lock keeps a bubble from ever being
// at rest. For the same reason one packet is delivered at a time, and time does not pass while a commit is under way and a
// yield may fall due: two things that are ready at once are picked by the runtime and not by the seed.
package simulation
