package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"reflect"
)

// Load reads the settings in the file at path. getenv is os.LookupEnv outside tests.
//
// An error that is Problems is everything wrong with the settings; then the Config is of no use. Any other error is that of reading the file itself.
func Load(path string, getenv func(string) (string, bool)) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	defer f.Close() // nothing was written: an error loses nothing
	info, err := f.Stat()
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	r := newReader(path, getenv)
	r.exposed = exposed(info)
	return r.read(data)
}

// Parse reads the settings in data; name stands for the file in problems. It returns what [Load] does, but does not
// ask who may read the file.
func Parse(name string, data []byte, getenv func(string) (string, bool)) (Config, error) {
	return newReader(name, getenv).read(data)
}

func newReader(file string, getenv func(string) (string, bool)) *reader {
	return &reader{
		source:  source{file: file, lines: map[string]int{}},
		getenv:  getenv,
		written: map[string]string{},
		bad:     map[string]bool{},
	}
}

func (r *reader) read(data []byte) (Config, error) {
	c := Default()
	if len(data) > MaxFileBytes {
		line := bytes.Count(data[:MaxFileBytes], []byte("\n")) + 1
		r.problemAt(line, "", fmt.Sprintf("the file is larger than %v", Size(MaxFileBytes)))
		return c, r.problems
	}
	root, ok := r.document(data)
	if !ok {
		return c, r.sorted()
	}
	if root != nil {
		r.mapping(root, "", reflect.ValueOf(&c).Elem())
	}
	r.check(&c)
	if len(r.problems) > 0 {
		return c, r.sorted()
	}
	return c, nil
}
