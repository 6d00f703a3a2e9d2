package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"gateway/access"
	"gateway/certs/certstest"
)

// strongroom is a gateway whose doors all have TLS: the real program on a fresh directory. Nobody is anonymous there.
type strongroom struct {
	dir     string
	process *process
	server  certstest.Pair // what it shows
	ca      string         // the file of the authority that made it
	other   string         // and of another
	clients *certstest.Authority
	page    *httptest.Server // may connect by WebSocket
	desk    *desk            // in it
	passed  map[string]string
	turned  []string // reasons for which somebody was turned away
}

// The listeners of a strongroom, by door and place.
const (
	certifiedSocket = 0 // JSON, with client_ca
	legacySocket    = 1 // pickle, for the till
	certifiedMQTT   = 0 // with client_ca
	passwordMQTT    = 1
	webMQTT         = 2
)

const (
	strongPassword = "a word of ana's"
	strongSettings = `
socket:
  listeners:
  - { address: "127.0.0.1:0", codec: json, tls: { cert: server.pem, key: server.key, client_ca: clients.pem } }
  - { address: "127.0.0.1:0", codec: pickle, principal: till, tls: { cert: server.pem, key: server.key } }
mqtt:
  listeners:
  - { address: "127.0.0.1:0", tls: { cert: server.pem, key: server.key, client_ca: clients.pem } }
  - { address: "127.0.0.1:0", tls: { cert: server.pem, key: server.key } }
  - { address: "127.0.0.1:0", websocket: true, tls: { cert: server.pem, key: server.key }, origins: [ "%s" ] }
admin: { address: "" }
auth:
  anonymous: never
  users:
  - { name: atm, certificate: atm.example, accounts: [ana], client_ids: [atm] }
  - { name: ana, password: "%s", accounts: [ana] }
  - { name: till, accounts: ["1"] }
`
)

func openStrongroom(t *testing.T) *strongroom {
	t.Helper()
	s := &strongroom{dir: t.TempDir(), clients: certstest.NewAuthority(t, "clients"), desk: newDesk(), passed: map[string]string{}}
	s.page = httptest.NewServer(s.desk)
	t.Cleanup(s.page.Close)
	authority := certstest.NewAuthority(t, "server")
	s.server = authority.Issue(t, nil)
	s.server.Write(t, s.dir, "server")
	s.ca = certstest.Write(t, s.dir, "ca.pem", authority.PEM())
	s.other = certstest.Write(t, s.dir, "clients.pem", s.clients.PEM())
	settings := fmt.Sprintf(strongSettings, s.page.URL, access.Hash([]byte(logs.never(strongPassword))))
	certstest.Write(t, s.dir, settingsFile, []byte(settings))
	p, err := startGateway(s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	s.process = p
	return s
}

// client returns the files of a certificate with that alternative name.
func (s *strongroom) client(t *testing.T, name string) (cert, key string) {
	t.Helper()
	return s.clients.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{name} }).Write(t, s.dir, name)
}

// pass notes whose operation with an id is to be in the journal at the end.
func (s *strongroom) pass(id, principal string) { s.passed[id] = principal }

func depositWith(id string) string {
	return fmt.Sprintf(`{"op":"deposit","account":"ana","amount":"1.00","id":"%s"}`, id)
}

// close ends the gateway. Its journal must hold what passed, under the right name, and nothing else.
func (s *strongroom) close(t *testing.T) {
	t.Helper()
	if code, err := s.process.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, s.process.stderr.String())
	}
	entries := dumpedEntries(t, s.dir)
	for id, principal := range s.passed {
		if e, ok := entries[id]; !ok || e.Principal != principal || e.Code != "ok" {
			t.Errorf("%q of %s: entry %+v", id, principal, e)
		}
		delete(entries, id)
	}
	for id, e := range entries {
		t.Errorf("%q should have been refused: %+v", id, e)
	}
	log := s.process.stderr.String()
	for _, reason := range s.turned {
		if !strings.Contains(log, reason) {
			t.Errorf("nobody was rejected with %s:\n%s", reason, log)
		}
	}
}

// TestClientsOfOtherMakesAtTLS lets clients that others have written come to doors with TLS, rightly and wrongly. Each passes or is
// refused as it should, and the journal holds the operations of those that passed.
func TestClientsOfOtherMakesAtTLS(t *testing.T) {
	s := openStrongroom(t)
	t.Run("openssl", s.openssl)
	t.Run("mosquitto", s.mosquitto)
	t.Run("Python", s.python)
	t.Run("MQTT.js in a page", s.chromium)
	if !t.Failed() {
		s.close(t)
	}
}

// openssl shows certificates at both doors: of a user, of nobody, and none.
func (s *strongroom) openssl(t *testing.T) {
	known, knownKey := s.client(t, "atm.example")
	unknown, unknownKey := s.client(t, "nobody.example")
	for _, row := range []struct {
		name         string
		arguments    []string
		socket, mqtt string
	}{
		{"user", []string{"-cert", known, "-key", knownKey}, `"code":"ok"`, "\x20\x02\x00\x00"},
		{"nobody", []string{"-cert", unknown, "-key", unknownKey}, `"code":"unauthorized"`, "\x20\x02\x00\x05"},
		{"none", nil, "alert", "alert"},
	} {
		arguments := append([]string{"-CAfile", s.ca, "-verify_return_error"}, row.arguments...)
		got := certstest.OpenSSL(t, s.process.addresses["socket"][certifiedSocket], depositWith("openssl-"+row.name), arguments...)
		if !strings.Contains(got, row.socket) {
			t.Errorf("%s at the socket: %q, want %q", row.name, got, row.socket)
		}
		hello := string(strangersConnect("atm", "", "")) + "\xe0\x00"
		got = certstest.OpenSSL(t, s.process.addresses["mqtt"][certifiedMQTT], hello, arguments...)
		if !strings.Contains(got, row.mqtt) {
			t.Errorf("%s by MQTT: %q, want %q", row.name, got, row.mqtt)
		}
	}
	s.pass("openssl-user", "atm")
	s.turned = append(s.turned, `reason="connect: not authorized"`, "reason=tls")
}

// mosquitto publishes with certificates and with passwords.
func (s *strongroom) mosquitto(t *testing.T) {
	path := needed(t, "mosquitto_pub", "apt-get install mosquitto-clients")
	known, knownKey := s.client(t, "atm.example")
	unknown, unknownKey := s.client(t, "nobody.example")
	trusting, certified := []string{"--cafile", s.ca}, []string{"--cert", known, "--key", knownKey}
	password := []string{"-u", "ana", "-P", strongPassword}
	for _, row := range []struct {
		name, principal string
		listener        int
		arguments       [][]string
		complaint       string
	}{
		{"certificate", "atm", certifiedMQTT, [][]string{trusting, certified, {"-i", "atm"}}, ""},
		{"certificate-of-nobody", "", certifiedMQTT, [][]string{trusting, {"--cert", unknown, "--key", unknownKey, "-i", "atm"}}, "not authorised"},
		{"certificate-beside-password", "", certifiedMQTT, [][]string{trusting, certified, {"-i", "ana"}, password}, "refused"},
		{"no-certificate", "", certifiedMQTT, [][]string{trusting, {"-i", "ana"}, password}, "Error"},
		{"password", "ana", passwordMQTT, [][]string{trusting, {"-i", "ana"}, password}, ""},
		{"wrong-password", "", passwordMQTT, [][]string{trusting, {"-i", "ana", "-u", "ana", "-P", "guess"}}, "bad user name or password"},
		{"unknown-user", "", passwordMQTT, [][]string{trusting, {"-i", "eve", "-u", "eve", "-P", strongPassword}}, "bad user name or password"},
		{"nobody", "", passwordMQTT, [][]string{trusting, {"-i", "ana"}}, "not authorised"},
		{"foreign-client-id", "", passwordMQTT, [][]string{trusting, {"-i", "atm"}, password}, "identifier rejected"},
		{"without-TLS", "", passwordMQTT, [][]string{{"-i", "ana"}, password}, "connection was lost"},
		{"another-authority", "", passwordMQTT, [][]string{{"--cafile", s.other, "-i", "ana"}, password}, "TLS error"},
	} {
		host, port, _ := strings.Cut(s.process.addresses["mqtt"][row.listener], ":")
		id := "mosquitto-" + row.name
		arguments := []string{"-h", host, "-p", port, "-q", "1", "-t", "bank/ops", "-m", depositWith(id)}
		for _, more := range row.arguments {
			arguments = append(arguments, more...)
		}
		out, err := runWithin(path, arguments...)
		if (err == nil) != (row.principal != "") || !strings.Contains(out, row.complaint) {
			t.Errorf("%s: %v, %q", row.name, err, out)
		}
		if row.principal != "" {
			s.pass(id, row.principal)
		}
	}
	s.turned = append(s.turned, `reason="connect: client id not valid"`)
}

// runWithin runs a program and returns all that it printed.
func runWithin(path string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, arguments...).CombinedOutput()
	return string(out), err
}

// legacyOverTLS is a legacy client that wraps its socket and changes nothing else: ack, operation, one recv. It takes the port and
// the authority's file.
const legacyOverTLS = `
import pickle, socket, ssl, sys, types

class Deposito:
    def __init__(self, id_pessoa, valor):
        self.call_before, self.id_pessoa, self.conta, self.valor_original, self.valor = False, id_pessoa, None, None, valor

Deposito.__module__ = 'dominio.Operacao'
sys.modules['dominio'] = types.ModuleType('dominio')
sys.modules['dominio.Operacao'] = types.ModuleType('dominio.Operacao')
sys.modules['dominio.Operacao'].Deposito = Deposito

s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.settimeout(20)
s = ssl.create_default_context(cafile=sys.argv[2]).wrap_socket(s, server_hostname='127.0.0.1')
assert pickle.loads(s.recv(2048)) is True
s.sendall(pickle.dumps(Deposito(sys.argv[3], 20)))
print(pickle.loads(s.recv(2048)), s.recv(2048))
`

// python is the till at the listener that is the till's.
func (s *strongroom) python(t *testing.T) {
	path := needed(t, "python3", "apt-get install python3")
	port := portOf(s.process.addresses["socket"][legacySocket])
	for _, row := range []struct{ account, ca, want string }{
		{"1", s.ca, "{'status': True, 'msg': 20} b''\n"},
		{"ana", s.ca, "{'status': False, 'msg': 'forbidden: "},
		{"1", s.other, "CERTIFICATE_VERIFY_FAILED"},
	} {
		if got, err := runWithin(path, "-c", legacyOverTLS, port, row.ca, row.account); !strings.Contains(got, row.want) {
			t.Errorf("%s: %q, %v, want %q", row.account, got, err, row.want)
		}
	}
	s.pass("", "till")
}

// chromium comes over wss from a page whose origin the gateway lists, with the right password and a wrong one, and from a page of
// another origin.
func (s *strongroom) chromium(t *testing.T) {
	foreign := newDesk()
	page := httptest.NewServer(foreign)
	t.Cleanup(page.Close)
	trusted := "--ignore-certificate-errors-spki-list=" + s.pin(t)
	perform := func(d *desk, id, password string) error {
		outcome, err := d.perform(job{
			URL: "wss://" + s.process.addresses["mqtt"][webMQTT], ID: "ana-" + id, User: "ana", Password: password, Version: 5,
			Patience: patience.Milliseconds(), Asks: []ask{{[]byte(depositWith(id)), 1}},
		})
		if outcome.Error != "" {
			err = errors.Join(err, errors.New(outcome.Error))
		}
		return err
	}
	browse(t, s.page.URL, trusted)
	if err := perform(s.desk, "page", strongPassword); err != nil {
		t.Errorf("a listed origin: %v", err)
	}
	s.pass("page", "ana")
	if err := perform(s.desk, "page-guess", "guess"); err == nil || !strings.Contains(err.Error(), "Bad User Name or Password") {
		t.Errorf("a wrong password: %v", err)
	}
	browse(t, page.URL, trusted)
	if err := perform(foreign, "page-foreign", strongPassword); err == nil || errors.Is(err, errPage) {
		t.Errorf("a foreign origin: %v", err)
	}
	s.turned = append(s.turned, "reason=origin")
}

// pin returns the hash of the server's public key, by which a browser is told to trust it.
func (s *strongroom) pin(t *testing.T) string {
	t.Helper()
	block, _ := pem.Decode(s.server.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
