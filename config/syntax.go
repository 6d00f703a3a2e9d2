package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// document parses the file and returns its only document, or nil when it has none or only an empty one. What the
// settings may not use is told, but does not stop the reading; what is not YAML does.
func (r *reader) document(data []byte) (node *yaml.Node, ok bool) {
	root, second, err := parseYAML(data)
	if err != nil {
		line, message := syntaxProblem(data, err)
		r.problemAt(line, "", message)
		return nil, false
	}
	if root == nil {
		return nil, true
	}
	r.refuse(root)
	if second != nil {
		r.problemAt(second.Line, "", "a second document begins here; the settings are one document")
	}
	content := root.Content[0]
	if content.Kind == yaml.ScalarNode && content.ShortTag() == "!!null" {
		return nil, true
	}
	return content, true
}

// parseYAML returns the first two document nodes, nil where there is none.
func parseYAML(data []byte) (first, second *yaml.Node, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for _, at := range []**yaml.Node{&first, &second} {
		var node yaml.Node
		err := decoder.Decode(&node)
		switch {
		case errors.Is(err, io.EOF):
			return first, second, nil
		case err != nil:
			return nil, nil, err
		}
		*at = &node
	}
	return first, second, nil
}

var yamlPrefix = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

const aliasMessage = "anchors (&) and aliases (*) are not used here; quote a value that begins with one of these"

// syntaxProblem says an error of the parser in words, with its line.
func syntaxProblem(data []byte, err error) (line int, message string) {
	ends := lineEnds(data)
	wrong := wrongLine(data, ends, err)
	begin := 0
	if wrong > 0 {
		begin = ends[wrong-1]
	}
	message = yamlPrefix.ReplaceAllString(err.Error(), "")
	indent := bytes.TrimLeft(data[begin:ends[wrong]], " ")
	switch {
	case strings.Contains(message, "anchor"):
		message = aliasMessage // the parser's own would show the value
	case bytes.HasPrefix(indent, []byte("\t")):
		message = "indent with spaces, not with a tab"
	default:
		message = "not YAML: " + message
	}
	return wrong + 1, message
}

// lineEnds returns the byte offset after each line.
func lineEnds(data []byte) []int {
	var ends []int
	for at, c := range data {
		if c == '\n' {
			ends = append(ends, at+1)
		}
	}
	return append(ends, len(data))
}

// exactLineBytes is the largest file whose syntax errors are searched for their line: parsing a large one twenty times
// could take half a minute.
const exactLineBytes = 64 << 10

// wrongLine returns the index of the line that an error is about. The one that the parser tells is often missing, one
// too low, or where the enclosing block begins; but it reads as a stream, so the wrong line is the last one of the
// shortest beginning of the file that fails in the same way.
func wrongLine(data []byte, ends []int, err error) int {
	if len(data) > exactLineBytes {
		told, _ := strconv.Atoi(yamlPrefix.FindStringSubmatch(err.Error())[1]) // 0 when it tells none
		return min(max(told-1, 0), len(ends)-1)
	}
	return sort.Search(len(ends)-1, func(i int) bool {
		_, _, prefixErr := parseYAML(data[:ends[i]])
		return prefixErr != nil && prefixErr.Error() == err.Error()
	})
}

// refuse tells every anchor, alias and tag: they make a file mean something else than it shows, and an alias may make
// it a billion times as large.
func (r *reader) refuse(node *yaml.Node) {
	switch {
	case node.Kind == yaml.AliasNode, node.Anchor != "":
		r.problemAt(node.Line, "", aliasMessage)
	case node.Style&yaml.TaggedStyle != 0:
		r.problemAt(node.Line, "", "tags (!) are not used here; quote a value that begins with one")
	}
	for _, child := range node.Content {
		r.refuse(child)
	}
}

// plain reports whether a scalar stands without quotes.
func plain(node *yaml.Node) bool {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return node.Style&quoted == 0
}
