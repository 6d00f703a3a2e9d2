// Package statelog keeps a state that is small and changes often: an owner's records, in order, until a checkpoint replaces
// them. What a record says is the owner's to know. After the done of [Log.Append] was called with nil, a power cut loses
// neither the record nor any before it.
//
// The files are generations. Each has a log, which holds the records that were appended in it, and, but for the first, a
// checkpoint, which replaces all records of the generations before. [Log.Checkpoint] begins the next generation's log, and
// only then writes its checkpoint; until that is whole, a start replays the checkpoint before and the logs of all
// generations since. Then the older files are removed.
//
// # How a record becomes durable
//
// [Log.Append] gathers. One goroutine takes what has gathered as a group, writes it once, and syncs once if somebody waits
// for one of its records; meanwhile the next group gathers. The log was filled with zeros and synced ahead of what is
// written, so a sync has nothing to do but the bytes, and a group that does not fit on the disk is found out before it is
// written. When the disk is full nevertheless, all that was not durable is taken back, and the log goes on.
//
// # What a start finds
//
// Frames follow one another from the start of a log without gaps, each with its seq and a checksum that begins with that of
// its own file's header. A frame that was written when all before it was durable says so: it is sealed. Behind the last
// whole frame anything that is none is a torn tail, which nobody was told about, and is cut off; but when a sealed frame
// follows, what is between was durable once. That is damage, as is everything else that is wrong, and [Open] refuses the log
// rather than guess.
//
// When nothing is left to do, the end of the log is marked by an empty sealed frame, which the next group overwrites. So
// after a stop, and after a process that was killed at rest, damage of the last group is told from a torn tail too. Without
// the mark it is not: after a power cut that met the log at work, or damage that reaches to the end and takes the mark with
// it, a torn group and what was durable and rotted look the same, and it is taken for torn.
//
// Unless a mark stands at its end, the log is written into new blocks and synced before [Open] returns, because after a crash
// the system may show bytes that the disk has not.
//
// # Caveats
//
// A log has a directory of its own, which one process may open at a time. A failed write or sync other than for want of space
// ends it for good: nothing is tried again. A disk that says it has synced and has not cannot be survived. A last log
// that somebody has taken away is not told from one that never was.
package statelog
