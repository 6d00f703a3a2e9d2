package wire_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gateway/wire"
)

// field is one field of a message as JSON.
type field struct{ key, value string }

// rightValues are values that a field may have, and that are wrong only in company.
func rightValues(key string) []string {
	return map[string][]string{
		"account": {`"ana"`, `"ana"`, `"@cash"`}, "to": {`"bia"`}, "amount": {`"12.50"`, `20`, `0`, `-1`, `0.125`}, "id": {`"x"`}, "memo": {`"why"`},
		"id_pessoa": {`"ana"`}, "id_pessoa_d": {`"bia"`}, "valor": {`12.5`, `20`}, "conta": {`null`}, "VALOR": {`20`}, "extra": {`1`},
	}[key]
}

// drawFields draws most of the fields of likely, few of rare, most of them with right values.
func drawFields(t *rapid.T, likely, rare []string) []field {
	var list []field
	draw := func(key string, tenths int) {
		if rapid.IntRange(0, 9).Draw(t, "has "+key) >= tenths {
			return
		}
		choices := rightValues(key)
		if rapid.IntRange(0, 9).Draw(t, "wrong") == 0 {
			choices = []string{`null`, `true`, `7`, `[]`, `{}`, `""`, `"é"`}
		}
		list = append(list, field{key, rapid.SampledFrom(choices).Draw(t, key)})
	}
	for _, key := range likely {
		draw(key, 9)
	}
	for _, key := range rare {
		draw(key, 1)
	}
	return list
}

func object(fields []field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = `"` + f.key + `":` + f.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// drawMessage draws a canonical or legacy map, or a mixture, and the same with its fields in another order.
func drawMessage(t *rapid.T) (message, shuffled string) {
	kinds := map[string][]string{
		`"balance"`: {"account"}, `"deposit"`: {"account", "amount"}, `"transfer"`: {"account", "to", "amount"}, `"status"`: {"id"}, `"pay"`: {"account"}, `7`: {},
		`"Saldo"`: {"id_pessoa"}, `"Deposito"`: {"id_pessoa", "valor"}, `"Transferencia"`: {"id_pessoa", "id_pessoa_d", "valor"}, `"Emprestimo"`: {},
	}
	var fields []field
	if rapid.Bool().Draw(t, "legacy") {
		class := rapid.SampledFrom([]string{`"Saldo"`, `"Deposito"`, `"Transferencia"`, `"Emprestimo"`}).Draw(t, "classe")
		inner := drawFields(t, kinds[class], []string{"conta", "id", "VALOR"})
		fields = append([]field{{"objeto", object(inner)}, {"classe", class}}, drawFields(t, nil, []string{"extra", "account"})...)
		message = object(fields)
		fields[0].value = object(rapid.Permutation(inner).Draw(t, "inner order"))
	} else {
		op := rapid.SampledFrom([]string{`"balance"`, `"deposit"`, `"transfer"`, `"status"`, `"pay"`, `7`}).Draw(t, "op")
		fields = append([]field{{"op", op}}, drawFields(t, kinds[op], []string{"memo", "extra", "valor"})...)
		if op != `"status"` {
			fields = append(fields, drawFields(t, nil, []string{"id"})...)
		}
		message = object(fields)
	}
	return message, object(rapid.Permutation(fields).Draw(t, "order"))
}

// The order of the fields never matters: not to what is done, nor to the code and id of a refusal.
func TestOrderDoesNotMatter(t *testing.T) {
	said := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		first, second := drawMessage(t)
		want := verdict(wire.JSON, []byte(first))
		if got := verdict(wire.JSON, []byte(second)); got != want {
			t.Fatalf("%s is %s\n%s is %s", first, want, second, got)
		}
		if got := verdict(wire.Msgpack, asMsgpack(t, second)); got != want {
			t.Fatalf("%s is %s\nas msgpack %s", second, want, got)
		}
		verb, _, _ := strings.Cut(want, " ")
		said[verb]++
	})
	for _, verb := range []string{"ok", "malformed", "unknown_operation", "invalid_account", "invalid_amount"} {
		if said[verb] == 0 {
			t.Errorf("no message was %s: %v", verb, said)
		}
	}
}
