package mqtt

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// subprotocols are the names of MQTT over WebSocket; the second is that of MQTT 3.1 clients.
var subprotocols = []string{"mqtt", "mqttv3.1"}

// serveWebSocket serves MQTT in WebSocket messages, at any path.
func (s *Server) serveWebSocket(ctx context.Context, d *door, origins []string) error {
	buffers := new(sync.Pool)
	upgrader := &websocket.Upgrader{
		HandshakeTimeout: s.options.ReadTimeout, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10, WriteBufferPool: buffers,
		Subprotocols: subprotocols, CheckOrigin: func(*http.Request) bool { return true }, // checked before, to tell apart
	}
	server := &http.Server{
		ReadHeaderTimeout: s.options.ReadTimeout, ReadTimeout: s.options.ReadTimeout, WriteTimeout: s.options.ReadTimeout,
		IdleTimeout: s.options.ReadTimeout, MaxHeaderBytes: 8 << 10,
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.upgrade(w, r, upgrader, origins)
		}),
	}
	defer server.Close() // those that have not become MQTT yet
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(d)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return d.failure(err)
}

// upgrade serves one WebSocket, on the goroutine of its HTTP request.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, upgrader *websocket.Upgrader, origins []string) {
	if !originAllowed(r, origins) {
		s.rejectOrigin(r)
		http.Error(w, "this page may not connect: its origin is not listed", http.StatusForbidden)
		return
	}
	if !offersMQTT(r) {
		http.Error(w, "connect a WebSocket of subprotocol mqtt", http.StatusBadRequest)
		return
	}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has been answered
	}
	socket.SetReadLimit(int64(webSocketMessages * s.options.Message))
	s.running.Add(1)
	defer s.running.Done()
	defer socket.Close()
	s.attend(&webSocket{Conn: socket}, socket.NetConn().(*visitor))
}

func offersMQTT(r *http.Request) bool {
	for _, offered := range websocket.Subprotocols(r) {
		for _, known := range subprotocols {
			if offered == known {
				return true
			}
		}
	}
	return false
}

// originAllowed applies [Listener.Origins].
func originAllowed(r *http.Request, origins []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	for _, listed := range origins {
		if strings.EqualFold(strings.TrimSuffix(listed, "/"), origin) {
			return true
		}
	}
	page, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(page.Host, r.Host) {
		return false
	}
	_, err = netip.ParseAddr(page.Hostname())
	return err == nil || strings.EqualFold(page.Hostname(), "localhost")
}

// webSocket is a WebSocket as a stream: packets may begin and end anywhere in its messages.
type webSocket struct {
	*websocket.Conn
	message io.Reader
}

// Read returns the next bytes of binary messages.
func (w *webSocket) Read(p []byte) (int, error) {
	for {
		if w.message == nil {
			kind, message, err := w.NextReader()
			if err != nil {
				return 0, tooLarge(err)
			}
			if kind != websocket.BinaryMessage {
				return 0, malformedPacket // [MQTT-6.0.0-1]
			}
			w.message = message
		}
		n, err := w.message.Read(p)
		if err == io.EOF {
			w.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, tooLarge(err)
		}
	}
}

// tooLarge makes a message beyond the limit a packet that is too large, as it would be on a bare socket.
func tooLarge(err error) error {
	if errors.Is(err, websocket.ErrReadLimit) {
		return packetTooLarge
	}
	return err
}

// Write sends one message.
func (w *webSocket) Write(p []byte) (int, error) {
	if err := w.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline sets both deadlines.
func (w *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

// hurry moves the deadline of a write that is under way.
func (w *webSocket) hurry(t time.Time) { w.NetConn().SetWriteDeadline(t) }

// CloseWrite says goodbye as WebSocket has it.
func (w *webSocket) CloseWrite() error {
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return w.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(farewellTime))
}

var _ net.Conn = (*webSocket)(nil)
