package mqtt_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gateway/transport/mqtt"

	"github.com/gorilla/websocket"
)

// socketConn makes a WebSocket client a stream; each Write is a message.
type socketConn struct {
	*websocket.Conn
	message io.Reader
}

func (s *socketConn) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			_, message, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			s.message = message
		}
		n, err := s.message.Read(p)
		if err != io.EOF {
			return n, err
		}
		s.message = nil
	}
}

func (s *socketConn) Write(p []byte) (int, error) {
	return len(p), s.WriteMessage(websocket.BinaryMessage, p)
}

func (s *socketConn) SetDeadline(t time.Time) error {
	s.SetWriteDeadline(t)
	return s.SetReadDeadline(t)
}

// surf opens a WebSocket and returns what the handshake was answered.
func surf(t testing.TB, address, origin string, protocols ...string) (*peer, *http.Response) {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: protocols}
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	socket, response, err := dialer.Dial("ws://"+address+"/mqtt", header)
	if err != nil {
		return nil, response
	}
	return newPeer(t, &socketConn{Conn: socket}), response
}

func TestWebSocketDeposits(t *testing.T) {
	h := build(t, nil)
	for _, level := range []byte{3, 4, 5} {
		p, response := surf(t, h.web, "", "mqtt")
		if p == nil || response.Header.Get("Sec-Websocket-Protocol") != "mqtt" {
			t.Fatalf("no WebSocket: %v", response)
		}
		whole := hello{id: "c", level: level}.bytes()
		p.id, p.level = "c", level
		for _, b := range whole { // packets may be cut anywhere
			p.send([]byte{b})
		}
		p.expect(tConnack)
		p.subscribe(1, "bank/replies/c", 1)
		// and several may share a message
		p.publish(note{qos: 2, id: 1, payload: deposit("1", 1)}, note{qos: 1, id: 2, payload: deposit("1", 1)})
		for acks, replies := 0, 0; acks < 2 || replies < 2; {
			if k := p.next(); k.kind == tPublish {
				replies++
				p.puback(k.id)
			} else {
				acks++
			}
		}
		p.pubrel(1)
		p.ack(tPubcomp, 1, 0)
	}
	if h.entries() != 6 {
		t.Errorf("%d entries", h.entries())
	}
}

func TestWhichPagesMayConnect(t *testing.T) {
	observer := new(counts)
	h := build(t, func(o *mqtt.Options) { o.Observer = observer })
	_, port, _ := net.SplitHostPort(h.web)
	for _, c := range []struct {
		address, origin string
		status          int
	}{
		{h.web, "", 101},
		{h.web, "https://bank.example", 101},
		{h.web, "HTTPS://BANK.example", 101},
		{h.web, "http://bank.example", 403},
		{h.web, "https://bank.example.evil.example", 403},
		{h.web, "https://evil.example", 403},
		{h.web, "null", 403},
		{h.web, "http://" + h.web, 101},
		{h.web, "https://" + h.web, 101}, // paho for Python says so
		{h.web, "http://127.0.0.1:1", 403},
		{"localhost:" + port, "http://localhost:" + port, 101},
	} {
		p, response := surf(t, c.address, c.origin, "mqtt")
		if response == nil || response.StatusCode != c.status || (p != nil) != (c.status == 101) {
			t.Errorf("origin %q at %s: %v", c.origin, c.address, response)
		}
	}
	// A name that its owner made to point here is not this address.
	conn, err := net.Dial("tcp", h.web)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, conn)
	p.send([]byte("GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"))
	if line, _ := p.in.ReadString('\n'); !strings.Contains(line, "403") {
		t.Errorf("rebound name: %q", line)
	}
	if observer.rejected(mqtt.RejectedOrigin) != 6 {
		t.Errorf("rejected %v", observer.reasons)
	}
}

func TestWhatIsNoMQTTOverWebSocket(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.ReadTimeout = 100 * time.Millisecond })
	if p, response := surf(t, h.web, ""); p != nil || response.StatusCode != 400 {
		t.Errorf("without a subprotocol: %v", response)
	}
	if p, response := surf(t, h.web, "", "chat"); p != nil || response.StatusCode != 400 {
		t.Errorf("another subprotocol: %v", response)
	}
	if response, err := http.Get("http://" + h.web + "/"); err != nil || response.StatusCode != 400 {
		t.Errorf("no WebSocket: %v, %v", response, err)
	} else {
		response.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	slow := call(t, h.web) // a header that does not end
	slow.send([]byte("GET / HTTP/1.1\r\nHost: x\r\n"))
	if status, err := bufio.NewReader(slow.conn).ReadString('\n'); err == nil && !strings.Contains(status, "4") {
		t.Errorf("slow header: %q", status)
	}
	silent, _ := surf(t, h.web, "", "mqtt")
	silent.gone(0)
	words, _ := surf(t, h.web, "", "mqtt")
	words.conn.(*socketConn).WriteMessage(websocket.TextMessage, hello{id: "c"}.bytes())
	words.gone(0)
}

func TestWebSocketPingsAreNoSignOfLife(t *testing.T) {
	h := build(t, nil)
	p, _ := surf(t, h.web, "", "mqtt")
	p.greet(hello{id: "c", keepAlive: 1})
	stop := make(chan struct{})
	defer close(stop)
	socket := p.conn.(*socketConn)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				socket.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			case <-stop:
				return
			}
		}
	}()
	p.gone(0x8d)
}

func TestAHugeWebSocketMessageEndsTheConnection(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Message = 1024 })
	p, _ := surf(t, h.web, "", "mqtt")
	p.greet(hello{id: "c"})
	var pings []byte
	for range 2500 {
		pings = append(pings, tPingreq<<4, 0)
	}
	p.conn.Write(pings)
	for {
		_, err := p.read()
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("the connection does not end")
		}
		if err != nil {
			return
		}
	}
}
