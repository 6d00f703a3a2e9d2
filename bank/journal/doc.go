// Package journal is the embedded engine: it keeps the book in memory and its history in append-only files of one
// directory. After [Engine.Commit] returns nil, a power cut loses nothing.
//
// The files are segments, which hold the entries, snapshots, which spare a start the reading of all of them, and a mark,
// which says how far the journal is known to be durable. Segments are never removed: they are the history. Every entry is
// in a frame with its length, its checksum and the hash of the entry before; [Verify] reads them all, [Dump] tells them, and
// [Engine.Follow] tells them as they come.
//
// # How a batch becomes durable
//
// [Engine.Commit] judges the operations by the [bank.Ledger], gathers the frames of what must be written in one buffer, and
// then writes it once, syncs once, and writes the mark. It answers after that, and the next batch is written only after it.
// The segment was filled with zeros and synced before it came into use, so the sync has nothing to do but the bytes, and a
// write cannot run out of space.
//
// # What a start finds
//
// Because one batch is durable before the next is written, a crash can leave only the last one in pieces, and nobody was
// told about it. Everything else that is wrong was once right: it is damage, and [Open] refuses the journal rather than
// guess. The two are told apart by what was durable for certain: all that is before the mark or the end of a snapshot, all
// that is before a frame that begins a later batch, and all of a segment that another follows.
//
// There is one thing no reader can tell: after a power cut the mark may be older than the journal, and when then its end is
// found in pieces, with no whole batch behind, a torn batch and durable ones that rotted look the same. They are taken for
// torn. After a stop, and after a process that was killed, the mark leaves no such doubt; and a signed head of an entry that
// is gone (package evidence) stops the start.
//
// Unless the mark stands at its end, the tail that remains is written into new blocks and synced before anything is served,
// because after a crash the system may show bytes that the disk has not.
//
// # Caveats
//
// One process may open a directory at a time. A failed write or sync stops the engine for good: nothing is tried again,
// since a second sync may claim what the first lost. A disk that says it has synced and has not cannot be survived. Whoever
// can write the files can also write them anew with other hashes; only a signed head kept elsewhere shows that.
package journal
