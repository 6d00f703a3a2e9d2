package certs_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"gateway/certs"
	"gateway/certs/certstest"
)

// pair returns both ends of a connection over loopback, the handshake made.
func pair(t *testing.T) (server *certs.Conn, client *tls.Conn) {
	t.Helper()
	return pairOver(t, func(below net.Conn) net.Conn { return below })
}

// pairOver lets the server have another connection for the one that it accepted.
func pairOver(t *testing.T, change func(net.Conn) net.Conn) (server *certs.Conn, client *tls.Conn) {
	t.Helper()
	authority := certstest.NewAuthority(t, "authority")
	i := newPlace(t, authority.Issue(t, nil), nil).open()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server = certs.Server(change(near), i.Config())
	client = tls.Client(far, &tls.Config{RootCAs: authority.Pool(), ServerName: "127.0.0.1"})
	t.Cleanup(func() { server.Close(); far.Close() })
	server.SetDeadline(time.Now().Add(patience))
	client.SetDeadline(time.Now().Add(patience))
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return server, client
}

func TestCloseWriteIsAGoodbyeAndBytesMayStillCome(t *testing.T) {
	server, client := pair(t)
	io.WriteString(server, "last")
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); string(got) != "last" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := io.WriteString(client, "too late"); err != nil {
		t.Error(err)
	}
	if n, err := server.Read(make([]byte, 100)); n <= len("too late") || err != nil {
		t.Errorf("%d bytes, %v: want a record", n, err)
	}
}

// TestCloseWriteIsTheGoodbyeOfTLS: a connection that cannot be half closed ends all the same, and so not by a cut.
func TestCloseWriteIsTheGoodbyeOfTLS(t *testing.T) {
	server, client := pairOver(t, func(below net.Conn) net.Conn { return struct{ net.Conn }{below} })
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestAWriteIsARecordAndComesInByOneRead(t *testing.T) {
	server, client := pair(t)
	for _, bytes := range []int{1, 2048, 16 << 10} {
		if _, err := server.Write(make([]byte, bytes)); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 1<<20)); n != bytes || err != nil {
			t.Errorf("%d bytes of %d, %v", n, bytes, err)
		}
	}
}

// TestTheEndDoesNotWaitForAPeerThatDoesNotRead: neither Close nor a goodbye takes longer than the owner's deadline.
func TestTheEndDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	for name, end := range map[string]func(*certs.Conn) error{
		"Close": (*certs.Conn).Close, // with all the deadline that pair has set
		"CloseWrite": func(c *certs.Conn) error {
			c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			return c.CloseWrite()
		},
	} {
		server, _ := pair(t)
		fill(t, server)
		began := time.Now()
		end(server)
		if took := time.Since(began); took > 2*time.Second { // crypto/tls would take five
			t.Errorf("%s took %v", name, took)
		}
	}
}

// fill writes below TLS until the peer's window is full, so that TLS itself is still in order.
func fill(t *testing.T, server *certs.Conn) {
	t.Helper()
	below := certs.Below(server)
	defer below.SetWriteDeadline(time.Now().Add(patience))
	for range 2 { // what one write leaves another may find gone
		below.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			if _, err := below.Write(make([]byte, 1<<20)); errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
