package gateway_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// file is one parsed Go file of the tree.
type file struct {
	path   string
	pkg    string // import path below the module, "bank/journal"
	isTest bool
	set    *token.FileSet
	syntax *ast.File
}

// parseTree parses every Go file of the module.
func parseTree(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		set := token.NewFileSet()
		syntax, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		files = append(files, file{path, filepath.ToSlash(filepath.Dir(path)), strings.HasSuffix(name, "_test.go"), set, syntax})
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("parse the tree: %d files, %v", len(files), err)
	}
	return files
}

func (f *file) imports() []string {
	paths := make([]string, 0, len(f.syntax.Imports))
	for _, spec := range f.syntax.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, path)
	}
	return paths
}

func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != "gateway"
}

// arrows says which of our packages each package may import; cmd/gateway knows everyone. A package that is missing here
// fails the test, so that a new room is drawn on the plan before it is built.
var arrows = map[string][]string{
	".":                {},
	"bank":             {},
	"bank/banktest":    {"bank"},
	"bank/journal":     {"bank", "disk"},
	"statelog":         {"disk"},
	"evidence":         {"bank", "disk", "packed", "seldom"},
	"disk":             {},
	"disk/disktest":    {"disk"},
	"packed":           {},
	"pickle":           {},
	"wire":             {"bank", "pickle"},
	"transport/socket": {"bank", "certs", "gate", "seldom", "wire"},
	"transport/mqtt":   {"bank", "certs", "gate", "packed", "seldom", "wire"},
	"client":           {"bank", "wire"},
	"access":           {"bank", "gate"},
	"admin":            {"bank"},
	"config":           {},
	"seldom":           {},
	"gate":             {},
	"simulation":       {}, // its tests know everyone
	"certs":            {},
	"certs/certstest":  {},
	"bugbank":          {},
	"mutants":          {},
}

func TestPackagesImportOnlyAlongTheArrows(t *testing.T) {
	for _, f := range parseTree(t) {
		if f.pkg == "cmd/gateway" || f.isTest {
			continue
		}
		allowed, known := arrows[f.pkg]
		if !known {
			t.Errorf("%s: package %s is not on the plan", f.path, f.pkg)
		}
		for _, path := range f.imports() {
			ours, isOurs := strings.CutPrefix(path, "gateway/")
			if isOurs && !contains(allowed, ours) {
				t.Errorf("%s imports %s, which is against the arrows", f.path, path)
			}
			if onlyStandard := f.pkg == "bank" || f.pkg == "pickle"; onlyStandard && !isStandard(path) && !isOurs {
				t.Errorf("%s imports %s; %s uses the standard library only", f.path, path, f.pkg)
			}
		}
	}
}

func contains(list []string, item string) bool {
	for _, each := range list {
		if each == item {
			return true
		}
	}
	return false
}

// module returns the third-party module of an import path, well enough for the ones there are.
func module(path string) string {
	parts := strings.Split(path, "/")
	switch {
	case parts[0] == "github.com" && len(parts) >= 3, parts[0] == "golang.org" && len(parts) >= 3:
		return strings.Join(parts[:3], "/")
	case len(parts) >= 2:
		return strings.Join(parts[:2], "/")
	}
	return path
}

func TestAThirdPartyModuleHasOneImportingPackage(t *testing.T) {
	importers := map[string]map[string]bool{}
	for _, f := range parseTree(t) {
		for _, path := range f.imports() {
			if f.isTest || isStandard(path) || strings.HasPrefix(path, "gateway/") {
				continue
			}
			name := module(path)
			if importers[name] == nil {
				importers[name] = map[string]bool{}
			}
			importers[name][f.pkg] = true
		}
	}
	for name, packages := range importers {
		if len(packages) > 1 {
			t.Errorf("%s is imported by %v; one of them should offer what the others need", name, packages)
		}
	}
}

// longest is the greatest number of lines of a function.
const longest = 70

func TestFunctionsFitOnAScreen(t *testing.T) {
	for _, f := range parseTree(t) {
		for _, declaration := range f.syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := f.set.Position(function.End()).Line - f.set.Position(function.Pos()).Line + 1
			if lines > longest {
				t.Errorf("%s: %s has %d lines, more than %d", f.path, function.Name.Name, lines, longest)
			}
		}
	}
}

// banned are words that say nothing about the thing they name, or say another thing than this field does.
var banned = regexp.MustCompile(`(?i)(util|common|helper|manager|service|repository)s?$|^(data|info|tmp)$`)

func TestNamesAreTheFieldsOwn(t *testing.T) {
	for _, f := range parseTree(t) {
		if name := f.syntax.Name.Name; banned.MatchString(name) || isStandard(name) && (name == "log" || name == "net" || name == "time") {
			t.Errorf("%s: package %s", f.path, name)
		}
		for _, declaration := range f.syntax.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE {
				continue
			}
			for _, spec := range general.Specs {
				if name := spec.(*ast.TypeSpec).Name.Name; banned.MatchString(name) {
					t.Errorf("%s: type %s", f.path, name)
				}
			}
		}
	}
}

// legacyWords live in wire/legacy.go alone, besides tests and the pickle corpus.
var legacyWords = regexp.MustCompile(`\b(Saldo|Deposito|Saque|Transferencia|id_pessoa|id_pessoa_d|classe|objeto)\b`)

func TestThePortugueseWordsLiveInOneFile(t *testing.T) {
	for _, f := range parseTree(t) {
		if f.isTest || f.path == filepath.FromSlash("wire/legacy.go") {
			continue
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			text := ""
			switch node := node.(type) {
			case *ast.Ident:
				text = node.Name
			case *ast.BasicLit:
				text = node.Value
			}
			if legacyWords.MatchString(text) {
				t.Errorf("%s: %s", f.set.Position(node.Pos()), text)
			}
			return true
		})
	}
}

func TestNothingSleepsAndNoPackageInitialisesItself(t *testing.T) {
	for _, f := range parseTree(t) {
		for _, declaration := range f.syntax.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
				t.Errorf("%s has an init function", f.path)
			}
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if ok && called.Sel.Name == "Sleep" && fmt.Sprint(called.X) == "time" {
				t.Errorf("%s sleeps", f.set.Position(node.Pos()))
			}
			return true
		})
	}
}

// TestArchitectureNamesTestsThatExist holds the table of promises to the tree.
func TestArchitectureNamesTestsThatExist(t *testing.T) {
	if named := namedTests(t, "ARCHITECTURE.md"); named < 30 {
		t.Fatalf("only %d tests are named", named)
	}
}

// TestReliabilityNamesTestsThatExist holds RELIABILITY.md to the tree.
func TestReliabilityNamesTestsThatExist(t *testing.T) {
	if named := namedTests(t, "RELIABILITY.md"); named < 60 {
		t.Errorf("only %d tests are named", named)
	}
}

// rows are the attacks that SECURITY.md has to speak of: from the first to the last of each letter.
var rows = []struct {
	letter      string
	first, last int
}{{"N", 6, 17}, {"X", 1, 8}, {"P", 1, 5}, {"A", 1, 4}, {"H", 1, 1}}

// TestSecurityNamesTestsThatExist holds SECURITY.md to the tree: it has a line for each attack, with a test of that name, and the
// tests that it names exist.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	if named := namedTests(t, "SECURITY.md"); named < 30 {
		t.Errorf("only %d tests are named", named)
	}
	document, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		for n := r.first; n <= r.last; n++ {
			row := fmt.Sprint(r.letter, n)
			if !regexp.MustCompile("(?m)^\\| " + row + " \\|.*`Test" + row + `(\pL|…)`).Match(document) {
				t.Errorf("no line about %s with a test of that name", row)
			}
		}
	}
}

// namedTests checks that the tests that a document names exist, and returns how many it names; … stands for any letters.
func namedTests(t *testing.T, path string) (count int) {
	t.Helper()
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range parseTree(t) {
		for _, declared := range f.syntax.Decls {
			if function, ok := declared.(*ast.FuncDecl); ok && f.isTest {
				names = append(names, function.Name.Name)
			}
		}
	}
	all, quoted := strings.Join(names, "\n"), regexp.MustCompile("`((?:Test|Fuzz)[\\pL\\d]*…?[\\pL\\d]*)`")
	for line := range strings.Lines(string(document)) {
		for _, match := range quoted.FindAllStringSubmatch(line, -1) {
			count++
			pattern := "(?m)^" + strings.ReplaceAll(match[1], "…", `[\pL\d]+`) + "$"
			if !regexp.MustCompile(pattern).MatchString(all) {
				t.Errorf("%s: there is no test %s", path, match[1])
			}
		}
	}
	return count
}
