package bank

import (
	"context"
	"crypto/rand"
	"time"
)

// Memory is an [Engine] whose book and history live in memory: nothing survives Close. It is meant for trials and tests.
type Memory struct {
	ledger  *Ledger
	now     func() time.Time
	entries []Entry
}

// NewMemory returns an empty Memory. now gives the time of entries.
func NewMemory(rules Rules, now func() time.Time) *Memory {
	m := &Memory{now: now}
	var key [16]byte
	rand.Read(key[:])
	m.ledger = NewLedger(rules, key, (*memoryHistory)(m))
	return m
}

// Commit judges the batch. It fails only when the book breaks.
func (m *Memory) Commit(_ context.Context, ops []Operation, replies []Reply) error {
	for i := range ops {
		var e Entry
		write, err := m.ledger.Decide(&ops[i], m.now(), &e, &replies[i])
		if err != nil {
			return err
		}
		if !write {
			continue
		}
		if err := m.ledger.Post(&e, uint64(len(m.entries))); err != nil {
			return err
		}
		m.entries = append(m.entries, e)
	}
	return nil
}

// Close does nothing; the Memory can be read after it.
func (m *Memory) Close() error { return nil }

// Ledger returns the book, for reading while no Commit runs.
func (m *Memory) Ledger() *Ledger { return m.ledger }

// Entries returns the history, for reading while no Commit runs.
func (m *Memory) Entries() []Entry { return m.entries }

// memoryHistory is the [History] of a Memory; a reference is an index.
type memoryHistory Memory

func (m *memoryHistory) Entry(ref uint64, e *Entry) error {
	*e = m.entries[ref]
	return nil
}
