package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"gateway/bank"
	"gateway/client"
)

// errand is one operation of the list that every client of another make runs, and what it must be told.
type errand struct {
	fields map[string]any
	told   told
}

// told is what matters of a reply.
type told struct {
	Code      string `json:"code" msgpack:"code"`
	Balance   string `json:"balance" msgpack:"balance"`
	ID        string `json:"id" msgpack:"id"`
	Duplicate bool   `json:"duplicate" msgpack:"duplicate"`
}

// errands is that list. Accounts and ids are a client's own: its name is put before them.
var errands = []errand{
	{map[string]any{"op": "deposit", "account": "ana", "amount": "20.00", "id": "1"}, told{"ok", "20.00", "1", false}},
	{map[string]any{"op": "deposit", "account": "ana", "amount": "20.00", "id": "1"}, told{"ok", "20.00", "1", true}},
	{map[string]any{"op": "withdraw", "account": "ana", "amount": 2.5, "id": "2"}, told{"ok", "17.50", "2", false}},
	{map[string]any{"op": "transfer", "account": "ana", "to": "bia", "amount": "7.50", "id": "3"}, told{"ok", "10.00", "3", false}},
	{map[string]any{"op": "balance", "account": "bia"}, told{"ok", "7.50", "", false}},
	{map[string]any{"op": "withdraw", "account": "ana", "amount": 70, "id": "4"}, told{"insufficient_funds", "10.00", "4", false}},
	{map[string]any{"op": "withdraw", "account": "ana", "amount": 70, "id": "4"}, told{"insufficient_funds", "10.00", "4", true}},
	{map[string]any{"op": "deposit", "account": "ana", "amount": "1.005", "id": "5"}, told{"invalid_amount", "", "5", false}},
	{map[string]any{"op": "deposit", "account": "ana", "amount": 21, "id": "1"}, told{"id_conflict", "", "1", false}},
	{map[string]any{"op": "status", "id": "3"}, told{"ok", "10.00", "3", true}},
	{map[string]any{"op": "status", "id": "5"}, told{"id_not_found", "", "5", false}},
	{map[string]any{"op": "balance", "account": "ana"}, told{"ok", "10.00", "", false}},
}

// decided are the entries that the list leaves, by id.
var decided = map[string]string{"1": "ok", "2": "ok", "3": "ok", "4": "insufficient_funds"}

// format is one that operations are written in.
type format struct {
	name      string
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

var formats = []format{{"json", json.Marshal, json.Unmarshal}, {"msgpack", msgpack.Marshal, msgpack.Unmarshal}}

// ask is an operation as a client publishes it.
type ask struct {
	Payload []byte `json:"payload"`
	QoS     byte   `json:"qos"`
}

// customer is a client of another make. Its ask publishes each operation under that client id, once the reply of the one
// before is there, and returns the payloads of the replies; nil when it cannot hear them.
type customer struct {
	name    string
	qos     byte
	formats []format // those that it can send
	ask     func(id string, asks []ask) ([][]byte, error)
}

// counter is a gateway that customers come to: the real program on a fresh directory.
type counter struct {
	t       *testing.T
	dir     string
	process *process
	mqtt    string
	web     string
	desk    *desk            // in a page that may connect to web
	page    *httptest.Server // serves it
	teller  *client.Client   // at the other door
	came    []string         // what has been put before the ids
}

func openCounter(t *testing.T) *counter {
	c := &counter{t: t, dir: t.TempDir(), desk: newDesk()}
	c.page = httptest.NewServer(c.desk)
	t.Cleanup(c.page.Close)
	settings := fmt.Sprintf(`
socket: { listeners: [ { address: "127.0.0.1:0", codec: msgpack, session: true } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" }, { address: "127.0.0.1:0", websocket: true, origins: [ "%s" ] } ] }
admin: { address: "" }
`, c.page.URL)
	if err := os.WriteFile(filepath.Join(c.dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startGateway(c.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	c.process, c.mqtt, c.web = p, p.addresses["mqtt"][0], p.addresses["mqtt"][1]
	c.teller, err = client.NewSocket(p.addresses["socket"][0], client.SocketOptions{Session: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.teller.Close)
	return c
}

// serve lets a customer run the list in each of its formats.
func (c *counter) serve(t *testing.T, who customer) {
	t.Helper()
	for _, f := range who.formats {
		id := fmt.Sprint(who.name, "-", who.qos, "-", f.name) // of its own: some leave before a reply is acknowledged
		prefix := id + "-"
		c.came = append(c.came, prefix)
		asks := make([]ask, len(errands))
		for i, e := range errands {
			payload, err := f.marshal(owned(e.fields, prefix))
			if err != nil {
				t.Fatal(err)
			}
			asks[i] = ask{payload, who.qos}
		}
		replies, err := who.ask(id, asks)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		for i := range replies {
			var got told
			err := f.unmarshal(replies[i], &got)
			got.ID = strings.TrimPrefix(got.ID, prefix)
			if err != nil || got != errands[i].told {
				t.Errorf("%s: %v was told %+v, %v, want %+v", id, errands[i].fields, got, err, errands[i].told)
			}
		}
		if replies != nil && len(replies) != len(errands) {
			t.Errorf("%s: %d replies", id, len(replies))
		}
		c.checkBook(t, prefix)
	}
}

// owned returns the fields with the prefix before accounts and ids.
func owned(fields map[string]any, prefix string) map[string]any {
	all := map[string]any{}
	for key, value := range fields {
		if key == "account" || key == "to" || key == "id" {
			value = prefix + value.(string)
		}
		all[key] = value
	}
	return all
}

// checkBook asks at the other door for what the list leaves.
func (c *counter) checkBook(t *testing.T, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for account, want := range map[string]string{"ana": "10.00", "bia": "7.50"} {
		reply, err := c.teller.Do(ctx, client.Operation{Kind: bank.KindBalance, Account: prefix + account})
		if err != nil || reply.Balance != want {
			t.Errorf("%s%s has %s, %v, want %s", prefix, account, reply.Balance, err, want)
		}
	}
	for id, code := range decided {
		reply, err := c.teller.Do(ctx, client.Operation{Kind: bank.KindStatus, ID: prefix + id})
		if err != nil || reply.Code.String() != code || !reply.Duplicate {
			t.Errorf("%s%s was decided %s, %v, want %s", prefix, id, reply.Code, err, code)
		}
	}
}

// close ends the gateway. Its journal must hold what each customer's list decided, once, and nothing else.
func (c *counter) close() {
	c.t.Helper()
	if code, err := c.process.stop(syscall.SIGTERM); code != exitDone || err != nil {
		c.t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, c.process.stderr.String())
	}
	entries := dumpedEntries(c.t, c.dir)
	if len(entries) != len(c.came)*len(decided) {
		c.t.Errorf("%d entries, want %d for each of %d lists", len(entries), len(decided), len(c.came))
	}
	for _, prefix := range c.came {
		for id, code := range decided {
			if e := entries[prefix+id]; e.Code != code || (code == "ok") != (len(e.Postings) == 2) {
				c.t.Errorf("%s%s: entry %+v, want code %s", prefix, id, e, code)
			}
		}
	}
}

// TestClientsOfOtherMakes lets every client that others have written run one list of operations against the real program.
// Each must be told the same, the other door must see the same balances, and the journal must hold each movement once.
func TestClientsOfOtherMakes(t *testing.T) {
	c := openCounter(t)
	t.Run("mosquitto", c.mosquitto)
	t.Run("paho for MQTT 3.1.1", c.oldPaho)
	t.Run("paho for MQTT 5", c.newPaho)
	t.Run("MQTT.js in node", c.node)
	t.Run("MQTT.js in a page", c.chromium)
	if !t.Failed() {
		c.close()
	}
}

// needed returns the path of a program without which a test is not worth running: it is skipped then, and fails in CI.
func needed(t *testing.T, name, install string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name, install)
	}
	return path
}

func missing(t *testing.T, what, install string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %s", what, install)
	}
	t.Skipf("SKIPPED: %s is missing, so what needs it was not tested; to install it: %s", what, install)
}

// mosquittoVersions are the names of the protocol's versions.
var mosquittoVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

// mosquitto runs the list by mosquitto_rr, by mosquitto_pub and by mosquitto_sub, in every version and quality.
func (c *counter) mosquitto(t *testing.T) {
	for _, name := range []string{"mosquitto_rr", "mosquitto_pub", "mosquitto_sub"} {
		needed(t, name, "apt-get install mosquitto-clients")
	}
	for _, version := range mosquittoVersions {
		for qos := range byte(3) {
			c.serve(t, c.mosquittoRR(version, qos))
			c.serve(t, c.mosquittoPub(version, qos))
			if qos > 0 { // below, nothing waits for a client that is away
				c.serve(t, c.mosquittoSub(version, qos))
			}
		}
	}
}

// runMosquitto runs one of the programs and returns what it printed.
func (c *counter) runMosquitto(payload []byte, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	host, port, _ := strings.Cut(c.mqtt, ":")
	cmd := exec.CommandContext(ctx, name, append([]string{"-h", host, "-p", port}, args...)...)
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(payload), &complaint
	out, err := cmd.Output()
	if err != nil || complaint.Len() > 0 {
		return nil, fmt.Errorf("%s %v: %w: %s", name, args, err, complaint.String())
	}
	return out, nil
}

// mosquittoRR publishes and waits for the reply, in MQTT 5 with a response topic and correlation data. It sends texts only:
// what it should read from a file or its standard input, Debian 12's publishes as nothing.
func (c *counter) mosquittoRR(version string, qos byte) customer {
	args := []string{"-V", version, "-q", fmt.Sprint(qos), "-t", "bank/ops", "-F", "%x"}
	if version == "mqttv5" {
		args = append(args, "-D", "publish", "correlation-data", "slip")
	}
	return customer{"rr-" + version, qos, formats[:1], func(id string, asks []ask) (replies [][]byte, err error) {
		for _, a := range asks {
			out, err := c.runMosquitto(nil, "mosquitto_rr", append(args, "-i", id, "-e", "bank/replies/"+id, "-m", string(a.Payload))...)
			if err != nil {
				return nil, err
			}
			replies = append(replies, unhex(out)...)
		}
		return replies, nil
	}}
}

// unhex reads lines of hexadecimal digits.
func unhex(out []byte) (payloads [][]byte) {
	for line := range strings.Lines(string(out)) {
		var payload []byte
		if _, err := fmt.Sscanf(line, "%x", &payload); err != nil {
			payload = []byte(line)
		}
		payloads = append(payloads, payload)
	}
	return payloads
}

// mosquittoPub only publishes: its replies are for its own client id, and it does not subscribe.
func (c *counter) mosquittoPub(version string, qos byte) customer {
	return customer{"pub-" + version, qos, formats, func(id string, asks []ask) ([][]byte, error) {
		for _, a := range asks {
			_, err := c.runMosquitto(a.Payload, "mosquitto_pub", "-V", version, "-i", id, "-q", fmt.Sprint(qos), "-t", "bank/ops", "-s")
			if err != nil {
				return nil, err
			}
		}
		return nil, nil
	}}
}

// mosquittoSub comes back to a session for the replies that wait in it. Somebody else with its client id has published.
func (c *counter) mosquittoSub(version string, qos byte) customer {
	return customer{"sub-" + version, qos, formats, func(id string, asks []ask) ([][]byte, error) {
		args := []string{"-V", version, "-i", id, "-c", "-q", fmt.Sprint(qos), "-t", "bank/replies/" + id, "-F", "%x"}
		if _, err := c.runMosquitto(nil, "mosquitto_sub", append(args, "-E")...); err != nil {
			return nil, err
		}
		if err := c.publishAndLeave(id, asks); err != nil {
			return nil, err
		}
		out, err := c.runMosquitto(nil, "mosquitto_sub", append(args, "-C", fmt.Sprint(len(asks)))...)
		return unhex(out), err
	}}
}

// publishAndLeave publishes at QoS 1, waits for the acknowledgements and acknowledges no reply.
func (c *counter) publishAndLeave(id string, asks []ask) error {
	l, err := callLean(c.mqtt, "", id, 5)
	if err != nil {
		return err
	}
	defer l.conn.Close()
	for i, a := range asks {
		if err := l.publish(uint16(1+i), a.Payload); err != nil {
			return err
		}
	}
	for acked := 0; acked < len(asks); {
		p, err := l.next()
		if err != nil {
			return err
		}
		if p.kind == leanPuback {
			acked++
		}
	}
	return nil
}
