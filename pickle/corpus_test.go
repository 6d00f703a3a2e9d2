package pickle_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gateway/pickle"
)

// classes are the ones the test data names.
func classes() []pickle.Class {
	const module = "dominio.Operacao"
	return []pickle.Class{{module, "Saldo"}, {module, "Deposito"}, {module, "Saque"}, {module, "Transferencia"}}
}

// A row is one line of testdata/pickles.tsv: a real pickle and what CPython reads in it.
type row struct {
	name   string
	pickle []byte
	want   struct {
		Class         string    `json:"c"`
		From, To, Sum [2]string // kind and text
	}
}

func corpus(t testing.TB) []row {
	t.Helper()
	file, err := os.ReadFile("testdata/pickles.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			t.Fatalf("testdata/pickles.tsv: a line of %d fields", len(f))
		}
		r := row{name: f[0], pickle: unhex(t, f[1])}
		if err := json.Unmarshal([]byte(strings.Replace(f[2], `"v":`, `"sum":`, 1)), &r.want); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		rows = append(rows, r)
	}
	if len(rows) != 400 {
		t.Fatalf("testdata/pickles.tsv: %d rows, want 400", len(rows))
	}
	return rows
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// oldStyle is the rule by which a row is refused: its classes do not derive from object, as those of the clients do, so
// it makes its instance by INST or OBJ. Everything else, whatever its amounts and ids, is read.
func (r row) oldStyle() bool { return strings.HasPrefix(r.name, "2.7py2old_") }

// TestCorpus reads every real pickle as CPython does, or refuses it by the rule.
func TestCorpus(t *testing.T) {
	reader := pickle.NewReader(classes())
	var read, refused int
	for _, r := range corpus(t) {
		v, n, err := reader.Decode(r.pickle)
		if r.oldStyle() {
			refused++
			if !errors.Is(err, pickle.ErrMalformed) {
				t.Errorf("%s: error %v, want ErrMalformed", r.name, err)
			}
			if at := refusedAt(reader, r.pickle); r.pickle[at] != 'i' && r.pickle[at] != 'o' {
				t.Errorf("%s: refused at byte %d, an opcode %q; want INST or OBJ", r.name, at, r.pickle[at])
			}
			continue
		}
		read++
		if err != nil || n != len(r.pickle) {
			t.Errorf("%s: %d bytes of %d, error %v", r.name, n, len(r.pickle), err)
			continue
		}
		if v.Kind != pickle.Object || v.Class.Module != "dominio.Operacao" || strings.ToLower(v.Class.Name) != r.want.Class {
			t.Errorf("%s: kind %d of class %v, want an object of class %q", r.name, v.Kind, v.Class, r.want.Class)
		}
		for key, want := range map[string][2]string{"id_pessoa": r.want.From, "id_pessoa_d": r.want.To, "valor": r.want.Sum} {
			if got := attribute(v, key); !same(got, want[0], want[1]) {
				t.Errorf("%s: %s is %+v, want %v", r.name, key, got, want)
			}
		}
	}
	if read != 328 || refused != 72 {
		t.Errorf("read %d and refused %d rows, want 328 and 72", read, refused)
	}
}

// refusedAt returns the index of the first byte with which message is refused.
func refusedAt(reader *pickle.Reader, message []byte) int {
	for i := range message {
		if _, _, err := reader.Decode(message[:i+1]); err != nil && !errors.Is(err, pickle.ErrIncomplete) {
			return i
		}
	}
	return -1
}

// attribute returns an attribute of an object, None when it has none of that name, as the corpus writes it.
func attribute(v pickle.Value, key string) pickle.Value {
	for _, it := range v.Items {
		if it.Key == key {
			return it.Value
		}
	}
	return pickle.Value{Kind: pickle.None}
}

// same tells whether v is the scalar that Python called kind and wrote as text.
func same(v pickle.Value, kind, text string) bool {
	switch kind {
	case "none":
		return v.Kind == pickle.None && v.Text == ""
	case "bool":
		return v.Kind == pickle.Bool && v.Text == text
	case "int":
		return v.Kind == pickle.Int && v.Text == text
	case "decimal":
		return v.Kind == pickle.Decimal && v.Text == text
	case "str":
		return v.Kind == pickle.Str && v.Text == text
	case "bytes":
		return v.Kind == pickle.Bytes && hex.EncodeToString([]byte(v.Text)) == text
	case "float":
		want, err := strconv.ParseFloat(text, 64)
		return err == nil && v.Kind == pickle.Float && sameFloat(v.Float, want) && floatText(v) == nil
	}
	return false
}

func sameFloat(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

// floatText checks the promise of Value.Text for a Float.
func floatText(v pickle.Value) error {
	back, err := strconv.ParseFloat(v.Text, 64)
	size := math.Abs(v.Float)
	finite := size <= math.MaxFloat64
	exponent := finite && (size >= 1e21 || size < 1e-21 && size > 0)
	switch {
	case err != nil:
		return err
	case !sameFloat(back, v.Float):
		return fmt.Errorf("text %q reads back as another number", v.Text)
	case finite && strings.Contains(v.Text, "e") != exponent, len(v.Text) > 42:
		return fmt.Errorf("text %q is not plain", v.Text)
	case !finite && v.Text != "nan" && v.Text != "inf" && v.Text != "-inf":
		return fmt.Errorf("text %q is not Python's", v.Text)
	}
	return nil
}

// TestPrefixes cuts every row at every byte: before the end there is never a value and never a refusal, after it there
// is always the same value, whatever follows.
func TestPrefixes(t *testing.T) {
	reader := pickle.NewReader(classes())
	for _, r := range corpus(t) {
		legal := len(r.pickle)
		if r.oldStyle() {
			legal = refusedAt(reader, r.pickle) + 1
		}
		for n := range legal {
			if _, _, err := reader.Decode(r.pickle[:n]); err != pickle.ErrIncomplete {
				t.Fatalf("%s: the first %d of %d bytes: error %v, want ErrIncomplete", r.name, n, legal, err)
			}
		}
		for n := legal; n <= len(r.pickle) && r.oldStyle(); n++ {
			if _, _, err := reader.Decode(r.pickle[:n]); !errors.Is(err, pickle.ErrMalformed) {
				t.Fatalf("%s: the first %d bytes: error %v, want ErrMalformed", r.name, n, err)
			}
		}
		if r.oldStyle() {
			continue
		}
		for _, tail := range []string{".", "\x80\x02.", strings.Repeat("N", pickle.MaxMessage)} {
			if _, n, err := reader.Decode(append(bytes.Clone(r.pickle), tail...)); err != nil || n != len(r.pickle) {
				t.Fatalf("%s with bytes after it: took %d of %d, error %v", r.name, n, len(r.pickle), err)
			}
		}
	}
}

// TestValueIsACopy changes the bytes after they were read.
func TestValueIsACopy(t *testing.T) {
	reader := pickle.NewReader(classes())
	for _, r := range corpus(t) {
		before, _, err := reader.Decode(r.pickle)
		if err != nil {
			continue
		}
		told := fmt.Sprintf("%+v", before)
		message := r.pickle
		clear(message)
		for range 3 { // the pool hands the same decoder out again
			_, _, _ = reader.Decode([]byte("(S'" + strings.Repeat("~", 400)))
		}
		if now := fmt.Sprintf("%+v", before); now != told {
			t.Fatalf("%s: the value changed with its bytes:\n%s\n%s", r.name, told, now)
		}
	}
}

// TestConcurrentDecode shares one reader; the race detector judges too.
func TestConcurrentDecode(t *testing.T) {
	reader := pickle.NewReader(classes())
	rows := corpus(t)
	want := make([]string, len(rows))
	for i, r := range rows {
		v, n, err := reader.Decode(r.pickle)
		want[i] = fmt.Sprint(v, n, err)
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range rows {
				i = (i + 50*g) % len(rows)
				v, n, err := reader.Decode(rows[i].pickle)
				if got := fmt.Sprint(v, n, err); got != want[i] {
					t.Errorf("%s: %s, want %s", rows[i].name, got, want[i])
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkDecode states that a deposit takes one to two microseconds and two allocations at any protocol.
func BenchmarkDecode(b *testing.B) {
	reader := pickle.NewReader(classes())
	for _, protocol := range []string{"p0", "p4"} {
		for _, r := range corpus(b) {
			if !strings.HasPrefix(r.name, "3.11_pickle_c_"+protocol+"_dep_int") {
				continue
			}
			b.Run(protocol, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(r.pickle)))
				for b.Loop() {
					if _, _, err := reader.Decode(r.pickle); err != nil {
						b.Fatal(err)
					}
				}
			})
			break
		}
	}
}
