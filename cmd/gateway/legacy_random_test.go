package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gateway/bank"
)

// draw is a way to make up one field of an operation, as Python writes it. It has the name of the difference that it shows
// and the code that the gateway refuses it with; neither, when both banks must do it.
type draw struct {
	name, code string
	text       func(*rand.Rand) string
}

func choice(values ...string) func(*rand.Rand) string {
	return func(random *rand.Rand) string { return values[random.IntN(len(values))] }
}

// The amounts that both banks take.
var (
	wholes = draw{text: func(random *rand.Rand) string {
		return strconv.Itoa(1 + random.IntN(1<<(1+random.IntN(18)))) // of every opcode for integers that is in use
	}}
	wholeFloats = draw{text: func(random *rand.Rand) string { return strconv.Itoa(1+random.IntN(300)) + ".0" }}
	quarters    = draw{text: func(random *rand.Rand) string {
		return strconv.FormatFloat(float64(1+random.IntN(1200))/4, 'f', -1, 64)
	}}
	cents = draw{text: func(random *rand.Rand) string {
		return fmt.Sprintf("%d.%02d", random.IntN(300), 1+random.IntN(99))
	}}
	decimalCents = draw{text: func(random *rand.Rand) string {
		return fmt.Sprintf("Decimal('%d.%02d')", random.IntN(300), 1+random.IntN(99))
	}}
	billionths = draw{text: func(random *rand.Rand) string {
		return fmt.Sprintf("%d.%09d", random.IntN(2), 1+random.Int64N(1_000_000_000-1)/[]int64{1, 1000, 100_000}[random.IntN(3)])
	}}
	// What floats have digits enough for, and no more; the balances come to their ceiling.
	greatCents = draw{text: func(random *rand.Rand) string {
		return fmt.Sprintf("%d.%02d", 20_000_000_000_000+random.Int64N(60_000_000_000_000), 1+random.IntN(99))
	}}
	greatBillionths = draw{text: func(random *rand.Rand) string {
		return fmt.Sprintf("%d.%09d", 2_000_000+random.IntN(6_000_000), 1+random.IntN(999_999_999))
	}}
	smallWholes = draw{text: func(random *rand.Rand) string { return strconv.Itoa(1 + random.IntN(300)) }}
	greatWholes = draw{text: func(random *rand.Rand) string {
		return fmt.Sprint(45_000_000_000_000 + random.Int64N(40_000_000_000_000))
	}}
)

// oddAmounts are those that the gateway refuses.
var oddAmounts = []draw{
	{"zero", "invalid_amount", choice("0", "0.0", "-0.0", "Decimal(0)", "Decimal('0.00')")},
	{"negative", "invalid_amount", choice("-1", "-20", "-2.5", "-0.01", "-10**12", "Decimal(-1)", "-2**31", "-2**31-1")},
	{"more-decimals", "invalid_amount", choice("0.001", "0.1+0.2", "12.345", "1e-7", "5e-324", "1/3")},
	{"decimal-form", "invalid_amount", choice("Decimal('1.000')", "Decimal('0.001')", "Decimal('2E+1')", "Decimal('1e-7')")},
	{"not-finite", "invalid_amount", choice("float('inf')", "-float('inf')", "float('nan')", "Decimal('Infinity')", "Decimal('sNaN')")},
	{"too-great", "invalid_amount", choice("10**18", "2**63", "2**64", "10**30", "1e18", "1e22", "1e300", "2**255", "Decimal(10**18)")},
	{"bool", "invalid_amount", choice("True", "False")},
	{"no-number", "invalid_amount", choice("''", "'20'", "'12.50'", "None", "b'20'", "'nan'")},
	{"other-number", "malformed", choice("Fraction(1, 3)", "2j", "[20]", "(20,)", "{1: 2}")},
}

// The accounts that both banks know, and those that the gateway refuses. One name may be another's beginning, or differ from it
// in case only.
var (
	accounts    = []string{"1", "01", "ana", "Ana", "ANA", "a.b:c@d-e_f", strings.Repeat("9", 64), strings.Repeat("9", 63)}
	oddAccounts = []draw{
		{"account-letters", "invalid_account", choice(
			"''", "' '", "'a b'", "'jo\\u00e3o'", "'\\u20ac'", "'@cash'", "'@yield'", "'1\\n'", "'\\0'", "'9'*65", "'a/b'", "'.a'", "'\\u0661'")},
		{"account-not-text", "invalid_account", choice("1", "0", "1.5", "None", "True", "b'1'", "Decimal(1)")},
	}
)

// course is how random operations are made, and which differences they may show.
type course struct {
	name     string
	decimals int
	amounts  []draw
	odd      bool // now and then something that the gateway refuses
	allowed  []string
}

func courses() []course {
	return []course{
		{"ints", 2, []draw{wholes}, false, nil},
		{"ints", 0, []draw{wholes}, false, nil},
		{"quarters", 2, []draw{wholes, quarters}, false, []string{"whole-number"}},
		{"cents", 2, []draw{wholes, cents}, false, []string{"whole-number", "float-drift"}},
		{"billionths", bank.MaxDecimals, []draw{smallWholes, billionths}, false, []string{"whole-number", "float-drift"}},
		{"great billionths", bank.MaxDecimals, []draw{smallWholes, billionths, greatBillionths}, false,
			[]string{"whole-number", "float-drift", "ceiling"}},
		{"everything", 2, []draw{wholes, quarters, cents, decimalCents, greatWholes, greatCents}, true,
			[]string{"whole-number", "float-drift", "decimal", "ceiling"}},
		{"everything", 0, []draw{wholes, wholeFloats, greatWholes}, true, []string{"whole-number", "ceiling"}},
	}
}

// made is a random operation and what its fields are to show.
type made struct {
	letter
	odd draw
}

// forms are the operations, and how often each is made up beside the others.
var forms = []string{
	"Saldo(PAYER)", "Deposito(PAYER, AMOUNT)", "Deposito(PAYER, AMOUNT)", "Saque(PAYER, AMOUNT)", "Saque(PAYER, AMOUNT)",
	"Transferencia(PAYER, PAYEE, AMOUNT)", "Transferencia(PAYER, PAYEE, AMOUNT)",
}

// operation makes one up.
func (c *course) operation(random *rand.Rand) made {
	fields := map[string]string{
		"PAYER":  strconv.Quote(accounts[random.IntN(len(accounts))]),
		"PAYEE":  strconv.Quote(accounts[random.IntN(len(accounts))]),
		"AMOUNT": c.amounts[random.IntN(len(c.amounts))].text(random),
	}
	m := made{letter: letter{protocol: random.IntN(6), expression: forms[random.IntN(len(forms))]}}
	if c.odd && random.IntN(4) == 0 {
		from, field := oddAccounts, []string{"PAYER", "PAYEE", "AMOUNT", "AMOUNT"}[random.IntN(4)]
		if field == "AMOUNT" {
			from = oddAmounts
		}
		if strings.Contains(m.expression, field) {
			m.odd = from[random.IntN(len(from))]
			fields[field] = m.odd.text(random)
		}
	}
	for field, text := range fields {
		m.expression = strings.Replace(m.expression, field, text, 1)
	}
	return m
}

// explain returns what is wrong with a verdict, if anything.
func (c *course) explain(m *made, got verdict) string {
	switch {
	case m.odd.code != "" && !strings.HasPrefix(got.here, "refused "+m.odd.code+": "):
		return "is not refused as " + m.odd.code
	case m.odd.code != "" && got.name != "":
		return "is one that the gateway should do"
	case m.odd.code == "" && got.name != "same" && !slices.Contains(c.allowed, got.name):
		return "shows a difference that is none of " + fmt.Sprint(c.allowed)
	}
	return ""
}

const (
	// legacyOperations is how many random operations of each course are compared.
	legacyOperations = 400
	// bundle is how many are pickled at a time.
	bundle = 200
)

// journey is how many random operations there are to be, and the seed of all. GATEWAY_LEGACY says other ones: "NUMBER" or
// "NUMBER SEED".
type journey struct {
	operations int
	seed       uint64
}

func newJourney(t *testing.T) journey {
	t.Helper()
	j := journey{legacyOperations, rand.Uint64()}
	if value := os.Getenv("GATEWAY_LEGACY"); value != "" {
		if n, err := fmt.Sscan(value, &j.operations, &j.seed); n == 0 || j.operations <= 0 {
			t.Fatalf("GATEWAY_LEGACY=%q: want a number of operations and, to repeat them, a seed: %v", value, err)
		}
	}
	return j
}

// String tells how to go there again.
func (j journey) String() string { return fmt.Sprintf("GATEWAY_LEGACY='%d %d'", j.operations, j.seed) }

// TestRandomlyAgainstTheOldBank plays long random sequences. What both banks take must be answered alike, word for word, but
// for the differences that PROTOCOL.md allows; what the gateway refuses must be refused by the code of its row.
func TestRandomlyAgainstTheOldBank(t *testing.T) {
	rows, j := differences(t), newJourney(t)
	for i, c := range courses() {
		t.Run(fmt.Sprintf("%s with %d decimals", c.name, c.decimals), func(t *testing.T) {
			t.Parallel()
			r := startRivals(t, c.decimals, "")
			shown := r.wander(&c, rand.New(rand.NewPCG(j.seed, uint64(i))), j)
			t.Logf("%v: %v", j, shown)
			for name := range shown {
				if name != "same" && !rows[name] {
					t.Errorf("PROTOCOL.md has no row %s", name)
				}
			}
			r.closeAsked()
		})
	}
}

// wander plays random operations until the first that cannot be explained, and returns how often each difference was shown.
func (r *rivals) wander(c *course, random *rand.Rand, j journey) map[string]int {
	r.t.Helper()
	shown := map[string]int{}
	for done := 0; done < j.operations; done += bundle {
		var list []made
		var letters []letter
		for range min(bundle, j.operations-done) {
			m := c.operation(random)
			list, letters = append(list, m), append(letters, m.letter)
		}
		for i, pieces := range r.make(letters...) {
			got := r.play(pieces)
			if wrong := c.explain(&list[i], got); wrong != "" {
				r.t.Fatalf("%v: operation %d, %s at protocol %d, is answered %q | %q, difference %q, and %s",
					j, done+i, list[i].expression, list[i].protocol, got.old, got.here, got.name, wrong)
			}
			if list[i].odd.name != "" {
				got.name = list[i].odd.name
			}
			shown[got.name]++
		}
	}
	return shown
}

// closeAsked asks for every balance once more and closes.
func (r *rivals) closeAsked() {
	r.t.Helper()
	balances := map[bank.Account]string{}
	for _, account := range accounts {
		got := r.play(r.make(letter{2, "Saldo(" + strconv.Quote(account) + ")", ""})[0])
		if got.name == "wrong" {
			r.t.Errorf("%s has %q | %q", account, got.old, got.here)
		}
		balances[bank.Account(account)] = got.here
	}
	r.close(balances)
}
