package config_test

import (
	"fmt"
	"strings"
	"testing"

	"gateway/config"
)

func TestAddresses(t *testing.T) {
	for _, address := range []string{"127.0.0.1:9997", "127.0.1.1:9999", "localhost:65535", "[::1]:0", "[::ffff:127.0.0.1]:7", "${HOST}:7"} {
		want(t, `socket: {listeners: [{address: "`+address+`", codec: json}]}`)
		want(t, `admin: {address: "`+address+`"}`)
	}
	want(t, `admin: {address: ""}`)
	want(t, "socket: {listeners: []}\nmqtt: {listeners: []}")

	const form = `must be host:port, such as "127.0.0.1:9999", with a port from 0 to 65535, not `
	const host = "the host must be an IP address or localhost (0.0.0.0 for every interface), not "
	for address, wanted := range map[string]string{
		`""`:                 `is missing; write host:port, such as "127.0.0.1:9999"`,
		`"127.0.0.1"`:        form + `"127.0.0.1"`,
		`"127.0.0.1:"`:       form + `"127.0.0.1:"`,
		`"127.0.0.1:http"`:   form + `"127.0.0.1:http"`,
		`"127.0.0.1:65536"`:  form + `"127.0.0.1:65536"`,
		`"127.0.0.1:-1"`:     form + `"127.0.0.1:-1"`,
		`"::1:9999"`:         form + `"::1:9999"`,
		`":9999"`:            host + `":9999"`,
		`"*:9999"`:           host + `"*:9999"`,
		`"bank.example:1"`:   host + `"bank.example:1"`,
		`"127.0.0.256:9999"`: host + `"127.0.0.256:9999"`,
		`9999`:               "must be a string, not a number; write it in quotes",
	} {
		want(t, "mqtt:\n  listeners:\n  - websocket: true\n    address: "+address, "F:4: mqtt.listeners[0].address: "+wanted)
	}
	want(t, "mqtt: {listeners: [{}]}", `F:1: mqtt.listeners[0].address: is missing; write host:port, such as "127.0.0.1:9999"`)
}

func TestListenersAreBounded(t *testing.T) {
	item := "    - { address: '127.0.0.1:0', codec: json }\n"
	most := strings.Repeat(item, config.MaxListeners)
	want(t, "socket:\n  listeners:\n"+most)
	want(t, "socket:\n  listeners:\n"+most+item, "F:2: socket.listeners: must be at most 64 listeners, not 65")
	most = strings.ReplaceAll(most, ", codec: json", "")
	want(t, "mqtt:\n  listeners:\n"+most)
	want(t, "mqtt:\n  listeners:\n"+most+most, "F:2: mqtt.listeners: must be at most 64 listeners, not 128")
}

func TestSameAddress(t *testing.T) {
	const taken = " has this address already; give each listener its own"
	for _, c := range []struct{ first, second, want string }{
		{"127.0.0.1:7", "127.0.0.1:8", ""},
		{"127.0.0.1:7", "127.0.1.1:7", ""},
		{"127.0.0.1:0", "127.0.0.1:0", ""},
		{"127.0.0.1:7", "[::1]:7", ""},
		{"0.0.0.0:7", "[::1]:7", ""},
		{"127.0.0.1:7", "127.0.0.1:7", "mqtt.listeners[1].address: mqtt.listeners[0].address" + taken},
		{"127.0.0.1:7", "localhost:7", "mqtt.listeners[1].address: mqtt.listeners[0].address" + taken},
		{"127.0.0.1:7", "0.0.0.0:7", "mqtt.listeners[1].address: mqtt.listeners[0].address" + taken},
		{"[::]:7", "127.0.0.1:7", "mqtt.listeners[1].address: mqtt.listeners[0].address" + taken},
		{"127.0.0.1:7", "127.0.0.1:9999", "mqtt.listeners[1].address: socket.listeners[0].address" + taken},
		{"127.0.0.1:7", "127.0.0.1:8080", "mqtt.listeners[1].address: admin.address" + taken},
	} {
		text := fmt.Sprintf("auth: {users: [{name: ana, accounts: ['1'], certificate: ana}]}\n"+
			"mqtt:\n  listeners:\n  - address: %q\n  - address: %q\n", c.first, c.second)
		if c.want == "" {
			want(t, text)
		} else {
			want(t, text, "F:5: "+c.want)
		}
	}
	want(t, "socket:\n  listeners:\n  - { address: '127.0.0.1:8083', codec: json }\n",
		"F:3: socket.listeners[0].address: mqtt.listeners[1].address"+taken)
	want(t, "admin:\n  address: localhost:1883\n", "F:2: admin.address: mqtt.listeners[0].address"+taken)
}

// A listener that others can reach serves nobody without credentials.
func TestNotOnLoopback(t *testing.T) {
	t.Chdir(t.TempDir())
	writePair(t, "s.pem", "s.key")
	const users = "auth: {users: [{name: till, accounts: ['*'], certificate: till.example}]}\n"
	const tls, allow, principal = "tls: {cert: s.pem, key: s.key, client_ca: s.pem}", "allow_from: ['127.0.0.0/8']", "principal: till"
	for _, address := range []string{"0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:0", "[::ffff:192.0.2.1]:1"} {
		socket := fmt.Sprintf("socket.listeners[0].address: %q is not on loopback, and anyone there could move money: give the "+
			"listener a tls with client_ca, or a principal together with allow_from, or listen on 127.0.0.1", address)
		for _, c := range []struct {
			extra  string
			served bool
		}{
			{tls, true},
			{principal + ", " + allow, true},
			{tls + ", " + principal, true},
			{"session: true", false},
			{"tls: {cert: s.pem, key: s.key}", false},
			{principal, false},
			{allow, false},
			{"tls: {cert: s.pem, key: s.key}, " + allow, false},
		} {
			text := fmt.Sprintf("%ssocket: {listeners: [{address: %q, codec: pickle, %s}]}", users, address, c.extra)
			if c.served {
				want(t, text)
			} else {
				want(t, text, "F:2: "+socket)
			}
		}
		mqtt := fmt.Sprintf("mqtt: {listeners: [{address: %q, %s}]}", address, tls)
		want(t, users+mqtt)
		want(t, mqtt, fmt.Sprintf("F:1: mqtt.listeners[0].address: %q is not on loopback, and anyone there could move money: "+
			"name those who may in auth.users, or listen on 127.0.0.1", address))
		want(t, users+fmt.Sprintf("admin: {address: %q}", address), fmt.Sprintf("F:2: admin.address: %q is not on loopback, "+
			"and the admin pages ask nobody for credentials: listen on 127.0.0.1, or write \"\" to turn them off", address))
	}
}

// A tls that cannot be read is told by itself; whether it would have been enough is not known.
func TestNotOnLoopbackWithBrokenTLS(t *testing.T) {
	want(t, "socket: {listeners: [{address: '0.0.0.0:1', codec: json, tls: 7}]}",
		"F:1: socket.listeners[0].tls: must be a mapping of settings, not a number")
}

func TestPrincipal(t *testing.T) {
	const users = "auth: {users: [{name: till, accounts: ['*']}]}\n"
	listener := func(principal string) string {
		return users + "socket: {listeners: [{address: '127.0.0.1:1', codec: pickle, principal: " + principal + "}]}"
	}
	want(t, listener("till"))
	want(t, "socket: {listeners: [{address: '127.0.0.1:1', codec: pickle, principal: till}]}\nauth: {users: 7}",
		"F:2: auth.users: must be a list, not a number") // and no word of the principal
	const credential = "F:1: auth.users[0]: has no credential; give it a password (from `gateway passwd`), a password_file or a certificate, or make it a listener's principal"
	want(t, listener("Till"), credential, `F:2: socket.listeners[0].principal: must be the name of one of auth.users, not "Till"`)
	want(t, listener("''"), credential, `F:2: socket.listeners[0].principal: must be the name of one of auth.users, not ""`)
	want(t, listener("anonymous"), credential, `F:2: socket.listeners[0].principal: must be the name of one of auth.users, not "anonymous"`)
}

func TestEmptyAllowFrom(t *testing.T) {
	const empty = "is an empty list, which would let nobody in; name networks, or remove it to let everybody"
	want(t, "socket: {listeners: [{address: '127.0.0.1:1', codec: json, allow_from: []}]}\nmqtt: {listeners: [{address: '127.0.0.1:2', allow_from: []}]}",
		"F:1: socket.listeners[0].allow_from: "+empty, "F:2: mqtt.listeners[0].allow_from: "+empty)
}

func TestOrigins(t *testing.T) {
	listener := func(extra string) string { return "mqtt: {listeners: [{address: '127.0.0.1:1', " + extra + "}]}" }
	want(t, listener(`websocket: true, origins: ["https://bank.example", "http://127.0.0.1:3000", "http://[::1]:3000"]`))
	want(t, listener(`origins: ["https://bank.example"]`),
		"F:1: mqtt.listeners[0].origins: is for WebSocket listeners; add websocket: true, or remove it")
	want(t, listener(`websocket: 1, origins: ["https://bank.example"]`),
		"F:1: mqtt.listeners[0].websocket: must be true or false, not a number")
	want(t, listener("websocket: true, origins: []"),
		"F:1: mqtt.listeners[0].origins: is an empty list, which would let no page in; name origins, or remove it")
	for origin, canonical := range map[string]string{
		"https://bank.example/":    "https://bank.example",
		"https://Bank.Example":     "https://bank.example",
		"https://bank.example:443": "https://bank.example",
		"http://bank.example:80":   "http://bank.example",
		"HTTP://bank.example":      "http://bank.example",
	} {
		want(t, listener(fmt.Sprintf("websocket: true, origins: [%q]", origin)),
			fmt.Sprintf("F:1: mqtt.listeners[0].origins[0]: browsers never send %q; write %q", origin, canonical))
	}
	for _, origin := range []string{"*", "null", "", "bank.example", "ftp://bank.example", "https://", "https://*.bank.example", "https://a/b", "https://u@a", "https://a?b", "https://a#b"} {
		want(t, listener(fmt.Sprintf("websocket: true, origins: [%q]", origin)),
			fmt.Sprintf(`F:1: mqtt.listeners[0].origins[0]: must be an origin such as "https://bank.example" or "http://127.0.0.1:3000", not %q`, origin))
	}
}
