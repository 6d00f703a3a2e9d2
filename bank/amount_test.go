package bank_test

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gateway/bank"
)

func TestAnAmountIsReadAsOneWritesIt(t *testing.T) {
	good := map[string]bank.Amount{
		"1": 100, "0.01": 1, "12.5": 1250, "12.50": 1250, "0.10": 10, "90071992547409.91": bank.MaxAmount,
	}
	for text, want := range good {
		if got, err := bank.ParseAmount(text, 2); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	bad := []string{
		"", "0", "0.00", "-1", "+1", "1e2", "1.", ".5", "01", "00.5", "1.234", "1.000", "1,5", " 1", "1 ", "0x10", "١",
		"90071992547409.92", "9007199254740992", "99999999999999999", "1..2", "1.2.3", "1:", "NaN", "inf", "1_000", "1\x00",
		strings.Repeat("9", 400),
	}
	for _, text := range bad {
		if got, err := bank.ParseAmount(text, 2); !errors.Is(err, bank.ErrAmount) || got != 0 {
			t.Errorf("%q is %d, %v; want 0, ErrAmount", text, got, err)
		}
	}
	for text, decimals := range map[string]int{ // where 64 bits, or the greatest amount, are passed on the way
		"18446744073709551617": 0, "184467440737095516.17": 2, "36028797018963969": 9, "9007199254740991": 2, "9007199254740992": 0,
	} {
		if got, err := bank.ParseAmount(text, decimals); !errors.Is(err, bank.ErrAmount) {
			t.Errorf("%q with %d decimals is %d, %v; want ErrAmount", text, decimals, got, err)
		}
	}
	if got, err := bank.ParseAmount("9007199254740991", 0); err != nil || got != bank.MaxAmount {
		t.Errorf("the greatest without decimals is %d, %v", got, err)
	}
	if got, err := bank.ParseAmount("9007199.254740991", 9); err != nil || got != bank.MaxAmount {
		t.Errorf("the greatest with nine decimals is %d, %v", got, err)
	}
	if _, err := bank.ParseAmount("1.0", 0); err == nil {
		t.Error("a bank without decimals took 1.0")
	}
}

func TestABalanceIsReadAsItIsWritten(t *testing.T) {
	for text, want := range map[string]bank.Amount{"0": 0, "0.00": 0, "-0.01": -1, "-90071992547409.91": -bank.MaxAmount} {
		if got, err := bank.ParseBalance(text, 2); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", "--1", "+1", "-.5", "-1.", "1.234", "-1:", "01", "-90071992547409.92", "90071992547409.92"} {
		if got, err := bank.ParseBalance(text, 2); !errors.Is(err, bank.ErrAmount) || got != 0 {
			t.Errorf("%q is %d, %v; want 0, ErrAmount", text, got, err)
		}
	}
	for decimals, want := range []string{"1020", "102.0", "10.20"} {
		if text := bank.Amount(1020).Format(decimals); text != want {
			t.Errorf("with %d decimals it is written %q, want %q", decimals, text, want)
		}
	}
	if text := bank.Amount(0).Format(2); text != "0.00" {
		t.Errorf("nothing is written %q", text)
	}
}

func TestAFormattedBalanceReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		decimals := rapid.IntRange(0, bank.MaxDecimals).Draw(t, "decimals")
		a := bank.Amount(rapid.Int64Range(-int64(bank.MaxAmount), int64(bank.MaxAmount)).Draw(t, "amount"))
		text := a.Format(decimals)
		back, err := bank.ParseBalance(text, decimals)
		if err != nil || back != a {
			t.Fatalf("%d is written %q and read %d, %v", a, text, back, err)
		}
		exact := new(big.Rat).SetFrac(big.NewInt(int64(a)), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil))
		if want := exact.FloatString(decimals); text != want {
			t.Fatalf("%d with %d decimals is written %q, want %q", a, decimals, text, want)
		}
	})
}

func TestARateIsAppliedExactlyAndRoundedHalfToEven(t *testing.T) {
	for _, text := range []string{"", "0", "0.000", "-1", "+1", ".1", "1.", "01", "1e1", "1234567890.12", "x"} {
		if _, err := bank.ParseRate(text); !errors.Is(err, bank.ErrRate) {
			t.Errorf("rate %q: %v, want ErrRate", text, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(0|[1-9][0-9]{0,1})\.[0-9]{0,8}[1-9]`).Draw(t, "rate")
		a := rapid.Int64Range(0, int64(bank.MaxAmount)).Draw(t, "amount")
		rate, err := bank.ParseRate(text)
		if err != nil {
			t.Fatal(err)
		}
		got, fits := rate.Of(bank.Amount(a))
		exact, _ := new(big.Rat).SetString(text)
		want := halfEven(exact.Mul(exact, new(big.Rat).SetInt64(a)))
		if fits != (want.Cmp(big.NewInt(int64(bank.MaxAmount))) <= 0) {
			t.Fatalf("%s of %d fits: %v; it is %d", text, a, fits, want)
		}
		if fits && int64(got) != want.Int64() {
			t.Fatalf("%s of %d is %d, want %d", text, a, got, want)
		}
	})
}

// TestAShareThatDoesNotFitIsTold goes to both bounds: the greatest amount, and what 64 bits and their remainder can hold.
func TestAShareThatDoesNotFitIsTold(t *testing.T) {
	for _, c := range []struct {
		rate string
		of   bank.Amount
		want bank.Amount
		fits bool
	}{
		{"1", bank.MaxAmount, bank.MaxAmount, true},
		{"2", 1 << 52, 0, false},
		{"1.5", 6004799503160661, bank.MaxAmount + 1, false}, // half of one more than the greatest, rounded up
		{"999999999999", 9007, 9006999999990993, true},
		{"2048.36772", 9005582295404241, 0, false}, // all 64 bits, before it is rounded up
		{"999999999999", 18446745, 0, false},       // a little more than 64 bits
		{"999999999999", bank.MaxAmount, 0, false},
	} {
		rate, err := bank.ParseRate(c.rate)
		if err != nil {
			t.Fatal(err)
		}
		if got, fits := rate.Of(c.of); fits != c.fits || got != c.want {
			t.Errorf("%s of %d is %d, %v; want %d, %v", c.rate, c.of, got, fits, c.want, c.fits)
		}
	}
}

// halfEven rounds by the text of the exact value, unlike the code it checks.
func halfEven(r *big.Rat) *big.Int {
	floor := new(big.Int).Div(r.Num(), r.Denom())
	fraction := new(big.Rat).Sub(r, new(big.Rat).SetInt(floor))
	switch c := fraction.Cmp(big.NewRat(1, 2)); {
	case c > 0, c == 0 && floor.Bit(0) == 1:
		floor.Add(floor, big.NewInt(1))
	}
	return floor
}
