package main

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestN8SlowSockets: sockets that say nothing, or a byte at a time, are all ended by their deadline, and an honest client is
// served as if they were not there.
func TestN8SlowSockets(t *testing.T) {
	count, timeout := attackSize(100, 2000), time.Duration(attackSize(1, 5))*time.Second
	allowFiles(t, uint64(count+100))
	c := buildCastle(t, castleDoors, castleUsers, "limits: { connections_unknown: 8000, read_timeout: "+timeout.String()+" }\n")
	visits := max(200, 3*count/2) // not all of them within the first burst of bytes
	idle := take(t, visits, func(int) error { return visit("127.0.0.1", c.addresses["socket"][0]) })
	slow, took := make([]net.Conn, count), make(times, count)
	var ending sync.WaitGroup
	for i := range slow {
		address := c.addresses["mqtt"][0]
		if i%2 == 0 {
			address = c.addresses["socket"][0]
		}
		conn, err := dialFrom("127.0.0.2", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		slow[i] = conn
		began := time.Now()
		ending.Go(func() {
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a slow socket was not ended")
			}
			took[i] = time.Since(began)
		})
	}
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	dripping.Go(func() { drip(slow, stop) })
	burst := take(t, 200, func(int) error { return visit("127.0.0.1", c.addresses["socket"][0]) })
	honest := take(t, visits, func(int) error { return visit("127.0.0.1", c.addresses["socket"][0]) })
	ending.Wait()
	close(stop)
	dripping.Wait()
	most := slices.Max(took)
	t.Logf("N8: %d slow sockets, ended after %v at most (%v); honest p99 %v, %v while they arrive, %v without them (2x)",
		count, most.Round(time.Millisecond), timeout, honest.p99(), burst.p99(), idle.p99())
	if most > timeout+honestMost {
		t.Error("late")
	}
	burst.check(t)
	honest.check(t)
}

// drip sends every other pair of sockets what could be a CONNECT, a byte a second.
func drip(slow []net.Conn, stop <-chan struct{}) {
	const sent = "\x10\x7f\x00\x04MQTT\x04\x02"
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for at := 0; ; at++ {
		for i, conn := range slow {
			if i/2%2 == 0 {
				_, _ = io.WriteString(conn, sent[at%len(sent):][:1])
			}
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// TestN9AFloodOfConnections: the memory of the process stays bounded, and honest clients are served.
func TestN9AFloodOfConnections(t *testing.T) {
	needLinux(t)
	const floods, held, unknown = 4, 1000, 1024
	count := attackSize(2000, 50000)
	allowFiles(t, floods*held+1000)
	c := buildCastle(t, castleDoors, castleUsers)
	idle := take(t, 200, func(int) error { return visit("127.0.0.1", c.addresses["socket"][0]) })
	var flooding sync.WaitGroup
	var open [floods][held]net.Conn
	defer func() {
		for _, conn := range slices.Concat(open[0][:], open[1][:], open[2][:], open[3][:]) {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	for f := range floods {
		flooding.Go(func() { flood(t, c.addresses[[]string{"socket", "mqtt"}[f%2]][0], count/floods, open[f][:]) })
	}
	done := make(chan struct{})
	go func() { flooding.Wait(); close(done) }()
	most, waiting, honest := c.resident(), 0.0, times(nil)
	for flooded := false; !flooded && !t.Failed(); {
		select {
		case <-done:
			flooded = true // and what it holds is still there
		default:
		}
		honest = append(honest, take(t, 20, func(int) error { return visit("127.0.0.1", c.addresses["socket"][0]) })...)
		most, waiting = max(most, c.resident()), max(waiting, c.metric("gateway_connections_unknown"))
	}
	<-done
	slices.Sort(honest)
	t.Logf("N9: %d connects, at most %.0f MiB (%d MiB); %d honest visits, p99 %v, %v without them", count, most, castleMost, len(honest),
		honest.p99(), idle.p99())
	if most > castleMost || waiting > unknown {
		t.Errorf("%.0f MiB, %v unknown connections at once", most, waiting)
	}
	honest.check(t)
}

// flood makes so many connections and leaves the last of them in open.
func flood(t *testing.T, address string, count int, open []net.Conn) {
	for i := range count {
		conn, err := dialFrom("127.0.0.2", address)
		if err != nil {
			t.Errorf("connect %d: %v", i, err)
			return
		}
		if old := open[i%len(open)]; old != nil {
			old.Close()
		}
		open[i%len(open)] = conn
	}
}

// TestN16OversizedHeaders: packets that announce 256 MiB end their connections, and cost nothing.
func TestN16OversizedHeaders(t *testing.T) {
	needLinux(t)
	const attackers = 8
	count := attackSize(400, 10000)
	c := buildCastle(t, castleDoors, castleUsers)
	before := c.resident()
	var attacking sync.WaitGroup
	for range attackers {
		attacking.Go(func() {
			for range count / attackers {
				if err := announce(c.addresses["mqtt"][0]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	honest := take(t, 200, func(int) error { return visit("127.0.0.1", c.addresses["socket"][0]) })
	attacking.Wait()
	after := c.resident()
	t.Logf("N16: %d packets of 256 MiB announced, %.0f MiB before and %.0f MiB after (%d MiB); honest p99 %v", count, before, after, castleMost,
		honest.p99())
	if after > castleMost {
		t.Errorf("%.0f MiB", after)
	}
	if n := c.metric(`gateway_limits_reached_total{limit="message",transport="mqtt"}`); n != float64(count) {
		t.Errorf("%v were counted", n)
	}
	honest.check(t)
}

// announce sends the head of a packet of 256 MiB, by which the connection ends.
func announce(address string) error {
	conn, err := dialFrom("127.0.0.2", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "\x10\xff\xff\xff\x7f"+strings.Repeat("x", 100)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("a packet of 256 MiB is waited for")
	}
	return nil
}
