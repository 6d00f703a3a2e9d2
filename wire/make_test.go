package wire_test

import (
	"encoding/binary"
	"math"
	"strings"

	"gateway/wire"
)

func formats() []wire.Format { return []wire.Format{wire.Pickle, wire.Msgpack, wire.JSON} }

// What follows writes pickles as CPython does at protocol 2, opcode by opcode. They share no code with package pickle.

// attribute is one attribute of an object, or one item of a dict; value is the opcodes of its value.
type attribute struct{ key, value string }

// attributes returns what a legacy object has: the payer, the payee if there is one, the amount if there is one.
func attributes(payer, payee, amount string) []attribute {
	list := []attribute{{"call_before", "\x89"}, {"id_pessoa", pyText(payer)}, {"conta", "N"}}
	if payee != "" {
		list = append(list, attribute{"id_pessoa_d", pyText(payee)}, attribute{"conta_d", "N"})
	}
	if amount != "" {
		list = append(list, attribute{"valor_original", "N"}, attribute{"valor", amount})
	}
	return list
}

func pickledObject(class string, attributes []attribute) []byte {
	return []byte("\x80\x02cdominio.Operacao\n" + class + "\n)\x81" + pyDict(attributes) + "b.")
}

func pyDict(items []attribute) string {
	var b strings.Builder
	b.WriteString("}(")
	for _, it := range items {
		b.WriteString(pyText(it.key) + it.value)
	}
	b.WriteString("u")
	return b.String()
}

func pyText(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func pyFloat(f float64) string {
	return "G" + string(binary.BigEndian.AppendUint64(nil, math.Float64bits(f)))
}

func pyInt(digits string) string { return "I" + digits + "\n" }

func pyLong(digits string) string { return "L" + digits + "L\n" }

func pyDecimal(s string) string { return "cdecimal\nDecimal\n" + pyText(s) + "\x85R" }

func pyBytes(s string) string { return "c_codecs\nencode\n(" + pyText(s) + pyText("latin1") + "tR" }
