package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gateway/bank"
	"gateway/transport/mqtt"
)

// limited starts a house whose server has these limits.
func limited(t *testing.T, sessions, waiting int, waitingAll int64) *house {
	t.Helper()
	h := build(t, nil)
	h.server.Limits(sessions, waiting, waitingAll)
	return h
}

func TestTheNumberOfSessionsIsBounded(t *testing.T) {
	h := limited(t, 2, 10, 100)
	enter(t, h.address, keeps(5, "a"))
	b, _ := enter(t, h.address, keeps(5, "b"))
	b.conn.Close()
	for level, want := range map[byte]byte{3: 3, 4: 3, 5: 0x97} {
		if ack := call(t, h.address).greet(hello{id: "c", level: level}); ack.reason != want {
			t.Errorf("level %d: 0x%02x", level, ack.reason)
		}
	}
	enter(t, h.address, keeps(5, "b")) // those that are there may come back
	if n := h.server.Sessions(); n != 2 {
		t.Errorf("%d sessions", n)
	}
}

func TestExpiredSessionsLeaveNothing(t *testing.T) {
	h := build(t, nil)
	for _, level := range []byte{3, 4, 5} {
		p := listening(t, h.address, keeps(level, fmt.Sprint("c", level)))
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		p.next()
		p.next()
		p.conn.Close()
	}
	enter(t, h.address, hello{id: "connected"})
	if h.server.Sessions() != 4 || h.server.Waiting() != 3 {
		t.Fatalf("%d sessions, %d replies wait", h.server.Sessions(), h.server.Waiting())
	}
	h.server.AwaitDetached("c5")
	h.server.Later(3601 * time.Second)
	if h.server.Sessions() != 3 || h.server.Waiting() != 2 {
		t.Errorf("after an hour: %d sessions, %d replies wait", h.server.Sessions(), h.server.Waiting())
	}
	h.server.AwaitDetached("c3")
	h.server.AwaitDetached("c4")
	h.server.Later(8 * 24 * time.Hour)
	if h.server.Sessions() != 1 || h.server.Waiting() != 0 {
		t.Errorf("after a week: %d sessions, %d replies wait", h.server.Sessions(), h.server.Waiting())
	}
}

func TestWhoLetsRepliesWaitIsOverloaded(t *testing.T) {
	for _, level := range []byte{4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			h := limited(t, 10, 3, 100)
			hi := hello{id: "c", level: level}
			reason := byte(0)
			if level == 5 {
				hi.properties, reason = property(0x21, uint16(1)), 0x97
			}
			p := listening(t, h.address, hi)
			other := listening(t, h.address, hello{id: "other"})
			open := []uint16{}
			for id := uint16(1); id <= 3; id++ {
				p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
				p.ack(tPuback, id, 0)
				if level == 4 || id == 1 {
					open = append(open, p.expect(tPublish).id)
				}
			}
			for id := uint16(4); id <= 20; id++ { // nothing waits for these
				p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
				p.ack(tPuback, id, reason)
				if a, _ := p.reply(0); a.Code != "overloaded" {
					t.Errorf("level %d: %+v", level, a)
				}
			}
			other.publish(note{qos: 1, id: 1, payload: deposit("2", 1)})
			other.ack(tPuback, 1, 0)
			other.reply(1)
			p.puback(open[0])
			p.publish(note{qos: 1, id: 21, payload: deposit("1", 1)})
			balance := ""
			for n := len(open); n < 5 && balance != "4.00"; n++ {
				k := p.next()
				if k.kind == tPublish {
					p.puback(k.id)
					balance = p.answer(k).Balance
				}
			}
			if level == 4 && balance != "4.00" {
				t.Errorf("level %d: balance %s when there was room again", level, balance)
			}
		})
	}
}

func TestAllSessionsTogetherAreBounded(t *testing.T) {
	h := limited(t, 10, 100, 2)
	p := listening(t, h.address, keeps(5, "a"))
	p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)}, note{qos: 1, id: 2, payload: deposit("1", 1)})
	for range 4 {
		p.next()
	}
	q := listening(t, h.address, hello{id: "b"})
	q.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
	q.ack(tPubrec, 1, 0x97)
	if a, _ := q.reply(0); a.Code != "overloaded" {
		t.Errorf("%+v", a)
	}
	enter(t, h.address, hello{id: "a"}) // a clean start makes room
	q.publish(note{qos: 2, id: 1, payload: deposit("1", 1)})
	q.ack(tPubrec, 1, 0)
	q.reply(1)
	if h.entries() != 3 {
		t.Errorf("%d entries", h.entries())
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.InFlight = 50 })
	for level, limit := range map[byte]int{4: 1024, 5: 50} {
		p, _ := enter(t, h.address, hello{id: "c", level: level})
		const count = 1100
		for id := uint16(1); id <= count; id += 50 {
			for i := range uint16(50) {
				p.publish(note{qos: 1, id: id + i, payload: deposit("1", 1)})
			}
			for i := range uint16(50) {
				p.ack(tPuback, id+i, 0)
			}
		}
		if n := h.server.Remembered("c"); n != limit {
			t.Errorf("level %d: %d are remembered, want %d", level, n, limit)
		}
		before := h.entries()
		for id := uint16(count - 49); id <= count; id++ {
			p.publish(note{qos: 1, dup: 1, id: id, payload: deposit("1", 1)})
			p.ack(tPuback, id, 0)
		}
		if h.entries() != before {
			t.Errorf("level %d: %d redeliveries were executed", level, h.entries()-before)
		}
	}
	// A client that acknowledges replies shows that it has their acknowledgements too.
	p := listening(t, h.address, hello{id: "d", level: 4})
	for id := uint16(1); id <= 100; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
		p.ack(tPuback, id, 0)
		p.reply(1)
	}
	p.settle()
	if n := h.server.Remembered("d"); n != 32 {
		t.Errorf("%d are remembered, want 32", n)
	}
}

// closedBank takes nothing.
type closedBank struct{ err error }

func (b closedBank) Submit(context.Context, bank.Operation, func(bank.Reply, error)) error {
	return b.err
}

func TestABankThatTakesNothing(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason byte
		code   string
	}{
		{bank.ErrOverloaded, 0x97, "overloaded"}, {bank.ErrClosed, 0x83, "unavailable"}, {errors.New("on fire"), 0x83, "unavailable"},
	} {
		server, err := mqtt.New(closedBank{c.err}, mqtt.Options{Anonymous: true})
		if err != nil {
			t.Fatal(err)
		}
		l := listen(t)
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- server.Serve(ctx, []mqtt.Listener{{Net: l}}) }()
		for level := byte(4); level <= 5; level++ {
			p := listening(t, l.Addr().String(), hello{id: "c", level: level})
			for qos := byte(0); qos <= 2; qos++ {
				p.publish(note{qos: qos, id: 7, payload: deposit("1", 1)})
				if qos > 0 {
					p.ack(tPuback+qos-1, 7, map[byte]byte{4: 0, 5: c.reason}[level])
				}
				if a, _ := p.reply(min(qos, 1)); a.Code != c.code {
					t.Errorf("%v: %+v", c.err, a)
				}
			}
			p.conn.Close()
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for _, o := range []mqtt.Options{
		{OperationsTopic: "bank/#"}, {OperationsTopic: "$SYS/ops"}, {RepliesTopic: "bank/replies"}, {RepliesTopic: "{client_id}/{client_id}"},
		{RepliesTopic: "bank/+/{client_id}"}, {OperationsTopic: "bank/replies/ops"}, {RepliesTopic: "bank/{client_id}"},
		{OperationsTopic: "bank/replies/c/ops"}, {RepliesTopic: "{client_id}"}, {InFlight: 1 << 16}, {InFlight: -1}, {Message: -1},
		{OperationsTopic: mqtt.JournalTopic}, {OperationsTopic: mqtt.HeadTopic}, {OperationsTopic: "ops", RepliesTopic: "{client_id}/head"},
		{OperationsTopic: "ops", RepliesTopic: "bank/{client_id}"},
	} {
		if _, err := mqtt.New(closedBank{}, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := mqtt.New(closedBank{}, mqtt.Options{OperationsTopic: "ops", RepliesTopic: "r/{client_id}/x"}); err != nil {
		t.Error(err)
	}
}

func TestHowManyRepliesAreOnTheirWay(t *testing.T) {
	h := build(t, nil)
	for level, window := range map[byte]int{4: 256, 5: 1024} {
		p := listening(t, h.address, hello{id: "c", level: level})
		var ids []uint16
		for id := uint16(1); id <= 1200; {
			for range 200 {
				p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
				id++
			}
			for acks := 0; acks < 200; {
				if k := p.next(); k.kind == tPuback {
					acks++
				} else {
					ids = append(ids, k.id)
				}
			}
		}
		for _, k := range p.settle() {
			ids = append(ids, k.id)
		}
		if len(ids) != window {
			t.Errorf("level %d: %d replies are on their way, want %d", level, len(ids), window)
		}
		p.puback(ids[0])
		p.reply(1)
	}
}

func TestAReplyLargerThanItsClientTakes(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c", properties: join(property(0x27, uint32(150)), property(0x21, uint16(1)))})
	long := `{"op":"deposit","account":"1","amount":1,"id":"` + "0123456789012345678901234567890123456789" + `"}`
	for id := uint16(1); id <= 3; id++ {
		p.publish(note{qos: 1, id: id, payload: long})
		p.ack(tPuback, id, 0)
	}
	p.publish(note{qos: 1, id: 4, payload: deposit("1", 1)}) // fits: the others take no place
	p.ack(tPuback, 4, 0)
	if a, _ := p.reply(1); a.Balance != "2.00" {
		t.Errorf("%+v", a)
	}
	if h.server.Waiting() > 1 {
		t.Errorf("%d replies wait", h.server.Waiting())
	}
}

func TestTheLastAnswersAreGivenAgain(t *testing.T) {
	h := build(t, nil)
	p := listening(t, h.address, hello{id: "c"})
	for id := uint16(1); id <= 40; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
		p.ack(tPuback, id, 0)
		p.expect(tPublish)
	}
	p.publish(note{qos: 1, dup: 1, id: 1, payload: deposit("1", 1)})
	p.ack(tPuback, 1, 0)
	p.publish(note{qos: 1, dup: 1, id: 9, payload: deposit("1", 1)})
	p.ack(tPuback, 9, 0)
	if a, _ := p.reply(1); a.Seq != 9 {
		t.Errorf("%+v", a)
	}
	if h.entries() != 40 {
		t.Errorf("%d entries", h.entries())
	}
}

// Who reads nothing, in as many sessions as it may have, fills its own part of what may wait, and nobody else's. The bounds are the
// defaults, divided by 64.
func TestOneUsersUnreadRepliesHoldNoOther(t *testing.T) {
	h := build(t, func(o *mqtt.Options) {
		o.Access = newVillage()
		o.Sessions, o.Waiting, o.InFlight, o.WaitingAll = 1024, 64, 4, 4096
	})
	for s := range 1024 / 10 {
		hello := keeps(4, fmt.Sprint("ana-", s))
		hello.user = "ana"
		p := listening(t, h.address, hello)
		for n := range 64 + 4 {
			p.publish(note{qos: 1, id: uint16(n + 1), payload: `{"op":"balance","account":"1"}`})
		}
		p.settle()
		p.conn.Close()
		h.server.AwaitDetached(p.id)
	}
	if n := h.server.Waiting(); n != 4096/1024*(1024/10) {
		t.Errorf("%d replies wait", n)
	}
	bia := listening(t, h.address, hello{id: "bia", user: "bia"})
	bia.publish(note{qos: 1, id: 1, payload: deposit("2", 1)})
	bia.ack(tPuback, 1, 0)
	if a, _ := bia.reply(1); a.Code != "ok" {
		t.Errorf("bia is answered %+v", a)
	}
}

// A session that could not be kept, and whose end cannot be kept either, is remembered for its client id. Of such there are no more
// than sessions.
func TestRefusedSessionsAreBounded(t *testing.T) {
	const most = 10
	h := keep(t, func(o *mqtt.Options) { o.Sessions = most })
	h.shelf.set(func() { h.shelf.full = true })
	left := 0
	for n := range 5 * most {
		id := fmt.Sprint("c", n)
		p := call(t, h.address)
		if ack := p.greet(keeps(5, id)); ack.reason != 0x88 {
			t.Fatalf("CONNECT %d: 0x%02x", n, ack.reason)
		}
		p.conn.Close()
		left += h.server.Unended(id)
	}
	if left != most {
		t.Errorf("%d are remembered", left)
	}
	h.shelf.set(func() { h.shelf.full = false })
	h.server.Checkpoint()
	if _, ack := enter(t, h.address, keeps(5, "c")); ack.reason != 0 {
		t.Errorf("with space again: 0x%02x", ack.reason)
	}
}
