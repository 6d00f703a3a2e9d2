package mqtt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"gateway/bank"
	"gateway/config"

	"github.com/mochi-mqtt/server/v2/packets"
)

// matchesNaively is what section 4.7 says, word for word, on levels.
func matchesNaively(filter, topic []string) bool {
	switch {
	case len(filter) == 0:
		return len(topic) == 0
	case filter[0] == "#":
		return true // the parent level as well
	case len(topic) == 0:
		return false
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && matchesNaively(filter[1:], topic[1:])
}

var (
	filterPattern   = regexp.MustCompile(`\A(([^+#/]*|\+)/)*([^+#/]*|\+|#)\z`)
	clientIDPattern = regexp.MustCompile(`\A[A-Za-z0-9._:-]{1,64}\z`)
)

// FuzzTopics: filters match as the standard says; an allowed filter or response topic is a client's own, whatever the names;
// and the topics that the settings may have are those that this package takes.
func FuzzTopics(f *testing.F) {
	seeds := [][3]string{
		{"bank/replies/c/#", "bank/replies/c", "c"}, {"bank/replies/+", "bank/replies/d", "c"}, {"#", "bank/ops", "c"},
		{"+/+/#", "a/b", "+"}, {"bank/replies/c/+/x", "bank/replies/c//x", "a/b"},
		{"bank/ops", "bank/replies/{client_id}", "{client_id}"}, {"a/b", "{client_id}/x", "aZ09._:-"},
		{"r/1/ops", "r/{client_id}", ""}, {"r//x", "r/{client_id}", "c"}, {"r/", "r/{client_id}", "c"},
		{"r/axb/ops", "r/a{client_id}b", "c"}, {"$SYS/#", "$share/g/{client_id}", "$"}, {"a\x00", "r/{client_id}\ufffe", "é"},
		{"a/b/c/d/e/f/g/h/i", "1/2/3/4/5/6/7/8/{client_id}", "c"}, {"#/", "+a", "c/"}, {"", "", ""},
		{strings.Repeat("x", 257), strings.Repeat("x", 192) + "/{client_id}", strings.Repeat("c", 65)},
		{strings.Repeat("x", 256), strings.Repeat("x", 191) + "/{client_id}", strings.Repeat("c", 64)},
	}
	if len(seeds) < 10 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s[0], s[1], s[2])
	}
	options := &Options{RepliesTopic: "bank/replies/" + clientIDVariable}
	f.Fuzz(func(t *testing.T, filter, topic, id string) {
		ok := wellFormed(filter)
		if ok != filterPattern.MatchString(filter) {
			t.Fatalf("%q is well formed: %v", filter, ok)
		}
		if got := matches(filter, topic); ok && got != matchesNaively(strings.Split(filter, "/"), strings.Split(topic, "/")) {
			t.Fatalf("%q matches %q: %v", filter, topic, got)
		}
		if validClientID(id) != clientIDPattern.MatchString(id) {
			t.Fatalf("client id %q is valid: %v", id, validClientID(id))
		}
		if own := options.ownTopic(id); ok && validClientID(id) {
			if filterAllowed(filter, own) && matches(filter, topic) && topic != own && !strings.HasPrefix(topic, own+"/") {
				t.Fatalf("%q, which %q may subscribe to, matches %q", filter, id, topic)
			}
			if responseAllowed([]byte(topic), own) {
				checkResponse(t, topic, own)
			}
		}
		checkAgreement(t, filter, topic)
	})
}

// checkResponse holds a topic on which a client is answered to what was promised.
func checkResponse(t *testing.T, topic, own string) {
	isOwn := topic == own || strings.HasPrefix(topic, own+"/")
	if !isOwn || strings.ContainsAny(topic, "+#") || len(topic) > maxTopic || len(strings.Split(topic, "/")) > maxLevels {
		t.Fatalf("%q may be answered on %q", own, topic)
	}
}

// checkAgreement compares checkTopics with the check of the settings, which are stricter in one thing: the client id is a whole
// level, and the only thing in braces.
func checkAgreement(t *testing.T, operations, replies string) {
	if !utf8.ValidString(operations+replies) || strings.Contains(operations+replies, "${") {
		return // no such settings can be written
	}
	quoted := func(s string) string {
		b, _ := json.Marshal(s)
		return strings.ReplaceAll(string(b), "\x7f", `\u007f`)
	}
	none := func(string) (string, bool) { return "", false }
	text := "mqtt: {operations_topic: " + quoted(operations) + ", replies_topic: " + quoted(replies) + "}"
	_, theirs := config.Parse("F", []byte(text), none)
	ours := checkTopics(operations, replies)
	if theirs == nil && ours != nil {
		t.Fatalf("%q and %q may be set, and are refused: %v", operations, replies, ours)
	}
	strict := strings.Contains(operations, clientIDVariable) || strings.Count(replies, "{") > 1 || strings.Count(replies, "}") > 1 ||
		!strings.Contains("/"+replies+"/", "/"+clientIDVariable+"/")
	if theirs != nil && ours == nil && !strict {
		var problems config.Problems
		if errors.As(theirs, &problems) {
			t.Fatalf("%q and %q are taken, and may not be set: %v", operations, replies, theirs)
		}
	}
}

// fuzzedTopics is how many response topics TestN12 tries.
const fuzzedTopics = 1_000_000

// topicParts are what a hostile response topic is put together from.
var topicParts = []string{
	"bank", "ops", "replies", "ana", "an", "anab", "ANA", "/", "/", "/", "//", "+", "#", "$SYS", "$share", "g", "\x00", "..", ".", " ",
	"%2f", "\\", "\uff0f", "\u2044", "é", "e\u0301", "а", "\xff", "\xc0\xaf", "{client_id}", "bank/replies/ana", "bank/replies/ana",
	"bank/replies/bia", "bank/ops", strings.Repeat("x", 64),
}

// asking returns an operation whose reply is to go to topic.
func asking(topic []byte) packet {
	properties := appendText([]byte{propertyResponseTopic}, topic)
	body := appendText(nil, "bank/ops")
	body = append(binary.AppendUvarint(body, uint64(len(properties))), properties...)
	return packet{head: packets.Publish << 4, body: append(body, `{"op":"balance","account":"1"}`...)}
}

// TestN12ResponseTopics asks for a million replies elsewhere. One is honoured on the client's own topic or below it; any other
// operation is not executed, and its refusal goes to the client's own topic.
func TestN12ResponseTopics(t *testing.T) {
	s, err := New(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const own = "bank/replies/ana"
	ana := &session{id: "ana", own: own}
	random := rand.New(rand.NewPCG(12, 12))
	honoured, malformed, topic := 0, 0, []byte(nil)
	for range fuzzedTopics {
		topic = topic[:0]
		if random.IntN(4) == 0 {
			topic = append(topic, own+"/"...)
		}
		for range random.IntN(6) {
			topic = append(topic, topicParts[random.IntN(len(topicParts))]...)
		}
		if len(topic) > 0 && random.IntN(4) == 0 {
			topic[random.IntN(len(topic))] = byte(random.Uint32())
		}
		var m publish
		if p := asking(topic); m.parse(&p, 5) != nil {
			malformed++
			continue
		}
		var op bank.Operation
		var how manner
		reply, refused := s.judge(ana, &m, &op, &how)
		switch {
		case refused && (how.topic != "" || reply.Code != bank.Forbidden):
			t.Fatalf("%q is refused %v on %q", topic, reply.Code, how.topic)
		case !refused && !utf8.ValidString(how.topic), !refused && strings.Contains(how.topic, "\x00"):
			t.Fatalf("%q is answered on %q", topic, how.topic)
		case !refused:
			checkResponse(t, how.topic, own)
			honoured++
		}
	}
	t.Logf("of %d response topics %d are honoured and %d end the connection", fuzzedTopics, honoured, malformed)
	if honoured < fuzzedTopics/100 || malformed < fuzzedTopics/100 {
		t.Error("too few to mean anything")
	}
}
