package config_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gateway/config"
)

// FuzzParse holds for any bytes: reading ends without a panic and in bounded time; it gives the same twice; problems
// are bounded, sorted, on lines of the file and in text that shows no secret; and settings without problems are within
// their bounds.
func FuzzParse(f *testing.F) {
	defaults, err := os.ReadFile("../config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(defaults))
	for _, seed := range []string{
		"bank: {decimals: 12}\nbank: 3\n", "a: &a [*a]\n", "x: 1\n---\ny: 2\n", "\tx", "? [a]\n: b\n", "a: !!int '3'\n",
		"ledger: {path: '${HOST}$${x}${ABSENT:-y}'}\n", "bank: {investment: {rate: 10.000000001}}\n",
		"socket: {listeners: [{address: '0.0.0.0:1', codec: pickle, allow_from: [::/0], principal: a}]}\n",
		"mqtt: {listeners: [{address: ':1', tls: {}, origins: ['*']}], replies_topic: '{client_id}'}\n",
		"auth:\n  users:\n  - name: a\n    password: " + argon + "\n    accounts: ['*']\n", "auth: {users: [{password: '" + bcrypt + "'}, 3]}\n",
		"limits: {message: 9223372036854775807GiB, idle_timeout: -1h, in_flight: 99999999999999999999}\n", "\xff\xfe", "{", "[", "'", "|", "%",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		c, err := parse(text)
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%d bytes took %v", len(text), d)
		}
		_, again := parse(text)
		if err == nil {
			if again != nil {
				t.Fatalf("accepted, then refused: %v", again)
			}
			checkBounds(t, c)
			return
		}
		if again == nil || again.Error() != err.Error() {
			t.Fatalf("refused in two ways:\n%v\n%v", err, again)
		}
		var problems config.Problems
		if !errors.As(err, &problems) || len(problems) == 0 || len(problems) > config.MaxProblems+1 {
			t.Fatalf("%d problems in %T", len(problems), err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines(text) || !utf8.ValidString(p.Message) || strings.Contains(p.Message, "\n") || strings.Contains(p.Message, "$argon2") {
				t.Errorf("%q of %d lines", p, lines(text))
			}
		}
		if !slices.IsSortedFunc(problems, func(a, b config.Problem) int { return a.Line - b.Line }) {
			t.Errorf("not sorted: %v", problems)
		}
	})
}

// lines counts as YAML does, and one more for what is missing at the end.
func lines(text string) int {
	n := 2
	for _, mark := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
		n += strings.Count(text, mark)
	}
	return n
}

func checkBounds(t *testing.T, c config.Config) {
	t.Helper()
	b, l := c.Bank, c.Limits
	for rule, holds := range map[string]bool{
		"decimals":  b.Decimals >= 0 && b.Decimals <= config.MaxDecimals,
		"hold":      b.Investment.Hold >= config.MinDuration && b.Investment.Hold < b.Investment.Every && b.Investment.Every <= config.MaxInvestment,
		"rate":      b.Investment.Rate != "" && len(b.Investment.Rate) <= len("10.")+config.MaxRateDecimals,
		"path":      c.Ledger.Path != "",
		"topics":    !strings.ContainsAny(c.MQTT.OperationsTopic, "+#{") && strings.Count(c.MQTT.RepliesTopic, config.ClientID) == 1,
		"counts":    l.ConnectionsPerAddress >= 0 && l.ConnectionsUnknown >= 1 && l.ConnectionsUnknown <= config.MaxConnections,
		"limits":    l.Connections >= 1 && l.Connections <= config.MaxConnections && l.InFlight >= 1 && l.InFlight <= config.MaxInFlight,
		"sessions":  c.MQTT.Sessions >= 1 && c.MQTT.WaitingReplies >= 1 && c.MQTT.WaitingRepliesTotal >= 1,
		"message":   l.Message >= config.MinMessage && l.Message <= config.MaxMessage,
		"timeouts":  l.ReadTimeout >= config.MinDuration && l.IdleTimeout >= config.MinDuration,
		"listeners": len(c.Socket.Listeners) <= config.MaxListeners && len(c.MQTT.Listeners) <= config.MaxListeners,
	} {
		if !holds {
			t.Errorf("accepted against the rule of %s: %+v", rule, c)
		}
	}
	for _, u := range c.Auth.Users {
		if u.Name == "" || len(u.Operations) == 0 || len(u.ClientIDs) == 0 || len(u.Accounts) == 0 && !u.Auditor {
			t.Errorf("accepted a user without rights: %+v", u)
		}
	}
}
