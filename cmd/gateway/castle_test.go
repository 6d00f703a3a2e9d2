package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gateway/access"
)

const (
	// honestMost is what no honest client may have to wait, whatever the machine does besides: a design that fails takes longer.
	// The aims that are printed are for a machine of one's own.
	honestMost = 10 * time.Second
	// castleMost is what the process may have in memory under attack, in MiB.
	castleMost = 256
)

// attackSize returns how much an attack does: `make attack` sets GATEWAY_ATTACK for all of it.
func attackSize(small, whole int) int {
	if os.Getenv("GATEWAY_ATTACK") != "" {
		return whole
	}
	return small
}

// castle is a gateway in a process of its own, with users and all doors, that is attacked.
type castle struct {
	*process
	t        *testing.T
	dir      string
	password string
	hash     string // of the password, which all users have
}

// castleDoors are the doors of most castles.
const castleDoors = `
socket:
  listeners:
  - { address: "127.0.0.1:0", codec: json }
  - { address: "127.0.0.1:0", codec: json, session: true, principal: till }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
`

// castleUsers are the users of most castles; %[1]q is the hash.
const castleUsers = `
auth:
  users:
  - { name: till, accounts: ["*"] }
  - { name: ana, password: %[1]q, accounts: ["*"], client_ids: ["*"] }
  - { name: bia, password: %[1]q, accounts: ["*"], client_ids: ["*"] }
`

// cheapHash is of a castle's password. Under the race detector a check of one as users have it takes seconds.
const cheapHash = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$2JTYSWcoM2IAHWJm1V1XkH6FQn0DDOdqXFPgLM+WVVs"

// buildCastle starts one. The settings may have %[1]q for the hash of the password.
func buildCastle(t *testing.T, settings ...string) *castle {
	t.Helper()
	c := &castle{t: t, dir: t.TempDir(), password: logs.never("offenes-tor-7")}
	c.hash = access.Hash([]byte(c.password))
	if raceDetector {
		c.hash = cheapHash
	}
	c.write(settings...)
	p, err := startGateway(c.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	c.process = p
	t.Cleanup(func() {
		if code, err := p.stop(15); code != exitDone || err != nil {
			t.Errorf("clean stop: exit code %d, %v", code, err)
		}
	})
	return c
}

// write writes the settings.
func (c *castle) write(settings ...string) {
	c.t.Helper()
	all := strings.Join(settings, "") + "\nadmin: { address: \"127.0.0.1:0\" }\nlog: { level: warn }\n"
	if strings.Contains(all, "%[1]q") {
		all = fmt.Sprintf(all, c.hash)
	}
	if err := os.WriteFile(filepath.Join(c.dir, settingsFile), []byte(all), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// metric returns the value of a metric, which is named with its labels.
func (c *castle) metric(name string) float64 {
	c.t.Helper()
	page, err := (&http.Client{Timeout: patience}).Get("http://" + c.addresses["admin"][0] + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer page.Body.Close()
	for lines := bufio.NewScanner(page.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return value
		}
	}
	c.t.Fatalf("there is no metric %s", name)
	return 0
}

// resident returns the memory of the process, in MiB.
func (c *castle) resident() float64 {
	c.t.Helper()
	m, err := memoryOf(c.cmd.Process.Pid)
	if err != nil {
		c.t.Fatal(err)
	}
	return m.resident / 1024
}

// dialFrom connects from an address of loopback. Its end leaves no port behind that waits.
func dialFrom(source, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

// errRefused says that a CONNECT was answered with no.
var errRefused = errors.New("refused")

// enter connects as a user of MQTT 3.1.1, subscribed to its replies, whose session is kept. Without a user it is anonymous.
func enter(source, address, id, user, password string) (*lean, error) {
	conn, err := dialFrom(source, address)
	if err != nil {
		return nil, err
	}
	flags, credentials := byte(0), []byte(nil)
	if user != "" {
		flags, credentials = 0xc0, append(mqttText(user), mqttText(password)...)
	}
	connect := append(append(append(leanText("MQTT"), 4, flags, 0, 60), leanText(id)...), credentials...)
	subscribe := append(append([]byte{0, 1}, leanText("bank/replies/"+id)...), 1)
	l := &lean{conn: conn, in: bufio.NewReaderSize(conn, leanBuffer), level: 4, id: id}
	_, err = conn.Write(leanFrame(leanConnect<<4, connect))
	if err == nil {
		_, err = l.next()
	}
	if errors.Is(err, errLeanRefused) {
		err = fmt.Errorf("%w: %w", errRefused, err)
	}
	if err == nil {
		_, err = conn.Write(leanFrame(leanSubscribe<<4|2, subscribe))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

// visit asks for a balance by a socket of its own, as a legacy client does.
func visit(source, address string) error {
	conn, err := dialFrom(source, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len("true\n"))); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, `{"op":"balance","account":"1"}`); err != nil {
		return err
	}
	reply, err := io.ReadAll(conn)
	if err == nil && !strings.Contains(string(reply), `"code":"ok"`) {
		err = fmt.Errorf("%q", reply)
	}
	return err
}

// askSession asks by a session and returns the code of the reply.
func askSession(conn net.Conn, replies *bufio.Reader, operation string) (code string, err error) {
	if _, err := io.WriteString(conn, operation); err != nil {
		return "", err
	}
	line, err := replies.ReadBytes('\n')
	if err != nil {
		return "", err
	}
	var reply struct{ Code string }
	err = json.Unmarshal(line, &reply)
	return reply.Code, err
}

// times are how long honest clients waited.
type times []time.Duration

// take measures do so often; its failure is the test's.
func take(t *testing.T, n int, do func(i int) error) times {
	t.Helper()
	var all times
	for i := range n {
		began := time.Now()
		if err := do(i); err != nil {
			t.Errorf("an honest client: %v", err)
			return all
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all
}

// p99 is the time that one in a hundred exceeds.
func (all times) p99() time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)-1)*99/100]
}

// check fails the test when the honest had to wait as only a wrong design makes them.
func (all times) check(t *testing.T) {
	t.Helper()
	if all.p99() > honestMost {
		t.Errorf("honest clients waited %v", all.p99())
	}
}
