package config_test

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gateway/config"
)

// argon and bcrypt are well-formed hashes of nothing in particular.
const (
	argon  = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	bcrypt = "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
)

// environment is what ${NAME} finds in tests.
func environment(name string) (string, bool) {
	value, ok := map[string]string{
		"HOST": "127.0.0.1", "EMPTY": "", "HASH": argon, "SNEAKY": `x", codec: json, y: "${HOST}`, "LATIN1": "caf\xe9",
		"PASSWORD": "hunter2", "LONG": strings.Repeat("x", 40<<10), "DIGIT": "3", "FULL": strings.Repeat("x", 64<<10),
	}[name]
	return value, ok
}

func parse(text string) (config.Config, error) {
	return config.Parse("F", []byte(text), environment)
}

// want fails unless reading text finds exactly these problems.
func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	_, err := parse(text)
	wantError(t, err, lines...)
}

func wantError(t *testing.T, err error, lines ...string) {
	t.Helper()
	got := ""
	if err != nil {
		var problems config.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("error is %T, not Problems: %v", err, err)
		}
		got = err.Error()
	}
	if wanted := strings.Join(lines, "\n"); got != wanted {
		t.Errorf("problems:\n%s\nwant:\n%s", got, wanted)
	}
}

// same fails unless the settings are equal; where they were written does not matter.
func same(t *testing.T, got, wanted config.Config) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(wanted)
	for i := range g.NumField() {
		if field := g.Type().Field(i); field.IsExported() && !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s:\n%+v\nwant:\n%+v", field.Name, g.Field(i), w.Field(i))
		}
	}
}

func TestFileShowsEveryDefault(t *testing.T) {
	data, err := os.ReadFile("../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	c, err := config.Parse("config.yaml", data, none)
	if err != nil {
		t.Fatal(err)
	}
	same(t, c, config.Default())
	// A setting outside lists must stand there in earnest: without its line the file must be another one.
	for _, key := range keysOf(reflect.TypeFor[config.Config](), false) {
		if !regexp.MustCompile(`(?m)^[^#]*\b` + key + `:`).Match(data) {
			t.Errorf("config.yaml does not set %q", key)
		}
	}
	for _, key := range keysOf(reflect.TypeFor[config.Config](), true) {
		if !regexp.MustCompile(`(?m)[\s{]` + key + `:`).Match(data) {
			t.Errorf("config.yaml does not show %q", key)
		}
	}
}

// keysOf returns all keys below a section, those of list items included or not.
func keysOf(section reflect.Type, items bool) []string {
	var keys []string
	for i := range section.NumField() {
		field := section.Field(i)
		if !field.IsExported() {
			continue
		}
		keys = append(keys, field.Tag.Get("key"))
		inner := field.Type
		if items && (inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer) {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && strings.HasSuffix(inner.PkgPath(), "/config") {
			keys = append(keys, keysOf(inner, items)...)
		}
	}
	return keys
}

// The examples in config.yaml's comments are settings too: with the # taken away they must be accepted.
func TestFileExamples(t *testing.T) {
	data, err := os.ReadFile("../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^( +)# (- |  )`).ReplaceAllString(string(data), "$1$2")
	text = strings.Replace(text, "users: []", "users:", 1)
	t.Chdir(t.TempDir())
	writePair(t, "server.pem", "server.key")
	writePair(t, "clients.pem", "clients.key")
	writeFile(t, "inspector.hash", argon+"\n", 0o600)
	getenv := func(name string) (string, bool) { return argon, strings.HasSuffix(name, "_HASH") }
	c, err := config.Parse("config.yaml", []byte(text), getenv)
	if err != nil {
		t.Fatal(err)
	}
	if got := []int{len(c.Socket.Listeners), len(c.MQTT.Listeners), len(c.Auth.Users)}; !reflect.DeepEqual(got, []int{3, 3, 4}) {
		t.Errorf("listeners and users: %v", got)
	}
	if ana := c.Auth.Users[0]; !reflect.DeepEqual(ana.ClientIDs, []string{"ana", "ana-*"}) {
		t.Errorf("client ids: %v", ana.ClientIDs)
	}
}

func TestEmptyIsDefault(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "null\n", "{}", "---\n...\n", "\r\n"} {
		c, err := parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		same(t, c, config.Default())
	}
}

func TestSettingLeftOutKeepsDefault(t *testing.T) {
	c, err := parse("bank:\n  decimals: 0\n  investment: {enabled: true}\nmqtt: {listeners: []}\nlog: {level: debug}\n")
	if err != nil {
		t.Fatal(err)
	}
	wanted := config.Default()
	wanted.Bank.Decimals, wanted.Bank.Investment.Enabled = 0, true
	wanted.MQTT.Listeners = nil
	wanted.Log.Level = -4
	same(t, c, wanted)
}

func TestManyProblemsAtOnce(t *testing.T) {
	want(t, `bank:
  decimals: 12
  decimal: 2
  investment: { every: 3s }
socket:
  listeners:
    - { address: "127.0.0.1:9999", codec: pikle }
    - { address: "127.0.0.1:9999" }
    - codec: json
limits: { message: 16, read_timeout: soon, in_flight: 0 }
lgo: { level: info }
log:
  level: loud
`,
		`F:2: bank.decimals: must be from 0 to 9, not 12`,
		`F:3: bank: unknown key "decimal" (did you mean "decimals"?)`,
		`F:4: bank.investment.every: hold (5s) must be shorter than every (3s), or operations would wait for ever`,
		`F:7: socket.listeners[0].codec: must be pickle, msgpack or json, not "pikle"`,
		`F:8: socket.listeners[1].codec: is missing; write pickle, msgpack or json`,
		`F:8: socket.listeners[1].address: socket.listeners[0].address has this address already; give each listener its own`,
		`F:9: socket.listeners[2].address: is missing; write host:port, such as "127.0.0.1:9999"`,
		`F:10: limits.message: must be a size such as 512B, 64KiB, 1MiB or 1GiB, not a number`,
		`F:10: limits.read_timeout: must be a duration such as 500ms, 20s, 5m or 1h30m, not "soon"`,
		`F:10: limits.in_flight: must be from 1 to 65535, not 0`,
		`F:11: unknown key "lgo" (did you mean "log"?)`,
		`F:13: log.level: must be debug, info, warn or error, not "loud"`,
	)
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := parse(strings.Repeat("- x\n", 3) + "\n")
	wantError(t, err, "F:1: must be a mapping of settings, not a list")

	_, err = parse("auth:\n  users:\n" + strings.Repeat("  - 1\n", config.MaxProblems+1))
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != config.MaxProblems+1 {
		t.Fatalf("%d problems", len(problems))
	}
	if last := problems[config.MaxProblems].String(); last != "F:1002: too many problems; the rest is left out" {
		t.Error(last)
	}
	_, err = parse("auth:\n  users:\n" + strings.Repeat("  - 1\n", config.MaxProblems))
	if !errors.As(err, &problems) || len(problems) != config.MaxProblems {
		t.Fatalf("%d problems", len(problems))
	}
	if last := problems[config.MaxProblems-1].String(); !strings.Contains(last, "must be a mapping") {
		t.Error(last)
	}
}
