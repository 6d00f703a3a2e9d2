// Package evidence proves to others what a journal holds. A [Head] says that the journal had a certain entry, with a certain
// hash, at a certain time; it is signed, and since the hash is over all entries before, it stands for the whole history. A
// [Receipt] is one entry with the path from it to a head: whoever has it and the public key can tell, without the bank, that
// the bank has decided so.
//
// [Heads] makes heads, keeps them in the journal's directory, in a copy elsewhere if one is wanted, and gives them to whoever
// asks; a [Desk] answers the clients that ask for receipts; a [Checker] holds heads against a journal that is being read.
//
// # What a head is
//
// A signed note as package golang.org/x/mod/sumdb/note has it, under an Ed25519 key. Its text has six lines:
//
//	gateway head 1
//	journal ID          32 hex digits: what tells the journal from all others
//	seq SEQ             of the last entry
//	hash HASH           of that entry, in hex
//	time TIME           when the head was made: RFC 3339, UTC, with microseconds
//	range FIRST ROOT    ROOT is that of the RFC 6962 tree over the hashes of the entries FIRST to SEQ, in hex
//
// FIRST is the seq after the head before, so that every entry is in the range of exactly one head, and a range has at most
// [MaxRange] entries, so that a path has at most 16 hashes. The leaves of the tree are hashes: a path tells nothing about the
// entries beside it.
//
// # Caveats
//
// Heads prove nothing to who has them from where the journal is: whoever can write there can write both anew. They are worth
// as much as the place where somebody keeps an old one, and the key, apart from the bank. A head is not made in the moment in
// which an entry is: what is behind the last one is proved by the chain of hashes alone.
package evidence
