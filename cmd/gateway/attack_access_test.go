package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gateway/certs/certstest"
)

// TestN6NobodyTakesAnothersSession, connected or stored, however often it is tried, and what waits in it is its owner's.
func TestN6NobodyTakesAnothersSession(t *testing.T) {
	tries := attackSize(50, 1000)
	c := buildCastle(t, castleDoors, castleUsers)
	address := c.addresses["mqtt"][0]
	try := func(state string) {
		for i := range tries / 2 {
			user, password := "bia", c.password
			if i%2 == 1 {
				user, password = "", ""
			}
			if _, err := enter("127.0.0.2", address, "shared", user, password); !errors.Is(err, errRefused) {
				t.Fatalf("%s: try %d by %q: %v", state, i, user, err)
			}
		}
	}
	owner, err := enter("127.0.0.1", address, "shared", "ana", c.password)
	if err != nil {
		t.Fatal(err)
	}
	try("connected")
	if err := errors.Join(owner.publish(1, []byte(trialDeposit)), owner.expect(leanSuback, leanPuback, leanPublish)); err != nil {
		t.Fatalf("the owner: %v", err)
	}
	owner.conn.Close() // the reply is not acknowledged
	try("stored")
	again, err := enter("127.0.0.1", address, "shared", "ana", c.password)
	if err != nil {
		t.Fatal(err)
	}
	defer again.conn.Close()
	if err := again.expect(leanPublish); err != nil {
		t.Errorf("what waited for the owner: %v", err)
	}
	t.Logf("N6: %d tries to take a session, none succeeded (none)", tries)
}

// expect waits for packets of these types, in any order.
func (l *lean) expect(kinds ...byte) error {
	wanted := map[byte]bool{}
	for _, kind := range kinds {
		wanted[kind] = true
	}
	for len(wanted) > 0 {
		p, err := l.next()
		if err != nil {
			return err
		}
		delete(wanted, p.kind)
	}
	return nil
}

// TestX1BruteForce guesses one user's password by many connections. A minute has ten checks of it at most, and others log in
// meanwhile as if nothing was: the same user from elsewhere, one who was there before from the attacker's own address, and
// those who log in for the first time.
func TestX1BruteForce(t *testing.T) {
	const attackers, most, checked = 64, 1_000_000, `gateway_logins_total{outcome="wrong"}`
	length := time.Duration(attackSize(2, 90)) * time.Second
	c := buildCastle(t, castleDoors, castleUsers, newcomers(attackSize(5, 20)))
	address := c.addresses["mqtt"][0]
	login := func(source, id, user string) error {
		l, err := enter(source, address, id, user, c.password)
		if err == nil {
			err = l.conn.Close()
		}
		return err
	}
	if err := errors.Join(login("127.0.0.2", "known", "bia"), login("127.0.0.3", "elsewhere", "ana")); err != nil {
		t.Fatal(err)
	}
	var tries atomic.Int64
	var attacking sync.WaitGroup
	began := time.Now()
	for i := range attackers {
		attacking.Go(func() {
			for n := 0; time.Since(began) < length && tries.Load() < most; n++ {
				tries.Add(1)
				if _, err := enter("127.0.0.2", address, fmt.Sprint("guess-", i), "ana", fmt.Sprint("guess ", n)); !errors.Is(err, errRefused) {
					t.Errorf("a guess: %v", err)
					return
				}
			}
		})
	}
	first := take(t, attackSize(5, 20), func(i int) error { return login("127.0.0.3", fmt.Sprint("first-", i), fmt.Sprint("new-", i)) })
	there := take(t, 100, func(int) error { return login("127.0.0.3", "elsewhere", "ana") })
	here := take(t, 100, func(int) error { return login("127.0.0.2", "known", "bia") })
	inAMinute := c.checksWhile(checked, &attacking)
	t.Logf("X1: %d tries in %v, %v checked in a minute at most (10)", tries.Load(), time.Since(began).Round(time.Second), inAMinute)
	t.Logf("X1: honest logins p99: first ones %v, from elsewhere %v, from the attacker's address %v (500ms)", first.p99(), there.p99(), here.p99())
	if inAMinute > 10 {
		t.Errorf("%v passwords were checked in a minute", inAMinute)
	}
	for _, honest := range []times{first, there, here} {
		honest.check(t)
	}
}

// newcomers are settings of so many more users.
func newcomers(n int) string {
	var users strings.Builder
	for i := range n {
		fmt.Fprintf(&users, "  - { name: new-%d, password: %%[1]q, accounts: [\"1\"], client_ids: [\"*\"] }\n", i)
	}
	return users.String()
}

// checksWhile waits for an attack and returns how much a metric grew in any minute of it, or in all of a shorter one.
func (c *castle) checksWhile(name string, attacking *sync.WaitGroup) (most float64) {
	c.t.Helper()
	done := make(chan struct{})
	go func() { attacking.Wait(); close(done) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	samples := []float64{0}
	for {
		samples = append(samples, c.metric(name))
		most = max(most, samples[len(samples)-1]-samples[max(0, len(samples)-61)])
		select {
		case <-done:
			return max(most, c.metric(name)-samples[max(0, len(samples)-60)])
		case <-tick.C:
		}
	}
}

// TestX6WhoLosesSomethingIsCut reloads users while they have sessions open by both doors: one who is removed, one who may
// do less, and an auditor who is one no more.
func TestX6WhoLosesSomethingIsCut(t *testing.T) {
	const each = 50
	authority := certstest.NewAuthority(t, "authority")
	directory := t.TempDir()
	cert, key := authority.Issue(t, nil).Write(t, directory, "server")
	clients := certstest.Write(t, directory, "clients.pem", authority.PEM())
	doors := fmt.Sprintf(`
socket: { listeners: [ { address: "127.0.0.1:0", codec: json, session: true, tls: { cert: %q, key: %q, client_ca: %q } } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
auth:
  users:
  - { name: left, password: %%[1]q, accounts: ["1"], client_ids: ["*"] }
`, cert, key, clients)
	const (
		user    = "  - { name: ana, password: %[1]q, certificate: ana.example, client_ids: [\"*\"], "
		before  = user + "accounts: [\"1\", \"2\"] }\n"
		auditor = user + "accounts: [\"1\"], auditor: true }\n"
		after   = user + "accounts: [\"1\"] }\n"
	)
	own := authority.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"ana.example"} }).TLS(t)
	for _, row := range []struct{ name, before, after string }{
		{"removed", before, ""}, {"narrowed", before, after}, {"an auditor no more", auditor, after},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := buildCastle(t, doors, row.before)
			var open []net.Conn
			for i := range each {
				l, err := enter("127.0.0.1", c.addresses["mqtt"][0], fmt.Sprint("ana-", i), "ana", c.password)
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, l.conn, c.session(&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{own}}))
			}
			left, err := enter("127.0.0.1", c.addresses["mqtt"][0], "left", "left", c.password)
			if err != nil {
				t.Fatal(err)
			}
			c.write(doors, row.after)
			took := c.cut(open)
			t.Logf("X6: %s: %d sessions cut %v after SIGHUP (1s)", row.name, len(open), took.Round(time.Millisecond))
			if took > honestMost {
				t.Error("late")
			}
			if err := errors.Join(left.publish(1, []byte(`{"op":"balance","account":"1"}`)), left.expect(leanPuback, leanPublish)); err != nil {
				t.Errorf("who has lost nothing: %v", err)
			}
		})
	}
}

// session opens one by TLS, whose client is known: it has asked for something.
func (c *castle) session(client *tls.Config) net.Conn {
	c.t.Helper()
	conn, err := tls.Dial("tcp", c.addresses["socket"][0], client)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	replies := bufio.NewReader(conn)
	_, err = replies.ReadBytes('\n')
	code, wrong := askSession(conn, replies, `{"op":"balance","account":"1"}`)
	if err := errors.Join(err, wrong); err != nil || code != "ok" {
		c.t.Fatalf("%q, %v", code, err)
	}
	return conn
}

// cut makes the gateway reload and returns how long it takes until all connections have ended.
func (c *castle) cut(open []net.Conn) time.Duration {
	c.t.Helper()
	began := time.Now()
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		c.t.Fatal(err)
	}
	var ending sync.WaitGroup
	for _, conn := range open {
		ending.Go(func() {
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Error("not cut")
			}
		})
	}
	ending.Wait()
	return time.Since(began)
}

// TestARateIsAPrincipals by whatever door: at its bound it is overloaded at both, just below at neither, and while it floods
// others are served.
func TestARateIsAPrincipals(t *testing.T) {
	const burst = 50
	doors := strings.Replace(castleDoors, "till }\n", "till }\n  - { address: \"127.0.0.1:0\", codec: json, session: true, principal: ana }\n", 1)
	c := buildCastle(t, doors, castleUsers, fmt.Sprintf("limits: { rate: 1, burst: %d }\n", burst))
	till, ana := c.listener(1), c.listener(2)
	began := time.Now()
	if granted := till.granted(t, burst-1); granted != burst-1 {
		t.Errorf("below the burst: %d of %d", granted, burst-1)
	}
	flood := ana.granted(t, 1000)
	if refilled := int(time.Since(began)/time.Second) + 1; flood < burst || flood > burst+refilled {
		t.Errorf("a flood of 1000: %d were done, want %d, and one a second", flood, burst)
	}
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	flooding.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				ana.granted(t, 1)
			}
		}
	})
	byMQTT, err := enter("127.0.0.1", c.addresses["mqtt"][0], "ana", "ana", c.password)
	if err != nil {
		t.Fatal(err)
	}
	defer byMQTT.conn.Close()
	refused := 0
	for id := uint16(1); id <= 20; id++ {
		code, err := byMQTT.ask(id)
		if err != nil {
			t.Fatal(err)
		}
		if code == "overloaded" {
			refused++
		}
	}
	other, err := enter("127.0.0.1", c.addresses["mqtt"][0], "bia", "bia", c.password)
	if err != nil {
		t.Fatal(err)
	}
	defer other.conn.Close()
	honest := take(t, burst-1, func(i int) error {
		code, err := other.ask(uint16(1 + i))
		if err == nil && code != "ok" {
			err = errors.New(code)
		}
		return err
	})
	close(stop)
	flooding.Wait()
	if refused < 10 {
		t.Errorf("by the other door %d of 20 were refused", refused)
	}
	if n := c.metric(`gateway_operations_denied_total{code="overloaded",transport="mqtt"}`); n != float64(refused) {
		t.Errorf("%v were counted, %d told", n, refused)
	}
	t.Logf("rate: %d of 1000 done at a burst of %d; another principal's p99 meanwhile %v", flood, burst, honest.p99())
	honest.check(t)
}

// asker is a session at a socket.
type asker struct {
	conn    net.Conn
	replies *bufio.Reader
}

// listener opens a session at that listener.
func (c *castle) listener(i int) *asker {
	c.t.Helper()
	conn, err := dialFrom("127.0.0.1", c.addresses["socket"][i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	a := &asker{conn, bufio.NewReader(conn)}
	if _, err := a.replies.ReadBytes('\n'); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// granted asks so often, one operation after the other, and returns how many were done. The others must be overloaded.
func (a *asker) granted(t *testing.T, times int) (granted int) {
	t.Helper()
	for range times {
		switch code, err := askSession(a.conn, a.replies, `{"op":"balance","account":"1"}`); {
		case err != nil:
			t.Errorf("a session: %v", err)
			return granted
		case code == "ok":
			granted++
		case code != "overloaded":
			t.Errorf("a session was told %q", code)
		}
	}
	return granted
}

// ask asks for a balance and returns the code of the reply, which is acknowledged.
func (l *lean) ask(id uint16) (code string, err error) {
	if err := l.publish(id, []byte(`{"op":"balance","account":"1"}`)); err != nil {
		return "", err
	}
	for {
		p, err := l.next()
		if err != nil {
			return "", err
		}
		if p.kind == leanPublish {
			_, code, _ = strings.Cut(string(p.payload), `"code":"`)
			code, _, _ = strings.Cut(code, `"`)
			return code, l.puback(p.id)
		}
	}
}
