package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The traps that need a gateway to be killed; transport/mqtt has the others. No operation here has an id: only the delivery
// keeps it from being lost or done twice.

// killable is a gateway that is killed and comes back where it was.
type killable struct {
	t       *testing.T
	dir     string
	address string
	process *process
}

func newKillable(t *testing.T) *killable {
	t.Helper()
	return newKillableIn(t, t.TempDir())
}

// newKillableIn is newKillable in a directory of the test's.
func newKillableIn(t *testing.T, dir string) *killable {
	t.Helper()
	k := &killable{t: t, dir: dir}
	k.address, _ = freeAddresses(t, rand.New(rand.NewPCG(rand.Uint64(), 1)))
	settings := fmt.Sprintf(`
socket: { listeners: [] }
mqtt: { listeners: [ { address: "%s" } ] }
admin: { address: "" }
log: { level: warn }
`, k.address)
	if err := os.WriteFile(filepath.Join(k.dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if k.process != nil {
			k.process.kill()
		}
	})
	k.start()
	return k
}

func (k *killable) start() {
	k.t.Helper()
	p, err := startGateway(k.dir, "")
	if err != nil {
		k.t.Fatal(err)
	}
	k.process = p
}

// kill kills it and starts it again.
func (k *killable) kill() {
	k.t.Helper()
	if _, err := k.process.stop(syscall.SIGKILL); err != nil {
		k.t.Fatal(err)
	}
	k.start()
}

// deposits stops it and returns how often the journal has a deposit of each memo.
func (k *killable) deposits() map[string]int {
	k.t.Helper()
	if code, err := k.process.stop(syscall.SIGTERM); code != exitDone || err != nil {
		k.t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, k.process.stderr.String())
	}
	found := map[string]int{}
	for _, e := range dumpOf(k.t, k.dir) {
		if e.Kind == "deposit" {
			found[e.Memo]++
		}
	}
	return found
}

func depositOf(account, memo string) string {
	return fmt.Sprintf(`{"op":"deposit","account":%q,"amount":1,"memo":%q}`, account, memo)
}

// TestQoS2AcrossAKill kills the gateway at each step of a QoS 2 delivery; the client says again what it cannot know to have
// arrived.
func TestQoS2AcrossAKill(t *testing.T) {
	for _, level := range []byte{4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			k := newKillable(t)
			c := &persistent{killable: k, level: level}
			c.connect()
			c.link.subscribe("bank/replies/c")
			c.await(typeSuback, 1)
			first := &message{qos: 2, id: 7, payload: depositOf("ana", "first")}
			c.link.publish(first)
			c.await(typePubrec, 7)
			first.again = true
			for range 2 {
				k.kill()
				c.reconnect()
				for range 3 {
					c.link.publish(first)
					c.await(typePubrec, 7)
				}
			}
			c.link.sendID(typePubrel<<4|2, 7)
			c.await(typePubcomp, 7)
			k.kill()
			c.reconnect()
			c.link.publish(&message{qos: 2, id: 7, payload: depositOf("ana", "second")}) // the id is free again
			c.await(typePubrec, 7)
			k.kill()
			c.reconnect()
			for len(c.replies) < 2 {
				c.read()
			}
			if !c.replies["1.00"] || !c.replies["2.00"] {
				t.Errorf("replies of balances %v, want 1.00 and 2.00", c.replies)
			}
			if found := k.deposits(); found["first"] != 1 || found["second"] != 1 {
				t.Errorf("deposits %v, want one of each", found)
			}
		})
	}
}

// persistent is the client of TestQoS2AcrossAKill. It acknowledges no reply.
type persistent struct {
	*killable
	level   byte
	link    *link
	replies map[string]bool // by balance
}

func (c *persistent) connect() (present bool) {
	c.t.Helper()
	l, present, err := connectLink(c.address, "c", c.level)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = l.conn.Close() })
	c.link, c.replies = l, map[string]bool{}
	return present
}

func (c *persistent) reconnect() {
	c.t.Helper()
	if !c.connect() {
		c.t.Fatal("the session did not survive")
	}
}

func (c *persistent) read() frame {
	c.t.Helper()
	f, err := c.link.read()
	if err != nil {
		c.t.Fatal(err)
	}
	if f.kind == typePublish {
		var reply struct{ Balance string }
		if err := json.Unmarshal(f.payload, &reply); err != nil {
			c.t.Fatalf("reply %q: %v", f.payload, err)
		}
		c.replies[reply.Balance] = true
	}
	return f
}

// await reads an acknowledgement of that id, and the replies before it.
func (c *persistent) await(kind byte, id uint16) {
	c.t.Helper()
	f := c.read()
	for f.kind == typePublish {
		f = c.read()
	}
	if f.kind != kind || f.id != id || kind != typeSuback && f.reason != 0 {
		c.t.Fatalf("packet type %d of %d with 0x%02x, want type %d of %d", f.kind, f.id, f.reason, kind, id)
	}
}

const (
	resumeRounds = 5   // how often the gateway is killed
	resumeFloor  = 300 // replies before a kill
	resumeWindow = 20  // operations of a depositor on their way
)

// TestResumeUnderLoadWithKill kills the gateway under clients whose sessions persist. They come back to their sessions and
// deliver again what was not acknowledged. In the end each operation was executed once and each has had its reply, in order.
func TestResumeUnderLoadWithKill(t *testing.T) {
	k := newKillable(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	replied := make(chan struct{}, 2*resumeFloor)
	stop := make(chan struct{})
	cancel := sync.OnceFunc(func() { close(stop) })
	depositors := make([]*depositor, 4)
	failed := make(chan error, len(depositors))
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	for i := range depositors {
		depositors[i] = &depositor{
			id: fmt.Sprint("depositor", i), level: byte(4 + i%2), address: k.address, random: rand.New(rand.NewPCG(seed, uint64(i))),
			stop: stop, replied: replied, seen: map[uint64]bool{},
		}
		working.Go(func() {
			if err := depositors[i].run(); err != nil {
				failed <- err
			}
		})
	}
	for round := range resumeRounds {
		for len(replied) > 0 { // of the round before
			<-replied
		}
		for range resumeFloor {
			select {
			case <-replied:
			case err := <-failed:
				t.Fatalf("round %d: %v", round, err)
			case <-time.After(patience):
				t.Fatalf("round %d: nobody is answered", round)
			}
		}
		k.kill()
	}
	cancel()
	working.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	found := k.deposits()
	for _, d := range depositors {
		for n := range d.issued {
			if times := found[d.memo(n)]; times != 1 {
				t.Errorf("%s was executed %d times", d.memo(n), times)
			}
		}
		t.Logf("%s: %d operations, %d replies resent", d.id, d.issued, d.resent)
	}
}

// depositor is a client of TestResumeUnderLoadWithKill.
type depositor struct {
	id      string
	level   byte
	address string
	random  *rand.Rand
	stop    <-chan struct{} // closed: no new operations
	replied chan<- struct{} // a token for each reply, while there is room

	link       *link
	subscribed bool
	issued     int
	lastID     uint16
	open       []*message
	seen       map[uint64]bool // entries whose reply has come
	last       uint64          // the last of them
	resent     int
}

func (d *depositor) memo(n int) string { return fmt.Sprint(d.id, " ", n) }

func (d *depositor) stopped() bool {
	select {
	case <-d.stop:
		return true
	default:
		return false
	}
}

// run goes on until it is told to stop and every operation was acknowledged and replied to.
func (d *depositor) run() error {
	for !d.stopped() || len(d.open) > 0 || len(d.seen) < d.issued {
		if d.link == nil {
			if err := d.connect(); err != nil {
				return fmt.Errorf("%s: %w", d.id, err)
			}
		}
		d.issue()
		f, err := d.link.read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%s: %d issued, %d open, %d replies: %w", d.id, d.issued, len(d.open), len(d.seen), err)
		}
		if err != nil { // killed
			_ = d.link.conn.Close()
			d.link = nil
			continue
		}
		if err := d.take(f); err != nil {
			return fmt.Errorf("%s: %w", d.id, err)
		}
	}
	if d.link != nil {
		_ = d.link.conn.Close()
	}
	return nil
}

// connect comes back to the session, as soon as there is a gateway again, and delivers again what was not acknowledged.
func (d *depositor) connect() error {
	present := false
	for deadline := time.Now().Add(patience); ; {
		var err error
		if d.link, present, err = connectLink(d.address, d.id, d.level); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return err
		}
		<-time.After(recoveryTime / 10)
	}
	if !d.subscribed {
		d.link.subscribe("bank/replies/" + d.id)
		return nil
	}
	if !present {
		return errors.New("the session did not survive")
	}
	for _, m := range d.open {
		if m.released {
			d.link.sendID(typePubrel<<4|2, m.id)
		} else {
			m.again = true
			d.link.publish(m)
		}
	}
	return nil
}

func (d *depositor) issue() {
	for ; d.subscribed && !d.stopped() && len(d.open) < resumeWindow; d.issued++ {
		for d.lastID = d.lastID%(3*resumeWindow) + 1; d.find(d.lastID) != nil; { // ids come round often
			d.lastID = d.lastID%(3*resumeWindow) + 1
		}
		m := &message{qos: 1 + byte(d.random.IntN(2)), id: d.lastID, payload: depositOf(d.id, d.memo(d.issued))}
		d.open = append(d.open, m)
		d.link.publish(m)
	}
}

func (d *depositor) find(id uint16) *message {
	for _, m := range d.open {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (d *depositor) take(f frame) error {
	m := d.find(f.id)
	switch {
	case f.kind == typePublish:
		return d.takeReply(f)
	case f.kind == typeSuback:
		d.subscribed = true
	case f.reason != 0 && f.kind != typePubcomp: // a PUBREL that is sent again may find nothing
		return fmt.Errorf("packet type %d of %d with 0x%02x", f.kind, f.id, f.reason)
	case m == nil:
	case f.kind == typePubrec:
		m.released = true
		d.link.sendID(typePubrel<<4|2, m.id)
	case f.kind == typePuback || f.kind == typePubcomp:
		d.open = slices.DeleteFunc(d.open, func(other *message) bool { return other == m })
	}
	return nil
}

func (d *depositor) takeReply(f frame) error {
	var reply struct {
		Status bool
		Seq    uint64
	}
	if err := json.Unmarshal(f.payload, &reply); err != nil || !reply.Status {
		return fmt.Errorf("reply %q: %v", f.payload, err)
	}
	switch {
	case d.seen[reply.Seq]:
		d.resent++
	case reply.Seq < d.last:
		return fmt.Errorf("the reply of entry %d comes after that of %d", reply.Seq, d.last)
	default:
		d.seen[reply.Seq], d.last = true, reply.Seq
		select {
		case d.replied <- struct{}{}:
		default:
		}
	}
	d.link.sendID(typePuback<<4, f.id)
	return nil
}
