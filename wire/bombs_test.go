package wire_test

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// maxAllocated is the most memory, in bytes, that one message may cost, whatever it declares.
const maxAllocated = 64 << 10

// maxTime is the most time that a bomb may take to be refused.
const maxTime = time.Millisecond

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// bombs are messages that declare more than they hold, nest, or repeat themselves, and the verdict on each.
func bombs() map[wire.Format][][2]string {
	const size = 16 << 10
	m := map[wire.Format][][2]string{
		wire.Msgpack: {
			{"lost malformed", "\xdd\xff\xff\xff\xff"},
			{"lost malformed", "\xdf\xff\xff\xff\xff"},
			{"lost malformed", "\xc6\xff\xff\xff\xff"},
			{"lost malformed", "\xdb\xff\xff\xff\xff"},
			{"lost malformed", "\xc9\xff\xff\xff\xff\x01"},
			{"lost malformed", "\xde\xff\xff"},
			{"lost malformed", "\xc1"},
			{"lost malformed", "\x81\xa2op\xc1"},
			{"lost malformed", "\x81\xc4\x02op\xa7balance"},
			{"lost malformed", "\x81\x01\xa7balance"},
			{"lost malformed", "\x81\xc0\xa7balance"},
			{"lost malformed", "\x81\x90\xa7balance"},
			{"lost malformed", "\x81\xa2op\xa2\xff\xfe"},
			{"lost malformed", "\x81\xa2\xff\xfe\xa7balance"},
			{"lost malformed", strings.Repeat("\x91", size)},
			{"lost malformed", strings.Repeat("\x81\xa1a", size/3)},
			{"lost malformed", "\x82\xa2op" + strings.Repeat("\x91", size)},
			{"lost malformed", "\x82\xa7account" + strings.Repeat("\x81\xa1a", size/3)},
			{"lost malformed", "\x82\xa6objeto" + strings.Repeat("\xde\x00\x01\xa1a", size/5)},
		},
		wire.JSON: {
			{"lost malformed", strings.Repeat("[", size)},
			{"lost malformed", strings.Repeat(`{"a":`, size/5)},
			{"lost malformed", `{"account":` + strings.Repeat("[", size)},
			{"lost malformed", `{"objeto":` + strings.Repeat(`{"a":`, size/5)},
			{"lost malformed", `{"account":{` + keys(33, ",")},
			{"malformed", `{"op":"balance",` + keys(31, "}")},
			{"lost malformed", `{"op":"balance",` + keys(32, "}")},
			{"invalid_amount", `{"op":"deposit","account":"1","amount":` + strings.Repeat("9", 3*size) + `}`},
			{"invalid_amount", `{"op":"deposit","account":"1","amount":"` + strings.Repeat("9", 3*size) + `"}`},
			{"invalid_account", `{"op":"deposit","account":"` + strings.Repeat(`\u0061`, 2*size/6) + `"}`},
			{"invalid_id", `{"op":"status","id":"` + strings.Repeat(`a`, 3*size) + `"}`},
			{"unknown_operation", `{"op":"` + strings.Repeat(`a`, 3*size) + `"}`},
			{"lost too_large", strings.Repeat(" ", wire.MaxMessage)},
			{"lost too_large", `{"account":[` + strings.Repeat("0,", wire.MaxMessage/2)},
			{"lost too_large", `{"account":[` + strings.Repeat(`{},`, wire.MaxMessage/3)},
			{"lost too_large", `{"account":[{` + strings.TrimSuffix(strings.Repeat(keys(32, "},{"), wire.MaxMessage/100), ",{")},
		},
		wire.Pickle: {
			{"lost malformed", strings.Repeat("N", size)},
			{"lost malformed", strings.Repeat("(", size)},
			{"lost malformed", "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x40N."},
			{"lost malformed", "cos\nsystem\n(S'true'\ntR."},
			{"lost too_large", "\x80\x02cdominio.Operacao\nSaldo\n)\x81}(" + strings.Repeat(pyText(strings.Repeat("a", 1000)), 16)},
		},
	}
	// Where a value stands, and what it declares.
	for _, before := range []string{
		"\x82\xa2op", "\x82\xa7account", "\x82\xa2to", "\x82\xa6amount", "\x82\xa2id", "\x82\xa4memo", "\x82\xa1x", "\x82\xa6objeto", "\x82",
		"\x82\xa6objeto\x82\xa5valor", "\x82\xa6objeto\x82\xa1x", "\x82\xa6objeto\x82", "\x82\xa7account\x91",
	} {
		m[wire.Msgpack] = append(m[wire.Msgpack], [2]string{"lost too_large", before + "\xdb\xff\xff\xff\xff"})
		if before[len(before)-1] == '\x82' {
			continue // only a str can be a key
		}
		for _, declares := range []string{"\xdd\xff\xff\xff\xff", "\xc6\xff\xff\xff\xff", "\xc9\xff\xff\xff\xff\x01", "\xc9\x7f\xff\xff\xff\x01"} {
			m[wire.Msgpack] = append(m[wire.Msgpack], [2]string{"lost too_large", before + declares})
		}
		m[wire.Msgpack] = append(m[wire.Msgpack], [2]string{"lost malformed", before + "\xdf\xff\xff\xff\xff"})
	}
	return m
}

// keys returns n items of a JSON object, and an end.
func keys(n int, end string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(`"k` + strconv.Itoa(i) + `":0`)
	}
	return b.String() + end
}

// TestP1Bombs holds each to its verdict, to 64 KiB and a millisecond, and to a book in which nothing is written.
func TestP1Bombs(t *testing.T) {
	book := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
	count, slowest := 0, time.Duration(0)
	for f, list := range bombs() {
		codec := wire.NewCodec(f, 2)
		for _, bomb := range list {
			want, message := bomb[0], []byte(bomb[1])
			if got := verdict(f, message); got != want {
				t.Errorf("%s %.40q…: %s, want %s", f, message, got, want)
			}
			op := new(bank.Operation)
			err := error(nil)
			if got := allocated(func() { _, err = codec.Decode(message, op) }); got > maxAllocated {
				t.Errorf("%s %.40q… allocates %d bytes", f, message, got)
			}
			if err == nil && book.Commit(t.Context(), []bank.Operation{*op}, make([]bank.Reply, 1)) != nil {
				t.Errorf("%s %.40q… stops the bank", f, message)
			}
			took := bestOf(20, func() { codec.Decode(message, op) })
			if slowest = max(slowest, took); took > maxTime && !raceDetector {
				t.Errorf("%s %.40q… takes %v", f, message, took)
			}
			count++
		}
	}
	t.Logf("%d bombs, the slowest takes %v", count, slowest)
	if n := len(book.Entries()); n > 0 || count < 38 {
		t.Errorf("%d bombs, %d entries", count, n)
	}
}

// bestOf returns the shortest time that f takes, so that nobody else's work counts.
func bestOf(runs int, f func()) time.Duration {
	best := time.Hour
	for range runs {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}

// A message of the greatest size is read, and one more byte is too many, wherever it comes.
func TestMessageBound(t *testing.T) {
	for _, f := range []wire.Format{wire.JSON, wire.Msgpack} {
		codec := wire.NewCodec(f, 2)
		whole := wire.NewClient(f).AppendRequest(nil, &wire.Request{Op: "balance", Account: "1", ID: "x"})
		rest := codec.MaxMessage() - len(whole)
		fill := func(more int) []byte {
			if f == wire.JSON {
				return []byte(strings.Repeat(" ", rest+1+more) + string(whole[:len(whole)-1])) // its newline is behind it
			}
			text := string(mpText(strings.Repeat("a", rest-3-len("\xa4memo")+more)))
			return []byte("\x84" + string(whole[1:]) + "\xa4memo" + text)
		}
		var op bank.Operation
		n, err := codec.Decode(fill(0), &op)
		if n != codec.MaxMessage() {
			t.Errorf("%s: %d bytes of %d, %v", f, n, codec.MaxMessage(), err)
		}
		n, err = codec.Decode(fill(0)[:codec.MaxMessage()-1], &op)
		if n != 0 || err != wire.ErrIncomplete {
			t.Errorf("%s: one byte less: %d, %v", f, n, err)
		}
		var fault *wire.Fault
		n, err = codec.Decode(fill(1), &op)
		if n != 0 || !errors.As(err, &fault) || fault.Code != bank.TooLarge {
			t.Errorf("%s: one byte more: %d, %v", f, n, err)
		}
	}
	if n := wire.NewCodec(wire.Pickle, 2).MaxMessage(); n != 4096 {
		t.Errorf("a pickle may have %d bytes", n)
	}
}
