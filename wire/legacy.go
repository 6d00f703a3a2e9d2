package wire

import (
	"strings"

	"gateway/bank"
	"gateway/pickle"
)

// The words of the legacy bank. A message is {"classe": NAME, "objeto": {attributes}}, or a pickled instance of the class.
const (
	keyClass  = "classe"
	keyObject = "objeto"
	keyPayer  = "id_pessoa"
	keyPayee  = "id_pessoa_d"
	keyAmount = "valor"

	legacyModule = "dominio.Operacao"
)

// What is wrong with a message in the legacy bank's words.
const (
	faultPickle        = "send one pickled Saldo, Deposito, Saque or Transferencia"
	faultLegacyMap     = "the legacy map needs classe, a text, and objeto, a map"
	faultLegacyField   = "an unknown field; send only classe and objeto"
	faultLegacyLetters = "a field in other letters; write id_pessoa, id_pessoa_d and valor in small ones"
)

// legacyClass is a class of the legacy bank and what an instance asks for.
type legacyClass struct {
	name string
	kind bank.Kind
}

func legacyClasses() [4]legacyClass {
	return [...]legacyClass{
		{"Saldo", bank.KindBalance},
		{"Deposito", bank.KindDeposit},
		{"Saque", bank.KindWithdraw},
		{"Transferencia", bank.KindTransfer},
	}
}

func legacyKind(name string) (bank.Kind, bool) {
	for _, c := range legacyClasses() {
		if c.name == name {
			return c.kind, true
		}
	}
	return 0, false
}

// pickledClasses returns the only classes that a pickle may name.
func pickledClasses() []pickle.Class {
	var classes []pickle.Class
	for _, c := range legacyClasses() {
		classes = append(classes, pickle.Class{Module: legacyModule, Name: c.name})
	}
	return classes
}

// legacyMap is what a message says in the legacy bank's words: the class, whether it has an object, and the object's
// attributes that an operation is made of.
type legacyMap struct {
	class, object        value
	payer, payee, amount value
}

func (m *legacyMap) given() bool { return m.class.given() || m.object.given() }

// place returns where the value of a key of the message goes; nil when it is none of the legacy map's.
func (m *legacyMap) place(key []byte) *value {
	switch string(key) {
	case keyClass:
		return &m.class
	case keyObject:
		return &m.object
	}
	return nil
}

// placeAttribute returns where the value of an attribute goes, and what is wrong with its key. Any other key is the
// object's own and goes nowhere, unless it is one of ours in other letters: some readers would take the one for the other.
func (m *legacyMap) placeAttribute(key []byte) (*value, string) {
	switch string(key) {
	case keyPayer:
		return &m.payer, ""
	case keyPayee:
		return &m.payee, ""
	case keyAmount:
		return &m.amount, ""
	}
	for _, known := range [...]string{keyPayer, keyPayee, keyAmount} {
		if strings.EqualFold(string(key), known) {
			return nil, faultLegacyLetters
		}
	}
	return nil, ""
}

// operation judges the legacy map; it is that part of fields.operation.
func (m *legacyMap) operation(op *bank.Operation, decimals int) *Fault {
	if m.class.kind != text || m.object.kind != mapping {
		return malformed(faultLegacyMap)
	}
	kind, known := legacyKind(m.class.short())
	reads := func(v *value) bool {
		return v == &m.payer && known || v == &m.payee && kind == bank.KindTransfer || v == &m.amount && kind.Moves()
	}
	for _, v := range [...]*value{&m.payer, &m.payee, &m.amount} {
		if v.kind.container() && !reads(v) {
			return malformed(faultNotScalar)
		}
	}
	if !known {
		return unknownOperation()
	}
	op.Kind = kind
	op.Account = m.payer.account()
	if kind == bank.KindTransfer {
		op.To = m.payee.account()
	}
	if kind.Moves() {
		op.Amount = m.amount.amount(decimals)
	}
	return nil
}
