package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strconv"
	"strings"
)

// compared is what becomes of a comparison: first moved by one, then turned round.
var compared = map[token.Token][]string{
	token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
	token.EQL: {"!="}, token.NEQ: {"=="},
}

// calculated is what becomes of an operator of integers.
var calculated = map[token.Token]string{
	token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*", token.REM: "*", token.SHL: ">>", token.SHR: "<<",
	token.AND: "|", token.OR: "&", token.XOR: "&", token.AND_NOT: "&",
}

func (f *finder) binary(n *ast.BinaryExpr) {
	left, right := f.text(n.X), f.text(n.Y)
	switch {
	case n.Op == token.LAND || n.Op == token.LOR:
		other := "||"
		if n.Op == token.LOR {
			other = "&&"
		}
		f.condition(n.X)
		f.condition(n.Y)
		f.truth(n, []string{between(left, n.Op.String(), other, right)}, []string{"(" + left + ") " + other + " (" + right + ")"})
	case compared[n.Op] != nil:
		f.without(n)
		var changes, texts []string
		for _, other := range compared[n.Op] {
			changes = append(changes, between(left, n.Op.String(), other, right))
			texts = append(texts, left+" "+other+" "+right)
		}
		f.truth(n, changes, texts)
	case calculated[n.Op] != "":
		f.arithmetic(n, left, right)
	}
}

// between tells of an operator that became another, with the end of what is before it and the beginning of what is after.
func between(left, operator, other, right string) string {
	const most = 30 // runes on each side
	before, after := []rune(strings.Join(strings.Fields(left), " ")), []rune(strings.Join(strings.Fields(right), " "))
	if len(before) > most {
		before = append([]rune("…"), before[len(before)-most:]...)
	}
	if len(after) > most {
		after = append(after[:most:most], '…')
	}
	return fmt.Sprintf("%s %s→ %s %s", string(before), operator, other, string(after))
}

// without leaves a constant out beside which one more is what the comparison moved by one is.
func (f *finder) without(n *ast.BinaryExpr) {
	switch n.Op {
	case token.LSS, token.GEQ:
		if f.info.Types[n.Y].Value != nil {
			f.left[n.Y] = ""
		}
	case token.GTR, token.LEQ:
		if f.info.Types[n.X].Value != nil {
			f.left[n.X] = ""
		}
	}
}

// truth adds the place of an expression that is a bool, with what it becomes.
func (f *finder) truth(n ast.Expr, changes, texts []string) {
	if basic, ok := f.info.Types[n].Type.(*types.Basic); !ok || basic.Info()&types.IsBoolean == 0 {
		f.skipped[typeUnnamed] += len(changes)
		return
	}
	start, end := f.offset(n.Pos()), f.offset(n.End())
	f.add(n, changes, func(first, after int, inner func(int, int) string) string {
		var b strings.Builder
		for i, text := range texts {
			fmt.Fprintf(&b, "mutantOn(%d) && (%s) || ", first+i, text)
		}
		return fmt.Sprintf("(%smutantOff(%d, %d) && (%s))", b.String(), first, after, inner(start, end))
	})
}

// condition turns a condition round that is neither a comparison nor made of others.
func (f *finder) condition(n ast.Expr) {
	if n == nil || f.info.Types[n].Value != nil {
		return
	}
	switch e := ast.Unparen(n).(type) {
	case *ast.BinaryExpr, *ast.UnaryExpr:
		return
	default:
		f.truth(e, []string{short(f.text(e)) + " → !"}, []string{"!(" + f.text(e) + ")"})
	}
}

func (f *finder) unary(n *ast.UnaryExpr) {
	switch n.Op {
	case token.NOT:
		if _, ok := ast.Unparen(n.X).(*ast.BinaryExpr); !ok {
			f.truth(n, []string{short(f.text(n)) + " → " + short(f.text(n.X))}, []string{f.text(n.X)})
		}
	case token.SUB:
		if f.isInteger(n) {
			f.wrap(n, short(f.text(n))+" → "+short(f.text(n.X)), "mutantNegative", n.X)
		}
	}
}

func (f *finder) isInteger(n ast.Expr) bool {
	of := f.info.Types[n].Type
	if of == nil {
		return false
	}
	basic, ok := of.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsInteger != 0
}

// wrap gives an expression, or a part of it, to a function that knows what it becomes.
func (f *finder) wrap(n ast.Expr, change, function string, part ast.Expr) {
	start, end := f.offset(part.Pos()), f.offset(part.End())
	f.add(n, []string{change}, func(first, _ int, inner func(int, int) string) string {
		return fmt.Sprintf("%s(%d, %s)", function, first, inner(start, end))
	})
}

// arithmetic gives both operands to a function that knows both operators.
func (f *finder) arithmetic(n *ast.BinaryExpr, left, right string) {
	if !f.isInteger(n) {
		return // a text that is joined
	}
	function := calculators[n.Op].name
	if shift := n.Op == token.SHL || n.Op == token.SHR; shift && f.info.Types[n.X].Value != nil {
		name, ok := f.typeName(n, n.Pos())
		if !ok {
			f.skipped[typeUnnamed]++
			return
		}
		function += "[" + name + "]"
	}
	x, y, z, end := f.offset(n.X.Pos()), f.offset(n.X.End()), f.offset(n.Y.Pos()), f.offset(n.Y.End())
	f.add(n, []string{between(left, n.Op.String(), calculated[n.Op], right)},
		func(first, _ int, inner func(int, int) string) string {
			return fmt.Sprintf("%s(%d, %s, %s)", function, first, inner(x, y), inner(z, end))
		})
}

// constant makes an integer one more, and a truth value the other.
func (f *finder) constant(n ast.Expr, of types.TypeAndValue) {
	if ident, ok := n.(*ast.Ident); ok && of.Type == types.Typ[types.Bool] && (ident.Name == "true" || ident.Name == "false") {
		other := map[string]string{"true": "false", "false": "true"}[ident.Name]
		f.wrap(n, ident.Name+" → "+other+" in "+f.lineOf(n), "mutantOther", n)
		return
	}
	if !f.isInteger(n) {
		return
	}
	name, ok := f.typeName(n, n.Pos())
	if !ok {
		f.skipped[typeUnnamed]++
		return
	}
	f.wrap(n, more(short(f.text(n)))+" in "+f.lineOf(n), "mutantMore["+name+"]", n)
}

// more tells of an integer that became one more.
func more(text string) string {
	if n, err := strconv.Atoi(text); err == nil {
		return fmt.Sprint(n, " → ", n+1)
	}
	return text + " → " + text + "+1"
}

// typeName returns how an expression's type is called at a place of its file, if it has a name there.
func (f *finder) typeName(n ast.Expr, at token.Pos) (string, bool) {
	scope := f.types.Scope().Innermost(at)
	named := func(name string, want types.Object) bool {
		_, found := scope.LookupParent(name, at)
		return found == want
	}
	switch of := types.Unalias(f.info.Types[n].Type).(type) {
	case *types.Basic:
		return of.Name(), of.Info()&types.IsUntyped == 0 && named(of.Name(), types.Universe.Lookup(of.Name()))
	case *types.Named:
		object := of.Obj()
		if object.Pkg() == f.types {
			return object.Name(), named(object.Name(), object)
		}
		_, found := scope.LookupParent(object.Pkg().Name(), at)
		imported, ok := found.(*types.PkgName)
		return object.Pkg().Name() + "." + object.Name(), ok && imported.Imported() == object.Pkg() && object.Exported()
	}
	return "", false
}
