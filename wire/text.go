package wire

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gateway/bank"
)

// maxDetail is the most bytes of a reply's detail that are told: as JSON, where a character may take six times as many,
// a reply with it stays below MaxReply.
const maxDetail = 240

// advice returns the whole text of a refusal when no more is known than its code.
func advice(code bank.Code) string {
	switch code {
	case bank.Malformed:
		return "malformed: the bytes are no operation; see PROTOCOL.md"
	case bank.TooLarge:
		return "too_large: send one operation, which needs a few hundred bytes"
	case bank.UnknownOperation:
		return "unknown_operation: ask for balance, deposit, withdraw, transfer, open or status"
	case bank.Unauthorized:
		return "unauthorized: say who you are with credentials that the bank knows"
	case bank.Forbidden:
		return "forbidden: ask the operator for the right to do this"
	case bank.Overloaded:
		return "overloaded: nothing was done; repeat it later"
	case bank.InvalidAccount:
		return "invalid_account: send 1 to 64 of A-Z a-z 0-9 . _ : @ - that begin with a letter or digit"
	case bank.InvalidAmount:
		return "invalid_amount: send more than zero, with no more decimals than the bank keeps, like 20 or \"12.50\""
	case bank.InvalidID:
		return "invalid_id: send 1 to 64 printable ASCII characters"
	case bank.IDConflict:
		return "id_conflict: this id was used for another operation; take a new id for a new operation"
	case bank.IDNotFound:
		return "id_not_found: nothing was decided for this id; the operation may be sent again with it"
	case bank.AccountNotFound:
		return "account_not_found: open the account first"
	case bank.Overflow:
		return "overflow: a balance would pass the greatest amount; move less"
	case bank.Unavailable:
		return "unavailable: the bank cannot write now; repeat the operation with its id, or ask for the id's status"
	}
	return code.String() + ": refused"
}

// refusal returns the text of a refusal: its code, a colon and what to do; for lack of funds, the legacy bank's words.
func refusal(r *bank.Reply, decimals int) string {
	if r.Code == bank.InsufficientFunds {
		var buf [128]byte
		b := append(buf[:0], "tem na conta "...)
		b = appendPython(b, r.Balance, decimals)
		b = append(b, ". faltam "...)
		b = appendPython(b, r.Amount-r.Balance, decimals)
		b = append(b, " para sacar "...)
		return string(appendPython(b, r.Amount, decimals))
	}
	if r.Detail == "" {
		return advice(r.Code)
	}
	detail := strings.ToValidUTF8(r.Detail, "\uFFFD")
	if len(detail) > maxDetail {
		end := maxDetail
		for !utf8.RuneStart(detail[end]) {
			end--
		}
		detail = detail[:end]
	}
	return r.Code.String() + ": " + detail
}

// appendPython appends an amount as Python prints the number that the legacy bank kept: an int when it is whole, else the
// repr of the nearest float, which has an exponent below 1e-4 and from 1e16 on.
func appendPython(dst []byte, a bank.Amount, decimals int) []byte {
	digits := trimmed(a.Format(decimals))
	if !strings.Contains(digits, ".") {
		return append(dst, digits...)
	}
	return appendRepr(dst, nearest(digits))
}

// appendRepr appends repr(f) of a finite f.
func appendRepr(dst []byte, f float64) []byte {
	var buf [32]byte
	digits := strconv.AppendFloat(buf[:0], f, 'e', -1, 64)
	e := len(digits) - 1
	for digits[e] != 'e' {
		e--
	}
	exponent, err := strconv.Atoi(string(digits[e+1:]))
	if err != nil || (exponent >= -4 && exponent < 16) {
		start := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		if !strings.Contains(string(dst[start:]), ".") {
			dst = append(dst, ".0"...)
		}
		return dst
	}
	return append(dst, digits...)
}

// trimmed returns the digits of an amount without needless zeros behind the point: "20.00" is "20", "12.50" is "12.5".
func trimmed(digits string) string {
	if !strings.Contains(digits, ".") {
		return digits
	}
	return strings.TrimSuffix(strings.TrimRight(digits, "0"), ".")
}

// nearest returns the float nearest to digits of our own writing.
func nearest(digits string) float64 {
	f, err := strconv.ParseFloat(digits, 64)
	must(err)
	return f
}

// appendTime appends a time in RFC 3339 form, in UTC and with microseconds, so that times sort as texts. Its years are
// those of four digits. time.Time.AppendFormat took more than a third of a reply's time.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendPadded(dst, year, 4)
	dst = appendPadded(append(dst, '-'), int(month), 2)
	dst = appendPadded(append(dst, '-'), day, 2)
	dst = appendPadded(append(dst, 'T'), hour, 2)
	dst = appendPadded(append(dst, ':'), minute, 2)
	dst = appendPadded(append(dst, ':'), second, 2)
	dst = appendPadded(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, 'Z')
}

// appendPadded appends the last digits of n, width of them.
func appendPadded(dst []byte, n, width int) []byte {
	start := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := start + width - 1; i >= start; i-- {
		dst[i] += byte(n % 10)
		n /= 10
	}
	return dst
}

// appendQuoted appends s as a JSON string. What is not UTF-8 in it stays as it is.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		if c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
		start = i + 1
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
