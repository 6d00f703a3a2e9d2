package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// quickInvestment is the old bank's, some thirty times as fast.
const quickInvestment = `enabled: true, first_after: 100ms, every: 500ms, hold: 50ms, rate: "0.10"`

const (
	// interruptions bounds how often a yield may come in the midst of what a test asks.
	interruptions = 20
	// mostYields is when no round begins any more: two for each interruption later, at 108, the first deposits would come to
	// the ceiling of a bank with nine decimals.
	mostYields = 60
)

// paid returns how many yields there were, credited or not.
func (r *rivals) paid() (count int) {
	r.t.Helper()
	for line := range strings.Lines(pageOf(r.t, r.process.addresses["admin"][0], "/metrics", "")) {
		if rest, is := strings.CutPrefix(line, "gateway_yields_total{"); is {
			var value int
			if _, err := fmt.Sscan(rest[strings.Index(rest, "} ")+2:], &value); err != nil {
				r.t.Fatal(err)
			}
			count += value
		}
	}
	return count
}

// awaitYield waits for the next yield and tells the model.
func (r *rivals) awaitYield() {
	r.t.Helper()
	r.checkYields()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for r.paid() == r.yields {
		select {
		case <-tick.C:
		case <-late:
			r.t.Fatal("no yield")
		}
	}
	r.yields++
	r.model.ask(new(any), "yield")
}

// checkYields notes when a yield has come that nobody awaited.
func (r *rivals) checkYields() {
	r.t.Helper()
	if paid := r.paid(); paid != r.yields {
		r.late, r.yields = true, paid
	}
}

// betweenYields has f play between one yield and the next, and again, with another prefix of accounts, when one came in its
// midst. What f complains of counts when none did.
func (r *rivals) betweenYields(f func(prefix string) (complaints []string)) (complaints []string) {
	r.t.Helper()
	for range interruptions {
		r.awaitYield()
		r.late = false
		complaints = f(fmt.Sprint(r.yields, "."))
		if r.checkYields(); !r.late {
			return complaints
		}
	}
	r.t.Fatal("yields came in the midst of everything")
	return nil
}

// TestYieldsAgainstTheOldBank plays the scenes with a yield, and random deposits before yields.
func TestYieldsAgainstTheOldBank(t *testing.T) {
	for _, s := range scenes(t, "differences.txt") {
		if s.has("yield") {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				r := startRivals(t, s.decimals, quickInvestment)
				for _, complaint := range r.betweenYields(func(prefix string) []string { return r.act(&s, 2, prefix) }) {
					t.Error(complaint)
				}
				r.close(nil)
			})
		}
	}
	j := newJourney(t)
	for i, c := range courses() {
		if !c.odd && !slices.Contains(c.allowed, "ceiling") { // a great balance keeps yields from everybody
			t.Run(fmt.Sprintf("%s with %d decimals", c.name, c.decimals), func(t *testing.T) {
				t.Parallel()
				r := startRivals(t, c.decimals, quickInvestment)
				random := rand.New(rand.NewPCG(j.seed, uint64(i)))
				for rounds := max(1, j.operations/legacyOperations); rounds > 0 && r.yields < mostYields; rounds-- {
					for _, complaint := range r.betweenYields(func(prefix string) []string { return r.credit(&c, random, prefix) }) {
						t.Errorf("%v: %s", j, complaint)
					}
				}
				r.close(nil)
			})
		}
	}
}

// credit plays a deposit to each of some accounts, a yield, and what they have then.
func (r *rivals) credit(c *course, random *rand.Rand, prefix string) (complaints []string) {
	r.t.Helper()
	var deposits, balances []letter
	for i := range 12 {
		account := fmt.Sprintf("'%d.%s'", i, prefix)
		amount := c.amounts[random.IntN(len(c.amounts))].text(random)
		deposits = append(deposits, letter{random.IntN(6), "Deposito(" + account + ", " + amount + ")", ""})
		balances = append(balances, letter{random.IntN(6), "Saldo(" + account + ")", ""})
	}
	ask := func(messages []letter, allowed string) {
		for i, pieces := range r.make(messages...) {
			if got := r.play(pieces); !strings.Contains(allowed, got.name) || got.name == "" {
				complaints = append(complaints, fmt.Sprintf("%s after %s is answered %q | %q: %s",
					messages[i].expression, deposits[i].expression, got.old, got.here, got.name))
			}
		}
	}
	ask(deposits, "same whole-number")
	r.awaitYield()
	ask(balances, "same whole-number yield-rounding")
	return complaints
}
