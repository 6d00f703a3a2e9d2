package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxExpandedBytes is the longest string that values of the environment may make of one setting, in bytes.
const maxExpandedBytes = 64 << 10

var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} by the environment's NAME, which must be set, and ${NAME:-default} likewise, but by default
// when NAME is unset or empty, as a shell does. $${ stands for ${ itself. Any other $ is left alone, so that a hash
// such as $argon2id$v=19$… needs no escape. What was put in is not expanded again.
func expand(text string, getenv func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			out.WriteString(text)
			break
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			out.WriteString(escaped + "${")
			text = after
			continue
		}
		inside, rest, closed := strings.Cut(after, "}")
		name, fallback, hasFallback := strings.Cut(inside, ":-")
		if !closed || !namePattern.MatchString(name) {
			return "", errors.New("${ must begin ${NAME} or ${NAME:-default}; write $${ for the characters themselves")
		}
		value, set := getenv(name)
		switch {
		case hasFallback && value == "":
			value = fallback
		case !utf8.ValidString(value):
			return "", fmt.Errorf("%s is not UTF-8 in the environment", name)
		case !set:
			return "", fmt.Errorf("%s is not set in the environment; set it, or write ${%s:-default}", name, name)
		}
		out.WriteString(before + value)
		if out.Len() > maxExpandedBytes {
			return "", fmt.Errorf("with the environment in it, is longer than %d bytes", maxExpandedBytes)
		}
		text = rest
	}
	return out.String(), nil
}
