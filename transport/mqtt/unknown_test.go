package mqtt_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

// What happens to operations of sessions that persist when a disk fails between two steps. Each of these windows moved money twice,
// or acknowledged what was never done.

// A commit fails after its entries have become durable, and a checkpoint asks the bank in between: it must not say that it has those
// entries, for it has an operation whose outcome nobody knew.
func TestNoCheckpointIsMadeOfABankThatFails(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	n := note{qos: 1, id: 7, payload: deposit("1", 20)}
	durable := make(chan struct{})
	tell := h.engine.pause(sync.OnceFunc(func() { close(durable) }))
	p.publish(n)
	<-durable
	over := make(chan struct{})
	go func() {
		h.server.Checkpoint()
		close(over)
	}()
	<-h.checks
	h.engine.lost.Store(true)
	tell()
	<-over
	h = h.recovered()
	p, _ = enter(t, h.address, keeps(5, "c"))
	n.dup = 1
	p.publish(n)
	p.acked(tPuback, 7)
	if h.entries() != 1 {
		t.Errorf("%d entries", h.entries())
	}
}

// recovered is killed, of a house whose engine is lost. The next one has an engine that works.
func (k *keptHouse) recovered() *keptHouse {
	k.t.Helper()
	k.awaitFailure()
	records := k.die()
	k.engine.lost.Store(false)
	return moveIn(k.t, k.engine, records, k.change)
}

// A checkpoint is written while a QoS 2 operation of unknown outcome waits for the answer before it. The packet id is taken.
func TestACheckpointHasAWaitingOperationOfUnknownOutcome(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			n := note{qos: 2, id: 7, payload: deposit("1", 20)}
			h.shelf.set(func() {
				h.shelf.writing = sync.OnceFunc(func() {
					h.shelf.hold()
					p.publish(note{qos: 1, id: 1, payload: `{"op":"balance","account":"1"}`})
					h.mustWait(t, p) // for its record
					h.engine.lost.Store(true)
					p.publish(n)
					h.awaitFailure()
				})
			})
			h.server.Checkpoint()
			h = h.recovered()
			p, _ = enter(t, h.address, keeps(level, "c"))
			n.dup = 1
			p.publish(n)
			p.acked(tPubrec, 7)
			if h.entries() != 1 {
				t.Errorf("level %d: %d entries", level, h.entries())
			}
		})
	}
}

// An operation of unknown outcome left no entry. If it was acknowledged with yes, its "unavailable" comes, though the process was
// killed before anybody read it; and with a store that keeps no record of that, it is not acknowledged, and done when it comes again.
func TestWhatIsAcknowledgedIsAnsweredThoughNobodyKnew(t *testing.T) {
	for _, test := range []struct {
		level, qos byte
		failed     bool
	}{
		{3, 1, false}, {4, 1, false}, {3, 2, false}, {4, 2, false}, {5, 2, false},
		{3, 1, true}, {4, 1, true}, {3, 2, true}, {4, 2, true}, {5, 2, true},
	} {
		t.Run(fmt.Sprintf("level %d QoS %d failed %v", test.level, test.qos, test.failed), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(test.level, "c"))
			h.shelf.set(func() { h.shelf.failed = test.failed })
			h.engine.lost.Store(true)
			n := note{qos: test.qos, id: 7, payload: deposit("1", 20)}
			p.publish(n)
			if !test.failed {
				p.ack(ackOf[test.qos], 7, 0)
			}
			if a := p.answer(p.expect(tPublish)); a.Code != "unavailable" {
				t.Errorf("%+v", a)
			}
			h.awaitFailure()
			h = moveIn(t, newEngine(), h.die(), nil)
			p, _ = enter(t, h.address, keeps(test.level, "c"))
			if !test.failed {
				if a, _ := p.reply(1); a.Code != "unavailable" {
					t.Errorf("%+v", a)
				}
				return
			}
			n.dup = 1
			p.publish(n)
			p.ack(ackOf[test.qos], 7, 0)
			if a, _ := p.reply(1); a.Balance != "20.00" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// An operation that is refused between the turn of a checkpoint and its writing is in both, and still refused.
func TestARefusalInACheckpointAndBehindItIsOne(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	n := note{qos: 1, id: 8, payload: deposit("1", 1)}
	h.shelf.set(func() {
		h.shelf.writing = sync.OnceFunc(func() {
			h.engine.lost.Store(true)
			for id := uint16(7); id <= n.id; id++ {
				p.publish(note{qos: 1, id: id, payload: n.payload})
				p.ack(tPuback, id, 0x83)
				p.expect(tPublish)
			}
		})
	})
	h.server.Checkpoint()
	h.shelf.settle()
	h = h.recovered()
	p, _ = enter(t, h.address, keeps(5, "c"))
	n.dup = 1
	p.publish(n)
	p.acked(tPuback, 8)
	if h.entries() != 2 {
		t.Errorf("%d entries: acknowledged, and not done", h.entries())
	}
}

// A PUBREL that comes again, on the connection or the next one, is answered when the release is on stable storage, and not before.
func TestAPubrelThatComesAgainWaitsForTheFirst(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
			p.acked(tPubrec, 7)
			p.settle()
			release := h.shelf.hold()
			p.pubrel(7)
			p.pubrel(7)
			h.mustWait(t, p)
			release()
			p.acked(tPubcomp, 7)
			p.acked(tPubcomp, 7)
		})
	}
}

func TestAPubrelIsNotAnsweredBeforeItIsKeptThoughItComesAgain(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
			p.acked(tPubrec, 7)
			p.settle()
			h.shelf.set(func() { h.shelf.full = true })
			p.pubrel(7)
			p.quiet()
			h.shelf.settle()
			h.shelf.set(func() { h.shelf.full = false })
			p.conn.Close()
			h.server.AwaitDetached("c")
			p, _ = enter(t, h.address, keeps(level, "c"))
			p.pubrel(7)
			p.acked(tPubcomp, 7) // after the next checkpoint
			h = h.killed()
			p, _ = enter(t, h.address, keeps(level, "c"))
			p.publish(note{qos: 2, id: 7, dup: 1, payload: deposit("1", 1)}) // whose first was lost with the process
			p.acked(tPubrec, 7)
			if h.entries() != 2 {
				t.Errorf("level %d: acknowledged, and not done: %d entries", level, h.entries())
			}
		})
	}
}

// As many operations as may be under way are known after a restart.
func TestAllThatMayBeUnderWayIsKnownAfterAKill(t *testing.T) {
	const most = 1500
	h := keep(t, func(o *mqtt.Options) { o.InFlight = most })
	p, _ := enter(t, h.address, keeps(5, "c"))
	for id := uint16(1); id <= most; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
	}
	for range most {
		p.expect(tPuback)
	}
	h = h.killed()
	p, _ = enter(t, h.address, keeps(5, "c"))
	p.publish(note{qos: 1, id: 1, dup: 1, payload: deposit("1", 1)})
	p.acked(tPuback, 1)
	if h.entries() != most {
		t.Errorf("%d entries", h.entries())
	}
}

// A session ends with its connection, and its end is on the way to the disk when the next CONNECT comes: no session is promised that
// is new before a restart would think so too.
func TestANewSessionWaitsForTheEndOfTheOldOne(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	h.shelf.settle()
	release := h.shelf.hold()
	p.send(framed(tDisconnect<<4, append([]byte{0, 5}, property(0x11, uint32(0))...)))
	h.server.AwaitDetached("c")
	next := call(t, h.address)
	next.send(hello{id: "c"}.bytes())
	h.mustWait(t, next)
	release()
	next.expect(tConnack)
	h = h.killed()
	if _, ack := enter(t, h.address, keeps(5, "c")); ack.present {
		t.Error("the session is back")
	}
}

// A session has expired and was thrown away, and nothing of that is on stable storage, not even when its connection ended: a restart
// would take it for connected. No session is promised that is new before it cannot come back.
func TestANewSessionWaitsForTheEndOfOneThatHasExpired(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
	p.ack(tPubrec, 7, 0)
	p.settle()
	h.shelf.settle()
	release := h.shelf.hold()
	p.conn.Close()
	h.server.AwaitDetached("c")
	h.server.Later(8 * 24 * time.Hour)
	next := call(t, h.address)
	next.send(hello{id: "c"}.bytes())
	h.mustWait(t, next)
	release()
	if ack := next.expect(tConnack); ack.present {
		t.Error("it is there")
	}
	h = h.killed()
	if _, ack := enter(t, h.address, keeps(5, "c")); ack.present {
		t.Error("it is back")
	}
}

// Two sessions of one client id have ended on a full disk. Neither comes back.
func TestAllSessionsWhoseEndWasNotKeptAreOver(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	p.conn.Close()
	h.server.AwaitDetached("c")
	h.shelf.settle()
	h.shelf.set(func() { h.shelf.full = true })
	clean := keeps(5, "c")
	clean.stored = false
	if k := call(t, h.address).greet(clean); k.reason != 0x88 {
		t.Fatalf("CONNACK 0x%02x", k.reason)
	}
	h.shelf.settle()
	h.shelf.set(func() { h.shelf.full = false })
	enter(t, h.address, hello{id: "c"})
	h = h.killed()
	if _, ack := enter(t, h.address, keeps(5, "c")); ack.present {
		t.Error("a session is back")
	}
}

func TestSessionsWhoseEndIsNotKeptAreLimited(t *testing.T) {
	h := keep(t, nil)
	clean := keeps(5, "c")
	clean.stored = false
	enter(t, h.address, clean)
	h.shelf.settle()
	h.shelf.set(func() { h.shelf.full = true })
	for range 2 * mqtt.MaxUnended {
		if k := call(t, h.address).greet(clean); k.reason != 0x88 {
			t.Fatalf("CONNACK 0x%02x", k.reason)
		}
	}
	h.shelf.settle()
	if n := h.server.Unended("c"); n != mqtt.MaxUnended {
		t.Errorf("%d ends wait", n)
	}
	h.shelf.set(func() { h.shelf.full = false })
	h.server.Checkpoint()
	enter(t, h.address, clean)
	if n := h.server.Unended("c"); n != 0 {
		t.Errorf("%d ends wait after a checkpoint", n)
	}
}

// A CONNECT that is refused for want of space leaves the session as it was, with what it is owed.
func TestARefusedConnectLeavesTheSession(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	n := note{qos: 1, id: 1, payload: deposit("1", 1)}
	p.publish(n)
	p.ack(tPuback, 1, 0)
	p.conn.Close()
	h.server.AwaitDetached("c")
	h.shelf.settle()
	h.shelf.set(func() { h.shelf.full = true })
	if k := call(t, h.address).greet(hello{id: "c", stored: true}); k.reason != 0x88 { // it would end with its connection
		t.Fatalf("CONNACK 0x%02x", k.reason)
	}
	h.shelf.settle()
	h.shelf.set(func() { h.shelf.full = false })
	p, ack := enter(t, h.address, keeps(5, "c"))
	if !ack.present {
		t.Fatal("the session is gone")
	}
	if a, _ := p.reply(1); a.Balance != "1.00" {
		t.Errorf("%+v", a)
	}
}

// A clean start is refused before it has ended anything, and its own session's end, which it is about to keep, is not held against
// it: neither where as many ends wait as may, nor where there are more sessions than there may be any more.
func TestACleanStartAtTheLimitIsTakenOrChangesNothing(t *testing.T) {
	stored := keeps(5, "c")
	clean := stored
	clean.stored = false
	h := keep(t, nil)
	h.server.Limits(1, 100, 100)
	listening(t, h.address, stored).conn.Close()
	h.server.AwaitDetached("c")
	if p, ack := enter(t, h.address, clean); ack.present {
		t.Error("the session is there after a clean start")
	} else {
		p.conn.Close()
	}
	h.server.AwaitDetached("c")

	h.server.Limits(2, 100, 100)
	enter(t, h.address, keeps(5, "d"))
	h.server.Limits(1, 100, 100)
	if p, ack := enter(t, h.address, clean); ack.present {
		t.Error("the session is there after a clean start in a smaller house")
	} else {
		p.conn.Close()
	}
	h.server.AwaitDetached("c")

	h.shelf.settle()
	h.server.Limits(3, 100, 100)
	h.shelf.set(func() { h.shelf.full = true })
	if k := call(t, h.address).greet(keeps(5, "e")); k.reason != 0x88 { // which leaves an end that waits
		t.Fatalf("on a full disk: CONNACK 0x%02x", k.reason)
	}
	h.shelf.set(func() { h.shelf.full = false })
	h.server.Limits(1, 100, 100)
	if k := call(t, h.address).greet(clean); k.reason != 0x88 {
		t.Fatalf("with too many ends that wait: CONNACK 0x%02x", k.reason)
	}
	h.server.Checkpoint()
	if _, ack := enter(t, h.address, stored); !ack.present {
		t.Error("the CONNECT that was refused has ended the session")
	}
}
