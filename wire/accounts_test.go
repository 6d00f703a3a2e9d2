package wire_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/wire"
)

// accountNames returns names that are accounts and many more that nearly are. Nothing is folded and nothing looks alike.
func accountNames() []string {
	var names []string
	for c := range 128 {
		names = append(names, string(rune(c)), "a"+string(rune(c)), string(rune(c))+"a", "a"+string(rune(c))+"b")
	}
	for n := range 72 {
		names = append(names, strings.Repeat("a", n), strings.Repeat("7", n)+"@", strings.Repeat("é", n))
	}
	return append(names,
		"ana", "Ana", "ANA", "1", "01", "atm.7", "a_b", "a:b", "a@b", "a-b", "@cash", "@yield", "@gateway", "@", "-a", ".a", ":a", "_a",
		"jos\u00e9", "jose\u0301", "JOSÉ", "ana\u200b", "\u200bana", "\ufeffana", "ana\u00ad", "\u202eana", "ana\u202c", "\u2066ana\u2069",
		"\u0430na", "an\u0430", "\u03b1na", "ａｎａ", "ana\u0338", "ǆ", "ß", "ﬀ", "İ", "ı", "K", "\u212a", "ſ", "１", "٣", "Ⅷ", "①", "²", "½",
		"ana bia", " ana", "ana ", "ana\t", "ana\n", "\nana", "ana\r\n", "ana\x00", "\x00ana", "an\x00a", "ana\x7f", "\u0085", "\u00a0", "\u2028", "\u3000",
		"bank/ops", "/ana", "ana/", "+", "#", "$SYS", "ana+bia", "ana#1", "ana$", "ana/+/bia", "bank/replies/ana", "../ana", "a\\b",
		"ana'", "ana\"", "'; drop", "${ana}", "$(ana)", "%s", "%00", "&amp;", "<b>", "ana|bia", "ana,bia", "ana;bia", "[ana]", "{ana}", "ana=1", "~", "^", "`", "!", "?",
		"null", "true", "0", "-1", "1.5", "1e5", "NaN", "😀", "ana😀", "\U0010ffff", "\ufffd", "\uffff", "中", "ش", "א",
	)
}

func TestA3Accounts(t *testing.T) {
	rule := regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\z`)
	names := accountNames()
	if len(names) < 500 {
		t.Fatalf("only %d names", len(names))
	}
	valid := 0
	for _, name := range names {
		want := bank.InvalidAccount
		if rule.MatchString(name) {
			want = bank.OK
			valid++
		}
		quoted, _ := json.Marshal(name)
		for i, m := range []struct {
			format  wire.Format
			message string
			payee   bool
		}{
			{wire.JSON, `{"op":"balance","account":` + string(quoted) + `}`, false},
			{wire.JSON, `{"classe":"Saldo","objeto":{"id_pessoa":` + string(quoted) + `}}`, false},
			{wire.JSON, `{"op":"transfer","account":"1","amount":1,"to":` + string(quoted) + `}`, true},
			{wire.Msgpack, "\x82\xa2op\xa7balance\xa7account" + string(mpText(name)), false},
			{wire.Msgpack, "\x82\xa6classe\xa5Saldo\xa6objeto\x81\xa9id_pessoa" + string(mpText(name)), false},
			{wire.Msgpack, "\x84\xa2to" + string(mpText(name)) + "\xa2op\xa8transfer\xa7account\xa11\xa6amount\x01", true},
			{wire.Pickle, string(pickledObject("Saldo", attributes(name, "", ""))), false},
			{wire.Pickle, string(pickledObject("Transferencia", append(attributes("1", "", "K\x01"), attribute{"id_pessoa_d", pyText(name)}))), true},
		} {
			var op bank.Operation
			_, err := wire.NewCodec(m.format, 2).Decode([]byte(m.message), &op)
			got := string(op.Account)
			if m.payee {
				got = string(op.To)
			}
			if err != nil || op.Check() != want || want == bank.OK && got != name {
				t.Errorf("%q as %s (%d): %q, %v, %v; want %v", name, m.format, i, got, err, op.Check(), want)
			}
		}
	}
	if valid < 100 {
		t.Errorf("only %d of %d names are accounts", valid, len(names))
	}
}
