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
		"F:15: socket.listeners[2].tls: not available in this version; remove it",
		"F:20: mqtt.listeners[1].tls: not available in this version; remove it")
	if ps := config.Unenforced(config.Default()); len(ps) != 0 {
		t.Error(ps)
	}
}
