package socket_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"gateway/bank"
)

// TestRevoke: who is named is read no further, and what was accepted of it is answered.
func TestRevoke(t *testing.T) {
	h := newHeld()
	single, session := start(t, setup{bank: h}), start(t, setup{bank: h, session: true})
	waiting, begun, taken := dial(t, single.address), dial(t, single.address), dial(t, single.address)
	idle, partial, busy := dial(t, session.address), dial(t, session.address), dial(t, session.address)
	begun.send(deposit[:5])
	partial.send(deposit + deposit[:5])
	<-h.took
	h.answer(1)
	partial.expect(`{"status":true`) // so its second operation is begun
	for _, p := range []*peer{taken, busy} {
		p.send(deposit)
		<-h.took
	}
	for _, s := range []*served{single, session} {
		s.server.Revoke(func(string) bool { return false })
		s.server.Revoke(func(principal string) bool {
			if principal != bank.AnonymousPrincipal {
				t.Errorf("asked about %q", principal)
			}
			return true
		})
	}
	const told = `{"status":false,"msg":"unauthorized: who asks is not known any more; nothing was done","code":"unauthorized"}` + "\n"
	for _, p := range []*peer{waiting, begun} {
		if got := p.rest(); got != told {
			t.Errorf("an operation that was owed: %q", got)
		}
	}
	if got := idle.rest(); got != "" {
		t.Errorf("between operations: %q", got)
	}
	if got := partial.rest(); !strings.HasSuffix(got, "\n"+told) {
		t.Errorf("within an operation: %q", got)
	}
	h.answer(2)
	for _, p := range []*peer{taken, busy} {
		if got := p.rest(); !strings.HasPrefix(got, `{"status":true`) {
			t.Errorf("an operation that was accepted: %q", got)
		}
	}
	later := dial(t, single.address)
	later.send(balance)
	<-h.took
	h.answer(1)
	if got := later.rest(); !strings.HasPrefix(got, `{"status":true`) {
		t.Errorf("a connection that came later: %q", got)
	}
}

// TestRevokeLeavesOthersAlone, and nobody is asked about those who have no name.
func TestRevokeLeavesOthersAlone(t *testing.T) {
	named, nameless := start(t, setup{session: true}), start(t, setup{session: true, nobody: true})
	known, unknown := dial(t, named.address), dial(t, nameless.address)
	named.server.Revoke(func(principal string) bool { return principal == "ana" })
	nameless.server.Revoke(func(principal string) bool {
		t.Errorf("asked about %q", principal)
		return true
	})
	known.send(balance)
	known.expect(`{"status":true`)
	unknown.send(balance)
	unknown.expect(`{"status":false,"msg":"unauthorized`)
	known.Close()
	unknown.Close()
}

// TestARevocationBetweenTheHandshakeAndTheAck finds a guest that has no name yet: it is asked again who it is.
func TestARevocationBetweenTheHandshakeAndTheAck(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		v := newVault(t, true)
		var s *served
		times := 0
		s = start(t, setup{session: sessions, nobody: true, tls: v.identity.Config(), certified: func(*x509.Certificate) (string, bool) {
			if times++; times > 1 {
				return "", false // the certificate of ana is another now
			}
			s.server.Revoke(func(principal string) bool { return principal == "ana" })
			return "ana", true
		}})
		p := v.dial(s.address, v.clients.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"old.example"} }))
		p.send(deposit)
		p.expect("true\n" + `{"status":false,"msg":"unauthorized`)
		p.Close()
		if times != 2 {
			t.Errorf("asked %d times", times)
		}
	}
}
