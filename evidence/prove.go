package evidence

import (
	"context"
	"fmt"

	"gateway/bank"
)

// Receipt returns the receipt of an entry that is durable. When no head covers it yet, one is made for it, which may take
// [AskedEvery]. It is a text of some 1,600 bytes at most, unless the entry came with a long note of its transport. Errors wrap
// [ErrUnavailable]; or [ErrDamaged], when somebody has changed the files of a gateway that serves; or are those of ctx, the files
// or the journal.
//
// It reads the entry from the journal, and, unless it is under one of the two heads asked about last, all entries of its range,
// in one reading of the journal from the nearest place that it knows.
func (h *Heads) Receipt(ctx context.Context, seq uint64) (string, error) {
	if err := h.await(ctx, seq); err != nil {
		return "", err
	}
	covering, err := h.covering(ctx, seq)
	if err != nil {
		return "", fmt.Errorf("find the head of entry %d: %w", seq, err)
	}
	p := proof{seq: seq, head: covering.Head, signature: covering.signature}
	if p.before, p.canonical, err = h.read(ctx, seq); err != nil {
		return "", fmt.Errorf("read entry %d: %w", seq, err)
	}
	if len(p.canonical) > maxEntry {
		return "", fmt.Errorf("%w: entry %d has %d bytes", ErrUnavailable, seq, len(p.canonical))
	}
	leaf := int64(seq - p.head.First)
	if p.path, err = covering.tree.path(leaf); err != nil {
		return "", err
	}
	if !leads(p.path, covering.tree.leaves, p.head.Root, leaf, chained(p.before, p.canonical)) {
		return "", &DamageError{Seq: p.head.First, Reason: fmt.Sprintf("entry %d is not the one that was signed", seq)}
	}
	return p.text(), nil
}

// await waits for a head that covers the entry.
func (h *Heads) await(ctx context.Context, seq uint64) error {
	for {
		covered, newer := h.want(seq)
		if covered {
			return nil
		}
		if err := h.Err(); err != nil {
			return err
		}
		select {
		case <-newer:
		case <-ctx.Done():
			return fmt.Errorf("%w: no head covers it yet: %w", ErrUnavailable, ctx.Err())
		case <-h.ended:
			return fmt.Errorf("%w: the gateway is stopping", ErrUnavailable)
		}
	}
}

// covering returns the head that covers an entry, and its tree.
func (h *Heads) covering(ctx context.Context, seq uint64) (rangeOf, error) {
	h.mu.Lock()
	known, older, end := rangeOf(h.newest), h.older, h.newest.next
	h.mu.Unlock()
	for _, r := range []rangeOf{known, older} {
		if r.tree != nil && r.First <= seq && seq <= r.Seq {
			return r, nil
		}
	}
	found, ok, err := roll{h.kept.file, end}.find(seq)
	if err != nil {
		return rangeOf{}, err
	}
	if !ok || found.First > seq {
		return rangeOf{}, &DamageError{Reason: HeadsFile + " has no head that covers it"}
	}
	if err := h.Public().check(&found.Head, &found.signature); err != nil {
		return rangeOf{}, err
	}
	r := rangeOf{record: found}
	if r.tree, err = h.grow(ctx, &found.Head); err != nil {
		return rangeOf{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.older = r
	return r, nil
}

// grow makes the tree of a head from the journal.
func (h *Heads) grow(ctx context.Context, of *Head) (*tree, error) {
	hashes := make([][32]byte, 0, of.entries())
	err := h.journal.Follow(ctx, of.First-1, func(e *bank.Entry, hash [32]byte) error {
		if hashes = append(hashes, hash); e.Seq == of.Seq {
			return errEnough
		}
		return nil
	})
	if err != errEnough {
		return nil, err
	}
	return newTree(hashes)
}

// read returns the hash of the entry before an entry, and its canonical bytes.
func (h *Heads) read(ctx context.Context, seq uint64) (before [32]byte, canonical []byte, err error) {
	err = h.journal.Follow(ctx, max(seq, 2)-2, func(e *bank.Entry, hash [32]byte) error {
		if e.Seq < seq {
			before = hash
			return nil
		}
		canonical = e.AppendCanonical(nil)
		return errEnough
	})
	if err == errEnough {
		err = nil
	}
	return before, canonical, err
}
