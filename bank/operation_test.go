package bank_test

import (
	"regexp"
	"strings"
	"testing"

	"gateway/bank"
)

func TestAnAccountIsWhatThePatternSays(t *testing.T) {
	pattern := regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\z`)
	names := []string{"", "a", strings.Repeat("a", 64), strings.Repeat("a", 65), "a\n", "é", "a\u0301", "аna", "@cash", "a/b", "a+", "#"}
	for c := range 256 {
		names = append(names, string([]byte{byte(c)}), string([]byte{'a', byte(c)}), string([]byte{'a', byte(c), 'z'}))
	}
	for _, name := range names {
		if got, want := bank.Account(name).Valid(), pattern.MatchString(name); got != want {
			t.Errorf("%q is valid: %v, want %v", name, got, want)
		}
	}
}

func TestAnIDIsPrintableASCII(t *testing.T) {
	pattern := regexp.MustCompile(`\A[ -~]{1,64}\z`)
	ids := []string{"", strings.Repeat("i", 64), strings.Repeat("i", 65), "é", "a\x7f"}
	for c := range 256 {
		ids = append(ids, string([]byte{byte(c)}))
	}
	for _, id := range ids {
		if got, want := bank.ValidID(id), pattern.MatchString(id); got != want {
			t.Errorf("%q is an id: %v, want %v", id, got, want)
		}
	}
}

// TestTheFirstCodeIsTold gives operations several faults at once.
func TestTheFirstCodeIsTold(t *testing.T) {
	bad := bank.Operation{Account: "!", To: "!", Amount: -1, ID: "\x00", Memo: strings.Repeat("m", 141)}
	steps := []struct {
		repair func()
		want   bank.Code
	}{
		{func() {}, bank.UnknownOperation},
		{func() { bad.Kind = bank.KindTransfer }, bank.Malformed},
		{func() { bad.Memo = bad.Memo[1:] }, bank.InvalidAccount},
		{func() { bad.Account = "a" }, bank.InvalidAccount},
		{func() { bad.To = "b" }, bank.InvalidAmount},
		{func() { bad.Amount = bank.MaxAmount + 1 }, bank.InvalidAmount},
		{func() { bad.Amount = bank.MaxAmount }, bank.InvalidID},
		{func() { bad.ID = "i" }, bank.OK},
	}
	for i, step := range steps {
		step.repair()
		if got := bad.Check(); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	for i, code := range bank.Codes() {
		if int(code) != i || code.String() == "" {
			t.Errorf("code %d is %d %q", i, code, code)
		}
		if back, ok := bank.ParseCode(code.String()); !ok || back != code {
			t.Errorf("%q is read %d, %v", code, back, ok)
		}
	}
	if n := len(bank.Codes()); n != int(bank.Unavailable)+1 {
		t.Errorf("there are %d codes", n)
	}
	if code, ok := bank.ParseCode("no_such_code"); ok || code != bank.OK || bank.Code(len(bank.Codes())).String() != "" {
		t.Errorf("what is no code is %d, %v", code, ok)
	}
}

func TestAKindIsReadByItsName(t *testing.T) {
	for kind := bank.KindBalance; kind <= bank.KindStatus; kind++ {
		if back, ok := bank.ParseKind(kind.String()); !ok || back != kind {
			t.Errorf("%q is read %d, %v", kind, back, ok)
		}
	}
	for _, name := range []string{"", "yield", "Deposit", "no_such_kind"} {
		if kind, ok := bank.ParseKind(name); ok || kind != 0 {
			t.Errorf("a client can ask for %q: %d", name, kind)
		}
	}
}

func TestAHouseAccountBeginsWithAnAt(t *testing.T) {
	for account, want := range map[bank.Account]bool{"": false, "@": true, "@cash": true, "a@": false} {
		if account.House() != want {
			t.Errorf("%q is the house's: %v", account, !want)
		}
	}
}

// TestLimitsOfAnOperation goes to each limit and one further.
func TestLimitsOfAnOperation(t *testing.T) {
	for _, c := range []struct {
		change func(op *bank.Operation)
		want   bank.Code
	}{
		{func(op *bank.Operation) { op.Kind = bank.KindYield }, bank.OK},
		{func(op *bank.Operation) { op.Kind = bank.KindYield + 1 }, bank.UnknownOperation},
		{func(op *bank.Operation) { op.Memo = strings.Repeat("m", 140) }, bank.OK},
		{func(op *bank.Operation) { op.Memo = strings.Repeat("m", 141) }, bank.Malformed},
		{func(op *bank.Operation) { op.Principal = strings.Repeat("p", 64) }, bank.OK},
		{func(op *bank.Operation) { op.Principal = strings.Repeat("p", 65) }, bank.Malformed},
		{func(op *bank.Operation) { op.Origin.Delivery = strings.Repeat("d", 1024) }, bank.OK},
		{func(op *bank.Operation) { op.Origin.Delivery = strings.Repeat("d", 1025) }, bank.Malformed},
	} {
		op := bank.Operation{Kind: bank.KindBalance, Account: "a", ID: "i"}
		c.change(&op)
		if got := op.Check(); got != c.want {
			t.Errorf("%s, memo of %d, principal of %d, note of %d bytes: %s, want %s",
				op.Kind, len(op.Memo), len(op.Principal), len(op.Origin.Delivery), got, c.want)
		}
	}
}
