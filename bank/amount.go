package bank

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Amount is a quantity of money in minor units: with two decimals, 1.00 is Amount(100).
type Amount int64

const (
	// MaxAmount is the greatest amount of an operation and the greatest balance of a client's account: the greatest
	// integer that every JSON reader keeps exactly.
	MaxAmount Amount = 1<<53 - 1
	// MaxDecimals bounds the number of decimals a bank may keep.
	MaxDecimals = 9
	// maxAmountText bounds the text of an amount in bytes: 16 digits and a point.
	maxAmountText = 17
)

// ErrAmount says that a text is not an amount.
var ErrAmount = errors.New("bank: not an amount")

// ParseAmount reads an amount as one writes it: digits, then at most decimals more after a point. It refuses signs,
// exponents, needless leading zeros, zero itself and anything above [MaxAmount]. Errors wrap [ErrAmount].
func ParseAmount(text string, decimals int) (Amount, error) {
	a, err := parseDigits(text, decimals)
	if err == nil && a == 0 {
		return 0, fmt.Errorf("%w: zero", ErrAmount)
	}
	return a, err
}

// ParseBalance reads a balance as [Amount.Format] writes it: an amount that may be zero or have a minus sign.
func ParseBalance(text string, decimals int) (Amount, error) {
	if digits, negative := strings.CutPrefix(text, "-"); negative {
		a, err := parseDigits(digits, decimals)
		return -a, err
	}
	return parseDigits(text, decimals)
}

func parseDigits(text string, decimals int) (Amount, error) {
	if len(text) == 0 || len(text) > maxAmountText {
		return 0, fmt.Errorf("%w: it has %d bytes", ErrAmount, len(text))
	}
	whole, fraction, point := strings.Cut(text, ".")
	if whole == "" || (len(whole) > 1 && whole[0] == '0') || (point && fraction == "") {
		return 0, fmt.Errorf("%w: not written as digits are", ErrAmount)
	}
	if len(fraction) > decimals {
		return 0, fmt.Errorf("%w: more than %d decimals", ErrAmount, decimals)
	}
	var a uint64
	for _, part := range [2]string{whole, fraction} {
		for i := range len(part) {
			digit := part[i] - '0'
			if digit > 9 {
				return 0, fmt.Errorf("%w: not a digit", ErrAmount)
			}
			a = a*10 + uint64(digit) // at most 16 digits: no overflow
		}
	}
	for range decimals - len(fraction) {
		if a > uint64(MaxAmount) {
			break
		}
		a *= 10
	}
	if a > uint64(MaxAmount) {
		return 0, fmt.Errorf("%w: above the greatest", ErrAmount)
	}
	return Amount(a), nil
}

// Format writes a with all its decimals: Amount(2000) with two is "20.00".
func (a Amount) Format(decimals int) string {
	return string(a.AppendFormat(nil, decimals))
}

// AppendFormat appends what [Amount.Format] returns to dst.
func (a Amount) AppendFormat(dst []byte, decimals int) []byte {
	magnitude := uint64(a)
	if a < 0 {
		dst = append(dst, '-')
		magnitude = -magnitude
	}
	if decimals == 0 {
		return strconv.AppendUint(dst, magnitude, 10)
	}
	scale := powerOfTen(decimals)
	dst = strconv.AppendUint(dst, magnitude/scale, 10)
	dst = append(dst, '.')
	fraction := magnitude % scale
	for place := scale / 10; place > 0; place /= 10 {
		dst = append(dst, '0'+byte(fraction/place%10))
	}
	return dst
}

func powerOfTen(n int) uint64 {
	power := uint64(1)
	for range n {
		power *= 10
	}
	return power
}

// add returns a+b and whether the sum fits.
func (a Amount) add(b Amount) (Amount, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

// Rate is a share of a balance, exact: Units / 10^Decimals.
type Rate struct {
	Units    uint64
	Decimals int
}

// maxRateText bounds the text of a rate in bytes; it keeps Units far from the end of uint64.
const maxRateText = 12

// ErrRate says that a text is not a rate.
var ErrRate = errors.New("bank: not a rate")

// ParseRate reads a rate such as "0.10": digits, a point, digits, more than zero, at most 12 bytes.
func ParseRate(text string) (Rate, error) {
	whole, fraction, point := strings.Cut(text, ".")
	if len(text) > maxRateText || whole == "" || (point && fraction == "") || (len(whole) > 1 && whole[0] == '0') {
		return Rate{}, fmt.Errorf("%w: %.20q", ErrRate, text)
	}
	units, err := strconv.ParseUint(whole+fraction, 10, 64)
	if err != nil || units == 0 {
		return Rate{}, fmt.Errorf("%w: %.20q", ErrRate, text)
	}
	return Rate{Units: units, Decimals: len(fraction)}, nil
}

// Of returns r of a, rounded half to even at the minor unit. It reports false when the result is above [MaxAmount].
// a must not be negative.
func (r Rate) Of(a Amount) (Amount, bool) {
	scale := powerOfTen(r.Decimals)
	high, low := bits.Mul64(uint64(a), r.Units)
	if high >= scale {
		return 0, false
	}
	quotient, remainder := bits.Div64(high, low, scale)
	if quotient > uint64(MaxAmount) { // or one more might be zero
		return 0, false
	}
	half := scale - remainder
	if remainder > half || (remainder == half && quotient&1 == 1) {
		quotient++
	}
	return Amount(quotient), quotient <= uint64(MaxAmount)
}
