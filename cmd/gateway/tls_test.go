package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/certs/certstest"
	"gateway/config"
)

// tlsSettings are those of a trial whose doors have TLS.
func tlsSettings(t *testing.T) (config.Config, *certstest.Authority) {
	t.Helper()
	authority := certstest.NewAuthority(t, "authority")
	cert, key := authority.Issue(t, nil).Write(t, t.TempDir(), "server")
	settings := trialSettings()
	settings.Socket.Listeners[0].TLS = &config.TLS{Cert: cert, Key: key}
	settings.MQTT.Listeners[0].TLS = &config.TLS{Cert: cert, Key: key}
	return settings, authority
}

// hail connects with TLS, sends, and returns as much as want has of what comes.
func (r *trial) hail(door, send, want string, client *tls.Config) string {
	r.t.Helper()
	conn, err := tls.Dial("tcp", r.address[door], client)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, send)
	got := make([]byte, len(want))
	n, _ := io.ReadFull(conn, got)
	return string(got[:n])
}

func TestBothDoorsServeTLS(t *testing.T) {
	settings, authority := tlsSettings(t)
	r := startTrial(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), settings)
	client := &tls.Config{RootCAs: authority.Pool()}
	const (
		done    = "true\n" + `{"status":true`
		connect = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"
		connack = "\x20\x02\x00\x00"
	)
	if got := r.hail("socket", trialDeposit, done, client); got != done {
		t.Errorf("socket: %q", got)
	}
	if got := r.hail("mqtt", connect, connack, client); got != connack {
		t.Errorf("mqtt: %q", got)
	}
	page := r.fetch("/metrics")
	for _, door := range []string{"socket", "mqtt"} {
		want := fmt.Sprintf("gateway_tls_certificate_not_after_timestamp_seconds{listener=%q} ", r.address[door])
		if !strings.Contains(page, want) {
			t.Errorf("/metrics does not have %s", want)
		}
	}
}

// TestX4AListenerThatAsksForCertificatesIsNeverAnonymous, on loopback either.
func TestX4AListenerThatAsksForCertificatesIsNeverAnonymous(t *testing.T) {
	settings, authority := tlsSettings(t)
	settings.Socket.Listeners[0].TLS.ClientCA = certstest.Write(t, t.TempDir(), "clients.pem", authority.PEM())
	r := startTrial(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), settings)
	client := &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{authority.Issue(t, nil).TLS(t)}}
	const want = "true\n" + `{"status":false,"msg":"unauthorized`
	if got := r.hail("socket", trialDeposit, want, client); got != want {
		t.Errorf("%q", got)
	}
}

// TestACertificateThatVanishedIsAWrongSetting: it was there when the settings were checked.
func TestACertificateThatVanishedIsAWrongSetting(t *testing.T) {
	for _, spoil := range []func(config.Config) string{
		func(c config.Config) string { c.MQTT.Listeners[0].TLS = nil; return c.Socket.Listeners[0].TLS.Cert },
		func(c config.Config) string { c.Socket.Listeners[0].TLS = nil; return c.MQTT.Listeners[0].TLS.Key },
	} {
		settings, _ := tlsSettings(t)
		if err := os.Remove(spoil(settings)); err != nil {
			t.Fatal(err)
		}
		kept := &storage{engine: bank.NewMemory(bank.Rules{}, time.Now)}
		err := serveStorage(context.Background(), settings, reloads{}, kept, newMetrics(build{}), slog.New(slog.DiscardHandler), &herald{stdout: io.Discard})
		if exitCode(err) != exitSettings || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "listeners[0].tls") {
			t.Errorf("exit %d: %v", exitCode(err), err)
		}
	}
}
