package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// code is the package that is changed.
type code struct {
	path    string // of its import
	dir     string
	name    string
	set     *token.FileSet
	files   []*source
	info    *types.Info
	types   *types.Package
	mutants []*mutant
	skipped map[string]int // by reason
}

// source is one of its files.
type source struct {
	path   string
	name   string // below the module, with slashes
	text   string
	syntax *ast.File
	places []*place
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Name, Export string
	GoFiles                       []string
	DepOnly                       bool
	Module                        *struct{ Dir string }
}

// load reads and type-checks the package that pattern names. What it imports is compiled already, by go list.
func load(pattern string) (*code, error) {
	list, err := goTool("list", "-export", "-deps", "-json=ImportPath,Dir,Name,Export,GoFiles,DepOnly,Module", pattern)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	var found listed
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			if found.Dir != "" {
				return nil, fmt.Errorf("%s and %s: one package at a time", found.ImportPath, p.ImportPath)
			}
			found = p
		}
	}
	if found.Module == nil || len(found.GoFiles) == 0 {
		return nil, errors.New("no package of a module")
	}
	c := &code{
		path: found.ImportPath, dir: found.Dir, name: found.Name, set: token.NewFileSet(), skipped: map[string]int{},
		info: &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
		},
	}
	if err := c.parse(&found); err != nil {
		return nil, err
	}
	return c, c.check(exports)
}

func (c *code) parse(p *listed) error {
	for _, name := range p.GoFiles {
		f := &source{path: filepath.Join(p.Dir, name)}
		text, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(p.Module.Dir, f.path)
		if err != nil {
			return err
		}
		f.name, f.text = filepath.ToSlash(below), string(text)
		if f.syntax, err = parser.ParseFile(c.set, f.path, text, parser.SkipObjectResolution); err != nil {
			return err
		}
		c.files = append(c.files, f)
	}
	return nil
}

// check finds out the types.
func (c *code) check(exports map[string]string) error {
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(c.set, "gc", open)}
	var syntax []*ast.File
	for _, f := range c.files {
		syntax = append(syntax, f.syntax)
	}
	var err error
	c.types, err = config.Check(c.path, c.set, syntax, c.info)
	return err
}

// goTool runs the go command and returns what it prints.
func goTool(args ...string) ([]byte, error) {
	out, err := exec.Command("go", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, fmt.Errorf("go %s: %w\n%s", args[0], err, exit.Stderr)
	}
	return out, err
}

// chosen returns the mutants whose key matches.
func (c *code) chosen(only *regexp.Regexp) (chosen []*mutant) {
	for _, m := range c.mutants {
		if only.MatchString(m.key()) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// short makes one line of a piece of code, and leaves out the middle of a long one.
func short(text string) string {
	const most = 70 // runes
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) <= most {
		return string(line)
	}
	return string(line[:most/2]) + " … " + string(line[len(line)-most/2:])
}
