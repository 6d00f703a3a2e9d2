package config

import (
	"cmp"
	"path/filepath"
	"strings"
	"unicode"
)

// check tells every value and every combination of values that is impossible, and fills in what depends on others.
func (r *reader) check(c *Config) {
	r.checkBank(c.Bank)
	r.checkLedger(c.Ledger)
	r.checkTopics(c.MQTT)
	r.checkSessions(c.MQTT)
	oneOf(r, "auth.anonymous", c.Auth.Anonymous, Loopback, Never)
	r.checkUsers(c)
	r.checkListeners(c)
	r.checkLimits(c.Limits)
	oneOf(r, "log.format", c.Log.Format, LogText, LogJSON)
}

func (r *reader) checkBank(b Bank) {
	within(r, "bank.decimals", b.Decimals, 0, MaxDecimals)
	const first, every, hold = "bank.investment.first_after", "bank.investment.every", "bank.investment.hold"
	within(r, first, b.Investment.FirstAfter, MinDuration, MaxInvestment)
	within(r, every, b.Investment.Every, MinDuration, MaxInvestment)
	within(r, hold, b.Investment.Hold, MinDuration, MaxInvestment)
	if r.sound(every, hold) && b.Investment.Hold >= b.Investment.Every {
		at := hold
		if !r.given(hold) {
			at = every
		}
		r.problem(at, "hold (%v) must be shorter than every (%v), or operations would wait for ever",
			b.Investment.Hold, b.Investment.Every)
	}
}

func (r *reader) checkLedger(l Ledger) {
	oneOf(r, "ledger.engine", l.Engine, Embedded, Memory)
	if l.Path == "" || strings.ContainsRune(l.Path, 0) {
		r.problem("ledger.path", "must be the path of a directory, such as data")
	}
	within(r, "ledger.heads.every", l.Heads.Every, MinDuration, MaxHeadsEvery)
	within(r, "ledger.heads.every_entries", l.Heads.EveryEntries, 1, MaxHeadsEntries)
	if l.Heads.KeyFile != "" {
		r.checkHeadKey("ledger.heads.key_file", l.Heads.KeyFile)
	}
	switch {
	case strings.ContainsRune(l.Heads.Copy, 0):
		r.problem("ledger.heads.copy", "must be the path of a file")
	case l.Heads.Copy != "" && sameFile(l.Heads.Copy, filepath.Join(l.Path, HeadsFile)):
		r.problem("ledger.heads.copy", "is the file %s in ledger.path, of which it should be a copy elsewhere", HeadsFile)
	}
}

func (r *reader) checkLimits(l Limits) {
	within(r, "limits.connections", l.Connections, 1, MaxConnections)
	within(r, "limits.connections_per_address", l.ConnectionsPerAddress, 0, MaxConnections)
	within(r, "limits.connections_unknown", l.ConnectionsUnknown, 1, MaxConnections)
	within(r, "limits.message", l.Message, MinMessage, MaxMessage)
	within(r, "limits.read_timeout", l.ReadTimeout, MinDuration, MaxReadTimeout)
	within(r, "limits.idle_timeout", l.IdleTimeout, MinDuration, MaxIdleTimeout)
	within(r, "limits.in_flight", l.InFlight, 1, MaxInFlight)
	within(r, "limits.rate", l.Rate, 0, MaxOperationRate)
	within(r, "limits.burst", l.Burst, 0, MaxBurst)
}

func (r *reader) checkSessions(m MQTT) {
	within(r, "mqtt.sessions", m.Sessions, 1, MaxSessions)
	within(r, "mqtt.sessions_per_principal", m.SessionsPerPrincipal, 0, MaxSessions)
	within(r, "mqtt.waiting_replies", m.WaitingReplies, 1, MaxWaitingReplies)
	within(r, "mqtt.waiting_replies_total", m.WaitingRepliesTotal, 1, MaxWaitingRepliesTotal)
}

// checkTopics holds the replies apart from the operations: what lies below a client's reply topic is its own, too.
func (r *reader) checkTopics(m MQTT) {
	const operations, replies = "mqtt.operations_topic", "mqtt.replies_topic"
	r.checkTopic(operations, m.OperationsTopic)
	if strings.Contains(m.OperationsTopic, ClientID) {
		r.problem(operations, "must not contain %s: all clients publish to the same topic", ClientID)
	}
	r.checkTopic(replies, m.RepliesTopic)
	levels := strings.Split(m.RepliesTopic, "/")
	ids := 0
	for _, level := range levels {
		if level == ClientID {
			ids++
		}
	}
	if ids != 1 || strings.Count(m.RepliesTopic, "{") != 1 || strings.Count(m.RepliesTopic, "}") != 1 {
		r.problem(replies, "must contain %s once, as a whole level, such as bank/replies/%[1]s", ClientID)
	}
	for _, topic := range []string{JournalTopic, HeadTopic} {
		if m.OperationsTopic == topic {
			r.problem(operations, "must not be %s, where auditors read the journal", topic)
		}
	}
	if !r.sound(operations, replies) {
		return
	}
	at := replies
	if !r.given(replies) {
		at = operations
	}
	switch {
	case covers(levels, m.OperationsTopic):
		r.problem(at, "the replies topic %s covers the operations topic %s; put them apart, such as bank/ops and bank/replies/%s",
			r.quote(replies, m.RepliesTopic), r.quote(operations, m.OperationsTopic), ClientID)
	case covers(levels, JournalTopic), covers(levels, HeadTopic):
		taken := JournalTopic
		if !covers(levels, taken) {
			taken = HeadTopic
		}
		r.problem(replies, "the replies topic %s covers %s, where auditors read the journal; take another, such as bank/replies/%s",
			r.quote(replies, m.RepliesTopic), taken, ClientID)
	}
}

// covers reports whether topic is some client's replies topic or below it. levels are those of the replies topic.
func covers(levels []string, topic string) bool {
	asked := strings.Split(topic, "/")
	if len(asked) < len(levels) {
		return false
	}
	for i, level := range levels {
		if level != ClientID && level != asked[i] {
			return false
		}
	}
	return true
}

func (r *reader) checkTopic(path, topic string) {
	const idBytes = 64 // of the longest client id
	length := len(strings.ReplaceAll(topic, ClientID, strings.Repeat("x", idBytes)))
	switch {
	case topic == "":
		r.problem(path, "must be a topic, such as bank/ops")
	case strings.ContainsAny(topic, "+#"):
		r.problem(path, "must be one topic, without the wildcards + and #, not %s", r.quote(path, topic))
	case strings.HasPrefix(topic, "$"):
		r.problem(path, "must not begin with $, which is the broker's own")
	case strings.ContainsFunc(topic, unfit):
		r.problem(path, "must not contain control characters and non-characters, with which no client may publish")
	case length > MaxTopicBytes:
		r.problem(path, "must be at most %d bytes, with a client id of %d in it", MaxTopicBytes, idBytes)
	case strings.Count(topic, "/") >= MaxTopicLevels:
		r.problem(path, "must have at most %d levels", MaxTopicLevels)
	}
}

// unfit reports whether r is a control character or a non-character.
func unfit(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
}

// within tells a value below low or above high.
func within[T cmp.Ordered](r *reader, path string, value, low, high T) {
	if value < low || value > high {
		r.problem(path, "must be from %v to %v, not %v", low, high, value)
	}
}

// oneOf tells a value that is none of the names.
func oneOf[T ~string](r *reader, path string, value T, names ...T) {
	list := make([]string, len(names))
	for i, name := range names {
		if value == name {
			return
		}
		list[i] = string(name)
	}
	last := len(list) - 1
	choice := strings.Join(list[:last], ", ") + " or " + list[last]
	if !r.given(path) {
		r.problem(path, "is missing; write %s", choice)
		return
	}
	r.problem(path, "must be %s, not %s", choice, r.quote(path, string(value)))
}
