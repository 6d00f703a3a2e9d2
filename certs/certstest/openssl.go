package certstest

import (
	"crypto/x509"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds what a program of another make may take.
const patience = 20 * time.Second

// Offer is what a client of openssl offers in a handshake, and whether it is to be served.
type Offer struct {
	Name      string
	Arguments []string // of s_client
	Served    bool
}

// Offers are those of clients at a listener that has a certificate of server's and asks for one of clients'. They use
// files in a directory.
func Offers(t testing.TB, directory string, server, clients *Authority) []Offer {
	t.Helper()
	ca := []string{"-CAfile", Write(t, directory, "server-ca.pem", server.PEM()), "-verify_return_error"}
	own := func(name string, from *Authority, change func(*x509.Certificate)) []string {
		cert, key := from.Issue(t, change).Write(t, directory, name)
		return append([]string{"-cert", cert, "-key", key}, ca...)
	}
	good := own("good", clients, nil)
	with := func(more ...string) []string { return append(append([]string(nil), good...), more...) }
	return []Offer{
		{"TLS 1.3", with("-tls1_3"), true},
		{"TLS 1.2", with("-tls1_2"), true},
		{"TLS 1.2 with a suite of its own", with("-tls1_2", "-cipher", "ECDHE+AESGCM"), true},
		{"TLS 1.1", with("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), false},
		{"TLS 1.0", with("-tls1", "-cipher", "ALL:@SECLEVEL=0"), false},
		{"no strength or authentication", with("-tls1_2", "-cipher", "RC4:3DES:aNULL:eNULL:@SECLEVEL=0"), false},
		{"RSA key exchange", with("-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"), false},
		{"CBC", with("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"), false},
		{"no certificate", ca, false},
		{"another authority's certificate", own("stranger", NewAuthority(t, "stranger"), nil), false},
		{"one of the server's authority", own("wrong", server, nil), false},
		{"an expired one", own("expired", clients, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}), false},
		{"one of the future", own("future", clients, func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(30 * time.Minute)
		}), false},
		{"one that is not for clients", own("server-only", clients, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), false},
	}
}

// OpenSSL lets s_client connect and send, and returns all that it prints until the server ends the connection.
func OpenSSL(t testing.TB, address, send string, arguments ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("SKIPPED: openssl is not installed, so nobody but Go has made a handshake")
	}
	command := exec.Command(path, append([]string{"s_client", "-connect", address, "-quiet", "-no_ign_eof"}, arguments...)...)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out printed
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { command.Process.Kill() })
	defer timer.Stop()
	io.WriteString(in, send) // a program that has ended prints why
	command.Wait()
	return out.b.String()
}

// printed is what a program prints, to both its outputs.
type printed struct {
	mu sync.Mutex // guards b while the program runs
	b  strings.Builder
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}
