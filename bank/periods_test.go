package bank

import (
	"strconv"
	"testing"
	"time"
)

// A period's yield has the id of that period, however many nobody paid before it, and the next is due when the next one ends: at
// no other time does a restart, which counts from the clock, take the same period for another.
func TestAYieldIsThatOfTheLastPeriodThatIsDue(t *testing.T) {
	const first, every = 20 * time.Second, time.Minute
	start := time.Unix(0, 0).Add(1000 * every)
	for _, test := range []struct {
		late   time.Duration
		number int64
		due    time.Duration // after start + first
	}{
		{late: 0, number: 1000, due: every},
		{late: every - 1, number: 1000, due: every},
		{late: every, number: 1001, due: 2 * every},
		{late: every + 1, number: 1001, due: 2 * every},
		{late: 60*every + every/2, number: 1060, due: 61 * every},
	} {
		p := newPeriods(Investment{Enabled: true, FirstAfter: first, Every: every, Rate: "0.10"}, start)
		op := p.operation(start.Add(first + test.late))
		p.timer.Stop()
		if want := "yield-" + strconv.FormatInt(test.number, 10); op.ID != want || !p.due.Equal(start.Add(first+test.due)) {
			t.Errorf("%v late: %s, and the next is due %v after the first; want %s and %v", test.late, op.ID, p.due.Sub(start)-first, want, test.due)
		}
		if next := p.operation(p.due); next.ID != "yield-"+strconv.FormatInt(test.number+1, 10) {
			t.Errorf("%v late: the next is %s", test.late, next.ID)
		}
		p.timer.Stop()
	}
}
