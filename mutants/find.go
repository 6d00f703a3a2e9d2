package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// Why something is skipped.
const (
	mustBeConstant = "must be a constant"
	beforeAnyTest  = "outside of functions"
	stepOfFor      = "the step of a for"
	onlyCapacity   = "a capacity"
	aPanic         = "a panic"
	typeUnnamed    = "a type without a name in its file"
)

// finder looks for places in one file.
type finder struct {
	*code
	file     *source
	function string
	left     map[ast.Node]string // what is not looked into, and why; "" is not counted
}

// findAll fills mutants, in the order of the text.
func (c *code) findAll() {
	for _, file := range c.files {
		f := &finder{code: c, file: file, left: map[ast.Node]string{}}
		for _, declaration := range file.syntax.Decls {
			f.declaration(declaration)
		}
		file.sort()
		for _, p := range file.places {
			first := len(c.mutants)
			for _, m := range p.mutants {
				m.id, m.place = len(c.mutants), first
				c.mutants = append(c.mutants, m)
			}
		}
	}
	number(c.mutants)
}

func (f *finder) declaration(declaration ast.Decl) {
	switch d := declaration.(type) {
	case *ast.GenDecl:
		if d.Tok == token.CONST {
			f.skipped[mustBeConstant] += len(d.Specs)
		}
		if d.Tok == token.VAR {
			f.skipped[beforeAnyTest] += len(d.Specs)
		}
	case *ast.FuncDecl:
		if d.Body == nil {
			return
		}
		f.function = d.Name.Name
		if d.Recv != nil {
			f.function = receiver(d.Recv.List[0].Type) + "." + d.Name.Name
		}
		f.wholeBody(d)
		f.returns(d.Type, d.Body)
		ast.Inspect(d.Body, f.visit)
	}
}

// receiver names a receiver's type.
func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// visit is for ast.Inspect.
func (f *finder) visit(node ast.Node) bool {
	if why, ok := f.left[node]; ok {
		if why != "" {
			f.skipped[why]++
		}
		return false
	}
	if expr, ok := node.(ast.Expr); ok {
		switch of := f.info.Types[expr]; {
		case of.IsType():
			if array, ok := expr.(*ast.ArrayType); ok && array.Len != nil {
				f.skipped[mustBeConstant]++
			}
			return false
		case of.Value != nil:
			f.constant(expr, of)
			return false
		}
	}
	switch n := node.(type) {
	case *ast.FuncLit:
		f.returns(n.Type, n.Body)
	case *ast.SelectorExpr:
		f.left[n.Sel] = ""
	case *ast.KeyValueExpr:
		f.key(n)
	case *ast.CallExpr:
		f.call(n)
	case *ast.BinaryExpr:
		f.binary(n)
	case *ast.UnaryExpr:
		f.unary(n)
	default:
		f.statement(node)
	}
	return true
}

// statement looks at what holds conditions or statements.
func (f *finder) statement(node ast.Node) {
	switch n := node.(type) {
	case *ast.IfStmt:
		f.condition(n.Cond)
	case *ast.ForStmt:
		f.condition(n.Cond)
		if n.Post != nil {
			f.left[n.Post] = stepOfFor
		}
	case *ast.SwitchStmt:
		for _, clause := range n.Body.List {
			f.labels(clause.(*ast.CaseClause), n.Tag == nil)
		}
	case *ast.GenDecl:
		if n.Tok == token.CONST {
			for _, spec := range n.Specs {
				f.left[spec] = mustBeConstant
			}
		}
	case *ast.BlockStmt:
		f.list(n.List)
	case *ast.CaseClause:
		f.list(n.Body)
	case *ast.CommClause:
		f.list(n.Body)
	}
}

// labels looks at what a case of a switch compares with.
func (f *finder) labels(clause *ast.CaseClause, conditions bool) {
	for _, expr := range clause.List {
		switch {
		case conditions:
			f.condition(expr)
		case f.info.Types[expr].Value != nil:
			f.left[expr] = mustBeConstant
		}
	}
}

// key leaves out the keys of composite literals: names of fields, or constants.
func (f *finder) key(n *ast.KeyValueExpr) {
	f.left[n.Key] = ""
	if of, ok := f.info.Types[n.Key]; ok && of.Value != nil {
		f.left[n.Key] = mustBeConstant
	}
}

func (f *finder) call(n *ast.CallExpr) {
	if f.isBuiltin(n, "make") && len(n.Args) == 3 {
		f.left[n.Args[2]] = onlyCapacity
	}
}

func (f *finder) isBuiltin(n *ast.CallExpr, name string) bool {
	ident, ok := n.Fun.(*ast.Ident)
	if !ok || ident.Name != name {
		return false
	}
	_, ok = f.info.Uses[ident].(*types.Builtin)
	return ok
}

// lineOf is the text of the line that a node begins in, without what surrounds it: it tells of a small node where it is.
func (f *finder) lineOf(node ast.Node) string {
	at := f.offset(node.Pos())
	begin := strings.LastIndexByte(f.file.text[:at], '\n') + 1
	line, _, _ := strings.Cut(f.file.text[begin:], "\n")
	return short(line)
}

// offset is where in the file a place is.
func (f *finder) offset(pos token.Pos) int { return f.set.Position(pos).Offset }

func (f *finder) text(node ast.Node) string {
	return f.file.text[f.offset(node.Pos()):f.offset(node.End())]
}

// add adds the place of a node, with a mutant for each change.
func (f *finder) add(node ast.Node, changes []string, write writing) {
	f.addAt(node.Pos(), node.End(), changes, write)
}

func (f *finder) addAt(from, to token.Pos, changes []string, write writing) {
	p := &place{start: f.offset(from), end: f.offset(to), write: write}
	for _, change := range changes {
		p.mutants = append(p.mutants, &mutant{
			file: f.file.name, line: f.set.Position(from).Line, function: f.function, change: change,
		})
	}
	f.file.places = append(f.file.places, p)
}
