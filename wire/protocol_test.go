package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// dump is a block of PROTOCOL.md that shows bytes: a line of format, direction and meaning, and a hexdump.
type dump struct {
	line      int
	title     string // "msgpack operation: deposit account=ana"
	format    wire.Format
	direction string // ack, operation, refused or reply
	verb      string // the first word of the meaning
	says      map[string]string
	bytes     []byte
	shown     string // the hexdump as it is written
}

// protocolDumps returns the blocks of PROTOCOL.md in a format of this package; those of others begin with another word.
func protocolDumps(tb testing.TB) []dump {
	tb.Helper()
	page, err := os.ReadFile("../PROTOCOL.md")
	if err != nil {
		tb.Fatal(err)
	}
	var dumps []dump
	lines := strings.Split(string(page), "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] != "```hexdump" {
			continue
		}
		d := dump{line: i + 2, title: lines[i+1]}
		for i += 2; lines[i] != "```"; i++ {
			d.shown += lines[i] + "\n"
		}
		if d.parse(tb) {
			dumps = append(dumps, d)
		}
	}
	if len(dumps) < 20 {
		tb.Fatalf("PROTOCOL.md shows %d dumps", len(dumps))
	}
	return dumps
}

// parse reads title and hexdump. It returns false when the block is not of a format of this package.
func (d *dump) parse(tb testing.TB) bool {
	tb.Helper()
	head, meaning, found := strings.Cut(d.title, ": ")
	format, direction, two := strings.Cut(head, " ")
	var known bool
	if d.format, known = wire.ParseFormat(format); !known {
		return false
	}
	if !found || !two {
		tb.Fatalf("PROTOCOL.md:%d: title %q", d.line, d.title)
	}
	d.direction = direction
	d.verb, meaning, _ = strings.Cut(meaning, " ")
	d.says = make(map[string]string)
	for meaning != "" {
		key, rest, _ := strings.Cut(meaning, "=")
		value, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				tb.Fatalf("PROTOCOL.md:%d: %v", d.line, err)
			}
			value, _ = strconv.Unquote(quoted)
			after = strings.TrimPrefix(rest[len(quoted):], " ")
		}
		d.says[key], meaning = value, after
	}
	for line := range strings.Lines(d.shown) {
		digits, _, _ := strings.Cut(line[min(10, len(line)):], "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			tb.Fatalf("PROTOCOL.md:%d: %v", d.line, err)
		}
		d.bytes = append(d.bytes, b...)
	}
	return true
}

func TestProtocolIsTrue(t *testing.T) {
	shown := make(map[string]int)
	for _, d := range protocolDumps(t) {
		shown[d.format.String()+" "+d.direction]++
		t.Run(d.title, func(t *testing.T) {
			codec := wire.NewCodec(d.format, 2)
			switch d.direction {
			case "ack":
				d.same(t, codec.Ack())
			case "operation":
				d.checkOperation(t, codec)
			case "refused":
				d.checkRefused(t, codec)
			case "reply":
				r := d.reply(t)
				d.same(t, codec.AppendReply(nil, &r))
			default:
				t.Errorf("PROTOCOL.md:%d: no such direction: %s", d.line, d.direction)
			}
		})
	}
	for _, f := range formats() {
		for _, direction := range []string{"ack", "operation", "refused", "reply"} {
			if shown[f.String()+" "+direction] == 0 {
				t.Errorf("PROTOCOL.md shows no %s %s", f, direction)
			}
		}
	}
}

func (d *dump) same(t *testing.T, got []byte) {
	t.Helper()
	if want := hex.Dump(got); want != d.shown {
		t.Errorf("PROTOCOL.md:%d: %s\nshows\n%s\nwire writes\n%s", d.line, d.title, d.shown, want)
	}
}

func (d *dump) checkOperation(t *testing.T, codec wire.Codec) {
	want := bank.Operation{
		Account: bank.Account(d.says["account"]), To: bank.Account(d.says["to"]), ID: d.says["id"], Memo: d.says["memo"],
	}
	want.Kind, _ = bank.ParseKind(d.verb)
	want.Amount, _ = bank.ParseAmount(d.says["amount"], 2)
	var op bank.Operation
	n, err := codec.Decode(d.bytes, &op)
	if err != nil || n != len(d.bytes) || op != want || op.Check() != bank.OK {
		t.Errorf("PROTOCOL.md:%d: %s\nwire reads %d of %d bytes as %+v, %v", d.line, d.title, n, len(d.bytes), op, err)
	}
	d.same(t, d.bytes)
}

func (d *dump) checkRefused(t *testing.T, codec wire.Codec) {
	var op bank.Operation
	n, err := codec.Decode(d.bytes, &op)
	var fault *wire.Fault
	if !errors.As(err, &fault) || fault.Code.String() != d.verb || fmt.Sprint(n == len(d.bytes)) != d.says["whole"] {
		t.Errorf("PROTOCOL.md:%d: %s\nwire reads %d of %d bytes, %v", d.line, d.title, n, len(d.bytes), err)
	}
	d.same(t, d.bytes)
}

// reply returns the bank's reply that the title tells.
func (d *dump) reply(t *testing.T) bank.Reply {
	t.Helper()
	r := bank.Reply{ID: d.says["id"], Duplicate: d.says["duplicate"] == "true"}
	var known bool
	if r.Code, known = bank.ParseCode(d.verb); !known {
		t.Fatalf("PROTOCOL.md:%d: no such code: %s", d.line, d.verb)
	}
	r.Kind, _ = bank.ParseKind(d.says["kind"])
	r.Amount, _ = bank.ParseAmount(d.says["amount"], 2)
	r.Seq, _ = strconv.ParseUint(d.says["seq"], 10, 64)
	r.Time, _ = time.Parse(time.RFC3339Nano, d.says["time"])
	if balance, given := d.says["balance"]; given {
		var err error
		if r.Balance, err = bank.ParseBalance(balance, 2); err != nil {
			t.Fatal(err)
		}
		r.HasBalance = true
	}
	return r
}

// Every dump that is an operation or reply ends where it ends: fewer bytes are incomplete, more are left alone.
func TestProtocolDumpsKnowTheirEnd(t *testing.T) {
	for _, d := range protocolDumps(t) {
		if d.direction != "operation" {
			continue
		}
		codec := wire.NewCodec(d.format, 2)
		var op bank.Operation
		for i := range d.bytes {
			if n, err := codec.Decode(d.bytes[:i], &op); n != 0 || err != wire.ErrIncomplete {
				t.Errorf("%s: %d of %d bytes: %d, %v", d.title, i, len(d.bytes), n, err)
			}
		}
		longer := append(bytes.Clone(d.bytes), d.bytes...)
		if n, err := codec.Decode(longer, &op); n != len(d.bytes) || err != nil {
			t.Errorf("%s: twice: %d, %v", d.title, n, err)
		}
	}
}
