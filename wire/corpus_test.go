package wire_test

import (
	"regexp"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// Every real pickle becomes the operation that CPython reads in it, or is refused for what it reads.
func TestRealPickles(t *testing.T) {
	kinds := map[string]bank.Kind{
		"saldo": bank.KindBalance, "deposito": bank.KindDeposit, "saque": bank.KindWithdraw, "transferencia": bank.KindTransfer,
	}
	valid := regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\z`)
	account := func(read [2]string) bool { return read[0] == "str" && valid.MatchString(read[1]) }
	codec := wire.NewCodec(wire.Pickle, 2)
	codes := make(map[bank.Code]int)
	for _, p := range corpus(t) {
		var op bank.Operation
		n, err := codec.Decode(p.bytes, &op)
		if old := strings.HasPrefix(p.name, "2.7py2old"); err != nil && old || p.reads.Err != "" {
			codes[bank.Malformed]++ // old-style classes may be refused
			continue
		}
		if err != nil || n != len(p.bytes) || op.Kind != kinds[p.reads.C] {
			t.Errorf("%s: %v %d of %d, %v", p.name, op.Kind, n, len(p.bytes), err)
			continue
		}
		amount, _ := bank.ParseAmount(p.reads.V[1], 2)
		want := bank.OK
		switch {
		case !account(p.reads.From) || op.Kind == bank.KindTransfer && !account(p.reads.To):
			want = bank.InvalidAccount
		case op.Kind == bank.KindBalance:
		case amount == 0 || p.reads.V[0] != "int" && p.reads.V[0] != "float" && p.reads.V[0] != "decimal":
			want = bank.InvalidAmount
		}
		got := op.Check()
		codes[got]++
		if got != want || got == bank.OK && (string(op.Account) != p.reads.From[1] || op.Kind.Moves() && op.Amount != amount) {
			t.Errorf("%s: %+v is %v, want %v of %v", p.name, op, got, want, p.reads)
		}
	}
	if codes[bank.OK] < 100 || codes[bank.InvalidAccount] < 50 || codes[bank.InvalidAmount] < 50 {
		t.Errorf("codes %v", codes)
	}
	t.Log(codes)
}
