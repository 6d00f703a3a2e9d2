package mqtt_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/gate"
	"gateway/transport/mqtt"
)

// drip sends a byte at a time until the connection is ended, and returns how long that took.
func drip(t testing.TB, conn net.Conn, sent []byte) time.Duration {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	began := time.Now()
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	defer dripping.Wait()
	defer close(stop)
	dripping.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			at := i % len(sent)
			if _, err := conn.Write(sent[at : at+1]); err != nil {
				return
			}
		}
	})
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("not ended")
	}
	return time.Since(began)
}

// TestN8Slowloris: from the accept to a whole CONNECT there is one deadline, whatever lies between, and honest clients are
// served meanwhile.
func TestN8Slowloris(t *testing.T) {
	const timeout = time.Second
	v := newVault(t, false)
	h := build(t, func(o *mqtt.Options) { o.ReadTimeout = timeout }, v.listeners()...)
	dial := func(address string) net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	connect := framed(tConnect<<4, make([]byte, 1000))
	clientHello := append([]byte("\x16\x03\x01\x02\x00\x01"), make([]byte, 1000)...)
	header := []byte("GET /mqtt HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1000))
	var dripping sync.WaitGroup
	for name, c := range map[string]struct {
		open func() net.Conn
		sent []byte
	}{
		"CONNECT":           {func() net.Conn { return dial(h.address) }, connect},
		"HTTP":              {func() net.Conn { return dial(h.web) }, header},
		"ClientHello":       {func() net.Conn { return dial(v.plain.Addr().String()) }, clientHello},
		"ClientHello, web":  {func() net.Conn { return dial(v.web.Addr().String()) }, clientHello},
		"CONNECT after TLS": {func() net.Conn { return tls.Client(dial(v.plain.Addr().String()), v.config()) }, connect},
		"HTTP after TLS":    {func() net.Conn { return tls.Client(dial(v.web.Addr().String()), v.config()) }, header},
		"CONNECT after the upgrade": {func() net.Conn {
			p := v.surf(v.config(), "")
			return p.conn
		}, connect},
	} {
		for range 10 {
			conn := c.open()
			dripping.Go(func() {
				if took := drip(t, conn, c.sent); took < timeout/2 || took > 5*timeout {
					t.Errorf("%s: ended after %v", name, took)
				}
			})
		}
	}
	for range 20 {
		p, _ := enter(t, h.address, hello{id: "honest"})
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		p.ack(tPuback, 1, 0)
		p.conn.Close()
	}
	dripping.Wait()
}

// TestN9ConnectionFlood: however fast silent connections are made, there are never more of them than may be, memory stays
// where it was, and a client of another address is served every time.
func TestN9ConnectionFlood(t *testing.T) {
	const unknown, floods, honest = 32, 4, 200
	observer, places := new(counts), gate.New(gate.Limits{Connections: 1000, Unknown: unknown})
	h := build(t, func(o *mqtt.Options) { o.Observer, o.Gate = observer, places })
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	for i := range floods {
		address := []string{h.address, h.web}[i%2]
		flooding.Go(func() {
			var held [200]net.Conn
			defer func() {
				for _, conn := range held {
					if conn != nil {
						conn.Close()
					}
				}
			}()
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := from.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				if old := held[i%len(held)]; old != nil {
					old.Close()
				}
				held[i%len(held)] = conn
			}
		})
	}
	most := 0
	for range honest {
		most = max(most, places.Unknown())
		p, _ := enter(t, h.address, hello{id: "honest"})
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		p.ack(tPuback, 1, 0)
		p.conn.Close()
	}
	close(stop)
	flooding.Wait()
	if most > unknown || observer.rejected(gate.LimitUnknown) == 0 {
		t.Errorf("%d connections were unknown at once; rejected %v", most, observer.reasons)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if places.Open() != 0 || observer.open.Load() != 0 {
		t.Errorf("%d places and %d connections are left", places.Open(), observer.open.Load())
	}
	if n := strings.Count(h.log.String(), "connection rejected"); n != 1 {
		t.Errorf("the flood was logged %d times", n)
	}
}

// TestN9WhoIsKnownStays: silent connections give way to one another, and never one whose CONNECT was accepted.
func TestN9WhoIsKnownStays(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.Gate = gate.New(gate.Limits{Unknown: 1}) })
	kept, _ := enter(t, h.address, hello{id: "kept"})
	silent := call(t, h.address)
	for range 3 {
		<-time.After(150 * time.Millisecond) // more than its time of grace
		next := call(t, h.address)
		silent.gone(0)
		silent = next
	}
	silent.greet(hello{id: "late"})
	kept.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
	kept.ack(tPuback, 1, 0)
}

// TestN16HugeLengths: a length that is announced costs nothing before it is there, and one beyond the maximum ends the
// connection.
func TestN16HugeLengths(t *testing.T) {
	h := build(t, nil)
	const attackers = 500
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	var open []*peer
	for i := range attackers {
		p := call(t, h.address)
		if i%2 == 0 {
			p.send([]byte{tConnect << 4, 0xff, 0xff, 0xff, 0x7f}) // 256 MiB
			p.gone(0)
			continue
		}
		p.send([]byte{tConnect << 4, 0xff, 0x7f}) // 16 KiB less one, of which nothing comes
		open = append(open, p)
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("%d bytes more for %d sockets", grown, attackers)
	}
	for _, p := range open {
		p.conn.Close()
	}
	p, _ := enter(t, h.address, hello{id: "c"})
	p.send([]byte{tPublish << 4, 0xff, 0xff, 0xff, 0x7f})
	p.gone(0x95)
}

// TestX5WebSocket: a page of another origin, a frame of a gigabyte and a slow header are refused, without TLS and with it.
func TestX5WebSocket(t *testing.T) {
	observer := new(counts)
	v := newVault(t, false)
	listeners := v.listeners()
	listeners[1].Origins = []string{"https://bank.example"}
	h := build(t, func(o *mqtt.Options) { o.Observer, o.ReadTimeout = observer, 500*time.Millisecond }, listeners...)
	for origin, served := range map[string]bool{
		"": true, "https://bank.example": true, "https://evil.example": false, "https://bank.example.evil.example": false,
		"http://bank.example": false, "null": false,
	} {
		if p := v.surf(v.config(), origin); (p != nil) != served {
			t.Errorf("TLS, origin %q: served %v", origin, p != nil)
		}
		if p, response := surf(t, h.web, origin, "mqtt"); (p != nil) != served || !served && response.StatusCode != http.StatusForbidden {
			t.Errorf("origin %q: %v", origin, response)
		}
	}
	if n := observer.rejected(mqtt.RejectedOrigin); n != 8 {
		t.Errorf("rejected %v", observer.reasons)
	}
	for name, open := range map[string]func() *peer{
		"plain": func() *peer { p, _ := surf(t, h.web, "", "mqtt"); return p },
		"TLS":   func() *peer { return v.surf(v.config(), "") },
	} {
		p := open()
		p.greet(hello{id: "c"})
		frame := binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, 1<<30) // binary, masked, a gigabyte
		below := p.conn.(*socketConn).NetConn()
		if _, err := below.Write(append(frame, 1, 2, 3, 4, 5)); err != nil {
			t.Fatal(err)
		}
		below.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, below); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: a frame of a gigabyte is waited for", name)
		}
	}
	slow, err := net.Dial("tcp", h.web)
	if err != nil {
		t.Fatal(err)
	}
	drip(t, slow, []byte("GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1000)))
	large := call(t, h.web)
	large.conn.Write(append([]byte("GET / HTTP/1.1\r\nHost: x\r\nX: "), bytes.Repeat([]byte("x"), 1<<20)...))
	if got, _ := io.ReadAll(large.in); bytes.Contains(got, []byte(" 101 ")) {
		t.Errorf("a header of a megabyte: %q", got)
	}
}

// TestRefusedBytesAreLoggedOnceAMinute, and never told.
func TestRefusedBytesAreLoggedOnceAMinute(t *testing.T) {
	h := build(t, nil)
	p, _ := enter(t, h.address, hello{id: "c"})
	for id := uint16(1); id <= 5; id++ {
		p.publish(note{qos: 1, id: id, payload: `{"op":"secret"`})
		p.ack(tPuback, id, 0x99)
	}
	for range 5 {
		stranger := call(t, h.address)
		stranger.send(note{payload: "secret"}.bytes(5))
		stranger.gone(0)
	}
	log := h.log.String()
	for _, once := range []string{"no operation", "connection rejected"} {
		if n := strings.Count(log, once); n != 1 {
			t.Errorf("%q was logged %d times", once, n)
		}
	}
	if strings.Contains(log, "secret") {
		t.Error("a payload was logged")
	}
}
