package main

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"gateway/access"
	"gateway/certs"
	"gateway/certs/certstest"
	"gateway/config"
)

// TestAReloadTakesRightsAwayAlsoWhereACertificateIsGone has new settings that name other TLS files than the listeners, whose own
// were deleted: the users change, the certificates that can be read are renewed, and the rest is told.
func TestAReloadTakesRightsAwayAlsoWhereACertificateIsGone(t *testing.T) {
	authority := certstest.NewAuthority(t, "authority")
	open := func(name string) (*certs.Identity, certs.Files) {
		cert, key := authority.Issue(t, nil).Write(t, t.TempDir(), name)
		files := certs.Files{Cert: cert, Key: key}
		identity, err := certs.Open(files, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return identity, files
	}
	lost, gone := open("lost")
	renewed, kept := open("renewed")
	users, err := access.New([]access.User{{Name: "ana", Hash: cheapHash}, {Name: "bob", Hash: cheapHash}}, access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var revoked []string
	var log bytes.Buffer
	metrics := newMetrics(build{})
	r := &reloader{
		reloads: reloads{read: func() (config.Config, error) {
			return config.Config{Auth: config.Auth{Users: []config.User{{Name: "bob", Password: cheapHash}}}}, nil
		}},
		users: users, certificates: []*certs.Identity{lost, renewed}, metrics: &metrics.reload, logger: slog.New(slog.NewTextHandler(&log, nil)),
		revoke: func(has func(string) bool) {
			for _, name := range []string{"ana", "bob"} {
				if has(name) {
					revoked = append(revoked, name)
				}
			}
		},
	}
	if err := os.Remove(gone.Cert); err != nil {
		t.Fatal(err)
	}
	sooner := renewed.NotAfter().Add(-time.Minute)
	next := authority.Issue(t, func(c *x509.Certificate) { c.NotAfter = sooner })
	certstest.Write(t, "", kept.Cert, next.Cert)
	certstest.Write(t, "", kept.Key, next.Key)
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	if len(revoked) != 1 || revoked[0] != "ana" {
		t.Errorf("%q lost their connections, want ana", revoked)
	}
	if ends := renewed.NotAfter(); !ends.Equal(sooner) {
		t.Errorf("the certificate that can be read ends %v, not %v", ends, sooner)
	}
	if told := log.String(); strings.Count(told, "certificate not reloaded") != 1 || !strings.Contains(told, gone.Cert) {
		t.Errorf("told: %s", told)
	}
}
