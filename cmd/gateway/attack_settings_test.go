package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gateway/access"
	"gateway/certs/certstest"
)

// TestX7SettingsThatWouldOpenADoor stop the start of the real program, with their line, and leave nothing behind.
func TestX7SettingsThatWouldOpenADoor(t *testing.T) {
	hash := access.Hash([]byte("x"))
	user := func(rest string) string { return "auth:\n  users:\n  - { name: ana, " + rest + " }\n" }
	mine := user(fmt.Sprintf("password: %q, accounts: [\"1\"]", hash))
	withTLS := func(more string) string {
		return `socket: { listeners: [ { address: "127.0.0.1:0", codec: json, ` + more + `tls: { cert: server.pem, key: server.key } } ] }`
	}
	for _, c := range []struct {
		name, settings string
		open           string // the file that others may read
		says           string
	}{
		{"no accounts", user(fmt.Sprintf("password: %q, accounts: []", hash)), "", "config.yaml:3: auth.users[0].accounts: is an empty list"},
		{"no operations", user(fmt.Sprintf("password: %q, accounts: [\"1\"], operations: []", hash)), "", "auth.users[0].operations: is an empty list"},
		{"no client ids", user(fmt.Sprintf("password: %q, accounts: [\"1\"], client_ids: []", hash)), "", "auth.users[0].client_ids: is an empty list"},
		{"accounts left out", user(fmt.Sprintf("password: %q", hash)), "", "auth.users[0].accounts: is missing"},
		{"no networks", `mqtt: { listeners: [ { address: "127.0.0.1:0", allow_from: [] } ] }`, "", "config.yaml:1: mqtt.listeners[0].allow_from: is an empty list"},
		{"no credential", user(`accounts: ["*"]`), "", "config.yaml:3: auth.users[0]: has no credential"},
		{"a password in plain", user(`password: "hunter2", accounts: ["*"]`), "", "config.yaml:3: auth.users[0].password: "},
		{"a weak hash", user(`password: "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", accounts: ["*"]`), "", "config.yaml:3: auth.users[0].password: "},
		{"a name of ours", strings.Replace(mine, "ana", "anonymous", 1), "", "config.yaml:3: auth.users[0].name: "},
		{"two of one name", mine + strings.TrimPrefix(mine, "auth:\n  users:\n"), "", "config.yaml:4: auth.users[1].name: "},
		{"an auditor who moves", user(fmt.Sprintf("password: %q, accounts: [\"1\"], auditor: true, operations: [deposit]", hash)), "", "an auditor moves nothing"},
		{"an unknown key", "auth: { anonymus: never }\n", "", `config.yaml:1: auth: unknown key "anonymus"`},
		{"an unknown word", "auth: { anonymous: yes }\n", "", "config.yaml:1: auth.anonymous: "},
		{"settings for all to read", mine, settingsFile, "config.yaml:3: auth.users[0].password: others may read this secret"},
		{"a password for all to read", user(`password_file: ana.hash, accounts: ["1"]`), "ana.hash", "config.yaml:3: auth.users[0].password_file: "},
		{"a key for all to read", withTLS(""), "server.key", "config.yaml:1: socket.listeners[0].tls.key: "},
		{"sockets for everybody", `socket: { listeners: [ { address: "0.0.0.0:0", codec: pickle } ] }`, "", "socket.listeners[0].address: \"0.0.0.0:0\" is not on loopback"},
		{"MQTT for everybody", `mqtt: { listeners: [ { address: "0.0.0.0:0" } ] }`, "", "mqtt.listeners[0].address: \"0.0.0.0:0\" is not on loopback"},
		{"WebSockets for everybody", `mqtt: { listeners: [ { address: "[::]:0", websocket: true } ] }`, "", "mqtt.listeners[0].address: \"[::]:0\" is not on loopback"},
		{"admin for everybody", `admin: { address: "0.0.0.0:0" }`, "", "admin.address: \"0.0.0.0:0\" is not on loopback"},
		{"TLS alone is no credential", strings.Replace(withTLS(""), "127.0.0.1", "0.0.0.0", 1), "", "is not on loopback"},
		{"a principal who is nobody", `socket: { listeners: [ { address: "127.0.0.1:0", codec: json, principal: eva } ] }`, "", "socket.listeners[0].principal: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			certstest.NewAuthority(t, "authority").Issue(t, nil).Write(t, dir, "server")
			for name, content := range map[string]string{settingsFile: c.settings, "ana.hash": hash} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.open != "" {
				if err := os.Chmod(filepath.Join(dir, c.open), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var said bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := exec.CommandContext(ctx, "gateway")
			start.Dir, start.Stdout, start.Stderr = dir, &said, &said
			exit := (*exec.ExitError)(nil)
			if err := start.Run(); !errors.As(err, &exit) || exit.ExitCode() != exitSettings {
				t.Fatalf("%v\n%s", err, said.String())
			}
			if !strings.Contains(said.String(), c.says) {
				t.Errorf("says %s, want %s", said.String(), c.says)
			}
			if told := tellsOf(said.String(), []string{"hunter2"}); told != "" {
				t.Errorf("%s: %s", told, said.String())
			}
			if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("data was begun: %v", err)
			}
		})
	}
}
