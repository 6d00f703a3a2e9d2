package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// installed returns the path of a program of Debian's mosquitto-clients; without it the test is skipped.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("SKIPPED: %s is not installed, so nobody but ourselves has spoken to this server", name)
	}
	return path
}

// mosquitto returns a command of mosquitto-clients, with the house's address.
func (h *house) mosquitto(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := installed(t, name)
	host, port, _ := net.SplitHostPort(h.address)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, append([]string{"-h", host, "-p", port}, args...)...)
}

func TestMosquittoClients(t *testing.T) {
	h := build(t, nil)
	installed(t, "mosquitto_pub")
	for level, version := range map[byte]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"} {
		for qos := range 3 {
			t.Run(fmt.Sprint(version, " QoS ", qos), func(t *testing.T) {
				quality := fmt.Sprint(qos)
				publish := h.mosquitto(t, "mosquitto_pub", "-V", version, "-i", "pub", "-t", "bank/ops", "-q", quality, "-m", deposit("1", 20))
				if out, err := publish.CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("mosquitto_pub: %v: %s", err, out)
				}
				// A reply waits for mosquitto_sub while it is away.
				keep := []string{"-V", version, "-i", "sub", "-c", "-t", "bank/replies/sub", "-q", quality}
				if version == "mqttv5" {
					keep = append(keep, "-x", "60")
				}
				if out, err := h.mosquitto(t, "mosquitto_sub", append(keep, "-E")...).CombinedOutput(); err != nil {
					t.Fatalf("mosquitto_sub -E: %v: %s", err, out)
				}
				if qos == 0 {
					return
				}
				p, _ := enter(t, h.address, keeps(level, "sub"))
				p.publish(note{qos: 1, id: 9, payload: deposit(version+quality, 20)})
				for k := p.next(); k.kind != tPublish; k = p.next() {
				}
				p.conn.Close()
				out, err := h.mosquitto(t, "mosquitto_sub", append(keep, "-C", "1")...).Output()
				var a answer
				if json.Unmarshal(out, &a) != nil || a.Balance != "20.00" {
					t.Errorf("mosquitto_sub: %v: %q", err, out)
				}
			})
		}
	}
	if err := h.stop(); err != nil || h.entries() != 9+6 {
		t.Errorf("%d entries, want 15 (%v)", h.entries(), err)
	}
}

func TestMosquittoIsToldTheReason(t *testing.T) {
	h := build(t, nil)
	publish := h.mosquitto(t, "mosquitto_pub", "-V", "5", "-i", "pub", "-t", "bank/elsewhere", "-q", "1", "-m", deposit("1", 20))
	if out, _ := publish.CombinedOutput(); !strings.Contains(string(out), "Not authorized") {
		t.Errorf("mosquitto_pub: %q", out)
	}
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		will := h.mosquitto(t, "mosquitto_pub", "-V", version, "-i", "pub", "-t", "bank/ops", "-m", "x", "--will-topic", "bank/ops", "--will-payload", "x")
		if out, err := will.CombinedOutput(); err == nil {
			t.Errorf("%s: a will was accepted: %q", version, out)
		}
		sub := h.mosquitto(t, "mosquitto_sub", "-V", version, "-i", "sub", "-t", "#", "-W", "5")
		if out, err := sub.CombinedOutput(); !strings.Contains(string(out), "All subscription requests were denied") {
			t.Errorf("%s: subscribed to everything: %v %q", version, err, out)
		}
	}
}

func TestMosquittoRequestResponse(t *testing.T) {
	h := build(t, nil)
	for _, qos := range []string{"0", "1", "2"} {
		out, err := h.mosquitto(t, "mosquitto_rr", "-V", "5", "-i", "rr", "-q", qos, "-t", "bank/ops", "-e", "bank/replies/rr/x",
			"-D", "publish", "correlation-data", "7", "-m", deposit(qos, 20), "-W", "5").Output()
		var a answer
		if json.Unmarshal(out, &a) != nil || a.Balance != "20.00" {
			t.Errorf("QoS %s: %v: %q", qos, err, out)
		}
	}
}
