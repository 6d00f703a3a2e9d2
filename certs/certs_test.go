package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/certs"
	"gateway/certs/certstest"
)

// patience bounds the waits of a test, so that a fault fails rather than hangs.
const patience = 20 * time.Second

// place is a directory with the files of a listener.
type place struct {
	t         *testing.T
	directory string
	files     certs.Files
	log       logged
}

// logged is what was logged since it was asked last.
type logged struct {
	mu sync.Mutex // guards all below
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n")
	l.b.Reset()
	return lines
}

func newPlace(t *testing.T, server certstest.Pair, clients *certstest.Authority) *place {
	t.Helper()
	p := &place{t: t, directory: t.TempDir()}
	p.write(server)
	if clients != nil {
		p.files.ClientCA = certstest.Write(t, p.directory, "clients.pem", clients.PEM())
	}
	return p
}

func (p *place) write(server certstest.Pair) {
	p.files.Cert, p.files.Key = server.Write(p.t, p.directory, "server")
}

func (p *place) open() *certs.Identity {
	p.t.Helper()
	i, err := certs.Open(p.files, slog.New(slog.NewTextHandler(&p.log, nil)))
	if err != nil {
		p.t.Fatal(err)
	}
	return i
}

// shake makes a handshake with i over loopback and returns the client's view of it, once the server has said a byte.
func shake(t *testing.T, i *certs.Identity, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() {
		below, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		conn := certs.Server(below, i.Config())
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		if conn.Handshake() == nil {
			io.WriteString(conn, "!")
		}
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	})
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), err
}

// shows fails unless the handshake shows want.
func shows(t *testing.T, i *certs.Identity, trusted *certstest.Authority, want certstest.Pair) {
	t.Helper()
	state, err := shake(t, i, &tls.Config{RootCAs: trusted.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	if wanted := want.TLS(t).Leaf; !state.PeerCertificates[0].Equal(wanted) {
		t.Errorf("shown %v, want %v", state.PeerCertificates[0].SerialNumber, wanted.SerialNumber)
	}
}

func endsIn(d time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(d).Truncate(time.Second)
	}
}

func TestReloadShowsTheNewAndKeepsTheOldOnError(t *testing.T) {
	authority := certstest.NewAuthority(t, "authority")
	first, second := authority.Issue(t, nil), authority.Issue(t, endsIn(2*time.Hour))
	p := newPlace(t, first, authority)
	p.files.ClientCA = ""
	i := p.open()
	shows(t, i, authority, first)
	p.write(second)
	shows(t, i, authority, first) // not by itself
	if err := i.Reload(); err != nil {
		t.Fatal(err)
	}
	shows(t, i, authority, second)
	if ends := second.TLS(t).Leaf.NotAfter; !i.NotAfter().Equal(ends) {
		t.Errorf("ends %v, want %v", i.NotAfter(), ends)
	}
	certstest.Write(t, p.directory, "server.key", first.Key)
	for _, spoil := range []func() error{
		func() error { return nil }, // the key is another's
		func() error { return os.WriteFile(p.files.Key, []byte("junk"), 0o600) },
		func() error { return os.WriteFile(p.files.Key, make([]byte, 1<<20+1), 0o600) },
		func() error { return os.Remove(p.files.Key) },
		func() error { return os.Remove(p.files.Cert) },
		func() error { return os.Mkdir(p.files.Cert, 0o700) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := i.Reload(); err == nil {
			t.Error("reloaded from spoilt files")
		}
		shows(t, i, authority, second)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	authority := certstest.NewAuthority(t, "authority")
	for want, spoil := range map[string]func(p *place){
		"read the certificate: ":        func(p *place) { os.Remove(p.files.Cert) },
		"read the key: ":                func(p *place) { os.Remove(p.files.Key) },
		"others may read":               func(p *place) { os.Chmod(p.files.Key, 0o644) },
		"is no regular file":            func(p *place) { p.files.Key = os.DevNull },
		"has more than 1048576 bytes":   func(p *place) { os.WriteFile(p.files.Cert, make([]byte, 1<<20+1), 0o600) },
		"private key does not match":    func(p *place) { os.WriteFile(p.files.Key, authority.Issue(t, nil).Key, 0o600) },
		"read the client authorities: ": func(p *place) { os.Remove(p.files.ClientCA) },
		"holds no certificate in PEM":   func(p *place) { os.WriteFile(p.files.ClientCA, []byte("junk"), 0o600) },
	} {
		p := newPlace(t, authority.Issue(t, nil), authority)
		spoil(p)
		if _, err := certs.Open(p.files, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTheFirstEndOfTheChainCounts(t *testing.T) {
	authority := certstest.NewAuthority(t, "authority") // ends in a day
	pair := authority.Issue(t, endsIn(48*time.Hour))
	pair.Cert = append(pair.Cert, authority.PEM()...)
	if ends := newPlace(t, pair, nil).open().NotAfter(); !ends.Equal(authority.Cert.NotAfter) {
		t.Errorf("ends %v, want %v", ends, authority.Cert.NotAfter)
	}
}

// TestX3ATicketDoesNotOutliveItsAuthority: a client that comes back after its authority was taken away is not let in by what
// its first handshake left it.
func TestX3ATicketDoesNotOutliveItsAuthority(t *testing.T) {
	server, old, fresh := certstest.NewAuthority(t, "server"), certstest.NewAuthority(t, "old"), certstest.NewAuthority(t, "new")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := newPlace(t, server.Issue(t, nil), old)
		i := p.open()
		client := &tls.Config{
			RootCAs: server.Pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			Certificates: []tls.Certificate{old.Issue(t, nil).TLS(t)},
		}
		for range 2 {
			if state, err := shake(t, i, client); err != nil || state.DidResume {
				t.Fatalf("version %x: resumed %v, %v", version, state.DidResume, err)
			}
		}
		certstest.Write(t, p.directory, "clients.pem", fresh.PEM())
		if err := i.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, err := shake(t, i, client); err == nil {
			t.Errorf("version %x: a client of an authority that was taken away is served", version)
		}
		client.Certificates[0] = fresh.Issue(t, nil).TLS(t)
		if _, err := shake(t, i, client); err != nil {
			t.Errorf("version %x: %v", version, err)
		}
	}
}

// Where no client shows a certificate, sessions are resumed: a handshake is most of what a short connection costs.
func TestSessionsAreResumedAcrossAReload(t *testing.T) {
	authority := certstest.NewAuthority(t, "authority")
	i := newPlace(t, authority.Issue(t, nil), nil).open()
	client := &tls.Config{RootCAs: authority.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for n := range 3 {
		if state, err := shake(t, i, client); err != nil || state.DidResume != (n > 0) {
			t.Errorf("handshake %d: resumed %v, %v", n, state.DidResume, err)
		}
		if err := i.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunNoticesWhatChanges runs in synctest's time, which passes when everybody waits.
func TestRunNoticesWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := certstest.NewAuthority(t, "authority")
		first, second := authority.Issue(t, endsIn(32*24*time.Hour)), authority.Issue(t, endsIn(4*24*time.Hour+time.Hour))
		p := newPlace(t, first, nil)
		i := p.open()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			i.Run(ctx)
		}()
		wantLogged := func(after time.Duration, want ...string) {
			t.Helper()
			<-time.After(after)
			synctest.Wait()
			lines := p.log.lines()
			if len(want) == 0 {
				want = []string{""}
			}
			for n := range max(len(lines), len(want)) {
				if n >= len(lines) || n >= len(want) || !strings.Contains(lines[n], want[n]) {
					t.Fatalf("logged %q, want %q", lines, want)
				}
			}
		}
		wantLogged(24*time.Hour + time.Second)
		certstest.Write(t, p.directory, "server.pem", second.Cert) // its key comes later
		wantLogged(10*time.Second, "not reloaded; the old one stays in use")
		wantLogged(time.Minute)
		if !i.NotAfter().Equal(first.TLS(t).Leaf.NotAfter) {
			t.Error("the old certificate is not in use")
		}
		p.write(second)
		wantLogged(10*time.Second, "certificate reloaded", "ends soon")
		if err := os.Chmod(p.files.Key, 0o604); err != nil { // which no stamp shows, and a reload by hand does
			t.Fatal(err)
		}
		if err := i.Reload(); err == nil {
			t.Error("reloaded a key that others may read")
		}
		if err := os.Chmod(p.files.Key, 0o600); err != nil {
			t.Fatal(err)
		}
		wantLogged(10*time.Second, "certificate reloaded", "ends soon")
		wantLogged(24*time.Hour, "days=2")
		wantLogged(24*time.Hour, "days=1")
		wantLogged(24*time.Hour, "days=0")
		wantLogged(24*time.Hour, "has ended")
		stop()
		<-ended
	})
}
