package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// clientIDVariable stands for the client id in the replies topic.
const clientIDVariable = "{client_id}"

// checkTopics says what is wrong with the two topics of [Options].
func checkTopics(operations, replies string) error {
	switch {
	case !topicName(operations):
		return errors.New("mqtt: the operations topic is no topic name")
	case strings.Count(replies, clientIDVariable) != 1:
		return errors.New("mqtt: the replies topic needs " + clientIDVariable + " once")
	case !topicName(strings.Replace(replies, clientIDVariable, strings.Repeat("x", maxClientID), 1)):
		return errors.New("mqtt: the replies topic is no topic name")
	case couldOwn(replies, operations):
		return errors.New("mqtt: the operations topic would belong to a client's replies")
	case operations == JournalTopic || couldOwn(replies, JournalTopic):
		return errors.New("mqtt: " + JournalTopic + " is for the entries of the journal")
	case operations == HeadTopic || couldOwn(replies, HeadTopic):
		return errors.New("mqtt: " + HeadTopic + " is for the heads of the journal")
	}
	return nil
}

// couldOwn reports whether some client id, be it an empty one, makes topic the client's own, or one below it.
func couldOwn(replies, topic string) bool {
	levels := strings.Split(topic, "/")
	for i, own := range strings.Split(replies, "/") {
		if i == len(levels) {
			return false
		}
		before, after, named := strings.Cut(own, clientIDVariable)
		if !named && levels[i] != own {
			return false
		}
		rest, begins := strings.CutPrefix(levels[i], before)
		if named && !(begins && strings.HasSuffix(rest, after)) {
			return false
		}
	}
	return true
}

// topicName reports whether a topic can be one of [Options]: none of the broker's own, and one that a client can name.
func topicName(topic string) bool {
	return topic != "" && shallow(topic, maxRootLevels) && topic[0] != '$' && utf8.ValidString(topic) &&
		!strings.ContainsAny(topic, "+#") && !strings.ContainsFunc(topic, unfit)
}

// shallow reports whether a topic, or a filter, has at most maxTopic bytes and that many levels.
func shallow[T string | []byte](topic T, levels int) bool {
	if len(topic) > maxTopic {
		return false
	}
	for i := range len(topic) {
		if topic[i] == '/' {
			levels--
		}
	}
	return levels > 0
}

// ownTopic returns the replies topic of a client.
func (o *Options) ownTopic(clientID string) string {
	return strings.Replace(o.RepliesTopic, clientIDVariable, clientID, 1)
}

// below reports whether topic, or a filter, is root or below it.
func below[T string | []byte](topic T, root string) bool {
	return len(topic) >= len(root) && string(topic[:len(root)]) == root && (len(topic) == len(root) || topic[len(root)] == '/')
}

// wild reports whether a topic has wildcards.
func wild(topic []byte) bool {
	return bytes.IndexByte(topic, '+') >= 0 || bytes.IndexByte(topic, '#') >= 0
}

// matches reports whether a message on topic is for a subscription of filter (section 4.7). Filters have been checked.
func matches(filter, topic string) bool {
	if filter == topic {
		return true
	}
	for {
		level, restOfFilter, more := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		name, rest, deeper := strings.Cut(topic, "/")
		if level != "+" && level != name {
			return false
		}
		if !more || !deeper {
			return more == deeper || more && restOfFilter == "#" // a/# matches a as well
		}
		filter, topic = restOfFilter, rest
	}
}

// wellFormed reports whether the wildcards of a filter are where they may be: each is a level, and # the last one.
func wellFormed(filter string) bool {
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		if strings.ContainsAny(level, "+#") && (len(level) > 1 || level == "#" && more) {
			return false
		}
	}
	return true
}

// filterAllowed reports whether the client with that replies topic may subscribe to a well-formed filter: to the topic or
// below it, so that no wildcard reaches further.
func filterAllowed(filter, own string) bool {
	return shallow(filter, maxLevels) && below(filter, own)
}

// responseAllowed reports whether the client with that replies topic may have a reply on topic: on its own or below it.
func responseAllowed(topic []byte, own string) bool {
	return below(topic, own) && !wild(topic) && shallow(topic, maxLevels)
}

// auditable reports whether an auditor may subscribe to a well-formed filter: to any, but for shared subscriptions and what
// is the broker's own.
func auditable(filter string) bool {
	return len(filter) <= maxTopic && strings.Count(filter, "/") < maxLevels && filter[0] != '$'
}

// validClientID reports whether id is 1 to 64 of [A-Za-z0-9._:-].
func validClientID(id string) bool {
	if len(id) == 0 || len(id) > maxClientID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == ':' || c == '-') {
			return false
		}
	}
	return true
}
