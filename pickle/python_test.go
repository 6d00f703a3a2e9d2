package pickle_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gateway/pickle"
)

// A told is what testdata/pickles.py says a value is.
type told struct {
	Kind, Text string
	Items      []toldItem
}

type toldItem struct {
	Key   string
	Value told
}

func (it *toldItem) UnmarshalJSON(b []byte) error {
	pair := [2]any{&it.Key, &it.Value}
	return json.Unmarshal(b, &pair)
}

// is tells how v differs from what Python told, or nil.
func (w told) is(v pickle.Value) error {
	switch {
	case w.Kind == "object" && (v.Kind != pickle.Object || v.Class.Name != w.Text):
		return fmt.Errorf("kind %d, class %v, want class %q", v.Kind, v.Class, w.Text)
	case w.Kind == "dict" && v.Kind != pickle.Dict:
		return fmt.Errorf("kind %d, want a dict", v.Kind)
	case w.Kind != "object" && w.Kind != "dict":
		if !same(v, w.Kind, w.Text) {
			return fmt.Errorf("%+v, want %s %q", v, w.Kind, w.Text)
		}
		return nil
	}
	if len(v.Items) != len(w.Items) {
		return fmt.Errorf("%d items, want %d", len(v.Items), len(w.Items))
	}
	for i, it := range v.Items {
		if it.Key != w.Items[i].Key {
			return fmt.Errorf("key %d is %q, want %q", i, it.Key, w.Items[i].Key)
		}
		if err := w.Items[i].Value.is(it.Value); err != nil {
			return fmt.Errorf("%s: %w", it.Key, err)
		}
	}
	return nil
}

// pythons are the interpreters of this machine: python3, and all that pyenv has.
func pythons(t *testing.T) []string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is missing; the tests against CPython must run here")
		}
		t.Skip("SKIPPED: python3 is missing, NOTHING WAS CHECKED AGAINST CPYTHON")
	}
	found := []string{path}
	root := os.Getenv("PYENV_ROOT")
	if home, err := os.UserHomeDir(); root == "" && err == nil {
		root = filepath.Join(home, ".pyenv")
	}
	more, err := filepath.Glob(filepath.Join(root, "versions", "*", "bin", "python"))
	if err != nil {
		t.Fatal(err)
	}
	return append(found, more...)
}

// python runs testdata/pickles.py and returns the lines it printed.
func python(t *testing.T, interpreter, mode string, stdin []byte) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), interpreter, "-B", "testdata/pickles.py", mode)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestPythonWrites reads what every pickler of every interpreter writes for the values of testdata/pickles.py, at every
// protocol it has.
func TestPythonWrites(t *testing.T) {
	reader := pickle.NewReader(classes())
	for _, interpreter := range pythons(t) {
		t.Run(interpreter, func(t *testing.T) {
			lines := python(t, interpreter, "write", nil)
			if len(lines) < 800 {
				t.Fatalf("%d pickles only", len(lines))
			}
			for _, line := range lines {
				f := strings.Split(line, "\t")
				message := unhex(t, f[1])
				var want told
				if err := json.Unmarshal([]byte(f[2]), &want); err != nil {
					t.Fatalf("%s: %v", f[0], err)
				}
				v, n, err := reader.Decode(message)
				if err != nil || n != len(message) {
					t.Errorf("%s: took %d bytes of %d, error %v: %q", f[0], n, len(message), err, message)
				} else if err := want.is(v); err != nil {
					t.Errorf("%s: %v: %q", f[0], err, message)
				}
			}
		})
	}
}

// read has an interpreter unpickle messages and returns what it says they are.
func read(t *testing.T, interpreter string, messages [][]byte) []told {
	t.Helper()
	var stdin bytes.Buffer
	for _, m := range messages {
		fmt.Fprintf(&stdin, "%x\n", m)
	}
	values := make([]told, len(messages))
	lines := python(t, interpreter, "read", stdin.Bytes())
	if len(lines) != len(messages) {
		t.Fatalf("%d answers to %d messages", len(lines), len(messages))
	}
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &values[i]); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

// TestPythonReads has every interpreter unpickle what we write.
func TestPythonReads(t *testing.T) {
	for _, interpreter := range pythons(t) {
		t.Run(interpreter, func(t *testing.T) {
			var dicts [][]pickle.Item
			messages := [][]byte{pickle.AppendTrue(nil), pickle.AppendDict(nil, nil)}
			for _, v := range encodable() {
				items := []pickle.Item{{Key: "status", Value: v}}
				dicts = append(dicts, items)
				messages = append(messages, pickle.AppendDict(nil, items))
			}
			got := read(t, interpreter, messages)
			if got[0].Kind != "bool" || got[0].Text != "True" {
				t.Errorf("AppendTrue reads as %+v", got[0])
			}
			if got[1].Kind != "dict" || len(got[1].Items) != 0 {
				t.Errorf("the empty dict reads as %+v", got[1])
			}
			for i, items := range dicts {
				if err := got[i+2].is(pickle.Value{Kind: pickle.Dict, Items: items}); err != nil {
					t.Errorf("%+v reads otherwise: %v", items, err)
				}
			}
		})
	}
}

// TestPythonAgrees mutates real pickles, and has CPython read what we still accept: it must read the same. Only those are
// given to it, so nothing is ever imported or called there either.
func TestPythonAgrees(t *testing.T) {
	interpreter := pythons(t)[0]
	const tries = 60_000
	const seed = 20260101
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	reader := pickle.NewReader(classes())
	rows := corpus(t)
	var messages [][]byte
	var values []pickle.Value
	for range tries {
		message := mutate(random, rows)
		if v, n, err := reader.Decode(message); err == nil {
			messages = append(messages, framed(message[:n]))
			values = append(values, v)
		}
	}
	if len(messages) < tries/20 {
		t.Fatalf("only %d of %d mutants are accepted", len(messages), tries)
	}
	t.Logf("%d of %d mutants are accepted", len(messages), tries)
	for i, want := range read(t, interpreter, messages) {
		if t.Failed() {
			break
		}
		if hasOddDecimal(values[i]) {
			continue // we leave a Decimal's text unjudged
		}
		if err := want.is(values[i]); err != nil {
			t.Errorf("%q: CPython reads %+v: %v", messages[i], want, err)
		}
	}
}

// mutate changes one to three bytes of a row, or joins the front of one and the back of another.
func mutate(random *rand.Rand, rows []row) []byte {
	one := bytes.Clone(rows[random.IntN(len(rows))].pickle)
	other := rows[random.IntN(len(rows))].pickle
	for range 1 + random.IntN(3) {
		at := random.IntN(len(one))
		from := random.IntN(len(other))
		switch random.IntN(6) {
		case 0:
			one[at] = byte(random.IntN(256))
		case 1:
			one[at] ^= 1 << random.IntN(8)
		case 2:
			one[at] = other[from]
		case 3:
			one = append(one[:at], one[at+1:]...)
		case 4:
			one = append(one[:at+1], one[at:]...)
		case 5:
			one = append(one[:at], other[min(at, len(other)):]...)
		}
		if len(one) == 0 {
			return one
		}
	}
	return one
}

// framed sets the length of a frame at the front right: CPython minds it, we do not.
func framed(message []byte) []byte {
	if len(message) > 11 && message[0] == 0x80 && message[2] == 0x95 {
		binary.LittleEndian.PutUint64(message[3:], uint64(len(message)-11))
	}
	return message
}

func hasOddDecimal(v pickle.Value) bool {
	for _, it := range v.Items {
		if it.Value.Kind == pickle.Decimal && !plainDecimal.MatchString(it.Value.Text) || hasOddDecimal(it.Value) {
			return true
		}
	}
	return false
}

var plainDecimal = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]{1,3})?$`)

// TestRefusedMutants checks on the same mutants that a refusal tells where, and nothing of the content.
func TestRefusedMutants(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	reader := pickle.NewReader(classes())
	rows := corpus(t)
	form := regexp.MustCompile(`^pickle: malformed message: opcode 0x[0-9a-f]{2} at byte \d+: [A-Za-z0-9 ,]+$`)
	refused := 0
	for range 20_000 {
		message := mutate(random, rows)
		_, _, err := reader.Decode(message)
		if !errors.Is(err, pickle.ErrMalformed) {
			continue
		}
		refused++
		if !form.MatchString(err.Error()) {
			t.Fatalf("%s: error %q", hex.EncodeToString(message), err)
		}
	}
	if refused == 0 {
		t.Fatal("no mutant was refused")
	}
}
