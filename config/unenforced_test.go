package config_test

import (
	"testing"

	"gateway/config"
)

// What this version does not act on must stop the start, not be passed over.
func TestUnenforced(t *testing.T) {
	t.Chdir(t.TempDir())
	writePair(t, "s.pem", "s.key")
	c, err := parse(`
limits:
  rate: 1
auth:
  anonymous: never
  users:
  - { name: till, certificate: till, accounts: ["*"] }
socket:
  listeners:
  - { address: "127.0.0.1:1", codec: json, session: true, allow_from: [127.0.0.1] }
  - address: "0.0.0.0:2"
    codec: pickle
    allow_from: ["127.0.0.0/8"]
    principal: till
  - { address: "127.0.0.1:3", codec: json, tls: { cert: s.pem, key: s.key } }
mqtt:
  listeners:
  - { address: "127.0.0.1:4", websocket: true, origins: ["https://a"], allow_from: ["::1"] }
  - address: "127.0.0.1:5"
    tls: { cert: s.pem, key: s.key }
`)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, config.Unenforced(c),
		"F:3: limits.rate: not available in this version; remove it",
		"F:6: auth.users: not available in this version; remove it",
		"F:14: socket.listeners[1].principal: not available in this version; remove it",
		"F:15: socket.listeners[2].tls: not available in this version; remove it",
		"F:20: mqtt.listeners[1].tls: not available in this version; remove it")
	if ps := config.Unenforced(config.Default()); len(ps) != 0 {
		t.Error(ps)
	}
}

// Both kinds of problems can be told of the same file.
func TestUnenforcedBesideProblems(t *testing.T) {
	c, err := parse("limits:\n  rate: 7\n  in_flight: 0\n")
	wantError(t, err, "F:3: limits.in_flight: must be from 1 to 65535, not 0")
	wantError(t, config.Unenforced(c), "F:2: limits.rate: not available in this version; remove it")
}
