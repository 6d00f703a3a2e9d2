package mqtt_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

// village is an Access of users whose password is secret. Each may use its name, and what begins with its name or shared-.
type village struct {
	mu     sync.Mutex // guards all below
	users  map[string]bool
	holder string // of every certificate; it may use any id
	busy   bool
	apart  string      // what begins so is not for the anonymous; "" is nothing
	asked  chan string // of each login, before it is answered, when it is not nil
	let    chan struct{}
}

func newVillage(more ...string) *village {
	v := &village{users: map[string]bool{"ana": true, "bia": true}}
	for _, user := range more {
		v.users[user] = true
	}
	return v
}

func (v *village) Login(ctx context.Context, _ netip.Addr, user string, password []byte) (string, error) {
	if v.asked != nil {
		v.asked <- user
		select {
		case <-v.let:
		case <-ctx.Done():
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.busy:
		return "", mqtt.ErrTryLater
	case !v.users[user] || string(password) != "secret":
		return "", mqtt.ErrCredentials
	}
	return user, nil
}

func (v *village) Certified(*x509.Certificate) (string, bool) { return v.holder, v.holder != "" }

func (v *village) MayUse(principal, id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.apart != "" && strings.HasPrefix(id, v.apart) && principal == "anonymous" {
		return false
	}
	shared := strings.HasPrefix(id, "shared-")
	return shared || principal == "anonymous" || principal == v.holder || id == principal || strings.HasPrefix(id, principal+"-")
}

// Beginnings skips the one that nobody may use as long as that.
func (v *village) Beginnings(principal string) []string {
	return []string{strings.Repeat("x", 60), "no-", principal + "-"}
}

// set changes the village.
func (v *village) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func TestAClientIsWhoItsCredentialsSay(t *testing.T) {
	v := newVillage()
	h := build(t, func(o *mqtt.Options) { o.Access = v })
	for _, level := range []byte{3, 4, 5} {
		for _, c := range []struct {
			hello     hello
			five, old byte
		}{
			{hello{id: "ana", user: "ana"}, 0, 0}, {hello{id: "ana-1", user: "ana"}, 0, 0}, {hello{id: "x"}, 0, 0},
			{hello{id: "ana", user: "ana", password: "Secret"}, 0x86, 4}, {hello{id: "ana", user: "eve"}, 0x86, 4},
			{hello{id: "anonymous", user: "anonymous"}, 0x86, 4}, {hello{id: "ana", user: "Ana"}, 0x86, 4},
			{hello{id: "bia", user: "ana"}, 0x85, 2}, {hello{id: "ana1", user: "ana"}, 0x85, 2},
			{hello{id: "inline", user: "ana"}, 0x85, 2}, // which is mochi's own
		} {
			c.hello.level = level
			want := c.five
			if level < 5 {
				want = c.old
			}
			if ack := call(t, h.address).greet(c.hello); ack.reason != want {
				t.Errorf("level %d, %q as %q: 0x%02x, want 0x%02x", level, c.hello.user, c.hello.id, ack.reason, want)
			}
		}
	}
	v.set(func() { v.busy = true })
	for level, want := range map[byte]byte{4: 3, 5: 0x97} {
		if ack := call(t, h.address).greet(hello{id: "ana", user: "ana", level: level}); ack.reason != want {
			t.Errorf("level %d, too many logins: 0x%02x", level, ack.reason)
		}
	}
}

func TestAnOperationIsItsPrincipals(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Access = newVillage() })
	for _, user := range []string{"ana", "bia", ""} {
		p := listening(t, h.address, hello{id: "shared-" + user, user: user})
		p.publish(note{qos: 1, id: 1, payload: `{"op":"deposit","account":"1","amount":1,"id":"same"}`})
		p.ack(tPuback, 1, 0)
		if a, _ := p.reply(1); a.Code != "ok" || a.Duplicate {
			t.Errorf("%q: %+v", user, a) // nobody learns that another has used the id
		}
	}
	for i, want := range []string{"ana", "bia", "anonymous"} {
		if e := h.engine.Entries()[i]; e.Principal != want {
			t.Errorf("entry %d is %q's, want %q's", i+1, e.Principal, want)
		}
	}
}

func TestNobodyIsAnonymousByAListenerBeyondLoopback(t *testing.T) {
	wide, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(wide.Addr().String())
	h := build(t, func(o *mqtt.Options) { o.Access = newVillage() }, mqtt.Listener{Net: wide})
	for level, want := range map[byte]byte{3: 5, 4: 5, 5: 0x87} {
		address := "127.0.0.1:" + port // from loopback, even
		if ack := call(t, address).greet(hello{id: "x", level: level}); ack.reason != want {
			t.Errorf("level %d: 0x%02x", level, ack.reason)
		}
		enter(t, address, hello{id: "ana", user: "ana", level: level})
		enter(t, h.address, hello{id: "x", level: level})
	}
}

func TestAnAssignedClientIDIsOneThatTheUserMayUse(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Access = newVillage(strings.Repeat("n", 64)) })
	_, ack := enter(t, h.address, hello{user: "ana"})
	if id, _ := ack.properties[0x12].(string); !strings.HasPrefix(id, "ana-") || len(id) < 20 {
		t.Errorf("assigned %q", id)
	}
	if ack := call(t, h.address).greet(hello{user: strings.Repeat("n", 64)}); ack.reason != 0x85 {
		t.Errorf("no id is left for it: 0x%02x", ack.reason)
	}
}

func TestN6OnlyItsOwnerTakesASessionOver(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Access = newVillage() })
	mine := keeps(5, "shared-1")
	mine.user = "ana"
	try := func(state string) {
		for level, want := range map[byte]byte{3: 5, 4: 5, 5: 0x87} {
			for _, stored := range []bool{true, false} {
				for _, user := range []string{"bia", ""} {
					theirs := hello{id: mine.id, user: user, level: level, stored: stored}
					if ack := call(t, h.address).greet(theirs); ack.reason != want {
						t.Errorf("%s, by %q at level %d: 0x%02x", state, user, level, ack.reason)
					}
				}
			}
		}
	}
	owner := listening(t, h.address, mine)
	try("connected")
	owner.quiet() // and has noticed nothing
	owner.publish(note{qos: 1, id: 1, payload: deposit("1", 12345)})
	owner.ack(tPuback, 1, 0)
	owner.expect(tPublish) // which is not acknowledged
	owner.conn.Close()
	h.server.AwaitDetached(mine.id)
	try("stored, with a reply that waits")
	again, ack := enter(t, h.address, mine)
	if a, k := again.reply(1); !ack.present || a.Code != "ok" || !k.dup() {
		t.Errorf("present %v, %+v", ack.present, a)
	}
}

func TestX6WhoLosesSomethingIsCut(t *testing.T) {
	v := newVillage()
	h := build(t, func(o *mqtt.Options) { o.Access = v })
	var cut, left []*peer
	for i := range 100 {
		cut = append(cut, listening(t, h.address, hello{id: fmt.Sprint("ana-", i), user: "ana", level: byte(4 + i%2)}))
	}
	left = append(left, listening(t, h.address, hello{id: "bia", user: "bia"}), listening(t, h.address, hello{id: "x"}))
	v.set(func() { delete(v.users, "ana") })
	began := time.Now()
	h.server.Revoke(func(principal string) bool { return principal == "ana" })
	for i, p := range cut {
		p.gone([]byte{0, 0x98}[i%2]) // MQTT 3 is not told why
	}
	t.Logf("100 connections were cut within %v", time.Since(began))
	for _, p := range left {
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		p.ack(tPuback, 1, 0)
	}
	if ack := call(t, h.address).greet(hello{id: "ana", user: "ana"}); ack.reason != 0x86 {
		t.Errorf("again: 0x%02x", ack.reason)
	}
}

// TestX6ClientIDsThatAreSetApartAreTheirUsers: whoever was anonymous with one is cut, whether in the middle of something or not, and his
// session is in nobody's way; what he is owed, nobody else is told.
func TestX6ClientIDsThatAreSetApartAreTheirUsers(t *testing.T) {
	v := newVillage()
	h := keep(t, func(o *mqtt.Options) { o.Access = v })
	away := listening(t, h.address, keeps(5, "ana-1"))
	away.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	away.ack(tPuback, 1, 0)
	away.conn.Close()
	five, four := listening(t, h.address, hello{id: "ana-2"}), listening(t, h.address, keeps(4, "ana-3"))
	other := listening(t, h.address, hello{id: "x"})
	v.set(func() { v.apart = "ana" })
	h.server.Revoke(func(string) bool { return false })
	five.gone(0x98)
	four.gone(0)
	other.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	other.ack(tPuback, 1, 0)
	for _, id := range []string{"ana-1", "ana-2", "ana-3"} {
		if ack := call(t, h.address).greet(keeps(5, id)); ack.reason != 0x85 {
			t.Errorf("anonymous as %s: 0x%02x", id, ack.reason)
		}
		hers := keeps(5, id)
		hers.user = "ana"
		p, ack := enter(t, h.address, hers)
		if ack.present {
			t.Errorf("ana has anybody's session of %s", id)
		}
		p.quiet()
	}
	h = h.killed()
	for _, id := range []string{"ana-1", "ana-2", "ana-3"} {
		hers := keeps(5, id)
		hers.user = "ana"
		p, ack := enter(t, h.address, hers)
		if !ack.present {
			t.Errorf("after a restart ana has no session of %s", id)
		}
		p.quiet()
	}
}

// TestX6ALoginUnderWayIsAskedAgain removes a user between its password's check and the answer.
func TestX6ALoginUnderWayIsAskedAgain(t *testing.T) {
	v := newVillage()
	v.asked, v.let = make(chan string), make(chan struct{})
	h := build(t, func(o *mqtt.Options) { o.Access = v })
	p := call(t, h.address)
	p.send(hello{id: "ana", user: "ana"}.bytes())
	<-v.asked
	h.server.Revoke(func(string) bool { return false }) // a reload, whatever it changed
	v.let <- struct{}{}
	select {
	case <-v.asked:
	case <-time.After(patience):
		t.Fatal("nobody asks again")
	}
	v.set(func() { delete(v.users, "ana") })
	v.let <- struct{}{}
	if ack := p.expect(tConnack); ack.reason != 0x86 {
		t.Errorf("0x%02x", ack.reason)
	}
}

func TestAPrincipalHasSoManySessions(t *testing.T) {
	for name, c := range map[string]struct {
		options mqtt.Options
		ana     int
		nobody  int
	}{
		"a number": {mqtt.Options{Sessions: 40, PerPrincipal: 3}, 3, 3},
		"a tenth":  {mqtt.Options{Sessions: 40}, 4, 36},
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, func(o *mqtt.Options) {
				o.Access, o.Sessions, o.PerPrincipal = newVillage(), c.options.Sessions, c.options.PerPrincipal
			})
			fill := func(user, prefix string, most int) {
				for i := range most + 1 {
					want := byte(0)
					if i == most {
						want = 0x97
					}
					k := keeps(5, fmt.Sprint(prefix, i))
					k.user = user
					if ack := call(t, h.address).greet(k); ack.reason != want {
						t.Errorf("session %d of %q: 0x%02x", i+1, user, ack.reason)
					}
				}
			}
			fill("ana", "ana-", c.ana)
			fill("", "x-", c.nobody)
			if c.options.PerPrincipal == 0 {
				return
			}
			enter(t, h.address, hello{id: "ana-0", user: "ana"}) // in the place of the one before
		})
	}
}

// TestX4WhoShowsACertificateIsItsUser and nobody else, whatever name comes with it.
func TestX4WhoShowsACertificateIsItsUser(t *testing.T) {
	vault := newVault(t, true)
	village := newVillage()
	h := build(t, func(o *mqtt.Options) { o.Access = village }, vault.listeners()...)
	own := vault.clients.Issue(t, nil)
	try := func(k hello) byte { return vault.call(own).greet(k).reason }
	if got := try(hello{id: "ana"}); got != 0x87 {
		t.Errorf("a certificate of nobody's: 0x%02x", got) // and not anonymous, though the listener is on loopback
	}
	village.holder = "ana"
	for name, c := range map[string]struct {
		hello hello
		want  byte
	}{
		"no name":             {hello{id: "ana"}, 0},
		"its name":            {hello{id: "ana", user: "ana"}, 0},
		"a wrong password":    {hello{id: "ana", user: "ana", password: "guess"}, 0x86},
		"another's name":      {hello{id: "ana", user: "bia"}, 0x86},
		"everyone's name":     {hello{id: "ana", user: "anonymous"}, 0x86},
		"MQTT 3, no name":     {hello{id: "ana", level: 4}, 0},
		"MQTT 3, another one": {hello{id: "ana", level: 4, user: "bia"}, 4},
	} {
		if got := try(c.hello); got != c.want {
			t.Errorf("%s: 0x%02x, want 0x%02x", name, got, c.want)
		}
	}
	p := vault.call(own)
	p.greet(hello{id: "ana"})
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	if e := h.engine.Entries()[0]; e.Principal != "ana" {
		t.Errorf("the entry is %q's", e.Principal)
	}
}
