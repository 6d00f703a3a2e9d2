package banktest

import (
	"crypto/sha256"

	"gateway/bank"
)

// Chain computes the hashes of a history from its entries alone, as PROTOCOL.md defines them: a second time, so that a fault of
// an engine's is not the check's as well. The zero value is before the first entry.
type Chain struct {
	last  [sha256.Size]byte
	bytes []byte
}

// Next returns the hash of the entry that comes next.
func (c *Chain) Next(e *bank.Entry) [sha256.Size]byte {
	c.bytes = e.AppendCanonical(append(c.bytes[:0], c.last[:]...))
	c.last = sha256.Sum256(c.bytes)
	return c.last
}
