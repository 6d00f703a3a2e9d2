package mqtt_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"gateway/transport/mqtt"
)

// stopping begins to stop the house and returns what Serve will return.
func (h *house) stopping() <-chan error {
	stopped := make(chan error, 1)
	go func() { stopped <- h.stop() }()
	return stopped
}

func TestShutdownAnswersWhatWasAccepted(t *testing.T) {
	h := build(t, nil)
	idle5, _ := enter(t, h.address, hello{id: "idle5"})
	idle4, _ := enter(t, h.address, hello{id: "idle4", level: 4})
	silent := call(t, h.address) // never says a word
	half := call(t, h.address)   // and one that stops in the middle of its CONNECT
	half.send(hello{id: "half"}.bytes()[:9])
	web, _ := surf(t, h.web, "", "mqtt")
	web.greet(hello{id: "web"})
	waiting := call(t, h.web) // and one that never becomes a WebSocket
	release := h.engine.hold()
	p := listening(t, h.address, hello{id: "c"})
	const count = 50
	for id := uint16(1); id <= count; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
	}
	<-h.engine.entered
	p.quiet()
	stopped := h.stopping()
	idle5.gone(0x8b)
	idle4.gone(0)
	silent.gone(0)
	half.gone(0)
	web.gone(0x8b)
	waiting.gone(0)
	if _, err := net.Dial("tcp", h.address); err == nil {
		t.Error("the listener is still open")
	}
	for id := uint16(1000); id < 1300; id++ { // too late: they get nothing
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
	}
	release()
	acks, replies := 0, 0
	for acks < count || replies < count {
		switch k := p.next(); k.kind {
		case tPuback:
			acks++
		case tPublish:
			replies++
		default:
			t.Fatalf("packet type %d after %d acks and %d replies", k.kind, acks, replies)
		}
	}
	p.gone(0x8b)
	if err := <-stopped; err != nil || h.entries() != count {
		t.Errorf("%v, %d entries", err, h.entries())
	}
}

func TestShutdownWaitsForTheWindow(t *testing.T) {
	h := build(t, nil)
	release := h.engine.hold()
	p, _ := enter(t, h.address, hello{id: "c", properties: property(0x21, uint16(1))})
	p.subscribe(1, "bank/replies/c", 1)
	for id := uint16(1); id <= 5; id++ {
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
	}
	<-h.engine.entered
	p.quiet()
	stopped := h.stopping()
	release()
	for range 10 {
		if k := p.next(); k.kind == tPublish {
			p.puback(k.id)
		}
	}
	p.gone(0x8b)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBoundedWhateverPeersDo(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.WriteTimeout = time.Minute })
	h.server.Drain(500 * time.Millisecond)
	p := listening(t, h.address, hello{id: "c", level: 4}) // reads nothing more
	p.clog()
	began := time.Now()
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 500*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v; log:\n%s", took, h.log)
	}
	if mqtt.MaxDrain != 10*time.Second {
		t.Errorf("PROTOCOL.md says ten seconds, the server %v", mqtt.MaxDrain)
	}
}

func TestAListenerThatFailsEndsServe(t *testing.T) {
	l := listen(t)
	h := build(t, nil, mqtt.Listener{Net: l})
	p, _ := enter(t, h.address, hello{id: "c"})
	l.Close()
	p.gone(0x8b)
	if err := h.stop(); err == nil {
		t.Error("no error")
	}
	h.stop = func() error { return nil }
}

// Rights are revoked while the server stops: the race detector sees who counts on what.
func TestRightsAreRevokedWhileItStops(t *testing.T) {
	for range 60 {
		h := build(t, nil)
		for n := range 4 {
			enter(t, h.address, hello{id: fmt.Sprint("c", n), level: 4})
		}
		stopped := h.stopping()
		for over := false; !over; {
			select {
			case err := <-stopped:
				over = true
				if err != nil {
					t.Error(err)
				}
			default:
				h.server.Revoke(func(string) bool { return true })
			}
		}
	}
}
