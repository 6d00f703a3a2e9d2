package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build compiles the package's tests with all mutants in its code, and returns the binary. Its files go into dir.
func (c *code) build(dir string) (binary string, err error) {
	overlay, err := c.write(dir)
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "tests")
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, c.path)
	build.Dir = c.dir
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, said)
	}
	if _, err := os.Stat(binary); err != nil {
		return "", errors.New("the package has no tests")
	}
	return binary, nil
}

// write writes the changed files, and the overlay that puts them in the place of the package's.
func (c *code) write(dir string) (overlay string, err error) {
	texts := map[string]string{filepath.Join(c.dir, "mutants_switchboard.go"): writeSwitchboard(c.name, len(c.mutants))}
	for _, f := range c.files {
		texts[f.path] = f.render()
	}
	replaced := map[string]string{}
	for path, text := range texts {
		replaced[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replaced[path], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}
