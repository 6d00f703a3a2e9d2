package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// decode sets one setting from its node, or tells what is wrong with its type. The Go type says what is wanted; the
// yaml package's own decoding is not used, because it stops at the first fault, takes 0777 for 511 and a value without
// quotes for whatever it resembles.
func (r *reader) decode(node *yaml.Node, path string, v reflect.Value) {
	if node.Kind == yaml.AliasNode {
		return // told already
	}
	switch out := v.Addr().Interface().(type) {
	case *bool:
		r.boolean(node, path, out)
	case *int:
		r.integer(node, path, out)
	case *Rate:
		r.rate(node, path, out)
	case *time.Duration:
		scalar(r, node, path, out, parseDuration)
	case *Size:
		scalar(r, node, path, out, parseSize)
	case *netip.Prefix:
		scalar(r, node, path, out, parsePrefix)
	case *slog.Level:
		scalar(r, node, path, out, parseLevel)
	case **TLS:
		*out = new(TLS)
		r.mapping(node, path, v.Elem())
	default:
		r.decodeKind(node, path, v)
	}
}

// decodeKind decodes what is told by the kind of its type. A kind that is not here is a mistake in Config.
func (r *reader) decodeKind(node *yaml.Node, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String: // string, and the types of names and Secret
		if text, ok := r.text(node, path); ok {
			v.SetString(text)
		}
	case reflect.Struct:
		r.mapping(node, path, v)
	case reflect.Slice:
		r.sequence(node, path, v)
	default:
		panic("config: no way to decode " + v.Type().String())
	}
}

// mapping decodes a section into a struct, whose fields keep what they hold where the section says nothing.
func (r *reader) mapping(node *yaml.Node, path string, v reflect.Value) {
	if node.Kind != yaml.MappingNode {
		line := node.Line
		if path != "" {
			line = r.line(path)
		}
		r.problemAt(line, path, "must be a mapping of settings, not "+describe(node))
		return
	}
	first := map[string]int{} // key → line
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.problemAt(key.Line, "", "a key must be a name, not "+describe(key))
			continue
		}
		name, inside := key.Value, ""
		if path != "" {
			inside = path + ": "
		}
		if line, again := first[name]; again {
			r.problemAt(key.Line, "", fmt.Sprintf("%skey %s is given twice, first on line %d", inside, r.quote("", name), line))
			continue
		}
		first[name] = key.Line
		field, known := fieldOf(v, name)
		if !known {
			r.problemAt(key.Line, "", fmt.Sprintf("%sunknown key %s%s", inside, r.quote("", name), suggestion(v.Type(), name)))
			continue
		}
		at := name
		if path != "" {
			at = path + "." + name
		}
		r.lines[at] = key.Line
		r.decode(value, at, field)
	}
}

// sequence decodes a list; an empty one is nil.
func (r *reader) sequence(node *yaml.Node, path string, v reflect.Value) {
	v.SetZero()
	if node.Kind != yaml.SequenceNode {
		r.problem(path, "must be a list, not %s", describe(node))
		return
	}
	if len(node.Content) == 0 {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.lines[at] = item.Line
		r.decode(item, at, v.Index(i))
	}
}

// scalar decodes a setting that is written as a string and read by parse.
func scalar[T any](r *reader, node *yaml.Node, path string, out *T, parse func(string) (T, error)) {
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str" {
		if _, err := parse(""); err != nil { // says what is wanted
			r.problem(path, "%v, not %s", err, describe(node))
		}
		return
	}
	text, ok := r.text(node, path)
	if !ok {
		return
	}
	value, err := parse(text)
	if err != nil {
		r.problem(path, "%v, not %s", err, r.quote(path, text))
		return
	}
	*out = value
}

// text returns a string with the environment in it.
func (r *reader) text(node *yaml.Node, path string) (string, bool) {
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str" {
		hint := ""
		if node.Kind == yaml.ScalarNode && node.ShortTag() != "!!null" {
			hint = "; write it in quotes"
		}
		r.problem(path, "must be a string, not %s%s", describe(node), hint)
		return "", false
	}
	text, err := expand(node.Value, r.getenv)
	if err != nil {
		r.problem(path, "%v", err)
		return "", false
	}
	if text != node.Value {
		r.written[path] = node.Value
	}
	return text, true
}

func (r *reader) boolean(node *yaml.Node, path string, out *bool) {
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!bool" {
		r.problem(path, "must be true or false, not %s", describe(node))
		return
	}
	*out = strings.EqualFold(node.Value, "true")
}

// integerPattern leaves out what YAML also reads as an integer: 0777, 0x1F, 1_000, +5.
var integerPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

func (r *reader) integer(node *yaml.Node, path string, out *int) {
	digits := node.Kind == yaml.ScalarNode && plain(node) && integerPattern.MatchString(node.Value)
	switch {
	case digits:
		n, err := strconv.Atoi(node.Value)
		if err != nil {
			r.problem(path, "is out of range")
			return
		}
		*out = n
	case node.ShortTag() == "!!int":
		r.problem(path, "must be a whole number in plain digits, such as 1000, not %s", r.quote(path, node.Value))
	case strings.Contains(node.Value, "${"):
		r.problem(path, "must be a whole number; the environment is taken in strings only")
	default:
		r.problem(path, "must be a whole number, not %s", describe(node))
	}
}

// rate takes a number without quotes too, by its text.
func (r *reader) rate(node *yaml.Node, path string, out *Rate) {
	number := *node
	if tag := node.ShortTag(); tag == "!!float" || tag == "!!int" {
		number.Tag = "!!str"
	}
	scalar(r, &number, path, out, parseRate)
}

// describe says what a node is without showing what is in it.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!str":
		return "a string"
	}
	return "a value that YAML reads as a date or the like"
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("key") == key && key != "" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// suggestion returns the known key that the unknown one is closest to, if it is close: two letters off at most.
func suggestion(t reflect.Type, unknown string) string {
	const longest = 32 // bytes; no key is longer
	if len(unknown) > longest {
		return ""
	}
	best, nearest := "", 3
	for i := range t.NumField() {
		key := t.Field(i).Tag.Get("key")
		if d := distance(strings.ToLower(unknown), key); key != "" && d < nearest {
			best, nearest = key, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is Levenshtein's: how many bytes to insert, delete or change to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // row[j]: from the part of a seen so far to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
