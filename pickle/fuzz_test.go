package pickle_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"gateway/pickle"
)

// FuzzDecode holds every message to the promises of Decode: no panic; never more bytes taken than there are; every
// strict prefix of a value incomplete and of a refusal incomplete or refused alike; the same answer again, and whatever
// follows; values of the promised form and of bounded size; what can be written again reads back equal.
func FuzzDecode(f *testing.F) {
	seeds := 0
	for _, r := range corpus(f) {
		f.Add(r.pickle)
		seeds++
	}
	hostile := 0
	for _, b := range bombs() {
		f.Add([]byte(b.front + b.bad + b.rest[:min(len(b.rest), 100)]))
		hostile++
	}
	for _, l := range limits() {
		f.Add([]byte(l.message(l.max)))
	}
	if seeds == 0 || hostile == 0 {
		f.Fatalf("%d seeds from the corpus and %d hostile ones; there must be some of each", seeds, hostile)
	}
	reader := pickle.NewReader(classes())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := reader.Decode(b)
		v2, n2, err2 := reader.Decode(b)
		if fmt.Sprint(v, n, err) != fmt.Sprint(v2, n2, err2) {
			t.Fatalf("decoded twice: %v, %d, %v and %v, %d, %v", v, n, err, v2, n2, err2)
		}
		switch {
		case err == nil:
			if n <= 0 || n > len(b) || n > pickle.MaxMessage {
				t.Fatalf("took %d of %d bytes", n, len(b))
			}
			checkMessage(t, reader, b[:n], v)
		case n != 0 || !reflect.ValueOf(v).IsZero():
			t.Fatalf("took %d bytes and returned %v with error %v", n, v, err)
		case errors.Is(err, pickle.ErrMalformed):
			checkRefusal(t, reader, b, err)
		case err == pickle.ErrTooLarge && len(b) >= pickle.MaxMessage, err == pickle.ErrIncomplete && len(b) < pickle.MaxMessage:
			checkIncomplete(t, reader, b)
		default:
			t.Fatalf("%d bytes: error %v", len(b), err)
		}
	})
}

func checkMessage(t *testing.T, reader *pickle.Reader, message []byte, v pickle.Value) {
	checkIncomplete(t, reader, message)
	longer, n, err := reader.Decode(append(message[:len(message):len(message)], "\xff."...))
	if err != nil || n != len(message) || fmt.Sprint(longer) != fmt.Sprint(v) {
		t.Fatalf("with bytes after it: %v, %d bytes, error %v; want %v, %d", longer, n, err, v, len(message))
	}
	texts := 0
	if err := wellFormed(v, 0, &texts); err != nil {
		t.Fatalf("%+v: %v", v, err)
	}
	if texts > 64<<10 {
		t.Fatalf("%d bytes of text from %d", texts, len(message))
	}
	if v.Kind != pickle.Dict || !writable(v) {
		return
	}
	back, n, err := reader.Decode(pickle.AppendDict(nil, v.Items))
	if err != nil || fmt.Sprint(back) != fmt.Sprint(v) {
		t.Fatalf("written again: %v, %d bytes, error %v; want %v", back, n, err, v)
	}
}

// checkIncomplete cuts b, which is acceptable, at its last 300 bytes and at some before.
func checkIncomplete(t *testing.T, reader *pickle.Reader, b []byte) {
	b = b[:min(len(b), pickle.MaxMessage)]
	for n := 0; n < len(b); n += 1 + max(0, len(b)-300-n)/10 {
		if _, _, err := reader.Decode(b[:n]); err != pickle.ErrIncomplete {
			t.Fatalf("the first %d of %d bytes: error %v, want ErrIncomplete", n, len(b), err)
		}
	}
}

// checkRefusal finds the first bad byte and checks that the refusal is the same from there on.
func checkRefusal(t *testing.T, reader *pickle.Reader, b []byte, want error) {
	b = b[:min(len(b), pickle.MaxMessage)]
	refused := false
	for n := 0; n < len(b); n += 1 + max(0, len(b)-300-n)/10 {
		_, _, err := reader.Decode(b[:n])
		switch {
		case errors.Is(err, pickle.ErrMalformed):
			refused = true
			if err.Error() != want.Error() {
				t.Fatalf("the first %d of %d bytes: error %v, want %v", n, len(b), err, want)
			}
		case refused || err != pickle.ErrIncomplete:
			t.Fatalf("the first %d of %d bytes: error %v, refused before: %t", n, len(b), err, refused)
		}
	}
}

// wellFormed checks what the comments of Value promise, and adds up the texts.
func wellFormed(v pickle.Value, depth int, texts *int) error {
	*texts += len(v.Text)
	isContainer := v.Kind == pickle.Object || v.Kind == pickle.Dict
	switch {
	case depth == 0 && !isContainer, depth == 1 && v.Kind == pickle.Object, depth == 2 && isContainer:
		return fmt.Errorf("kind %d at depth %d", v.Kind, depth)
	case isContainer && v.Text != "", !isContainer && v.Items != nil, v.Kind != pickle.Float && v.Float != 0:
		return fmt.Errorf("kind %d with what belongs to another", v.Kind)
	case (v.Kind == pickle.Object) != (v.Class != pickle.Class{}):
		return fmt.Errorf("kind %d of class %v", v.Kind, v.Class)
	case len(v.Items) > pickle.MaxItems:
		return fmt.Errorf("%d items", len(v.Items))
	}
	if !isContainer {
		return wellFormedScalar(v)
	}
	keys := map[string]bool{}
	for _, it := range v.Items {
		*texts += len(it.Key)
		if keys[it.Key] || !utf8.ValidString(it.Key) || len(it.Key) > pickle.MaxText {
			return fmt.Errorf("key %q", it.Key)
		}
		keys[it.Key] = true
		if v.Kind == pickle.Object && it.Value.Kind == pickle.Dict {
			return errors.New("a dict in an object")
		}
		if err := wellFormed(it.Value, depth+1, texts); err != nil {
			return err
		}
	}
	return nil
}

func wellFormedScalar(v pickle.Value) error {
	ok := false
	switch v.Kind {
	case pickle.None:
		ok = v.Text == ""
	case pickle.Bool:
		ok = v.Text == "True" || v.Text == "False"
	case pickle.Int:
		digits := strings.TrimPrefix(v.Text, "-")
		ok = v.Text == "0" || digits != "" && digits[0] != '0' && len(digits) <= pickle.MaxText && strings.Trim(digits, "0123456789") == ""
	case pickle.Float:
		return floatText(v)
	case pickle.Str, pickle.Decimal:
		ok = len(v.Text) <= pickle.MaxText && utf8.ValidString(v.Text)
	case pickle.Bytes:
		ok = len(v.Text) <= pickle.MaxText
	}
	if !ok {
		return fmt.Errorf("kind %d of text %q", v.Kind, v.Text)
	}
	return nil
}

// writable tells whether AppendDict takes the items of v.
func writable(v pickle.Value) bool {
	for _, it := range v.Items {
		switch k := it.Value.Kind; {
		case k == pickle.Int && len(it.Value.Text) > 18:
			return false
		case k != pickle.None && k != pickle.Bool && k != pickle.Int && k != pickle.Float && k != pickle.Str:
			return false
		}
	}
	return true
}
