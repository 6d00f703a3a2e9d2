package socket_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/certs"
	"gateway/certs/certstest"
	"gateway/transport/socket"
)

// vault is what the tests of TLS need: the server's authority and files, and the authority of its clients.
type vault struct {
	t               testing.TB
	directory       string
	server, clients *certstest.Authority
	identity        *certs.Identity
}

// newVault makes a server's certificate, and asks clients for theirs if mutual.
func newVault(t testing.TB, mutual bool) *vault {
	t.Helper()
	v := &vault{
		t: t, directory: t.TempDir(), server: certstest.NewAuthority(t, "server"), clients: certstest.NewAuthority(t, "clients"),
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

// dial connects as a client with these certificates.
func (v *vault) dial(address string, own ...certstest.Pair) *peer {
	v.t.Helper()
	p := connect(v.t, address)
	p.Conn = v.over(p.Conn, own...)
	return p
}

// over makes conn a client's with these certificates.
func (v *vault) over(conn net.Conn, own ...certstest.Pair) *tls.Conn {
	v.t.Helper()
	config := &tls.Config{RootCAs: v.server.Pool(), ServerName: "127.0.0.1"}
	for _, pair := range own {
		config.Certificates = append(config.Certificates, pair.TLS(v.t))
	}
	return tls.Client(conn, config)
}

func TestTLS(t *testing.T) {
	v := newVault(t, false)
	s := start(t, setup{tls: v.identity.Config()})
	p := v.dial(s.address)
	p.ask(deposit)
	if got := p.rest(); got != done20 {
		t.Errorf("reply %q", got)
	}
	// The reply arrives and a clean end follows, whatever is left unread.
	for range 50 {
		p := v.dial(s.address)
		p.ask(deposit + strings.Repeat("x", 64<<10))
		if got := p.rest(); !strings.Contains(got, `"too_large"`) && !strings.Contains(got, `"malformed"`) {
			t.Fatalf("reply %q", got)
		}
	}
	s.stop()
	if len(s.seen.rejected) != 0 {
		t.Errorf("rejected %q", s.seen.rejected)
	}

	s = start(t, setup{session: true, tls: v.identity.Config()})
	p = v.dial(s.address)
	p.ask(strings.Repeat(balance, 1000))
	if err := p.Conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := p.rest(); strings.Count(got, `"ok"`) != 1000 {
		t.Errorf("%d replies", strings.Count(got, `"ok"`))
	}
}

// TestTLSWrites: what is one write without TLS is one with it.
func TestTLSWrites(t *testing.T) {
	v := newVault(t, false)
	l := &counting{Listener: listen(t), delay: make(chan int, 1)}
	h := newHeld()
	const operations = 1000
	s := start(t, setup{
		net: l, bank: h, session: true, tls: v.identity.Config(), options: socket.Options{InFlight: operations},
	})
	p := v.dial(l.Addr().String())
	p.expect("true\n")
	p.send(strings.Repeat(balance, operations))
	for range operations {
		<-h.took
	}
	before := l.writes.Load()
	h.answerBackwards()
	bytes := 0
	for lines, buffer := 0, make([]byte, 64<<10); lines < operations; {
		n, err := p.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		bytes += n
		lines += strings.Count(string(buffer[:n]), "\n")
	}
	if writes := l.writes.Load() - before; writes > int64(bytes/(14<<10)+1) {
		t.Errorf("%d bytes in %d writes", bytes, writes)
	}
	p.Close()
	s.stop()
}

// TestX4WhoIsKnownByACertificate: the SAN says who it is, whatever the common name says, and who is not named may do nothing.
func TestX4WhoIsKnownByACertificate(t *testing.T) {
	v := newVault(t, true)
	bySAN := func(c *x509.Certificate) (string, bool) {
		for _, name := range c.DNSNames {
			if name == "atm.example" {
				return "atm", true
			}
		}
		for _, uri := range c.URIs {
			if uri.String() == "spiffe://bank.example/till" {
				return "till", true
			}
		}
		return "atm", false // what it would be is not looked at
	}
	h := &principals{}
	s := start(t, setup{bank: h, nobody: true, session: true, tls: v.identity.Config(), certified: bySAN})
	till, _ := url.Parse("spiffe://bank.example/till")
	for i := range 10 { // forty certificates
		for _, c := range []struct {
			name   string
			change func(*x509.Certificate)
			want   string // "": unauthorized
		}{
			{"DNS name", func(c *x509.Certificate) { c.DNSNames = []string{fmt.Sprint(i), "atm.example"} }, "atm"},
			{"URI", func(c *x509.Certificate) { c.URIs = []*url.URL{till} }, "till"},
			{"common name", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "atm.example"} }, ""},
			{"other name", func(c *x509.Certificate) { c.DNSNames = []string{"atm.example.net"} }, ""},
		} {
			p := v.dial(s.address, v.clients.Issue(t, c.change))
			p.ask(balance)
			if c.want == "" {
				p.expect(`{"status":false,"msg":"unauthorized`)
			} else {
				p.expect(`{"status":true`)
			}
			p.Close()
			if got := h.take(); got != c.want {
				t.Errorf("%s: asked as %q, want %q", c.name, got, c.want)
			}
		}
	}
	s.stop()

	// A principal of the listener is its clients', whatever they show; without a way to know them they are nobody.
	for _, c := range []setup{{}, {nobody: true}} {
		c.bank, c.tls = h, v.identity.Config()
		if !c.nobody {
			c.certified = bySAN
		}
		s := start(t, c)
		p := v.dial(s.address, v.clients.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"atm.example"} }))
		p.ask(balance)
		p.rest()
		s.stop()
		if got := h.take(); (got == bank.AnonymousPrincipal) == c.nobody {
			t.Errorf("asked as %q", got)
		}
	}
}

// principals is a bank that remembers who asked last.
type principals struct {
	mu   sync.Mutex // guards last
	last string
}

func (b *principals) Submit(_ context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	b.mu.Lock()
	b.last = op.Principal
	b.mu.Unlock()
	done(bank.Refusal(&op, bank.OK), nil)
	return nil
}

func (b *principals) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.last
	b.last = ""
	return last
}

// TestX3OpenSSL: what a client of another make offers is taken or refused, and who is refused is told why.
func TestX3OpenSSL(t *testing.T) {
	v := newVault(t, true)
	s := start(t, setup{tls: v.identity.Config()})
	served, refused := 0, 1
	for _, offer := range certstest.Offers(t, v.directory, v.server, v.clients) {
		got := certstest.OpenSSL(t, s.address, deposit, offer.Arguments...)
		if strings.Contains(got, `"ok"`) != offer.Served {
			t.Errorf("%s: %s", offer.Name, got)
		}
		if offer.Served {
			served++
			continue
		}
		refused++
		if !strings.Contains(strings.ToLower(got), "alert") {
			t.Errorf("%s: no alert: %s", offer.Name, got)
		}
	}
	p := connect(t, s.address) // without TLS
	p.send(deposit + strings.Repeat(" ", 4096))
	if got := p.rest(); strings.Contains(got, "true") { // the end is clean, though bytes were left unread
		t.Errorf("without TLS: %q", got)
	}
	s.stop()
	if n := len(s.seen.rejected); n != refused || s.seen.rejected[0] != socket.RejectedTLS {
		t.Errorf("rejected %q, want %d", s.seen.rejected, refused)
	}
	if n := len(s.memory.Entries()); n != served {
		t.Errorf("%d entries, want %d", n, served)
	}
}

// TestX3TheReloadHoldsForTheNextHandshake: a client of an authority that was taken away is refused, and who is in goes on.
func TestX3TheReloadHoldsForTheNextHandshake(t *testing.T) {
	v := newVault(t, true)
	s := start(t, setup{session: true, tls: v.identity.Config()})
	old := v.clients.Issue(t, nil)
	inside := v.dial(s.address, old)
	inside.ask(balance)
	inside.expect(`{"status":true`)
	certstest.Write(t, v.directory, "clients.pem", certstest.NewAuthority(t, "others").PEM())
	if err := v.identity.Reload(); err != nil {
		t.Fatal(err)
	}
	outside := v.dial(s.address, old)
	if _, err := io.ReadFull(outside, make([]byte, 1)); err == nil {
		t.Error("served after its authority was taken away")
	}
	inside.send(balance)
	inside.Conn.(*tls.Conn).CloseWrite()
	if got := inside.rest(); strings.Count(got, `"ok"`) != 2 {
		t.Errorf("who was inside got %q", got)
	}
}

// TestASlowReaderOverTLSHarmsNobodyElse: a session whose peer reads nothing costs its own connection and no other's time.
func TestASlowReaderOverTLSHarmsNobodyElse(t *testing.T) {
	v := newVault(t, false)
	s := start(t, setup{session: true, tls: v.identity.Config()})
	slow := v.dial(s.address)
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for {
			if _, err := io.WriteString(slow, strings.Repeat(balance, 500)); err != nil {
				return
			}
		}
	}()
	quick := v.dial(s.address)
	quick.expect("true\n")
	var took []time.Duration
	for {
		began := time.Now()
		quick.send(balance)
		reply := make([]byte, 1)
		for reply[0] != '\n' {
			if _, err := io.ReadFull(quick, reply); err != nil {
				t.Fatal(err)
			}
		}
		took = append(took, time.Since(began))
		select {
		case <-stuck: // whoever waits for the slow one waits until it is cut, 5 s
			slices.Sort(took)
			usual, worst := took[len(took)*99/100], took[len(took)-1]
			if usual > 250*time.Millisecond || worst > 3*time.Second {
				t.Errorf("a slow reader delayed another by %v, and %v at worst", usual, worst)
			}
			return
		default:
		}
	}
}
