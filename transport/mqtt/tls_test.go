package mqtt_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gateway/certs"
	"gateway/certs/certstest"
	"gateway/transport/mqtt"

	"github.com/gorilla/websocket"
)

// vault is what the tests of TLS need: listeners, their files, and the authorities of both sides.
type vault struct {
	t               testing.TB
	directory       string
	server, clients *certstest.Authority
	identity        *certs.Identity
	plain, web      net.Listener
}

// newVault makes a server's certificate, and asks clients for theirs if mutual.
func newVault(t testing.TB, mutual bool) *vault {
	t.Helper()
	v := &vault{
		t: t, directory: t.TempDir(), server: certstest.NewAuthority(t, "server"), clients: certstest.NewAuthority(t, "clients"),
		plain: listen(t), web: listen(t),
	}
	var files certs.Files
	files.Cert, files.Key = v.server.Issue(t, nil).Write(t, v.directory, "server")
	if mutual {
		files.ClientCA = certstest.Write(t, v.directory, "clients.pem", v.clients.PEM())
	}
	var err error
	if v.identity, err = certs.Open(files, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return v
}

// listeners are one of each kind.
func (v *vault) listeners() []mqtt.Listener {
	config := v.identity.Config()
	return []mqtt.Listener{{Net: v.plain, TLS: config}, {Net: v.web, TLS: config, WebSocket: true}}
}

func (v *vault) config(own ...certstest.Pair) *tls.Config {
	config := &tls.Config{RootCAs: v.server.Pool(), ServerName: "127.0.0.1"}
	for _, pair := range own {
		config.Certificates = append(config.Certificates, pair.TLS(v.t))
	}
	return config
}

// call opens a connection to the listener without WebSocket.
func (v *vault) call(own ...certstest.Pair) *peer {
	v.t.Helper()
	conn, err := net.Dial("tcp", v.plain.Addr().String())
	if err != nil {
		v.t.Fatal(err)
	}
	return newPeer(v.t, tls.Client(conn, v.config(own...)))
}

// surf opens a WebSocket, or returns nil.
func (v *vault) surf(config *tls.Config, origin string) *peer {
	v.t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{"mqtt"}, TLSClientConfig: config}
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	socket, _, err := dialer.Dial("wss://"+v.web.Addr().String()+"/", header)
	if err != nil {
		return nil
	}
	return newPeer(v.t, &socketConn{Conn: socket})
}

func TestTLSDeposits(t *testing.T) {
	v := newVault(t, true)
	h := build(t, func(o *mqtt.Options) { o.Access = &village{holder: "holder"} }, v.listeners()...)
	own := v.clients.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"atm.example"} })
	for name, connect := range map[string]func() *peer{
		"plain": func() *peer { return v.call(own) }, "web": func() *peer { return v.surf(v.config(own), "") },
	} {
		p := connect()
		p.greet(hello{id: name})
		if seen := h.server.Certificates(); len(seen) == 0 || seen[0].DNSNames[0] != "atm.example" {
			t.Errorf("%s: the certificates of the clients are %v", name, seen)
		}
		p.subscribe(1, "bank/replies/"+name, 1)
		p.id = name
		for id := uint16(1); id <= 20; id++ {
			p.publish(note{qos: 1, id: id, payload: deposit(name, 1)})
			p.ack(tPuback, id, 0)
			_, k := p.reply(1)
			p.puback(k.id)
		}
		p.send(framed(tPublish<<4|6, make([]byte, 40))) // what ends it is told, though bytes are left unread
		p.send(make([]byte, 8<<10))
		p.gone(0x81)
	}
}

func TestASlowReaderOverTLSHarmsNobodyElse(t *testing.T) {
	v := newVault(t, false)
	build(t, func(o *mqtt.Options) { o.WriteTimeout = 300 * time.Millisecond }, v.listeners()...)
	slow := v.call()
	slow.level, slow.id = 4, "slow"
	slow.greet(hello{id: "slow", level: 4})
	slow.subscribe(1, "bank/replies/slow", 1)
	stuck := make(chan struct{})
	go func() { // publishes for ever and reads nothing
		defer close(stuck)
		var notes []byte
		for id := range 500 {
			notes = append(notes, note{qos: 1, id: uint16(id + 1), payload: deposit("1", 1)}.bytes(4)...)
		}
		for {
			if _, err := slow.conn.Write(notes); err != nil {
				return
			}
		}
	}()
	quick := v.call()
	quick.greet(hello{id: "quick"})
	worst := time.Duration(0)
	for id := uint16(1); ; id = id%1000 + 1 {
		began := time.Now()
		quick.publish(note{qos: 1, id: id, payload: deposit("2", 1)})
		quick.ack(tPuback, id, 0)
		worst = max(worst, time.Since(began))
		select {
		case <-stuck:
			if worst > time.Second {
				t.Errorf("a slow reader delayed another by %v", worst)
			}
			return
		default:
		}
	}
}

// TestX3OpenSSL: what a client of another make offers is taken or refused, with MQTT and with WebSocket.
func TestX3OpenSSL(t *testing.T) {
	observer := new(counts)
	v := newVault(t, true)
	h := build(t, func(o *mqtt.Options) { o.Access, o.Observer = &village{holder: "holder"}, observer }, v.listeners()...)
	goodbye := string(append(hello{id: "c", level: 4}.bytes(), tDisconnect<<4, 0))
	const request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
	refused := 0
	for _, offer := range certstest.Offers(t, v.directory, v.server, v.clients) {
		// A HTTP/2 client is no exception: only http/1.1 is spoken.
		web := certstest.OpenSSL(t, v.web.Addr().String(), request, append(offer.Arguments, "-alpn", "h2,http/1.1")...)
		if strings.Contains(web, "HTTP/1.1 400") != offer.Served {
			t.Errorf("%s, WebSocket: %q", offer.Name, web)
		}
		plain := certstest.OpenSSL(t, v.plain.Addr().String(), goodbye, offer.Arguments...)
		if strings.Contains(plain, "\x20\x02\x00\x00") != offer.Served {
			t.Errorf("%s, MQTT: %q", offer.Name, plain)
		}
		if !offer.Served {
			refused += 2
			if !strings.Contains(strings.ToLower(web), "alert") || !strings.Contains(strings.ToLower(plain), "alert") {
				t.Errorf("%s: no alert: %q, %q", offer.Name, web, plain)
			}
		}
	}
	for _, l := range []net.Listener{v.plain, v.web} { // without TLS
		p := call(t, l.Addr().String())
		p.send(hello{id: "c"}.bytes(), make([]byte, 4096))
		if got, err := io.ReadAll(p.in); err != nil || strings.Contains(string(got), "\x20") {
			t.Errorf("without TLS: %q, %v", got, err)
		}
		refused++
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if n := observer.rejected(mqtt.RejectedTLS); n != refused {
		t.Errorf("rejected %v, want %d", observer.reasons, refused)
	}
}

// TestX3Mosquitto: a client of another make needs a certificate, and takes the server's for what it is.
func TestX3Mosquitto(t *testing.T) {
	v := newVault(t, true)
	h := build(t, func(o *mqtt.Options) { o.Access = &village{holder: "holder"} }, v.listeners()...)
	h.address = v.plain.Addr().String()
	ca := certstest.Write(t, v.directory, "server-ca.pem", v.server.PEM())
	cert, key := v.clients.Issue(t, nil).Write(t, v.directory, "own")
	otherCert, otherKey := certstest.NewAuthority(t, "stranger").Issue(t, nil).Write(t, v.directory, "other")
	for name, c := range map[string]struct {
		arguments []string
		served    bool
	}{
		"its certificate": {[]string{"--cert", cert, "--key", key}, true},
		"none":            {nil, false},
		"a stranger's":    {[]string{"--cert", otherCert, "--key", otherKey}, false},
	} {
		arguments := append([]string{"-i", "pub", "-q", "1", "-t", "bank/ops", "-m", deposit("1", 20), "--cafile", ca}, c.arguments...)
		if out, err := h.mosquitto(t, "mosquitto_pub", arguments...).CombinedOutput(); (err == nil) != c.served {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if h.entries() != 1 {
		t.Errorf("%d entries", h.entries())
	}
}
