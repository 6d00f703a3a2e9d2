package simulation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

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

// spoilt returns a copy of a disk on which one file was damaged, and the first byte that is another; or nil: there is no file that
// could be.
func (w *world) spoilt(d *disktest.Disk, blocks bool) (copied *disktest.Disk, name string, place int64) {
	r := w.random
	copied = d.Fork(w.seed)
	copied.Limit(roomy)       // want of space is no damage
	names, _ := copied.List() // which does not fail here
	if len(names) == 0 {
		return nil, "", 0
	}
	name = names[r.IntN(len(names))]
	content := copied.Bytes(name)
	if len(content) == 0 {
		return nil, "", 0
	}
	if blocks && r.IntN(2) == 0 {
		const block = 512
		from := copied.Bytes(names[r.IntN(len(names))])
		at, source := r.IntN(len(content)/block+1)*block, r.IntN(len(from)/block+1)*block
		copy(content[min(at, len(content)):min(at+block, len(content))], from[min(source, len(from)):])
	} else {
		at := r.IntN(len(content))
		if said := saidIn(name, content); len(said) > 0 && r.IntN(4) > 0 {
			at = said[r.IntN(len(said))]
		}
		content[at] ^= 1 << r.IntN(8)
	}
	whole := d.Bytes(name)
	for place < int64(len(whole)) && content[place] == whole[place] {
		place++
	}
	copied.Put(name, content)
	return copied, name, place
}

// saidIn returns the places in a snapshot of the book where it says anything of accounts and ids. Nearly all of it are the heads of
// parts without any.
func saidIn(name string, content []byte) (places []int) {
	const sector, head, nothing = 512, 24, 2 // bytes; package journal draws the format
	if !strings.HasPrefix(name, "snapshot-") {
		return nil
	}
	for at := sector; at+head <= len(content); {
		end := at + head + int(binary.LittleEndian.Uint64(content[at+8:]))
		for i := at + head; end-at-head > nothing && i < min(end, len(content)); i++ {
			places = append(places, i)
		}
		at = end
	}
	return places
}

func (w *world) checkDamagedJournal() error {
	copied, name, place := w.spoilt(w.journal, !w.torn)
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
		if strings.HasSuffix(name, ".seg") && (damage.File != name || damage.Offset > place) {
			return fmt.Errorf("%s was damaged from byte %d on, and the start says %w", name, place, err)
		}
		if copied.Ops() > 0 {
			return fmt.Errorf("%s was damaged, and the start has changed the disk", name)
		}
		return nil
	}
	if err = w.checkDamagedBook(engine); err != nil {
		err = fmt.Errorf("%s was damaged, nothing was told, and %w", name, err)
	}
	copied.Kill()
	_ = engine.Close() // which is dead
	return err
}

// checkDamagedBook holds what a journal that was opened in spite of damage has, in entries and in answers, against what is known.
func (w *world) checkDamagedBook(engine *journal.Engine) error {
	all, err := history(engine)
	if err != nil {
		return err
	}
	facts, spare := w.book.facts, 0
	if w.torn {
		spare = w.book.lastBatch
	}
	for i := range min(len(facts), len(all)) {
		if err := facts[i].matches(&all[i].entry); err != nil {
			return err
		}
	}
	if len(all) < len(facts)-spare {
		return fmt.Errorf("%d of %d entries are left", len(all), len(facts))
	}
	left := w.book.underWay
	for i := len(facts); i < len(all); i++ {
		if left = upTo(left, &all[i].entry); len(left) == 0 {
			return fmt.Errorf("nobody asked for entry %d: %+v", i+1, all[i].entry)
		}
		left = left[1:]
	}
	if len(all) == len(facts) {
		return w.checkAnswers(engine, all)
	}
	return nil
}

func (w *world) checkDamagedSessions() error {
	copied, name, _ := w.spoilt(w.sessions, false)
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
