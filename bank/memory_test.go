package bank_test

import (
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
)

func TestMemoryPassesTheSuite(t *testing.T) {
	opened := map[string]*bank.Memory{}
	banktest.Run(t, banktest.Harness{
		Open: func(_ testing.TB, dir string, rules bank.Rules, now func() time.Time) bank.Engine {
			opened[dir] = bank.NewMemory(rules, now)
			return opened[dir]
		},
		Entries: func(t testing.TB, dir string) []bank.Entry {
			if sum := opened[dir].Ledger().Sum(); sum != 0 {
				t.Fatalf("the book sums to %d", sum)
			}
			return opened[dir].Entries()
		},
	})
}
