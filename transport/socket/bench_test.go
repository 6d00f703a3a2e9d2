package socket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/transport/socket"
	"gateway/wire"
)

// Three claims are measured in turns within one run: two against a server that does nothing but the same reads and writes,
// one against a server in the shape of the legacy bank's. Behind the sockets is the whole bank with its journal: every reply
// waits for a sync. Both run with the processors that the gateway gives itself.

// BenchmarkOne is the legacy shape: connect, ack, one operation, one reply, close. At least 0.6 of the null server at 16
// connections at once, and 0.75 at 64.
func BenchmarkOne(b *testing.B) {
	shape := visiting{
		ack:     []byte("\x80\x02\x88."),
		request: []byte(messages(b)["pickle Deposito 3"].bytes),
		reply:   []byte("\x80\x02}(X\x06\x00\x00\x00status\x88X\x03\x00\x00\x00msgJ\x00\x00\x00\x01u."),
	}
	for _, clients := range []int{16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			null := nullServer(b, shape.answer)
			ours := start(b, setup{engine: benchEngine(b), codec: wire.NewCodec(wire.Pickle, 2), options: quietly}).address
			compare(b, turns{null: null, ours: ours, clients: clients, slice: 2000, client: shape.ask})
		})
	}
}

// BenchmarkBesideTheOriginal is 64 legacy clients at once, of the gateway and of a Python server in the old bank's shape. The
// tail-ratio is p99.9 against the original's: at most 1/20. The original's queue of five drops what does not fit, so that
// a client tries again, most often after a second.
func BenchmarkBesideTheOriginal(b *testing.B) {
	shape := visiting{
		ack:     []byte("\x80\x02\x88."),
		request: []byte(messages(b)["pickle Deposito 3"].bytes),
		reply:   []byte("\x80\x02}"),
	}
	ours := start(b, setup{engine: benchEngine(b), codec: wire.NewCodec(wire.Pickle, 2)}).address
	compare(b, turns{null: original(b), ours: ours, clients: 64, slice: 640, client: shape.ask})
}

// original starts the Python server and returns its address.
func original(b *testing.B) string {
	python, err := exec.LookPath("python3")
	if err != nil {
		b.Fatalf("the baseline needs python3: %v", err)
	}
	server := exec.Command(python, "testdata/original.py")
	stdin, err := server.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		server.Wait()
	})
	port := 0
	if _, err := fmt.Fscanln(stdout, &port); err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// BenchmarkSession is 16 sessions of JSON with 32 operations in flight each. At least 0.15 of the null server.
func BenchmarkSession(b *testing.B) {
	shape := pipelining{
		window:  32,
		request: []byte(`{"op":"deposit","account":"ana","amount":20}` + "\n"),
		reply:   []byte(`{"status":true,"msg":1234567,"code":"ok","balance":"1234567.00","seq":123456,"time":"2006-01-02T15:04:05.123456Z"}` + "\n"),
	}
	null := nullServer(b, shape.answer)
	ours := start(b, setup{engine: benchEngine(b), session: true, options: quietly}).address
	compare(b, turns{null: null, ours: ours, clients: 16, slice: 64000, client: shape.ask})
}

// quietly keeps the tests' observer out of what is measured.
var quietly = socket.Options{Observer: quiet{}}

type quiet struct{}

func (quiet) Operation(bank.Kind, bank.Code, time.Duration) {}
func (quiet) Connection(bool)                               {}
func (quiet) Rejected(string)                               {}
func (quiet) Limited(string)                                {}

// benchEngine is the engine behind the sockets.
func benchEngine(b *testing.B) bank.Engine {
	engine, err := journal.Open(b.TempDir(), journal.Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2})
	if err != nil {
		b.Fatal(err)
	}
	return engine
}

// turns is a comparison of two servers.
type turns struct {
	null, ours string // addresses
	clients    int    // at once
	slice      int    // operations of a turn
	client     func(address string, n int, times *[]time.Duration) error
}

// compare lets both servers do slices of operations in turns and reports what the second reaches of the first.
func compare(b *testing.B, o turns) {
	defer journal.AddProcessors()() // for both
	var spent [2]time.Duration
	var done [2]int
	run := func(which int, address string, times [][]time.Duration) {
		var all sync.WaitGroup
		began := time.Now()
		for i := range o.clients {
			all.Go(func() {
				if err := o.client(address, o.slice/o.clients, &times[i]); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		spent[which] += time.Since(began)
		done[which] += o.slice / o.clients * o.clients
	}
	scrap, times := make([][]time.Duration, o.clients), make([][]time.Duration, o.clients)
	for b.Loop() {
		run(0, o.null, scrap)
		run(1, o.ours, times)
	}
	every := slices.Sorted(slices.Values(slices.Concat(times...)))
	theirs := slices.Sorted(slices.Values(slices.Concat(scrap...)))
	if len(every) == 0 || len(theirs) == 0 {
		b.Fatal("nothing was measured")
	}
	tail := func(times []time.Duration) float64 { return float64(times[len(times)*999/1000].Microseconds()) }
	b.ReportMetric(tail(every)/tail(theirs), "tail-ratio")
	perSecond := func(which int) float64 { return float64(done[which]) / spent[which].Seconds() }
	b.ReportMetric(perSecond(1)/perSecond(0), "ratio")
	b.ReportMetric(perSecond(0), "null-ops/s")
	b.ReportMetric(perSecond(1), "ops/s")
	b.ReportMetric(float64(every[len(every)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(tail(every), "p99.9-us")
	b.ReportMetric(0, "ns/op") // of a turn of both: nobody's figure
}

// nullServer serves every connection with answer until the benchmark ends. It listens as a Go program does that asks for
// nothing; [socket.Listen] is part of what is measured.
func nullServer(b *testing.B, answer func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
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

// visiting is one operation per connection.
type visiting struct{ ack, request, reply []byte }

func (v visiting) answer(conn net.Conn) {
	buffer := make([]byte, 1024)
	conn.Write(v.ack)
	if _, err := conn.Read(buffer); err == nil {
		conn.Write(v.reply)
	}
}

// ask visits n times. A visit that is reset or never answered, as happens when the original's queue is full, is made again
// within its time.
func (v visiting) ask(address string, n int, times *[]time.Duration) error {
	buffer := make([]byte, 2048)
	for range n {
		began := time.Now()
		err := v.visit(address, buffer)
		for tries := 0; (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded)) && tries < 20; tries++ {
			err = v.visit(address, buffer)
		}
		if err != nil {
			return err
		}
		*times = append(*times, time.Since(began))
	}
	return nil
}

// visitTimeout is when a client of the original gives a connection up.
const visitTimeout = 2 * time.Second

func (v visiting) visit(address string, buffer []byte) error {
	began := time.Now()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(began.Add(visitTimeout)); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, buffer[:len(v.ack)]); err != nil {
		return err
	}
	if _, err := conn.Write(v.request); err != nil {
		return err
	}
	got, err := conn.Read(buffer)
	if err == nil && !bytes.HasPrefix(buffer[:got], v.reply[:min(20, len(v.reply))]) {
		return fmt.Errorf("reply %q", buffer[:got])
	}
	return err
}

// pipelining is a session with lines for messages.
type pipelining struct {
	window         int
	request, reply []byte
}

// answer answers the lines of one read in one write.
func (p pipelining) answer(conn net.Conn) {
	buffer := make([]byte, 16<<10)
	replies := bytes.Repeat(p.reply, len(buffer)/len(p.request)+1)
	conn.Write([]byte("true\n"))
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(replies[:bytes.Count(buffer[:n], []byte("\n"))*len(p.reply)])
	}
}

// ask sends a window of operations and waits for all their replies, again and again.
func (p pipelining) ask(address string, n int, times *[]time.Duration) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	requests, buffer := bytes.Repeat(p.request, p.window), make([]byte, 16<<10)
	if _, err := io.ReadFull(conn, buffer[:5]); err != nil {
		return err
	}
	for range n / p.window {
		began := time.Now()
		if _, err := conn.Write(requests); err != nil {
			return err
		}
		for left := p.window; left > 0; {
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
