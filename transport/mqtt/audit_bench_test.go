package mqtt_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"gateway/bank/journal"
	"gateway/transport/mqtt"
)

// BenchmarkAuditors claims that the bank is as fast with an auditor who listens to everything and has stopped reading as
// with none, all in one run, interleaved. One who reads costs the machine what it reads.
func BenchmarkAuditors(b *testing.B) {
	const clients, window, length = 50, 8, 500 * time.Millisecond
	defer journal.AddProcessors()()
	var all []*contender
	for _, name := range []string{"none", "stopped", "reading"} {
		engine := durable(b).(*journal.Engine)
		c := &contender{name: name, address: oursWith(b, engine, mqtt.Options{
			Journal: engine, Auditor: func(string) bool { return true }, WriteTimeout: time.Hour,
		})}
		for i := range clients {
			c.clients = append(c.clients, newLoader(b, c.address, fmt.Sprint("c", i), window))
		}
		if name != "none" {
			audit(b, c.address, name == "reading")
		}
		all = append(all, c)
	}
	for b.Loop() {
		for _, c := range all {
			runtime.GC()
			c.measure(b, length)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(all[0].rate(), "none/s")
	b.ReportMetric(all[1].rate()/all[0].rate(), "stopped-x-none")
	b.ReportMetric(all[2].rate()/all[0].rate(), "reading-x-none")
}

// audit connects an auditor that listens to everything, and reads it or nothing.
func audit(b *testing.B, address string, reads bool) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	conn.Write(join(hello{id: "audit", level: 4}.bytes(), framed(tSubscribe<<4|2, []byte{0, 1}, text("#"), []byte{0})))
	var in [4 + 5]byte // CONNACK and SUBACK
	if _, err := io.ReadFull(conn, in[:]); err != nil {
		b.Fatal(err)
	}
	if reads {
		go io.Copy(io.Discard, conn)
	}
}
