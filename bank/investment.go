package bank

import (
	"strconv"
	"time"
)

// Investment is the bank's habit of crediting a yield to every positive balance at regular times. The zero value is off.
type Investment struct {
	Enabled    bool
	FirstAfter time.Duration // from the start of Run
	Every      time.Duration
	Hold       time.Duration // operations wait this long before the yield, and none is refused for it
	Rate       string        // as [ParseRate] reads it
}

// periods numbers the yields. A yield's id is its period: the number of the interval of wall-clock time that the first one
// of this run falls into, and from there one more each time. A restart within a period, or a clock that was set back before
// a restart, names a period that was paid already, and the book answers that without paying again.
type periods struct {
	investment Investment
	number     int64
	timer      *time.Timer
	due        time.Time
}

func newPeriods(investment Investment, now time.Time) *periods {
	p := &periods{investment: investment}
	if !investment.Enabled {
		p.timer = time.NewTimer(0)
		p.timer.Stop()
		return p
	}
	p.due = now.Add(investment.FirstAfter)
	p.number = p.due.UnixNano() / int64(investment.Every)
	p.timer = time.NewTimer(investment.FirstAfter)
	return p
}

// operation returns the yield of the period that is due, of several the last, and steps to the next.
func (p *periods) operation(now time.Time) Operation {
	if missed := now.Sub(p.due) / p.investment.Every; missed > 0 {
		p.number += int64(missed)
		p.due = p.due.Add(missed * p.investment.Every)
	}
	op := Operation{
		Kind: KindYield, Principal: HousePrincipal, ID: "yield-" + strconv.FormatInt(p.number, 10), Memo: p.investment.Rate,
	}
	p.number++
	p.due = p.due.Add(p.investment.Every)
	p.timer.Reset(p.due.Sub(now))
	return op
}
