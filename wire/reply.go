package wire

import (
	"strconv"
	"strings"

	"gateway/bank"
)

// view is a reply in the words that all formats share, in the order of the reply map. An empty text is a field left out;
// time, like seq, is told of what was done and of refusals that have an entry.
type view struct {
	status    bool
	number    string // msg of what was done: a balance without needless zeros, or "" for nothing
	text      string // msg of a refusal
	code      string
	id        string
	balance   string
	hasSeq    bool
	seq       uint64
	time      string
	duplicate bool
	receipt   string
}

// viewOf renders r with one allocation, and one more for a text that is not constant.
func viewOf(r *bank.Reply, decimals int) view {
	v := view{status: r.Code == bank.OK, code: r.Code.String(), seq: r.Seq, duplicate: r.Duplicate, receipt: r.Receipt}
	v.hasSeq = v.status || r.Seq > 0
	if !v.status {
		v.text = refusal(r, decimals)
	}
	if bank.ValidID(r.ID) {
		v.id = r.ID
	}
	var buf [64]byte
	b := buf[:0]
	if r.HasBalance {
		b = r.Balance.AppendFormat(b, decimals)
	}
	end := len(b)
	if v.hasSeq && !r.Time.IsZero() {
		b = appendTime(b, r.Time)
	}
	s := string(b)
	v.balance, v.time = s[:end], s[end:]
	if v.status && (r.Kind == bank.KindBalance || r.Kind == bank.KindDeposit) {
		v.number = trimmed(v.balance)
	}
	return v
}

// fields returns the number of fields of the reply map.
func (v *view) fields() int {
	n := 3 // status, msg, code
	for _, has := range [...]bool{v.id != "", v.balance != "", v.hasSeq, v.time != "", v.duplicate, v.receipt != ""} {
		if has {
			n++
		}
	}
	return n
}

// whole returns number as an integer, when it is one.
func (v *view) whole() (int64, bool) {
	if strings.Contains(v.number, ".") {
		return 0, false
	}
	n, err := strconv.ParseInt(v.number, 10, 64)
	return n, err == nil
}

// float returns the float nearest to number.
func (v *view) float() float64 { return nearest(v.number) }

// appendJSON appends v and a newline. The number has all its digits, more than a float may keep.
func (v *view) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"status":`...)
	dst = strconv.AppendBool(dst, v.status)
	dst = append(dst, `,"msg":`...)
	switch {
	case !v.status:
		dst = appendQuoted(dst, v.text)
	case v.number == "":
		dst = append(dst, "null"...)
	default:
		dst = append(dst, v.number...)
	}
	dst = appendField(dst, `,"code":`, v.code)
	dst = appendField(dst, `,"id":`, v.id)
	dst = appendField(dst, `,"balance":`, v.balance)
	if v.hasSeq {
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, v.seq, 10)
	}
	dst = appendField(dst, `,"time":`, v.time)
	if v.duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	dst = appendField(dst, `,"receipt":`, v.receipt)
	return append(dst, "}\n"...)
}

// appendField appends a field of a JSON object, unless its text is empty.
func appendField(dst []byte, key, text string) []byte {
	if text == "" {
		return dst
	}
	return appendQuoted(append(dst, key...), text)
}
