package mqtt_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

func TestQoS2IsDoneOnceAcrossAKill(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			n := note{qos: 2, id: 7, payload: deposit("1", 20)}
			p := listening(t, h.address, keeps(level, "c"))
			p.publish(n)
			p.acked(tPubrec, 7)
			for range 3 {
				h = h.killed()
				p, _ = enter(t, h.address, keeps(level, "c"))
				n.dup = 1
				p.publish(n)
				p.acked(tPubrec, 7)
				h.server.Checkpoint()
			}
			p.pubrel(7)
			p.acked(tPubcomp, 7)
			h = h.killed()
			p, _ = enter(t, h.address, keeps(level, "c"))
			n.dup = 0
			p.publish(n) // the id is free: this is another operation
			p.acked(tPubrec, 7)
			if h.entries() != 2 {
				t.Errorf("%d entries", h.entries())
			}
		})
	}
}

// An engine that fails may have written what it could not sync. PUBREC must not give the packet id back, or the next operation
// of that id is acknowledged after the restart and never done. The simulation found it.
func TestAQoS2OperationOfUnknownOutcomeKeepsItsPacketID(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			h.engine.lost.Store(true)
			p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
			p.ack(tPubrec, 7, 0)
			if a, _ := p.reply(1); a.Code != "unavailable" {
				t.Errorf("%+v", a)
			}
			h.engine.lost.Store(false)
			h = h.killed()
			p, _ = enter(t, h.address, keeps(level, "c"))
			p.pubrel(7)
			p.acked(tPubcomp, 7)
			p.publish(note{qos: 2, id: 7, payload: deposit("1", 1)})
			p.acked(tPubrec, 7)
			if h.entries() != 2 {
				t.Errorf("%d entries", h.entries())
			}
		})
	}
}

// acked reads until the success of that packet comes, and acknowledges the replies on the way.
func (p *peer) acked(kind byte, id uint16) {
	p.t.Helper()
	for {
		k := p.next()
		switch {
		case k.kind == tPublish:
			p.puback(k.id)
		case k.kind == kind && k.id == id && k.reason == 0:
			return
		default:
			p.t.Fatalf("%s: packet type %d of %d with 0x%02x, want type %d of %d", p.id, k.kind, k.id, k.reason, kind, id)
		}
	}
}

func TestARedeliveryAfterAKillGetsTheFirstAnswer(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		for name, payload := range map[string]string{
			"an entry": deposit("1", 20), "a balance": `{"op":"balance","account":"1"}`,
			"a refusal": `{"op":"withdraw","account":"1","amount":5}`,
		} {
			t.Run(fmt.Sprint(name, ", level ", level), func(t *testing.T) {
				h := keep(t, nil)
				p := listening(t, h.address, keeps(level, "c"))
				n := note{qos: 1, id: 7, payload: payload}
				p.publish(n)
				p.ack(tPuback, 7, 0)
				first, _ := p.reply(1)
				p.quiet()
				h.server.Record()
				h = h.killed()
				p, _ = enter(t, h.address, keeps(level, "c"))
				p.quiet() // the reply was acknowledged
				p.publish(note{qos: 1, id: 9, payload: deposit("1", 100)})
				p.ack(tPuback, 9, 0)
				p.reply(1)
				n.dup = 1
				p.publish(n)
				p.ack(tPuback, 7, 0)
				if again, _ := p.reply(1); again != first {
					t.Errorf("answered %+v, first %+v", again, first)
				}
			})
		}
	}
}

// TestACheckpointCountsWhatWasTold makes an entry durable just before a checkpoint is written, and keeps its client from being told
// until that is done: the checkpoint must not say that it has the entry, for it does not have the operation.
func TestACheckpointCountsWhatWasTold(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	n := note{qos: 1, id: 7, payload: deposit("1", 20)}
	tell := func() {}
	once := sync.OnceFunc(func() {
		durable := make(chan struct{})
		tell = h.engine.pause(sync.OnceFunc(func() { close(durable) }))
		p.publish(n)
		<-durable
	})
	h.shelf.set(func() { h.shelf.writing = once })
	h.server.Checkpoint()
	tell()
	p.ack(tPuback, 7, 0)
	first := p.answer(p.expect(tPublish)) // which is not acknowledged
	h = h.killed()
	p, _ = enter(t, h.address, keeps(5, "c"))
	if again, _ := p.reply(1); again != first {
		t.Errorf("after the restart %+v, before it %+v", again, first)
	}
	n.dup = 1
	p.publish(n)
	p.acked(tPuback, 7)
	if h.entries() != 1 {
		t.Errorf("%d entries", h.entries())
	}
}

// A sync fails while a checkpoint is made, and the client takes "unavailable" for its answer but not the PUBACK. What it delivers again
// is not new, because the entry was written after all. The simulation found it.
func TestACheckpointBesideAFailedSyncRemembersWhatIsNotKnown(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			n := note{qos: 1, id: 7, payload: deposit("1", 20)}
			h.shelf.set(func() {
				h.shelf.writing = sync.OnceFunc(func() {
					h.engine.lost.Store(true)
					p.publish(n)
					p.expect(tPuback) // or is it lost?
					if a, _ := p.reply(1); a.Code != "unavailable" {
						t.Errorf("%+v", a)
					}
					p.quiet()
				})
			})
			h.server.Checkpoint()
			h.engine.lost.Store(false)
			h = h.killed()
			p, _ = enter(t, h.address, keeps(level, "c"))
			n.dup = 1
			p.publish(n)
			p.ack(tPuback, 7, 0)
			if again, _ := p.reply(1); again.Balance != "20.00" {
				t.Errorf("%+v", again)
			}
			if h.entries() != 1 {
				t.Errorf("%d entries", h.entries())
			}
		})
	}
}

// Replies come again in the order of their entries, with their packet ids, and with DUP when they were sent before.
func TestRepliesWaitAcrossAKill(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			hello := keeps(level, "c")
			hello.properties = append(hello.properties, map[byte][]byte{5: property(0x21, uint16(3))}[level]...)
			p := listening(t, h.address, hello)
			const count = 8
			for id := uint16(1); id <= count; id++ {
				payload := deposit("1", 1)
				if id%3 == 0 {
					payload = `{"op":"balance","account":"1"}`
				}
				p.publish(note{qos: 1 + byte(id%2), id: id, payload: payload})
			}
			sent := map[uint16]string{}
			for acks := 0; acks < count; {
				if k := p.next(); k.kind == tPublish {
					sent[k.id] = string(k.payload)
				} else {
					acks++
				}
			}
			for _, k := range p.settle() {
				sent[k.id] = string(k.payload)
			}
			if level == 5 && len(sent) != 3 {
				t.Fatalf("%d replies were sent, the client takes 3", len(sent))
			}
			h = h.killed()
			h.server.Checkpoint()
			h = h.killed()
			p, _ = enter(t, h.address, hello)
			for n := range count {
				a, k := p.reply(1)
				if want := fmt.Sprintf("%d.00", n+1-(n+1)/3); a.Balance != want || a.Code != "ok" {
					t.Errorf("reply %d: %+v, want a balance of %s", n, a, want)
				}
				before, wasSent := sent[k.id]
				if !k.dup() || wasSent && before != string(k.payload) { // all may have been sent: the client was connected
					t.Errorf("reply %d: packet id %d, DUP %v, it was sent: %v", n, k.id, k.dup(), wasSent)
				}
			}
			p.quiet()
			h.server.Record()
			h = h.killed()
			p, _ = enter(t, h.address, hello)
			p.quiet()
			if n := h.server.Waiting(); n != 0 {
				t.Errorf("%d replies wait", n)
			}
		})
	}
}

// Of a session that had no connection when the gateway died, it is known which replies were sent.
func TestRepliesNeverSentComeWithoutDUP(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(4, "c"))
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.expect(tPublish)
	release := h.engine.hold()
	p.publish(note{qos: 1, id: 2, payload: deposit("1", 1)})
	<-h.engine.entered
	p.conn.Close()
	h.server.AwaitDetached("c")
	release()
	h = h.killed()
	p, _ = enter(t, h.address, keeps(4, "c"))
	for n, dup := range []bool{true, false} {
		if a, k := p.reply(1); a.Seq != uint64(n+1) || k.dup() != dup {
			t.Errorf("reply of entry %d with DUP %v", a.Seq, k.dup())
		}
	}
}

func TestNothingOfAKeptSessionIsSaidBeforeItIsDurable(t *testing.T) {
	h := keep(t, nil)
	release := h.shelf.hold()
	p := call(t, h.address)
	p.level, p.id = 5, "c"
	p.send(keeps(5, "c").bytes())
	h.mustWait(t, p)
	release()
	if k := p.expect(tConnack); k.reason != 0 {
		t.Fatalf("CONNACK 0x%02x", k.reason)
	}
	for name, step := range map[string]struct {
		sent []byte
		want []byte
	}{
		"SUBSCRIBE":   {framed(tSubscribe<<4|2, []byte{0, 1, 0}, text("bank/replies/c"), []byte{1}), []byte{tSuback}},
		"UNSUBSCRIBE": {framed(tUnsubscribe<<4|2, []byte{0, 1, 0}, text("bank/replies/c/x")), []byte{tUnsuback}},
		"a balance":   {note{qos: 1, id: 1, payload: `{"op":"balance","account":"1"}`}.bytes(5), []byte{tPuback}},
		"a refusal":   {note{qos: 2, id: 2, payload: `{"op":"withdraw","account":"1","amount":5}`}.bytes(5), []byte{tPubrec}},
	} {
		release := h.shelf.hold()
		p.send(step.sent)
		h.mustWait(t, p)
		release()
		for _, kind := range step.want {
			if k := p.next(); k.kind != kind && k.kind != tPublish {
				t.Errorf("%s: packet type %d, want %d", name, k.kind, kind)
			}
		}
		for _, k := range p.settle() {
			if k.kind == tPublish {
				p.puback(k.id)
			}
		}
	}
	release = h.shelf.hold()
	p.pubrel(2)
	h.mustWait(t, p)
	release()
	p.ack(tPubcomp, 2, 0)
}

// mustWait fails the test when something comes: the shelf has the record that it waits for, and has not kept it.
func (k *keptHouse) mustWait(t *testing.T, p *peer) {
	t.Helper()
	k.shelf.mu.Lock()
	defer k.shelf.mu.Unlock()
	for len(k.shelf.waiting) == 0 {
		k.shelf.changed.Wait()
	}
	p.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if got, err := p.read(); err == nil {
		t.Fatalf("packet type %d before it was durable", got.kind)
	}
	p.conn.SetReadDeadline(time.Now().Add(patience))
}

func TestWhatASessionIsSurvivesAKill(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	p.subscribe(2, "bank/replies/c/+", 0)
	p.send(framed(tUnsubscribe<<4|2, []byte{0, 3, 0}, text("bank/replies/c")))
	p.expect(tUnsuback)
	enter(t, h.address, hello{id: "passing"})
	enter(t, h.address, hello{id: "passing3", level: 4})
	h = h.killed()
	if n := h.server.Sessions(); n != 1 {
		t.Errorf("%d sessions, want that which persists", n)
	}
	p, ack := enter(t, h.address, keeps(5, "c"))
	if !ack.present {
		t.Error("the session is not there")
	}
	below := property(0x08, "bank/replies/c/x")
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)}, note{qos: 1, id: 2, properties: below, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.ack(tPuback, 2, 0)
	if a, k := p.reply(0); k.topic != "bank/replies/c/x" || a.Seq != 2 {
		t.Errorf("%s: %+v", k.topic, a)
	}
	p.quiet()
}

func TestHowAReplyIsToBeSentSurvivesAKill(t *testing.T) {
	h := keep(t, nil)
	p, _ := enter(t, h.address, keeps(5, "c"))
	p.subscribe(1, "bank/replies/c/#", 1)
	p.publish(note{qos: 1, id: 1, payload: "\x83\xa2op\xa7deposit\xa7account\xa11\xa6amount\x01", properties: join(
		property(0x03, "application/vnd.msgpack"), property(0x08, "bank/replies/c/a/b"), property(0x09, "a\x00b"),
	)})
	p.ack(tPuback, 1, 0)
	first := p.expect(tPublish)
	for _, step := range []func(){func() {}, func() { h.server.Checkpoint() }} {
		step()
		h = h.killed()
		p, _ = enter(t, h.address, keeps(5, "c"))
		again := p.expect(tPublish)
		if again.topic != "bank/replies/c/a/b" || string(again.payload) != string(first.payload) || !again.dup() ||
			again.properties[0x03] != "application/vnd.msgpack" || again.properties[0x09] != "a\x00b" {
			t.Errorf("%+v", again)
		}
	}
}

func TestACleanStartForgetsAcrossAKill(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := keep(t, nil)
			p := listening(t, h.address, keeps(level, "c"))
			p.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
			p.ack(tPubrec, 1, 0)
			p.expect(tPublish)
			p.conn.Close()
			clean := keeps(level, "c")
			clean.stored = false
			if _, ack := enter(t, h.address, clean); ack.present {
				t.Errorf("level %d: the session is there", level)
			}
			h = h.killed()
			p, ack := enter(t, h.address, keeps(level, "c"))
			if ack.present != (level == 5) { // of MQTT 5 the clean start's own session persists
				t.Errorf("level %d: present %v", level, ack.present)
			}
			p.quiet()
			p.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
			p.ack(tPubrec, 1, 0)
			if h.entries() != 2 {
				t.Errorf("level %d: %d entries", level, h.entries())
			}
		})
	}
}

func TestSessionsExpireAcrossAKill(t *testing.T) {
	h := keep(t, nil)
	for id, seconds := range map[string]uint32{"short": 10, "long": 1000, "connected": 10} {
		p, _ := enter(t, h.address, hello{id: id, stored: true, properties: property(0x11, seconds)})
		if id != "connected" {
			p.conn.Close()
			h.server.AwaitDetached(id)
		}
	}
	resumed, _ := enter(t, h.address, hello{id: "long", stored: true}) // without an expiry: it ends with its connection
	resumed.quiet()
	enter(t, h.address, keeps(5, "left"))
	h.server.Later(20 * time.Second)
	if n := h.server.Sessions(); n != 3 {
		t.Fatalf("%d sessions", n)
	}
	h = h.killed()
	if n := h.server.Sessions(); n != 2 {
		t.Errorf("%d sessions, want connected and left", n)
	}
	h.server.Later(5 * time.Second)
	h = h.killed() // which does not prolong it
	h.server.Later(11 * time.Second)
	if n := h.server.Sessions(); n != 1 {
		t.Errorf("%d sessions, want left", n)
	}
	h = h.killed()
	for id, want := range map[string]bool{"short": false, "long": false, "left": true} {
		if _, ack := enter(t, h.address, keeps(5, id)); ack.present != want {
			t.Errorf("%s: present %v", id, ack.present)
		}
	}
}

func TestASessionBelongsToItsPrincipalAcrossAKill(t *testing.T) {
	v := newVillage()
	h := keep(t, func(o *mqtt.Options) { o.Access = v })
	mine := keeps(5, "shared-c")
	mine.user = "ana"
	p, _ := enter(t, h.address, mine)
	p.conn.Close()
	h.server.AwaitDetached("shared-c")
	h.server.Checkpoint()
	h = h.killed()
	theirs := mine
	for _, theirs.user = range []string{"", "bia"} {
		if k := call(t, h.address).greet(theirs); k.reason != 0x87 {
			t.Errorf("%q: CONNACK 0x%02x", theirs.user, k.reason)
		}
	}
	if _, ack := enter(t, h.address, mine); !ack.present {
		t.Error("its owner does not find it")
	}
}

func TestAStoreWithoutSpaceLosesNothing(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(4, "c"))
	p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
	p.ack(tPubrec, 7, 0)
	p.reply(1)
	h.shelf.set(func() { h.shelf.full = true })
	if k := call(t, h.address).greet(keeps(5, "new")); k.reason != 0x88 {
		t.Errorf("a new session: CONNACK 0x%02x", k.reason)
	}
	enter(t, h.address, hello{id: "passing"})
	p.publish(note{qos: 1, id: 1, payload: `{"op":"balance","account":"1"}`})
	p.ack(tPuback, 1, 0) // balances go on
	if a, _ := p.reply(1); a.Balance != "20.00" {
		t.Errorf("%+v", a)
	}
	if k := p.subscribe(9, "bank/replies/c/x", 1); k.granted[0] != 0x80 {
		t.Errorf("a subscription: 0x%02x", k.granted[0])
	}
	p.pubrel(7)
	p.quiet() // the release is not durable
	h.server.Checkpoint()
	p.quiet()
	h.shelf.set(func() { h.shelf.full = false })
	h.server.Checkpoint()
	p.ack(tPubcomp, 7, 0)
	h = h.killed()
	p, _ = enter(t, h.address, keeps(4, "c"))
	p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
	p.acked(tPubrec, 7)
	if h.entries() != 2 {
		t.Errorf("%d entries", h.entries())
	}
}

// A subscription that is given up while the disk is full is not served from then on, and not after the next checkpoint's restart.
func TestWhatIsGivenUpOnAFullDiskStaysAway(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(4, "c"))
	h.shelf.set(func() { h.shelf.full = true })
	p.send(framed(tUnsubscribe<<4|2, []byte{0, 3}, text("bank/replies/c")))
	p.expect(tUnsuback)
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.quiet()
	h.shelf.set(func() { h.shelf.full = false })
	h.server.Checkpoint()
	h = h.killed()
	p, _ = enter(t, h.address, keeps(4, "c"))
	p.publish(note{qos: 1, id: 2, payload: deposit("1", 1)})
	p.ack(tPuback, 2, 0)
	p.quiet()
}

// A SUBSCRIBE that a full disk refuses changes nothing: what was subscribed before is served on, and no more filters are granted
// afterwards than a session may have.
func TestASubscribeThatIsRefusedOnAFullDiskChangesNothing(t *testing.T) {
	const most = 16
	h := keep(t, nil)
	p, _ := enter(t, h.address, keeps(4, "c"))
	p.subscribe(1, "bank/replies/c", 1)
	for n := range most - 2 {
		p.subscribe(2, fmt.Sprint("bank/replies/c/", n), 1)
	}
	h.shelf.set(func() { h.shelf.full = true })
	p.send(framed(tSubscribe<<4|2, []byte{0, 3}, text("bank/replies/c"), []byte{0}, text("bank/replies/c/new"), []byte{1}))
	if k := p.expect(tSuback); !bytes.Equal(k.granted, []byte{0x80, 0x80}) {
		t.Fatalf("on a full disk: %x", k.granted)
	}
	h.shelf.set(func() { h.shelf.full = false })
	for n, want := range []byte{1, 0x80, 0x80} {
		if k := p.subscribe(4, fmt.Sprint("bank/replies/c/more", n), 1); k.granted[0] != want {
			t.Errorf("%d more: 0x%02x", n+1, k.granted[0])
		}
	}
	h = h.killed()
	p, _ = enter(t, h.address, keeps(4, "c"))
	if k := p.subscribe(5, "bank/replies/c/yet another", 1); k.granted[0] != 0x80 {
		t.Errorf("after the restart: 0x%02x", k.granted[0])
	}
	p.publish(note{qos: 1, id: 6, payload: deposit("1", 1)})
	p.ack(tPuback, 6, 0)
	p.reply(1)
}

// The disk is full when a session ends, and the process is killed before a checkpoint: the session does not come back, and stands
// in nobody's way. The simulation found it.
func TestASessionWhoseEndWasNotKeptIsOver(t *testing.T) {
	for _, next := range []hello{keeps(5, "c"), {id: "c"}} {
		h := keep(t, nil)
		p := listening(t, h.address, keeps(5, "c"))
		p.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
		p.ack(tPubrec, 1, 0)
		p.expect(tPublish)
		p.conn.Close()
		h.shelf.set(func() { h.shelf.full = true })
		next.stored = false
		if k := call(t, h.address).greet(next); k.reason != 0x88 && (k.reason != 3 || next.level == 5) {
			t.Fatalf("CONNACK 0x%02x", k.reason)
		}
		h.shelf.set(func() { h.shelf.full = false })
		if _, ack := enter(t, h.address, next); ack.present {
			t.Error("the session is there")
		}
		h = h.killed()
		p, ack := enter(t, h.address, keeps(5, "c"))
		if ack.present != (next.level == 5) {
			t.Errorf("present %v", ack.present)
		}
		p.quiet()
		p.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
		p.ack(tPubrec, 1, 0)
		if h.entries() != 2 {
			t.Errorf("%d entries", h.entries())
		}
	}
}

// A session whose end a failed store did not keep comes back at the restart, with the packet ids that it has taken. Until then
// no new one is promised in its stead, however often it is asked for and whether that one would be kept. The simulation found it.
func TestNoSessionIsNewWhileARestartWouldFindTheOld(t *testing.T) {
	for _, next := range []hello{keeps(5, "c"), {id: "c", level: 5}, {id: "c", level: 4}, {id: "c", level: 3}} {
		h := keep(t, nil)
		p := listening(t, h.address, keeps(next.level, "c"))
		p.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
		p.ack(tPubrec, 1, 0)
		p.conn.Close()
		h.server.AwaitDetached("c")
		h.shelf.settle()
		h.shelf.set(func() { h.shelf.failed = true })
		next.stored = false
		for range 3 {
			if k := call(t, h.address).greet(next); k.reason != 0x88 && (k.reason != 3 || next.level == 5) {
				t.Fatalf("level %d: CONNACK 0x%02x", next.level, k.reason)
			}
		}
	}
}

// A connection that waits for another to give its session up gets an answer also when that other could not keep it. The
// simulation found it.
func TestATakeoverOfASessionThatCannotBeKeptEnds(t *testing.T) {
	h := keep(t, nil)
	release := h.shelf.hold()
	first := call(t, h.address)
	first.send(keeps(5, "c").bytes())
	h.mustWait(t, first)
	second := call(t, h.address)
	second.send(keeps(5, "c").bytes())
	if _, err := first.read(); err == nil {
		t.Fatal("the first was told something")
	}
	h.shelf.set(func() { h.shelf.full = true })
	release()
	if k := second.expect(tConnack); k.reason != 0x88 {
		t.Errorf("CONNACK 0x%02x", k.reason)
	}
}

// Of two connections that wait for a session, the one that came first does not come back later and end the other.
func TestOfThoseThatWaitForASessionTheLastHasIt(t *testing.T) {
	h := keep(t, nil)
	release := h.shelf.hold()
	defer release()
	first := call(t, h.address)
	first.send(keeps(5, "c").bytes())
	h.mustWait(t, first)
	second := call(t, h.address)
	second.send(keeps(5, "c").bytes())
	first.gone(0)
	third := call(t, h.address)
	third.send(keeps(5, "c").bytes())
	second.gone(0)
	h.mustWait(t, third)
	release()
	if k := third.expect(tConnack); k.reason != 0 {
		t.Errorf("CONNACK 0x%02x", k.reason)
	}
	third.quiet()
}

// After a store has failed, and before the process ends for it, nothing is said that a restart might not know.
func TestAStoreThatHasFailedSaysNothingUntrue(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(5, "c"))
	p.publish(note{qos: 2, id: 7, payload: deposit("1", 20)})
	p.acked(tPubrec, 7)
	p.settle()
	h.shelf.set(func() { h.shelf.failed = true })
	if k := call(t, h.address).greet(keeps(5, "new")); k.reason != 0x88 {
		t.Errorf("a new session: CONNACK 0x%02x", k.reason)
	}
	p.pubrel(7)
	p.quiet()
	if k := p.subscribe(9, "bank/replies/c/x", 1); k.granted[0] != 0x97 {
		t.Errorf("a subscription: 0x%02x", k.granted[0])
	}
	p.publish(note{qos: 1, id: 1, payload: `{"op":"balance","account":"1"}`})
	p.ack(tPuback, 1, 0x83)
	if a, _ := p.reply(1); a.Code != "unavailable" {
		t.Errorf("%+v", a)
	}
	p.publish(note{qos: 1, id: 2, payload: deposit("1", 1)}) // which has an entry
	p.ack(tPuback, 2, 0)
	if a, _ := p.reply(1); a.Balance != "21.00" {
		t.Errorf("%+v", a)
	}
	p.send(framed(tUnsubscribe<<4|2, []byte{0, 3}, withLength(5, nil), text("bank/replies/c")))
	p.gone(0)
}

func TestLimitsHoldAcrossAKill(t *testing.T) {
	h := keep(t, func(o *mqtt.Options) { o.Sessions, o.Waiting, o.InFlight = 1, 3, 1 })
	p := listening(t, h.address, keeps(4, "c"))
	for id := uint16(1); id <= 4; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
		p.ack(tPuback, id, 0)
		p.expect(tPublish)
	}
	h = h.killed()
	if k := call(t, h.address).greet(keeps(5, "d")); k.reason != 0x97 {
		t.Errorf("one session more: CONNACK 0x%02x", k.reason)
	}
	p, _ = enter(t, h.address, keeps(4, "c"))
	for range 4 {
		p.expect(tPublish)
	}
	p.publish(note{qos: 1, id: 9, payload: deposit("1", 1)})
	p.ack(tPuback, 9, 0)
	if a, _ := p.reply(0); a.Code != "overloaded" || h.entries() != 4 {
		t.Errorf("%+v, %d entries", a, h.entries())
	}
}

// Devices on links that break, of a gateway that is killed under them again and again, with checkpoints at any time.
func TestNothingIsLostOrDoneTwiceWhenTheGatewayIsKilled(t *testing.T) {
	h := keep(t, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 99))
	const devices, kills = 6, 8
	all := make([]*device, devices)
	for i := range all {
		all[i] = &device{level: byte(3 + i%3), id: fmt.Sprint("device", i), random: rand.New(rand.NewPCG(seed, uint64(i))), killed: true}
	}
	for round := range kills + 1 {
		var running sync.WaitGroup
		for _, d := range all {
			d.stand, d.stop = &stand{TB: t, address: h.address, patience: patience}, make(chan struct{})
			running.Go(func() {
				if err := d.run(); err != nil {
					t.Error(err)
				}
				if d.peer != nil {
					d.peer.conn.Close()
					d.peer = nil
				}
			})
		}
		if round < kills {
			for range 1 + random.IntN(3) {
				h.awaitEntries(random.IntN(devices * deviceOperations / kills))
				h.server.Checkpoint()
			}
			for _, d := range all {
				close(d.stop)
			}
			h = h.killedAtOnce()
		}
		running.Wait()
	}
	if h.entries() != devices*deviceOperations {
		t.Errorf("%d entries, want %d", h.entries(), devices*deviceOperations)
	}
}

// awaitEntries waits until so many more entries have been written, or all there will be.
func (k *keptHouse) awaitEntries(more int) {
	want := min(int(k.engine.durable.Load())+more, 6*deviceOperations)
	for deadline := time.Now().Add(patience); int(k.engine.durable.Load()) < want && time.Now().Before(deadline); {
		runtime.Gosched()
	}
}

// A session's incarnation may be that of one whose store is gone. The entries of that one are not its own.
func TestAStoreThatWasTakenAwayLeavesNothing(t *testing.T) {
	h := keep(t, nil)
	p := listening(t, h.address, keeps(4, "c"))
	for id := uint16(1); id <= 5; id++ {
		p.publish(note{qos: 2, id: id, payload: deposit("1", 1)})
		p.acked(tPubrec, id)
	}
	h.die()
	h = moveIn(t, h.engine, nil, nil)
	p = listening(t, h.address, keeps(4, "c"))
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.expect(tPublish)
	h = h.killed()
	p, _ = enter(t, h.address, keeps(4, "c"))
	if a, _ := p.reply(1); a.Seq != 6 {
		t.Errorf("%+v", a)
	}
	p.quiet()
	p.publish(note{qos: 2, id: 5, payload: deposit("1", 1)})
	p.acked(tPubrec, 5)
	if h.entries() != 7 {
		t.Errorf("%d entries", h.entries())
	}
}
