package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
)

// patience is how long after a recovery everybody knows what became of what he asked: I11.
const patience = 10 * time.Second

// mostSteps bounds how many things happen until all is at rest.
const mostSteps = 20_000

// finish asks nothing new and lets nothing fail any more, and waits until everybody knows what became of what he asked. Then
// it stops the process.
func (w *world) finish() {
	w.ending, w.failing = true, nil
	w.journal.Limit(roomy)
	w.sessions.Limit(roomy)
	w.trace.add(line{what: "ending"})
	began := time.Time{}
	for n := 0; ; n++ {
		if w.rest(); w.wrong != nil {
			return
		}
		if p := w.process; p != nil && p.phase == serving && !p.failed() {
			if began.IsZero() {
				began = time.Now()
			}
			if !w.busy() {
				break
			}
		} else {
			began = time.Time{}
		}
		if n > mostSteps || !began.IsZero() && time.Since(began) > patience {
			w.fail("I11: %v after the recovery: %s", time.Since(began), w.waits())
			return
		}
		w.step()
	}
	w.process.stop()
	w.rest()
	for n := 0; w.process != nil && w.wrong == nil; n++ {
		if n > mostSteps {
			w.fail("the process does not stop")
		}
		w.step()
		w.rest()
	}
}

// busy reports whether anybody waits for something.
func (w *world) busy() bool {
	return slices.ContainsFunc(w.devices, (*device).busy) ||
		slices.ContainsFunc(w.callers, func(c *caller) bool { return c.waits != nil || len(c.unknown) > 0 })
}

// waits tells who waits for what.
func (w *world) waits() string {
	all := ""
	for _, d := range w.devices {
		if d.busy() {
			all += fmt.Sprintf("%s is at stage %d with %d exchanges; ", d.id, d.stage, len(d.exchanges))
			for _, a := range w.book.asked {
				if a.device == d && d.missing(a) {
					all += fmt.Sprintf("it lacks the reply to m%d, entry %d; ", a.tag, a.entry)
				}
			}
		}
	}
	for _, c := range w.callers {
		if c.waits != nil || len(c.unknown) > 0 {
			all += fmt.Sprintf("caller %d waits, or does not know of %d; ", c.number, len(c.unknown))
		}
	}
	return all
}

// audit opens the journal once more after a stop, and holds what it answers against what its entries say: I5. From time to
// time it does so without the snapshots, so that all of the book comes from the entries.
func (w *world) audit() error {
	if w.random.IntN(4) == 0 {
		names, _ := w.journal.List() // which does not fail here
		for _, name := range names {
			if len(name) > 9 && name[:9] == "snapshot-" {
				w.journal.Delete(name)
			}
		}
	}
	engine, err := w.open()
	if err != nil {
		return fmt.Errorf("I1: open after the stop: %w", err)
	}
	defer engine.Close() // again, or after a promise that was broken
	all, err := history(engine)
	if err != nil {
		return err
	}
	if err := w.book.adopt(all); err != nil {
		return err
	}
	if len(all) != len(w.book.facts) {
		return fmt.Errorf("I5: %d entries, %d are known", len(all), len(w.book.facts))
	}
	if err := w.checkAnswers(engine, all); err != nil {
		return fmt.Errorf("I5: %w", err)
	}
	if err := engine.Close(); err != nil {
		return fmt.Errorf("close after the stop: %w", err)
	}
	return nil
}

// checkAnswers asks an engine that has all entries, and no more, for all that its book answers.
func (w *world) checkAnswers(engine *journal.Engine, all []found) error {
	ops := w.questions(all)
	replies := make([]bank.Reply, len(ops))
	if err := engine.Commit(context.Background(), ops, replies); err != nil {
		return fmt.Errorf("ask for the book: %w", err)
	}
	for i := range ops {
		want := w.book.model.Do(ops[i])
		if replies[i].Time = (time.Time{}); replies[i] != want {
			return fmt.Errorf("%+v is answered %+v from the disk, the entries say %+v", ops[i], replies[i], want)
		}
	}
	return nil
}

// questions are all that a book answers: every balance, and what was answered to every id.
func (w *world) questions(all []found) []bank.Operation {
	accounts := map[bank.Account]bool{}
	var ops []bank.Operation
	for i := range all {
		e := &all[i].entry
		accounts[e.Account], accounts[e.To] = true, true
		if e.ID != "" {
			ops = append(ops, bank.Operation{Kind: bank.KindStatus, Principal: e.Principal, ID: e.ID})
		}
	}
	for _, account := range slices.Sorted(maps.Keys(accounts)) {
		if account.Valid() {
			ops = append(ops, bank.Operation{Kind: bank.KindBalance, Account: account})
		}
	}
	return ops
}
