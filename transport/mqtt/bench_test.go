package mqtt_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/statelog"
	"gateway/transport/mqtt"
)

// loader is a client that keeps so many QoS 1 operations on the way and acknowledges every reply. It costs as little as it
// can, for it shares the machine with what it measures.
type loader struct {
	conn    net.Conn
	publish []byte // one PUBLISH; its packet id is at idAt
	idAt    int
	window  int

	nextID  uint16
	sent    []int64 // when, in nanoseconds, by packet id; a collector of garbage has nothing to do with it
	acked   int
	replied int
	out, in []byte
	latency []time.Duration
}

func newLoader(tb testing.TB, address, id string, window int) *loader {
	return newLoaderAs(tb, address, hello{id: id, level: 4, keepAlive: 300}, window)
}

// newLoaderAs has a session of its choice, of MQTT 3.1.1.
func newLoaderAs(tb testing.TB, address string, h hello, window int) *loader {
	id := h.id
	conn, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	l := &loader{conn: conn, window: window, sent: make([]int64, 1<<16), in: make([]byte, 0, 64<<10)}
	l.publish = note{qos: 1, payload: `{"op":"deposit","account":"` + id + `","amount":1}`}.bytes(4)
	l.idAt = 2 + 2 + len("bank/ops")
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(h.bytes())
	conn.Write(framed(tSubscribe<<4|2, []byte{0, 1}, text("bank/replies/"+id), []byte{1}))
	for got := 0; got < 4+5; { // CONNACK and SUBACK
		n, err := conn.Read(l.in[:16])
		if err != nil {
			tb.Fatal(err)
		}
		got += n
	}
	return l
}

// run keeps the window full until the deadline, and then waits for what is on the way. It returns how many operations
// were acknowledged and replied to.
func (l *loader) run(deadline time.Time) (int, error) {
	l.acked, l.replied, l.latency = 0, 0, l.latency[:0]
	l.conn.SetDeadline(deadline.Add(patience))
	issued := 0
	for {
		now := time.Now()
		done := min(l.acked, l.replied)
		if now.Before(deadline) {
			for ; issued-done < l.window; issued++ {
				if l.nextID++; l.nextID == 0 {
					l.nextID = 1
				}
				l.sent[l.nextID] = now.UnixNano()
				l.out = append(l.out, l.publish...)
				binary.BigEndian.PutUint16(l.out[len(l.out)-len(l.publish)+l.idAt:], l.nextID)
			}
		} else if done == issued && l.acked == l.replied {
			_, err := l.conn.Write(l.out)
			l.out = l.out[:0]
			return issued, err
		}
		if len(l.out) > 0 {
			if _, err := l.conn.Write(l.out); err != nil {
				return 0, err
			}
			l.out = l.out[:0]
		}
		n, err := l.conn.Read(l.in[len(l.in):cap(l.in)])
		if err != nil {
			return 0, fmt.Errorf("%d acknowledged, %d replied of %d: %w", l.acked, l.replied, issued, err)
		}
		l.in = l.in[:len(l.in)+n]
		l.take()
	}
}

// take deals with the packets that have come.
func (l *loader) take() {
	b := l.in
	now := time.Now()
	for len(b) >= 2 {
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || len(b) < 1+n+int(size) {
			break
		}
		body := b[1+n : 1+n+int(size)]
		switch b[0] >> 4 {
		case tPuback:
			l.acked++
			l.latency = append(l.latency, time.Duration(now.UnixNano()-l.sent[binary.BigEndian.Uint16(body)]))
		case tPublish:
			l.replied++
			id := 2 + int(binary.BigEndian.Uint16(body))
			l.out = append(l.out, tPuback<<4, 2, body[id], body[id+1])
		}
		b = b[1+n+int(size):]
	}
	l.in = l.in[:copy(l.in, b)]
}

// contender is a server under load.
type contender struct {
	name    string
	address string
	clients []*loader
	ops     int
	took    time.Duration
	latency []time.Duration
}

func (c *contender) measure(b *testing.B, length time.Duration) {
	var running sync.WaitGroup
	began := time.Now()
	counts, failures := make([]int, len(c.clients)), make([]error, len(c.clients))
	for i, l := range c.clients {
		running.Go(func() { counts[i], failures[i] = l.run(began.Add(length)) })
	}
	running.Wait()
	c.took += time.Since(began)
	for i, l := range c.clients {
		if failures[i] != nil {
			b.Fatalf("%s: client %d: %v", c.name, i, failures[i])
		}
		c.ops += counts[i]
		c.latency = append(c.latency, l.latency...)
	}
}

func (c *contender) rate() float64 { return float64(c.ops) / c.took.Seconds() }

func (c *contender) quantile(q float64) time.Duration {
	slices.Sort(c.latency)
	return c.latency[int(float64(len(c.latency)-1)*q)]
}

// ours serves an engine and returns the address.
func ours(tb testing.TB, engine bank.Engine) string { return oursWith(tb, engine, mqtt.Options{}) }

func oursWith(tb testing.TB, engine bank.Engine, options mqtt.Options) string {
	banco := bank.New(engine, bank.Options{})
	options.Decimals, options.Anonymous = 2, true
	server, err := mqtt.New(banco, options)
	if err != nil {
		tb.Fatal(err)
	}
	l := listen(tb)
	h := &house{t: tb, banco: banco, server: server}
	stop := h.run([]mqtt.Listener{{Net: l}})
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Error(err)
		}
		engine.Close()
	})
	return l.Addr().String()
}

// kept serves a journal, with sessions that survive, and returns the address.
func kept(tb testing.TB) string {
	engine := durable(tb).(*journal.Engine)
	dir, err := disk.Dir(filepath.Join(benchDirectory(tb), "mqtt"))
	if err != nil {
		tb.Fatal(err)
	}
	recovery := mqtt.NewRecovery()
	store, err := statelog.Open(dir, engine.ID(), statelog.Options{}, recovery.Record)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	return oursWith(tb, engine, mqtt.Options{Keeping: &mqtt.Keeping{Store: store, Recovery: recovery, Seq: engine.Seq}})
}

// durable opens a journal in a directory of the disk that this package is on; the temporary one may be no disk at all.
func durable(tb testing.TB) bank.Engine {
	engine, err := journal.Open(benchDirectory(tb), journal.Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2})
	if err != nil {
		tb.Fatal(err)
	}
	return engine
}

func benchDirectory(tb testing.TB) string {
	dir, err := os.MkdirTemp(".", "bench-journal-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// BenchmarkAgainstMochi claims the MQTT rows of the goals: durable operations at QoS 1 against a stock mochi echo and
// against the batch null, all in one run, interleaved. clients x operations on the way of each. The clients of kept have
// sessions that survive the gateway.
func BenchmarkAgainstMochi(b *testing.B) {
	const length = 500 * time.Millisecond
	for _, shape := range []struct{ clients, window int }{{1, 1}, {50, 1}, {500, 1}, {50, 8}, {50, 32}, {500, 32}} {
		b.Run(fmt.Sprintf("%dx%d", shape.clients, shape.window), func(b *testing.B) {
			defer journal.AddProcessors()() // for all of them; package testing takes them back after each
			memory := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
			all := []*contender{
				{name: "stock", address: stockAddress(b)}, {name: "null", address: nullAddress(b)},
				{name: "durable", address: ours(b, durable(b))}, {name: "memory", address: ours(b, memory)},
				{name: "kept", address: kept(b)},
			}
			for _, c := range all {
				for i := range shape.clients {
					h := hello{id: fmt.Sprint("c", i), level: 4, keepAlive: 300, stored: c.name == "kept"}
					c.clients = append(c.clients, newLoaderAs(b, c.address, h, shape.window))
				}
			}
			for b.Loop() {
				for _, c := range all {
					runtime.GC()
					c.measure(b, length)
				}
			}
			stock, null, durable, memory1, kept := all[0], all[1], all[2], all[3], all[4]
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(stock.rate(), "stock/s")
			b.ReportMetric(null.rate(), "null/s")
			b.ReportMetric(durable.rate(), "durable/s")
			b.ReportMetric(memory1.rate(), "memory/s")
			b.ReportMetric(durable.rate()/stock.rate(), "x-stock")
			b.ReportMetric(durable.rate()/null.rate(), "x-null")
			b.ReportMetric(kept.rate(), "kept/s")
			b.ReportMetric(kept.rate()/stock.rate(), "kept-x-stock")
			b.ReportMetric(memory1.rate()/null.rate(), "memory-x-null")
			b.ReportMetric(float64(durable.quantile(0.5).Microseconds()), "p50-us")
			b.ReportMetric(float64(durable.quantile(0.99).Microseconds()), "p99-us")
			b.ReportMetric(float64(stock.quantile(0.5).Microseconds()), "stock-p50-us")
		})
	}
}

// BenchmarkIdleClient claims that a client at rest, connected and subscribed, costs at most 40 KiB, its end of the socket
// in this process included.
func BenchmarkIdleClient(b *testing.B) {
	address := ours(b, bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now))
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	const clients = 2000
	for b.Loop() {
		before := inUse()
		conns := make([]net.Conn, clients)
		for i := range conns {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			id := fmt.Sprint("idle", i)
			conn.Write(join(hello{id: id, level: 4}.bytes(), framed(tSubscribe<<4|2, []byte{0, 1}, text("bank/replies/"+id), []byte{1})))
			var in [16]byte
			for got := 0; got < 4+5; {
				n, err := conn.Read(in[:])
				if err != nil {
					b.Fatal(err)
				}
				got += n
			}
			conns[i] = conn
		}
		b.ReportMetric(float64(inUse()-before)/clients, "B/client")
		for _, conn := range conns {
			conn.Close()
		}
	}
	b.ReportMetric(0, "ns/op")
}
