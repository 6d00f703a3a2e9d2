package evidence

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is the RFC 6962 tree over the hashes of some entries. It is not changed once it is made.
type tree struct {
	leaves int64
	stored storedHashes
}

// storedHashes are the hashes of a tree in the order of package tlog.
type storedHashes []tlog.Hash

// ReadHashes implements [tlog.HashReader].
func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(s)) {
			return nil, fmt.Errorf("evidence: a tree of %d hashes has no hash %d", len(s), index)
		}
		hashes[i] = s[index]
	}
	return hashes, nil
}

// newTree returns the tree over hashes, of which there is one or more.
func newTree(hashes [][32]byte) (*tree, error) {
	t := &tree{stored: make(storedHashes, 0, tlog.StoredHashCount(int64(len(hashes))))}
	for i := range hashes {
		made, err := tlog.StoredHashes(t.leaves, hashes[i][:], t.stored)
		if err != nil {
			return nil, fmt.Errorf("make a tree: %w", err)
		}
		t.stored = append(t.stored, made...)
		t.leaves++
	}
	return t, nil
}

func (t *tree) root() ([32]byte, error) {
	root, err := tlog.TreeHash(t.leaves, t.stored)
	return root, err
}

// path returns the hashes that lead from a leaf to the root.
func (t *tree) path(leaf int64) (tlog.RecordProof, error) {
	return tlog.ProveRecord(t.leaves, leaf, t.stored)
}

// leads reports whether a path leads from the leaf of that number, made of hash, to the root of a tree of so many leaves.
func leads(path tlog.RecordProof, leaves int64, root [32]byte, leaf int64, hash [32]byte) bool {
	return tlog.CheckRecord(path, leaves, root, leaf, tlog.RecordHash(hash[:])) == nil
}
