package socket_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/transport/socket"
	"gateway/wire"
)

// Two claims are measured, each against a server that does nothing but the same reads and writes, in turns within one run:
// speed.md's "sockets against a null server of the same shape", with the whole bank behind the sockets.

// BenchmarkOne is the legacy shape: connect, ack, one operation, one reply, close. At least 0.6 of the null server at 16
// connections at once and 0.75 at 64.
func BenchmarkOne(b *testing.B) {
	request := []byte(`{"op":"deposit","account":"ana","amount":20,"memo":"as many bytes as a pickled Deposito has, more or less"}`)
	for _, clients := range []int{16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			null := nullServer(b, func(conn net.Conn) { answerOnce(conn, benchReply) })
			ours := benchServer(b, false)
			client := func(address string, times *[]time.Duration) func(n int) error {
				return func(n int) error { return visitTimes(address, request, n, times) }
			}
			compare(b, clients, 1, 2000, null, ours, client)
		})
	}
}

// BenchmarkSession is 16 sessions with 32 operations in flight each. At least 0.15 of the null server.
func BenchmarkSession(b *testing.B) {
	const window = 32
	null := nullServer(b, func(conn net.Conn) { answerLines(conn, benchReply) })
	ours := benchServer(b, true)
	client := func(address string, times *[]time.Duration) func(n int) error {
		return func(n int) error { return burst(address, window, n, times) }
	}
	compare(b, 16, window, 64000, null, ours, client)
}

// benchReply is as long as a reply of ours.
var benchReply = []byte(`{"status":true,"msg":null,"code":"ok","balance":"1234567.00","seq":123456,"time":"2006-01-02T15:04:05.123456Z"}` + "\n")

// benchServer serves a bank over the engine that benchmarks use.
func benchServer(b *testing.B, session bool) string {
	s := start(b, setup{engine: benchEngine(b), session: session, codec: wire.NewCodec(wire.JSON, 2)})
	return s.address
}

// compare runs slices of operations against both servers in turns and reports what the second reaches of the first.
func compare(b *testing.B, clients, window, slice int, null, ours string, client func(string, *[]time.Duration) func(int) error) {
	times := make([][]time.Duration, clients)
	spent := [2]time.Duration{}
	done := [2]int{}
	run := func(which int, address string, times [][]time.Duration) {
		var all sync.WaitGroup
		began := time.Now()
		for i := range clients {
			all.Go(func() {
				if err := client(address, &times[i])(slice / clients); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		spent[which] += time.Since(began)
		done[which] += slice / clients * clients
	}
	scrap := make([][]time.Duration, clients)
	for b.Loop() {
		run(0, null, scrap)
		run(1, ours, times)
	}
	every := slices.Sorted(slices.Values(slices.Concat(times...)))
	perSecond := func(which int) float64 { return float64(done[which]) / spent[which].Seconds() }
	b.ReportMetric(perSecond(1)/perSecond(0), "ratio")
	b.ReportMetric(perSecond(0), "null-ops/s")
	b.ReportMetric(perSecond(1), "ops/s")
	b.ReportMetric(float64(every[len(every)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(every[len(every)*999/1000].Microseconds()), "p99.9-us")
	b.ReportMetric(0, "ns/op") // of a slice against both: nobody's figure
}

// nullServer serves every connection with answer until the benchmark ends.
func nullServer(b *testing.B, answer func(net.Conn)) string {
	l, err := socket.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				answer(conn)
				conn.Close()
			})
		}
	})
	b.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func answerOnce(conn net.Conn, reply []byte) {
	buffer := make([]byte, 1024)
	conn.Write([]byte("true\n"))
	if _, err := conn.Read(buffer); err == nil {
		conn.Write(reply)
	}
}

// answerLines answers each line, those of one read in one write.
func answerLines(conn net.Conn, reply []byte) {
	buffer := make([]byte, 16<<10)
	replies := bytes.Repeat(reply, len(buffer))
	conn.Write([]byte("true\n"))
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(replies[:bytes.Count(buffer[:n], []byte("\n"))*len(reply)])
	}
}

// visitTimes connects n times for one operation each.
func visitTimes(address string, request []byte, n int, times *[]time.Duration) error {
	buffer := make([]byte, 2048)
	for range n {
		began := time.Now()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buffer[:5]); err != nil {
			return err
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		got, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		if got < 20 || !bytes.HasPrefix(buffer[:got], benchReply[:2]) {
			return fmt.Errorf("reply: %q", buffer[:got])
		}
		conn.Close()
		*times = append(*times, time.Since(began))
	}
	return nil
}

// burst sends n operations over one session, window at a time, and waits for their replies.
func burst(address string, window, n int, times *[]time.Duration) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	requests := bytes.Repeat([]byte(`{"op":"deposit","account":"ana","amount":20}`+"\n"), window)
	buffer := make([]byte, 16<<10)
	if _, err := io.ReadFull(conn, buffer[:5]); err != nil {
		return err
	}
	for range n / window {
		began := time.Now()
		if _, err := conn.Write(requests); err != nil {
			return err
		}
		for left := window; left > 0; {
			got, err := conn.Read(buffer)
			if err != nil {
				return err
			}
			left -= bytes.Count(buffer[:got], []byte("\n"))
		}
		*times = append(*times, time.Since(began))
	}
	return nil
}

// benchEngine is the engine behind the sockets.
func benchEngine(b *testing.B) bank.Engine {
	return bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
}
