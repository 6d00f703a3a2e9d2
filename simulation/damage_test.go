package simulation

import (
	"errors"
	"fmt"

	"gateway/bank/journal"
	"gateway/disk/disktest"
	"gateway/statelog"
)

// checkDamage is I12: on a copy of the disks, as a process has left them, some bits flip or blocks are misplaced. A start on the
// copy tells the damage, with its file and place, and changes nothing; or it has all that was acknowledged.
//
// After a power cut the mark may be older than the journal, and a last batch that rotted is taken for one that was torn, as
// package journal says: then one batch may be missing. A block that is lost then takes all the batches in it with it, when
// nothing follows; so there are only bits that flip. The sessions' log is damaged after a stop only: a process that was killed
// at work leaves no mark at its end, as package statelog says.
func (w *world) checkDamage() error {
	w.figures.damages++
	if err := w.checkDamagedJournal(); err != nil {
		return fmt.Errorf("I12: the journal: %w", err)
	}
	if !w.rested || len(w.devices) == 0 {
		return nil
	}
	if err := w.checkDamagedSessions(); err != nil {
		return fmt.Errorf("I12: the sessions: %w", err)
	}
	return nil
}

// spoilt returns a copy of a disk on which one file was damaged, or nil: there is none that could be.
func (w *world) spoilt(d *disktest.Disk, blocks bool) (copied *disktest.Disk, name string) {
	r := w.random
	copied = d.Fork(w.seed)
	copied.Limit(roomy)       // want of space is no damage
	names, _ := copied.List() // which does not fail here
	if len(names) == 0 {
		return nil, ""
	}
	name = names[r.IntN(len(names))]
	content := copied.Bytes(name)
	if len(content) == 0 {
		return nil, ""
	}
	if blocks && r.IntN(2) == 0 {
		const block = 512
		from := copied.Bytes(names[r.IntN(len(names))])
		at, source := r.IntN(len(content)/block+1)*block, r.IntN(len(from)/block+1)*block
		copy(content[min(at, len(content)):min(at+block, len(content))], from[min(source, len(from)):])
	} else {
		content[r.IntN(len(content))] ^= 1 << r.IntN(8)
	}
	copied.Put(name, content)
	return copied, name
}

func (w *world) checkDamagedJournal() error {
	copied, name := w.spoilt(w.journal, !w.torn)
	if copied == nil {
		return nil
	}
	options := w.journalOptions()
	options.FS = copied
	engine, err := journal.Open("", options)
	if err != nil {
		var damage *journal.DamageError
		if !errors.As(err, &damage) || damage.File == "" || damage.Reason == "" {
			return fmt.Errorf("%s was damaged, and the start says %w", name, err)
		}
		if copied.Ops() > 0 {
			return fmt.Errorf("%s was damaged, and the start has changed the disk", name)
		}
		return nil
	}
	all, err := history(engine)
	if err != nil {
		return fmt.Errorf("%s was damaged, it was opened, and then %w", name, err)
	}
	spare := 0
	if w.torn {
		spare = w.book.lastBatch
	}
	for i := range w.book.facts {
		switch {
		case i < len(all):
			if err := w.book.facts[i].matches(&all[i].entry); err != nil {
				return fmt.Errorf("%s was damaged, and nothing was told: %w", name, err)
			}
		case i < len(w.book.facts)-spare:
			return fmt.Errorf("%s was damaged, nothing was told, and %d of %d entries are left", name, len(all), len(w.book.facts))
		}
	}
	copied.Kill()
	_ = engine.Close() // which is dead
	return nil
}

func (w *world) checkDamagedSessions() error {
	copied, name := w.spoilt(w.sessions, false)
	if copied == nil {
		return nil
	}
	whole, err := records(w.sessions.Fork(w.seed), w.owner)
	if err != nil {
		return err
	}
	left, err := records(copied, w.owner)
	if err == nil {
		if len(left) != len(whole) {
			return fmt.Errorf("%s was damaged, nothing was told, and %d of %d records are left", name, len(left), len(whole))
		}
		for i := range whole {
			if whole[i] != left[i] {
				return fmt.Errorf("%s was damaged, nothing was told, and record %d is another", name, i)
			}
		}
		return nil
	}
	var damage *statelog.DamageError
	if !errors.As(err, &damage) || damage.File == "" || damage.Reason == "" {
		return fmt.Errorf("%s was damaged, and the start says %w", name, err)
	}
	return nil
}

// records returns what a sessions' log has kept.
func records(d *disktest.Disk, owner [16]byte) ([]string, error) {
	var all []string
	log, err := statelog.Open(d, owner, statelog.Options{}, func(record []byte) error {
		all = append(all, string(record))
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.Kill()
	_ = log.Close() // which is dead
	return all, nil
}
