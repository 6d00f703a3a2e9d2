package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gateway/config"
	"gateway/wire"
)

// logs sees every line that a gateway of these tests logs, whether in a process of its own or in this one. What it finds
// fails the run, also when the test that brought it about has passed.
var logs logWatch

// watchedRun is the run of all tests, and then of what their gateways logged.
type watchedRun struct{ *testing.M }

func (r watchedRun) Run() int {
	code := r.M.Run()
	for _, fault := range logs.faults() {
		fmt.Fprintln(os.Stderr, "a gateway of the tests logged what it must not:", fault)
		code = max(code, 1)
	}
	return code
}

// unspeakable is what no log may hold, whatever the test: hashes, keys, and what an operation is made of, in any format. It is
// sought without backslashes and without regard to case.
var unspeakable = []string{
	"$argon2", "$2a$", "$2b$", "$2y$", "private key",
	`"op":`, `"account":`, `"amount":`, `"memo":`, `"password`, "xa2op", "xa7account", "xa6amount",
	"id_pessoa", `"classe":`, `"objeto":`, "xa6classe", "dominio",
	"correct horse", // a password of testdata/script
}

// logValue is a value of a log in text: quoted where there is anything odd in it.
const logValue = `("(\\.|[^"\\])*"|[^\s"=]*)`

// logLine is what a line on a gateway's stderr is like: a log in text, a log in JSON, a problem of the settings or a
// complaint.
var logLine = regexp.MustCompile(`^(time=\S+ level=[A-Z]+ msg=` + logValue + `( [A-Za-z_.]+=` + logValue + `)*` +
	`|\{"time":.*\}|[^\s:]+:\d+: .*|gateway: .*)$`)

// logWatch checks what is logged. Any goroutine may call its methods.
type logWatch struct {
	mu      sync.Mutex // guards all below
	secrets []string
	found   []string
}

// never makes the watch seek a text that a test uses, for the rest of the run.
func (w *logWatch) never(secret string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, secret)
	return secret
}

func (w *logWatch) faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found
}

// check notes what is wrong about a line.
func (w *logWatch) check(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fault := faultOf(line, w.secrets); fault != "" {
		w.found = append(w.found, fmt.Sprintf("%s: %q", fault, line))
	}
}

// writer returns where one gateway logs to.
func (w *logWatch) writer() io.Writer { return &logWriter{watch: w} }

// logWriter cuts a log into lines. A line without an end is one that a kill has cut off.
type logWriter struct {
	watch *logWatch
	line  []byte
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.line = append(w.line, p...)
	for {
		line, rest, whole := bytes.Cut(w.line, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		w.watch.check(string(line))
		w.line = append(w.line[:0], rest...)
	}
}

// faultOf returns what is wrong about a line of a log, or "".
func faultOf(line string, secrets []string) string {
	if told := tellsOf(line, secrets); told != "" {
		return told
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "something in it is not escaped"
	}
	if !logLine.MatchString(line) || line[0] == '{' && !json.Valid([]byte(line)) {
		return "it has the form of no log"
	}
	return ""
}

// tellsOf returns what a text tells that it must not, or "".
func tellsOf(line string, secrets []string) string {
	bare := strings.ToLower(strings.ReplaceAll(line, `\`, ""))
	for _, each := range unspeakable {
		if strings.Contains(bare, each) {
			return "it holds " + each
		}
	}
	for _, each := range secrets {
		if strings.Contains(line, each) {
			return "it holds a secret of a test"
		}
	}
	return ""
}

// TestTheWatchOverLogs has lines that it must find, so that a silent watch is one that saw nothing.
func TestTheWatchOverLogs(t *testing.T) {
	const text = "time=2026-01-01T00:00:00.000Z level=INFO msg=serving"
	for line, faulty := range map[string]bool{
		text + ` addresses="socket=127.0.0.1:1 mqtt=127.0.0.1:2" n=1`: false,
		text + ` err="a \"quoted\" thing\nand a line" empty=""`:       false,
		`{"time":"2026-01-01T00:00:00Z","level":"INFO","msg":"a\nb"}`: false,
		"config.yaml:3: auth.users: not available":                    false,
		"gateway: config.yaml is not there":                           false,

		text + " hash=$argon2id$v=19$m=1":                 true,
		text + ` hash="$2a$10$abc"`:                       true,
		text + ` key="-----BEGIN EC PRIVATE KEY-----"`:    true,
		text + ` payload="{\"op\":\"deposit\"}"`:          true,
		text + ` payload="\x83\xa2op\xa7deposit"`:         true,
		`{"time":"x","msg":"{\"account\": 1, \"op\":1}"}`: true,
		text + " what=open-sesame":                        true,
		text + " id=a\x1b[31m":                            true,
		text + " id=a\u202eb":                             true,
		text + " id=\xff":                                 true,
		text + " id=a b":                                  true,
		text + ` id="a" b"`:                               true,
		"forged":                                          true,
		"":                                                true,
		`{"time":"x"} {"forged":1}`:                       true,
	} {
		if fault := faultOf(line, []string{"open-sesame"}); (fault != "") != faulty {
			t.Errorf("%q: fault %q", line, fault)
		}
	}
	var watch logWatch
	w := watch.writer()
	for _, part := range []string{text + "\nfor", "ged\n", text, "\n"} {
		_, _ = io.WriteString(w, part)
	}
	if found := watch.faults(); len(found) != 1 || !strings.Contains(found[0], `"forged"`) {
		t.Errorf("found %q", found)
	}
}

// forgeries are what a stranger may call himself to write into the log or to the terminal of its reader.
var forgeries = []string{
	"a\ntime=2026-01-01T00:00:00.000Z level=ERROR msg=forged", "a\r\n{\"time\":\"0\",\"msg\":\"forged\"}",
	`a" level=ERROR msg="forged`, `a\" forged="`, "a\x1b[2J\x1b[31mforged", "a\u009b31mforged", "a\u0085forged", "a\x7fforged",
	"a\u202edegrof", "a\u2028forged", "a\U000e0001forged", "a\xff\xfeforged", "a\x00forged", "%s%n%d forged",
}

// TestX8LogsAreEscaped logs the forgeries as names, errors and events.
func TestX8LogsAreEscaped(t *testing.T) {
	for _, format := range []config.LogFormat{config.LogText, config.LogJSON} {
		for _, evil := range forgeries {
			var log bytes.Buffer
			newLogger(&log, config.Log{Format: format}).Info("refused "+evil, "user", evil, "err", errors.New(evil))
			line := strings.TrimSuffix(log.String(), "\n")
			if fault := faultOf(line, nil); fault != "" {
				t.Errorf("%s: %q: %q", fault, evil, line)
			}
			var read struct{ User string }
			if format == config.LogJSON && (json.Unmarshal([]byte(line), &read) != nil || utf8.ValidString(evil) && read.User != evil) {
				t.Errorf("%q is read as %q", evil, read.User)
			}
		}
	}
	refused := errors.New("no space")
	if _, err := (wire.Escaper{Out: failingWriter{refused}}).Write([]byte("\u0085")); !errors.Is(err, refused) {
		t.Errorf("a log that cannot be written: %v", err)
	}
}

// failingWriter writes nothing.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestX8NobodyWritesTheLog is row X8: what strangers say ends up escaped, in the line of the event and in no other, in either
// format; the check of every line is the watch's.
func TestX8NobodyWritesTheLog(t *testing.T) {
	password := logs.never("fremder-schluessel")
	memo := logs.never("fremde-post")
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			settings := `
socket: { listeners: [ { address: "127.0.0.1:0", codec: json }, { address: "127.0.0.1:0", codec: pickle } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" }, { address: "127.0.0.1:0", websocket: true } ] }
admin: { address: "127.0.0.1:0" }
log: { level: debug, format: ` + format + ` }
`
			p := serveWith(t, settings)
			before := len(logs.faults())
			for _, evil := range forgeries {
				speak(t, p.addresses["mqtt"][0], strangersConnect(evil, "ana", password))
				speak(t, p.addresses["mqtt"][0], strangersConnect("ana", evil, password))
				subscribe := leanFrame(0x82, append(append([]byte{0, 1}, mqttText(evil)...), 1))
				publish := leanFrame(0x30, append(mqttText(evil), memo...))
				speak(t, p.addresses["mqtt"][0], strangersConnect("ana", "", ""), subscribe)
				speak(t, p.addresses["mqtt"][0], strangersConnect("ana", "", ""), publish)
				operation := leanFrame(0x30, append(mqttText("bank/ops"), evil+memo...))
				speak(t, p.addresses["mqtt"][0], strangersConnect("ana", "", ""), operation)
				speak(t, p.addresses["mqtt"][1], []byte("GET /"+evil+" HTTP/1.1\r\nHost: "+evil+"\r\nOrigin: "+evil+"\r\n\r\n"))
				speak(t, p.addresses["admin"][0], []byte("GET /"+evil+" HTTP/1.1\r\nHost: "+evil+"\r\nX: "+evil+"\r\n\r\n"))
				quoted, _ := json.Marshal(evil)
				speak(t, p.addresses["socket"][0], fmt.Appendf(nil, `{"op":"deposit","account":%s,"amount":1,"memo":"%s"}`, quoted, memo))
				speak(t, p.addresses["socket"][0], fmt.Appendf(nil, `{"op":%s,%s:1,"memo":"%s"}`, quoted, quoted, memo))
				speak(t, p.addresses["socket"][0], []byte(evil+memo))
				speak(t, p.addresses["socket"][1], []byte("c"+evil+"\n"+memo+"\n."))
			}
			if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
				t.Errorf("exit code %d, %v\n%s", code, err, p.stderr.String())
			}
			if found := logs.faults(); len(found) > before {
				t.Errorf("of strangers: %s", strings.Join(found[before:], "\n"))
			}
			for _, event := range []string{"connection ended", "no operation"} {
				if !strings.Contains(p.stderr.String(), event) {
					t.Errorf("nothing of what was said was logged as %q\n%s", event, p.stderr.String())
				}
			}
		})
	}
}

// speak sends what a stranger says, and waits until the gateway has heard it all.
func speak(t *testing.T, address string, words ...[]byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write(bytes.Join(words, nil))
	_ = conn.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, conn) // its answer, or that it has hung up: either is well
}

// strangersConnect is a CONNECT of MQTT 3.1.1; without a user's name it has no credentials.
func strangersConnect(clientID, user, password string) []byte {
	flags, credentials := byte(0x02), []byte(nil)
	if user != "" {
		flags, credentials = 0xc2, append(mqttText(user), mqttText(password)...)
	}
	body := append(mqttText("MQTT"), 4, flags, 0, 60)
	return leanFrame(0x10, append(append(body, mqttText(clientID)...), credentials...))
}
