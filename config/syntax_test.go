package config_test

import (
	"strings"
	"testing"

	"gateway/config"
)

func TestSyntax(t *testing.T) {
	const alias = `anchors (&) and aliases (*) are not used here; quote a value that begins with one of these`
	for name, c := range map[string]struct{ text, want string }{
		"tab":                 {"bank:\n\tdecimals: 2\n", "F:2: indent with spaces, not with a tab"},
		"tab, first line":     {"\tbank: {}\n", "F:1: indent with spaces, not with a tab"},
		"tab after value":     {"ledger:\n  path: data\n\tengine: memory\n", "F:3: indent with spaces, not with a tab"},
		"bad indentation":     {"bank:\n  decimals: 2\n\n create_accounts: true\n", "F:4: not YAML: did not find expected key"},
		"far below":           {"log: {}\nbank:\n  decimals: 2\n  investment:\n    hold: 5s\n   every: 3s\n", "F:6: not YAML: did not find expected key"},
		"two colons":          {"log:\n  level: info: x\n", "F:2: not YAML: mapping values are not allowed in this context"},
		"no colon":            {"bank:\n  decimals\n  create_accounts: true\n", "F:3: not YAML: mapping values are not allowed in this context"},
		"no colon at the end": {"bank:\n  decimals: 2\nlog\n", "F:3: not YAML: could not find expected ':'"},
		"open quote":          {"# x\nledger:\n  path: \"data\nlog: {}\n", "F:3: not YAML: found unexpected end of stream"},
		"open list":           {"# x\nsocket:\n  listeners: [\nlog: {}\n", "F:4: not YAML: did not find expected ',' or ']'"},
		"reserved":            {"ledger: { path: @data }\n", "F:1: not YAML: found character that cannot start any token"},
		"control character":   {"bank: {}\nledger:\n  path: a\x01b\n", "F:3: not YAML: control characters are not allowed"},
		"not UTF-8":           {"bank: {}\nledger:\n  path: caf\xe9\n", "F:3: not YAML: incomplete UTF-8 octet sequence"},
		"second document":     {"bank: {}\n---\nlog: {}\n", "F:2: a second document begins here; the settings are one document"},
		"second, broken":      {"bank: {}\n---\nlog: {\n", "F:3: not YAML: did not find expected node content"},
		"after the end":       {"bank: {}\n...\nlog: {}\n", "F:3: not YAML: did not find expected <document start>"},
		"anchor":              {"bank: &b {}\n", "F:1: " + alias},
		"alias":               {"log: {}\nbank: *b\n", "F:2: " + alias},
		"password as alias":   {"auth:\n  users:\n  - name: ana\n    password: *hunter2\n", "F:4: " + alias},
		"tag":                 {"bank:\n  decimals: !!int \"2\"\n", "F:2: tags (!) are not used here; quote a value that begins with one\nF:2: bank.decimals: must be a whole number in plain digits, such as 1000, not \"2\""},
		"tagged list":         {"ledger:\n  path: !!str [a]\n", "F:2: tags (!) are not used here; quote a value that begins with one\nF:2: ledger.path: must be a string, not a list"},
		"tagged mapping":      {"bank:\n  create_accounts: !!bool {a: b}\n", "F:2: tags (!) are not used here; quote a value that begins with one\nF:2: bank.create_accounts: must be true or false, not a mapping"},
		"tagged size":         {"limits:\n  message: !!str []\n", "F:2: tags (!) are not used here; quote a value that begins with one\nF:2: limits.message: must be a size such as 512B, 64KiB, 1MiB or 1GiB, not a list"},
		"merge":               {"bank:\n  <<: {decimals: 3}\n", `F:2: bank: unknown key "<<"`},
		"list as key":         {"bank:\n  ? [a]\n  : 1\n", "F:2: a key must be a name, not a list"},
		"root":                {"# x\n\n- a\n", "F:3: must be a mapping of settings, not a list"},
		"root scalar":         {"hello\n", "F:1: must be a mapping of settings, not a string"},
	} {
		t.Run(name, func(t *testing.T) { want(t, c.text, c.want) })
	}
}

func TestBombs(t *testing.T) {
	const alias = `anchors (&) and aliases (*) are not used here; quote a value that begins with one of these`
	want(t, "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		"F:1: "+alias, `F:1: unknown key "a"`,
		"F:2: "+alias, "F:2: "+alias, "F:2: "+alias, `F:2: unknown key "b"`,
		"F:3: "+alias, "F:3: "+alias, `F:3: unknown key "c"`)
	want(t, "x: "+strings.Repeat("[", 100_000), "F:1: not YAML: exceeded max depth of 10000")
}

// The exact line takes many readings; a file too large for that gets the line that the parser tells, here one too low.
func TestSyntaxOfLargeFile(t *testing.T) {
	text := func(size int) string {
		const wrong = "log: {}\nbank:\n  decimals: 2\n create_accounts: true\n"
		return wrong + strings.Repeat("#", size-len(wrong))
	}
	want(t, text(64<<10), "F:4: not YAML: did not find expected key")
	want(t, text(64<<10+1), "F:3: not YAML: did not find expected key")
	want(t, strings.Repeat("#", 64<<10)+"\n\t- x\n", "F:2: indent with spaces, not with a tab")
}

func TestLargestFile(t *testing.T) {
	text := "log: {}\n" + strings.Repeat("#\n", (config.MaxFileBytes-8)/2)
	want(t, text)
	want(t, text+"\n", "F:524286: the file is larger than 1MiB")
}

func TestKeys(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown":           {"bnak: {}\n", `F:1: unknown key "bnak" (did you mean "bank"?)`},
		"case":              {"Bank: {}\n", `F:1: unknown key "Bank" (did you mean "bank"?)`},
		"nothing like it":   {"colour: red\n", `F:1: unknown key "colour"`},
		"nested":            {"bank:\n  investment:\n    evry: 3s\n", `F:3: bank.investment: unknown key "evry" (did you mean "every"?)`},
		"in a list":         {"mqtt:\n  listeners:\n  - address: 127.0.0.1:0\n    codec: json\n", `F:4: mqtt.listeners[0]: unknown key "codec"`},
		"in tls":            {"mqtt: {listeners: [{address: '127.0.0.1:0', tls: {crt: x}}]}\n", "F:1: mqtt.listeners[0].tls: unknown key \"crt\" (did you mean \"cert\"?)\nF:1: mqtt.listeners[0].tls.cert: is missing; write the path of a file\nF:1: mqtt.listeners[0].tls.key: is missing; write the path of a file"},
		"empty":             {"\"\": 1\n", `F:1: unknown key ""`},
		"environment":       {"${HOST}: 1\n", `F:1: unknown key "${HOST}"`},
		"long":              {strings.Repeat("k", 64) + ": 1\n", `F:1: unknown key "` + strings.Repeat("k", 64) + `"`},
		"very long":         {strings.Repeat("k", 1000) + ": 1\n", `F:1: unknown key "` + strings.Repeat("k", 64) + `…"`},
		"hash":              {"'" + argon + "': 1\n", `F:1: unknown key ****`},
		"twice":             {"bank: {}\nlog: {}\nbank: {decimals: 77}\n", `F:3: key "bank" is given twice, first on line 1`},
		"twice, nested":     {"log:\n  level: info\n  level: warn\n", `F:3: log: key "level" is given twice, first on line 2`},
		"twice and unknown": {"x: 1\nx: 2\n", "F:1: unknown key \"x\"\nF:2: key \"x\" is given twice, first on line 1"},
	} {
		t.Run(name, func(t *testing.T) { want(t, c.text, c.want) })
	}
}
