package mqtt_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"gateway/transport/mqtt"

	"github.com/gorilla/websocket"
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

// A client that goes on publishing while the server stops, and takes its time to read, has the acknowledgement and the reply of all
// that was accepted: a close with bytes unread would destroy them on their way.
func TestShutdownLetsClientsTakeWhatTheyWereAnswered(t *testing.T) {
	const count = 200
	for _, door := range []string{"plain", "WebSocket", "TLS", "WebSocket over TLS"} {
		for _, level := range []byte{4, 5} {
			t.Run(fmt.Sprint(door, ", level ", level), func(t *testing.T) {
				v := newVault(t, false)
				h := build(t, nil, v.listeners()...)
				p := map[string]func() *peer{
					"plain":              func() *peer { return newPeer(t, dialNarrow(t, h.address)) },
					"TLS":                func() *peer { return newPeer(t, tls.Client(dialNarrow(t, v.plain.Addr().String()), v.config())) },
					"WebSocket":          func() *peer { return surfOver(t, dialNarrow(t, h.web), nil) },
					"WebSocket over TLS": func() *peer { return surfOver(t, dialNarrow(t, v.web.Addr().String()), v.config()) },
				}[door]()
				p.greet(hello{id: "c", level: level})
				p.subscribe(1, "bank/replies/c", 0)
				for id := uint16(1); id <= count; id++ {
					p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
				}
				for h.engine.durable.Load() < count {
					runtime.Gosched()
				}
				stopped := h.stopping()
				for conn, err := net.Dial("tcp", h.address); err == nil; conn, err = net.Dial("tcp", h.address) {
					conn.Close()
				}
				var goingOn sync.WaitGroup
				late := make(chan struct{})
				goingOn.Go(func() {
					sent := 0
					for err := error(nil); err == nil; sent++ {
						if _, err = p.conn.Write(note{payload: deposit("1", 1)}.bytes(level)); sent == 1000 {
							close(late)
						}
					}
					if sent <= 1000 {
						close(late)
					}
				})
				<-late
				got := map[byte]int{}
				k, err := p.read()
				for ; err == nil; k, err = p.read() {
					got[k.kind]++
				}
				p.conn.Close()
				goingOn.Wait()
				if err := <-stopped; err != nil {
					t.Error(err)
				}
				if got[tPuback] != count || got[tPublish] != h.entries() || got[tDisconnect] != int(level-4) {
					t.Errorf("of %d entries, by packet type: %v, then %v", h.entries(), got, err)
				}
			})
		}
	}
}

// dialNarrow connects by a link whose segments are those of a network, with a socket that holds few bytes that are not read.
func dialNarrow(t *testing.T, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			err := errors.Join(syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400))
			if err != nil {
				t.Error(err)
			}
		})
	}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// surfOver opens a WebSocket on a connection, with TLS if there is a config.
func surfOver(t *testing.T, conn net.Conn, config *tls.Config) *peer {
	t.Helper()
	scheme := "ws"
	if config != nil {
		scheme = "wss"
	}
	dialer := websocket.Dialer{
		HandshakeTimeout: patience, Subprotocols: []string{"mqtt"}, TLSClientConfig: config,
		NetDial: func(string, string) (net.Conn, error) { return conn, nil },
	}
	socket, _, err := dialer.Dial(scheme+"://127.0.0.1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, &socketConn{Conn: socket})
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
	busy, _ := enter(t, h.address, hello{id: "busy", level: 4}) // goes on publishing for ever
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for err := error(nil); err == nil; {
			_, err = busy.conn.Write(note{payload: deposit("1", 1)}.bytes(4))
		}
	})
	defer publishing.Wait()
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
		var ends sync.WaitGroup
		for n := range 4 {
			p, _ := enter(t, h.address, hello{id: fmt.Sprint("c", n), level: 4})
			ends.Go(func() {
				p.read()
				p.conn.Close()
			})
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
		ends.Wait()
	}
}
