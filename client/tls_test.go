package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"gateway/client"
	"gateway/wire"
)

// certificate returns a certificate for 127.0.0.1 that signs itself, and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bank"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Over TLS everything is as without; a certificate that nobody vouches for ends Do at once, and nothing was sent.
func TestTLS(t *testing.T) {
	own, pool := certificate(t)
	for _, session := range []bool{false, true} {
		f := &fake{book: newBook(t), codec: wire.NewCodec(wire.Msgpack, 2), session: session, plan: first(dropDone)}
		f.serve = func(f *fake, conn net.Conn, n int) {
			secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}})
			defer secured.Close()
			if secured.HandshakeContext(context.Background()) == nil {
				f.serveSocket(secured, n)
			}
		}
		address := f.start()
		c := socketClient(t, address, client.SocketOptions{Session: session, TLS: &tls.Config{}})
		if _, err := c.Do(within(t), deposit("ana")); !errors.Is(err, client.ErrRefused) || !errors.Is(err, client.ErrNotSent) {
			t.Errorf("a stranger's certificate: %v", err)
		}
		c = socketClient(t, address, client.SocketOptions{Session: session, TLS: &tls.Config{RootCAs: pool}})
		if reply := mustDo(t, c, deposit("ana")); reply.Balance != "1.00" {
			t.Errorf("%+v", reply)
		}
	}
	b := newBroker(newBook(t))
	b.serve = func(_ *fake, conn net.Conn, n int) {
		secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}})
		defer secured.Close()
		b.serveMQTT(secured, n)
	}
	address := b.start()
	c := mqttClient(t, address, client.MQTTOptions{TLS: &tls.Config{RootCAs: pool}})
	mustDo(t, c, deposit("ana"))
	plain := mqttClient(t, address, client.MQTTOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := plain.Do(ctx, deposit("ana")); !errors.Is(err, client.ErrNotSent) || !strings.Contains(err.Error(), "does the listener want TLS") {
		t.Errorf("without TLS: %v", err)
	}
}
