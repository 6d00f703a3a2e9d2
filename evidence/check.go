package evidence

import (
	"fmt"
	"io"

	"gateway/bank"
)

// Checker holds the heads of a file against a journal that is read from its first entry on.
type Checker struct {
	roll roll
	key  *PublicKey
	own  bool   // the roll is in the journal's own directory
	from int64  // where in the roll the next head is looked for
	next record // the head that comes next; none when its seq is 0
	told CheckReport
	bad  error

	base   uint64     // the seq of the first of hashes
	hashes [][32]byte // of the entries from the beginning of the next range on
	end    uint64     // the last entry
}

// CheckReport is what a [Checker] found.
type CheckReport struct {
	Heads int
	Last  Head // the last of them
	Gaps  int  // between them heads are missing, or torn
	Torn  int  // bytes of a first head that a crash has torn, in the journal's own directory, where there is no other
}

// NewChecker returns a checker of the heads in a file of so many bytes, which key must have signed. The file is one that Heads
// keeps, or its copy: what is torn is passed over. So that a journal that is being written is not taken for cut, the size of the
// file must be asked before the journal is read.
func NewChecker(file io.ReaderAt, size int64, key *PublicKey) *Checker {
	return &Checker{roll: roll{file, size}, key: key, base: 1}
}

// NewOwnChecker is [NewChecker] for the file in the journal's own directory. There a crash may have torn the first head, so that there
// is none: a start cuts off what there is of it, and nobody has the head.
func NewOwnChecker(file io.ReaderAt, size int64, key *PublicKey) *Checker {
	c := NewChecker(file, size, key)
	c.own = true
	return c
}

// Entry takes the next entry of the journal in, which begins with the first. It never fails: [Checker.Finish] tells.
func (c *Checker) Entry(e *bank.Entry, hash [32]byte) error {
	if e.Seq == 1 {
		c.advance()
	}
	c.end = e.Seq
	if c.bad != nil || c.next.Seq == 0 {
		return nil
	}
	if e.Seq >= c.next.First {
		if len(c.hashes) == 0 {
			c.base = e.Seq
		}
		c.hashes = append(c.hashes, hash)
	}
	for c.bad == nil && c.next.Seq == e.Seq {
		c.meet(hash)
	}
	return nil
}

// meet holds the next head against the entry of its seq.
func (c *Checker) meet(hash [32]byte) {
	h := &c.next.Head
	if hash != h.Hash {
		c.bad = rewritten(h, c.told.Last.Seq)
		return
	}
	if h.First < c.base {
		c.bad = &DamageError{Reason: fmt.Sprintf("head %d begins with entry %d, before the head before it", h.Seq, h.First)}
		return
	}
	t, err := newTree(c.hashes[h.First-c.base:])
	var root [32]byte
	if err == nil {
		root, err = t.root()
	}
	if err == nil && root != h.Root {
		err = &DamageError{Reason: fmt.Sprintf("head %d has another root than its entries", h.Seq)}
	}
	if c.bad = err; err != nil {
		return
	}
	c.told.Heads++
	c.told.Last = *h
	c.advance()
}

// advance reads the next head and checks its signature.
func (c *Checker) advance() {
	before := c.told.Last
	found, ok, err := c.roll.next(c.from)
	c.next = found
	if err != nil || !ok {
		c.bad, c.next.Seq = err, 0
		return
	}
	c.from = found.next
	if err := c.key.check(&found.Head, &found.signature); err != nil {
		c.bad, c.next.Seq = err, 0
		return
	}
	switch {
	case c.told.Heads > 0 && found.Journal != before.Journal:
		c.bad = &DamageError{Reason: fmt.Sprintf("head %d is of another journal than those before it", found.Seq)}
	case found.Seq <= before.Seq:
		c.bad = &DamageError{Reason: fmt.Sprintf("head %d comes after head %d", found.Seq, before.Seq)}
	case c.told.Heads > 0 && found.First > before.Seq+1:
		c.told.Gaps++
	}
	// What was torn off the roll is in its copy: then the next head begins where that one did.
	if drop := found.First - c.base; found.First > c.base && drop <= uint64(len(c.hashes)) {
		c.hashes, c.base = append(c.hashes[:0], c.hashes[drop:]...), found.First
	} else if found.First > c.base {
		c.hashes = c.hashes[:0]
	}
}

// Finish returns what was found once all entries were taken in, those of the journal of that id. Errors wrap [ErrDamaged],
// [ErrHead] or [ErrKey], or are the file's.
func (c *Checker) Finish(journal [16]byte) (CheckReport, error) {
	if c.end == 0 {
		c.advance()
	}
	of := c.told.Last
	if c.next.Seq != 0 {
		of = c.next.Head
	}
	switch {
	case of.Seq != 0 && of.Journal != journal && c.end > 0:
		return c.told, &DamageError{Reason: fmt.Sprintf("the heads are of journal %x, not of %x", of.Journal, journal)}
	case c.bad != nil:
		return c.told, c.bad
	case c.next.Seq != 0:
		return c.told, c.cut()
	case c.told.Heads == 0 && c.own && c.roll.size <= int64(maxRecord): // as openKept has it
		c.told.Torn = int(c.roll.size)
	case c.told.Heads == 0 && c.roll.size > 0:
		return c.told, fmt.Errorf("%w: there is none in the file", ErrHead)
	}
	return c.told, nil
}

// cut says that the journal ends before the next head, and of which entry there is a last head.
func (c *Checker) cut() error {
	damage := cut(&c.next.Head, c.end)
	last, ok, err := c.roll.last()
	if err != nil {
		return err
	}
	if ok {
		damage.Cut = max(damage.Cut, last.Seq)
	}
	return damage
}
