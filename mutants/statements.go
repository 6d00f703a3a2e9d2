package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// list looks at the statements of a block for those that can be left out.
func (f *finder) list(statements []ast.Stmt) {
	for _, statement := range statements {
		switch s := statement.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); ok && f.isBuiltin(call, "panic") {
				f.skipped[aPanic]++
				continue
			}
			f.remove(s)
		case *ast.SendStmt, *ast.GoStmt, *ast.DeferStmt:
			f.remove(s)
		case *ast.BranchStmt:
			if s.Tok == token.BREAK || s.Tok == token.CONTINUE {
				f.remove(s)
			}
		case *ast.IncDecStmt:
			operator, other := "++", "--"
			if s.Tok == token.DEC {
				operator, other = other, operator
			}
			f.replaceOrRemove(s, f.text(s.X)+" "+operator+"→ "+other, f.text(s.X)+other)
		case *ast.AssignStmt:
			f.assignment(s)
		}
	}
}

func (f *finder) assignment(s *ast.AssignStmt) {
	if s.Tok == token.DEFINE {
		return
	}
	if s.Tok == token.ASSIGN || !f.isInteger(s.Lhs[0]) {
		f.remove(s)
		return
	}
	operator := strings.TrimSuffix(s.Tok.String(), "=")
	for known, other := range calculated {
		if known.String() == operator {
			left, right := f.text(s.Lhs[0]), f.text(s.Rhs[0])
			f.replaceOrRemove(s, between(left, s.Tok.String(), other+"=", right), left+" "+other+"= "+right)
		}
	}
}

func (f *finder) remove(s ast.Stmt) {
	start, end := f.offset(s.Pos()), f.offset(s.End())
	f.add(s, []string{"without " + short(f.text(s))}, func(first, after int, inner func(int, int) string) string {
		return fmt.Sprintf("if mutantOff(%d, %d) { %s }", first, after, inner(start, end))
	})
}

// replaceOrRemove adds two mutants: one does something else, the other nothing.
func (f *finder) replaceOrRemove(s ast.Stmt, change, text string) {
	start, end := f.offset(s.Pos()), f.offset(s.End())
	f.add(s, []string{change, "without " + short(f.text(s))}, func(first, after int, inner func(int, int) string) string {
		return fmt.Sprintf("if mutantOn(%d) { %s } else if mutantOff(%d, %d) { %s }", first, text, first, after, inner(start, end))
	})
}

// returns looks at the returns of one function, and not of those within it.
func (f *finder) returns(of *ast.FuncType, body *ast.BlockStmt) {
	results := fieldTypes(of.Results)
	ast.Inspect(body, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			if len(results) == 0 {
				f.remove(n)
			} else {
				f.returned(n, results)
			}
		}
		return true
	})
}

// returned makes an error that is returned nil.
func (f *finder) returned(n *ast.ReturnStmt, results []ast.Expr) {
	of := f.info.Types[results[len(results)-1]].Type
	_, isPointer := of.(*types.Pointer)
	isError := types.Identical(of, types.Universe.Lookup("error").Type())
	if len(n.Results) == 0 || !isError && !(isPointer && types.Implements(of, errorInterface())) {
		return
	}
	last := n.Results[len(n.Results)-1]
	if f.info.Types[last].IsNil() {
		return
	}
	change := "return " + short(f.text(last)) + " → nil"
	if len(n.Results) == len(results) {
		function := "mutantNoError"
		if isPointer {
			function = "mutantNone"
		}
		f.wrap(last, change, function, last)
		return
	}
	var kept []string
	for i := range len(results) - 1 {
		kept = append(kept, fmt.Sprint("mutant", i))
	}
	call, names := f.text(last), strings.Join(kept, ", ")
	start, end := f.offset(n.Pos()), f.offset(n.End())
	f.add(n, []string{change}, func(first, after int, inner func(int, int) string) string {
		return fmt.Sprintf("if !mutantOff(%d, %d) { %s, _ := %s; return %s, nil }; %s",
			first, after, names, call, names, inner(start, end))
	})
}

func errorInterface() *types.Interface {
	return types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
}

// fieldTypes returns the type of each parameter or result.
func fieldTypes(fields *ast.FieldList) (all []ast.Expr) {
	if fields == nil {
		return nil
	}
	for _, field := range fields.List {
		for range max(1, len(field.Names)) {
			all = append(all, field.Type)
		}
	}
	return all
}

// wholeBody lets a function do nothing and return zeros, unless it does just that.
func (f *finder) wholeBody(d *ast.FuncDecl) {
	if len(d.Body.List) == 0 {
		return
	}
	if only, ok := d.Body.List[0].(*ast.ReturnStmt); ok && f.zeros(only) {
		return
	}
	var zeros []string
	for _, result := range fieldTypes(d.Type.Results) {
		zeros = append(zeros, "*new("+f.text(result)+")")
	}
	f.addAt(d.Body.Lbrace+1, d.Body.Lbrace+1, []string{"nothing is done"}, func(first, after int, _ func(int, int) string) string {
		return fmt.Sprintf(" if !mutantOff(%d, %d) { return %s }; ", first, after, strings.Join(zeros, ", "))
	})
}

// zeros reports whether a return gives nothing but zeros.
func (f *finder) zeros(n *ast.ReturnStmt) bool {
	for _, result := range n.Results {
		of := f.info.Types[result]
		if of.IsNil() || of.Value != nil && (of.Value.String() == "0" || of.Value.String() == "false" || of.Value.String() == `""`) {
			continue
		}
		return false
	}
	return true
}
