// Package little is for the test of the tool that changes it: some of its mutants die and some survive.
package little

import (
	"errors"
	"time"
)

// Amount has a name of its own.
type Amount int64

const most Amount = 10

// Book counts.
type Book struct {
	sum   Amount
	moved int
	last  time.Duration
}

var errAmount = errors.New("little: amount")

// Add is tested well below the bound, and not at it.
func (b *Book) Add(a Amount) error {
	if a <= 0 || a > most {
		return errAmount
	}
	b.sum += a
	b.moved++
	b.last = 5
	return nil
}

// Mean is tested.
func (b *Book) Mean() (mean Amount, known bool) {
	if b.moved == 0 {
		return 0, false
	}
	return b.sum / Amount(b.moved), true
}

// First is tested, but for the loop's end.
func First(list []string, want string) (int, error) {
	for i, each := range list {
		switch {
		case each == "" && !hidden(want):
			continue
		case each == want:
			return i, nil
		}
	}
	return pass(errAmount)
}

func hidden(want string) bool { return want == "" }

func pass(err error) (int, error) { return 1 << len(err.Error()[:1]), err }

// Forgotten is not tested.
func Forgotten() { panic("nobody calls this") }

var least int

// Never ends when it is changed in one of the ways.
func Never(n int) {
	for n > least {
		n = least
	}
}
