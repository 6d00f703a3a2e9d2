package config_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Each bound is tried at the value itself and just beyond.
func TestBounds(t *testing.T) {
	for _, c := range []struct{ section, key, good, bad, problem string }{
		{"bank", "decimals", "0", "-1", "must be from 0 to 9, not -1"},
		{"bank", "decimals", "9", "10", "must be from 0 to 9, not 10"},
		{"limits", "connections", "1", "0", "must be from 1 to 1000000, not 0"},
		{"limits", "connections", "1000000", "1000001", "must be from 1 to 1000000, not 1000001"},
		{"limits", "connections_per_address", "0", "-1", "must be from 0 to 1000000, not -1"},
		{"limits", "connections_per_address", "1000000", "1000001", "must be from 0 to 1000000, not 1000001"},
		{"limits", "connections_unknown", "1", "0", "must be from 1 to 1000000, not 0"},
		{"limits", "connections_unknown", "1000000", "1000001", "must be from 1 to 1000000, not 1000001"},
		{"limits", "message", "256B", "255B", "must be from 256B to 64KiB, not 255B"},
		{"limits", "message", "64KiB", "65537B", "must be from 256B to 64KiB, not 65537B"},
		{"limits", "read_timeout", "1ms", "999us", "must be from 1ms to 1h0m0s, not 999µs"},
		{"limits", "read_timeout", "1h", "3600001ms", "must be from 1ms to 1h0m0s, not 1h0m0.001s"},
		{"limits", "idle_timeout", "1ms", "0s", "must be from 1ms to 168h0m0s, not 0s"},
		{"limits", "idle_timeout", "168h", "169h", "must be from 1ms to 168h0m0s, not 169h0m0s"},
		{"limits", "idle_timeout", "1m", "-1m", "must be from 1ms to 168h0m0s, not -1m0s"},
		{"limits", "in_flight", "1", "0", "must be from 1 to 65535, not 0"},
		{"limits", "in_flight", "65535", "65536", "must be from 1 to 65535, not 65536"},
		{"mqtt", "sessions", "1", "0", "must be from 1 to 10000000, not 0"},
		{"mqtt", "sessions_per_principal", "0", "-1", "must be from 0 to 10000000, not -1"},
		{"mqtt", "sessions_per_principal", "10000000", "10000001", "must be from 0 to 10000000, not 10000001"},
		{"mqtt", "sessions", "10000000", "10000001", "must be from 1 to 10000000, not 10000001"},
		{"mqtt", "waiting_replies", "1", "0", "must be from 1 to 65535, not 0"},
		{"mqtt", "waiting_replies", "65535", "65536", "must be from 1 to 65535, not 65536"},
		{"mqtt", "waiting_replies_total", "1", "0", "must be from 1 to 100000000, not 0"},
		{"mqtt", "waiting_replies_total", "100000000", "100000001", "must be from 1 to 100000000, not 100000001"},
		{"limits", "burst", "10000000", "10000001", "must be from 0 to 10000000, not 10000001"},
		{"limits", "rate", "0", "-1", "must be from 0 to 1000000, not -1"},
		{"limits", "rate", "1000000", "1000001", "must be from 0 to 1000000, not 1000001"},
	} {
		want(t, fmt.Sprintf("%s:\n  %s: %s\n", c.section, c.key, c.good))
		want(t, fmt.Sprintf("%s:\n  %s: %s\n", c.section, c.key, c.bad), "F:2: "+c.section+"."+c.key+": "+c.problem)
	}
}

func TestInvestment(t *testing.T) {
	want(t, "bank: {investment: {enabled: true, first_after: 1ms, every: 2ms, hold: 1ms}}")
	want(t, "bank: {investment: {first_after: 8760h, every: 8760h, hold: 8759h}}")
	const wait = ", or operations would wait for ever"
	for text, wanted := range map[string]string{
		"{hold: 15s}":             "hold: hold (15s) must be shorter than every (15s)" + wait,
		"{every: 5s}":             "every: hold (5s) must be shorter than every (5s)" + wait,
		"{every: 4s, hold: 1h}":   "hold: hold (1h0m0s) must be shorter than every (4s)" + wait,
		"{every: 0s}":             "every: must be from 1ms to 8760h0m0s, not 0s",
		"{every: x}":              `every: must be a duration such as 500ms, 20s, 5m or 1h30m, not "x"`,
		"{every: x, hold: 1h}":    `every: must be a duration such as 500ms, 20s, 5m or 1h30m, not "x"`, // and no word of hold
		"{first_after: -1s}":      "first_after: must be from 1ms to 8760h0m0s, not -1s",
		"{first_after: 8761h}":    "first_after: must be from 1ms to 8760h0m0s, not 8761h0m0s",
		"{hold: 0s}":              "hold: must be from 1ms to 8760h0m0s, not 0s",
		"{every: 9000h, hold: 1}": "every: must be from 1ms to 8760h0m0s, not 9000h0m0s\nF:1: bank.investment.hold: must be a duration such as 500ms, 20s, 5m or 1h30m, not a number",
	} {
		if lines := strings.Split(wanted, "\n"); len(lines) == 2 { // types are told before values
			wanted = strings.TrimPrefix(lines[1], "F:1: bank.investment.") + "\nF:1: bank.investment." + lines[0]
		}
		want(t, "bank: {investment: "+text+"}", "F:1: bank.investment."+wanted)
	}
}

func TestRate(t *testing.T) {
	for _, text := range []string{`"0.10"`, "0.10", "1", "10", "10.000", "0.000000001", "'${ABSENT:-0.5}'"} {
		c, err := parse("bank: {investment: {rate: " + text + "}}")
		exact := strings.Trim(text, `"'`)
		if exact == "${ABSENT:-0.5}" {
			exact = "0.5"
		}
		if err != nil || string(c.Bank.Investment.Rate) != exact {
			t.Errorf("%s: %q %v", text, c.Bank.Investment.Rate, err)
		}
	}
	const form = `must be a decimal such as "0.10", with at most 9 digits after the point, not `
	for text, wanted := range map[string]string{
		`"0"`:            `must be more than zero, not "0"`,
		"0.000":          `must be more than zero, not "0.000"`,
		"-0.1":           form + `"-0.1"`,
		"+1":             form + `"+1"`,
		"1e-1":           form + `"1e-1"`,
		".5":             form + `".5"`,
		"5.":             form + `"5."`,
		"00.5":           form + `"00.5"`,
		"0.0000000001":   form + `"0.0000000001"`,
		"100":            form + `"100"`,
		"11":             `must be at most 10, not "11"`,
		"10.000000001":   `must be at most 10, not "10.000000001"`,
		"ten":            form + `"ten"`,
		"true":           form + "true or false",
		"[0.1]":          form + "a list",
		`"${PASSWORD}"`:  form + `"${PASSWORD}"`,
		`"${ABSENT:-0}"`: `must be more than zero, not "${ABSENT:-0}"`,
	} {
		want(t, "bank:\n  investment:\n    rate: "+text, "F:3: bank.investment.rate: "+wanted)
	}
}

func TestNames(t *testing.T) {
	want(t, "ledger: {engine: memory}\nauth: {anonymous: never}\nlog: {level: warn, format: json}")
	want(t, "ledger: {engine: postgres, path: ''}\nauth: {anonymous: always}\nlog: {level: INFO, format: xml}",
		`F:1: ledger.engine: must be embedded or memory, not "postgres"`,
		`F:1: ledger.path: must be the path of a directory, such as data`,
		`F:2: auth.anonymous: must be loopback or never, not "always"`,
		`F:3: log.level: must be debug, info, warn or error, not "INFO"`,
		`F:3: log.format: must be text or json, not "xml"`)
	want(t, `ledger: {path: "a\0b"}`, "F:1: ledger.path: must be the path of a directory, such as data")
	for text, level := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		c, err := parse("log: {level: " + text + "}")
		if err != nil || c.Log.Level != level {
			t.Errorf("%s: %v %v", text, c.Log.Level, err)
		}
	}
}

func TestTopics(t *testing.T) {
	long := strings.Repeat("x", 256-len("/")-64)
	const once = "mqtt.replies_topic: must contain {client_id} once, as a whole level, such as bank/replies/{client_id}"
	for _, c := range []struct{ operations, replies, want string }{
		{"ops", "{client_id}/replies", ""},
		{"/bank/ops", "bank/{client_id}/x", ""},
		{"r", "r/{client_id}", ""},
		{"bank/journal", "r/{client_id}", "mqtt.operations_topic: must not be bank/journal, where auditors read the journal"},
		{"bank/head", "r/{client_id}", "mqtt.operations_topic: must not be bank/head, where auditors read the journal"},
		{"ops", "bank/{client_id}", `mqtt.replies_topic: the replies topic "bank/{client_id}" covers bank/journal, where auditors read the journal; take another, such as bank/replies/{client_id}`},
		{"a/b/c/d/e/f/g/h", long + "/{client_id}", ""},
		{"a/b/c/d/e/f/g/h/i", long + "x/{client_id}", "mqtt.operations_topic: must have at most 8 levels\nF:1: mqtt.replies_topic: must be at most 256 bytes, with a client id of 64 in it"},
		{"", "r/{client_id}", "mqtt.operations_topic: must be a topic, such as bank/ops"},
		{"bank/+", "r/{client_id}", `mqtt.operations_topic: must be one topic, without the wildcards + and #, not "bank/+"`},
		{"bank/ops", "#/{client_id}", `mqtt.replies_topic: must be one topic, without the wildcards + and #, not "#/{client_id}"`},
		{"$SYS/ops", "r/{client_id}", "mqtt.operations_topic: must not begin with $, which is the broker's own"},
		{`a\0b`, "r/{client_id}", "mqtt.operations_topic: must not contain control characters and non-characters, with which no client may publish"},
		{`a\ufdd0b`, "r/{client_id}", "mqtt.operations_topic: must not contain control characters and non-characters, with which no client may publish"},
		{"ops/{client_id}", "r/{client_id}", "mqtt.operations_topic: must not contain {client_id}: all clients publish to the same topic"},
		{"ops", "replies", once},
		{"ops", "r/x{client_id}", once},
		{"ops", "r/{client_id}/{client_id}", once},
		{"ops", "r/{client}/{client_id}", once},
		{"ops", "r/{client_id}/{", once},
		{"ops", "r/{client_id}/}", once},
		{"bank/ops", "bank/{client_id}", `mqtt.replies_topic: the replies topic "bank/{client_id}" covers the operations topic "bank/ops"; put them apart, such as bank/ops and bank/replies/{client_id}`},
		{"bank/ops", "{client_id}", `mqtt.replies_topic: the replies topic "{client_id}" covers the operations topic "bank/ops"; put them apart, such as bank/ops and bank/replies/{client_id}`},
		{"r/1/ops", "r/{client_id}", `mqtt.replies_topic: the replies topic "r/{client_id}" covers the operations topic "r/1/ops"; put them apart, such as bank/ops and bank/replies/{client_id}`},
	} {
		text := fmt.Sprintf(`mqtt: {operations_topic: "%s", replies_topic: "%s"}`, c.operations, c.replies)
		if c.want == "" {
			want(t, text)
		} else {
			want(t, text, "F:1: "+c.want)
		}
	}
	want(t, "mqtt:\n  operations_topic: bank/replies/x",
		`F:2: mqtt.operations_topic: the replies topic "bank/replies/{client_id}" covers the operations topic "bank/replies/x"; put them apart, such as bank/ops and bank/replies/{client_id}`)
}
