package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"gateway/config"
)

func TestTypes(t *testing.T) {
	const whole = "must be a whole number"
	for name, c := range map[string]struct{ text, want string }{
		"number as string":  {"bank: {decimals: '2'}", "bank.decimals: " + whole + ", not a string"},
		"number with point": {"bank: {decimals: 2.0}", "bank.decimals: " + whole + ", not a number"},
		"octal":             {"limits: {connections: 0777}", "limits.connections: " + whole + ` in plain digits, such as 1000, not "0777"`},
		"hexadecimal":       {"limits: {connections: 0x10}", "limits.connections: " + whole + ` in plain digits, such as 1000, not "0x10"`},
		"underscore":        {"limits: {connections: 1_000}", "limits.connections: " + whole + ` in plain digits, such as 1000, not "1_000"`},
		"huge":              {"limits: {connections: 99999999999999999999}", "limits.connections: is out of range"},
		"number from env":   {"bank: {decimals: '${DIGIT}'}", "bank.decimals: " + whole + "; the environment is taken in strings only"},
		"number as list":    {"bank: {decimals: [2]}", "bank.decimals: " + whole + ", not a list"},
		"nothing":           {"bank: {decimals: }", "bank.decimals: " + whole + ", not nothing"},
		"yes":               {"bank: {create_accounts: yes}", "bank.create_accounts: must be true or false, not a string"},
		"one":               {"bank: {create_accounts: 1}", "bank.create_accounts: must be true or false, not a number"},
		"string as number":  {"ledger: {path: 7}", "ledger.path: must be a string, not a number; write it in quotes"},
		"string as bool":    {"ledger: {path: true}", "ledger.path: must be a string, not true or false; write it in quotes"},
		"string as date":    {"ledger: {path: 2026-01-01}", "ledger.path: must be a string, not a value that YAML reads as a date or the like; write it in quotes"},
		"string as nothing": {"ledger: {path: }", "ledger.path: must be a string, not nothing"},
		"string as list":    {"ledger: {path: [data]}", "ledger.path: must be a string, not a list"},
		"section as list":   {"bank: []", "bank: must be a mapping of settings, not a list"},
		"section empty":     {"bank:", "bank: must be a mapping of settings, not nothing"},
		"list as mapping":   {"socket: {listeners: {address: x}}", "socket.listeners: must be a list, not a mapping"},
		"list as string":    {"mqtt: {listeners: [{address: '127.0.0.1:0', allow_from: 10.0.0.0/8}]}", "mqtt.listeners[0].allow_from: must be a list, not a string"},
		"list of nothing":   {"auth: {users: }", "auth.users: must be a list, not nothing"},
		"item":              {"socket: {listeners: ['127.0.0.1:9999']}", "socket.listeners[0]: must be a mapping of settings, not a string"},
		"tls as string":     {"mqtt: {listeners: [{address: '0.0.0.0:1', tls: yes}]}\nauth: {users: 0}", "mqtt.listeners[0].tls: must be a mapping of settings, not a string\nF:2: auth.users: must be a list, not a number"},
		"no unit":           {"limits: {idle_timeout: 20}", "limits.idle_timeout: must be a duration such as 500ms, 20s, 5m or 1h30m, not a number"},
		"bad unit":          {"limits: {idle_timeout: 2d}", `limits.idle_timeout: must be a duration such as 500ms, 20s, 5m or 1h30m, not "2d"`},
		"size without unit": {"limits: {message: '16'}", `limits.message: must be a size such as 512B, 64KiB, 1MiB or 1GiB, not "16"`},
		"size, wrong unit":  {"limits: {message: 16KB}", `limits.message: must be a size such as 512B, 64KiB, 1MiB or 1GiB, not "16KB"`},
		"size, fraction":    {"limits: {message: 1.5KiB}", `limits.message: must be a size such as 512B, 64KiB, 1MiB or 1GiB, not "1.5KiB"`},
		"size, overflow":    {"limits: {message: 9000000000GiB}", `limits.message: must be a smaller size, not "9000000000GiB"`},
	} {
		t.Run(name, func(t *testing.T) { want(t, c.text, "F:1: "+c.want) })
	}
}

func TestSizes(t *testing.T) {
	for text, wanted := range map[string]config.Size{
		"256B": 256, "16KiB": 16 << 10, "1000B": 1000, "64KiB": 64 << 10, "65536B": 64 << 10,
	} {
		c, err := parse("limits: {message: " + text + "}")
		if err != nil || c.Limits.Message != wanted {
			t.Errorf("%s: %d %v", text, c.Limits.Message, err)
		}
	}
	for size, wanted := range map[config.Size]string{0: "0B", 1: "1B", 1000: "1000B", 1 << 10: "1KiB", 3 << 20: "3MiB", 5 << 30: "5GiB"} {
		if got := size.String(); got != wanted {
			t.Errorf("%d prints %s, want %s", int64(size), got, wanted)
		}
	}
}

func TestNetworks(t *testing.T) {
	c, err := parse(`mqtt: {listeners: [{address: "127.0.0.1:0", allow_from: [10.1.2.3/16, 10.1.2.3, "::1", "fd00::/8", "::ffff:10.0.0.1"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.MQTT.Listeners[0].AllowFrom); got != "[10.1.0.0/16 10.1.2.3/32 ::1/128 fd00::/8 10.0.0.1/32]" {
		t.Error(got)
	}
	const wanted = `must be a network such as "10.1.0.0/16" or an address such as "10.1.2.3", not `
	want(t, `
mqtt:
  listeners:
  - address: "127.0.0.1:0"
    allow_from:
    - 10.1.0.0/33
    - example.com
    - fe80::1%eth0
    - 10.1
    - "::ffff:10.0.0.0/104"
`, `F:6: mqtt.listeners[0].allow_from[0]: `+wanted+`"10.1.0.0/33"`,
		`F:7: mqtt.listeners[0].allow_from[1]: `+wanted+`"example.com"`,
		`F:8: mqtt.listeners[0].allow_from[2]: `+wanted+`"fe80::1%eth0"`,
		`F:9: mqtt.listeners[0].allow_from[3]: `+wanted+`a number`,
		`F:10: mqtt.listeners[0].allow_from[4]: must name an IPv4 network as IPv4, such as "10.1.0.0/16", not "::ffff:10.0.0.0/104"`)
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"plain", "plain"},
		{"a${HOST}b", "a127.0.0.1b"},
		{"${HOST}/${HOST}", "127.0.0.1/127.0.0.1"},
		{"${ABSENT:-x y}", "x y"},
		{"${EMPTY:-x}", "x"},
		{"${ABSENT:-x}${ABSENT:-}", "x"},
		{"${HOST:-x}", "127.0.0.1"},
		{"${ABSENT:-${HOST}", "${HOST"}, // a default ends at the first } and is not expanded
		{"${FULL}", strings.Repeat("x", 64<<10)},
		{"$${HOST}", "${HOST}"},
		{"a$$${HOST}", "a$${HOST}"},
		{"$HOST $ $$ {HOST}", "$HOST $ $$ {HOST}"},
		{"${SNEAKY}", `x", codec: json, y: "${HOST}`}, // neither structure nor a second expansion
	} {
		got, err := parse("ledger: {path: '" + c.text + "'}")
		if err != nil || got.Ledger.Path != c.want {
			t.Errorf("%s: %q %v", c.text, got.Ledger.Path, err)
		}
	}
	const form = "${ must begin ${NAME} or ${NAME:-default}; write $${ for the characters themselves"
	for text, wanted := range map[string]string{
		"${ABSENT}":      "ABSENT is not set in the environment; set it, or write ${ABSENT:-default}",
		"${HOST":         form,
		"${}":            form,
		"${1A}":          form,
		"${HOST-x}":      form,
		"${LATIN1}":      "LATIN1 is not UTF-8 in the environment",
		"${FULL}${HOST}": "with the environment in it, is longer than 65536 bytes",
		"${LONG}${LONG}": "with the environment in it, is longer than 65536 bytes",
		"${EMPTY}":       "must be the path of a directory, such as data",
	} {
		want(t, "ledger:\n  path: '"+text+"'", "F:2: ledger.path: "+wanted)
	}
}

// What came from the environment may be a secret in the wrong place: problems show the setting as it is written.
func TestProblemsHideValues(t *testing.T) {
	want(t, `
ledger: { engine: "${PASSWORD}" }
admin: { address: "${PASSWORD}:80" }
auth:
  users:
  - name: ana
    accounts: ["*"]
    password: hunter2
  - { name: "`+argon+`", accounts: ["*"], password: "x`+argon+`" }
  - { name: "`+bcrypt+`", accounts: ["*"], certificate: bia }
`, `F:2: ledger.engine: must be embedded or memory, not "${PASSWORD}"`,
		`F:3: admin.address: the host must be an IP address or localhost (0.0.0.0 for every interface), not "${PASSWORD}:80"`,
		"F:8: auth.users[0].password: must hold a hash as `gateway passwd` prints it (argon2id, or bcrypt), not the password itself",
		`F:9: auth.users[1].name: must be 1 to 64 of A-Z a-z 0-9 . _ : -, not ****`,
		"F:9: auth.users[1].password: must hold a hash as `gateway passwd` prints it (argon2id, or bcrypt), not the password itself",
		`F:10: auth.users[2].name: must be 1 to 64 of A-Z a-z 0-9 . _ : -, not ****`,
	)
}

func TestSecretHidesItself(t *testing.T) {
	c, err := parse("auth: {users: [{name: ana, accounts: ['1'], password: '" + argon + "'}]}")
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Auth.Users[0].Password) != argon {
		t.Error("the hash is not kept")
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb, c, c.Auth.Users[0].Password)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c, "hash", c.Auth.Users[0].Password)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", c, "hash", c.Auth.Users[0].Password)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	if strings.Contains(out.String(), "argon2id") || strings.Contains(out.String(), fmt.Sprintf("%x", "argon2id")) {
		t.Error(out.String())
	}
	if !strings.Contains(out.String(), "****") || !reflect.DeepEqual(c.Auth.Users[0].Accounts, []string{"1"}) {
		t.Error("nothing was printed")
	}
}
