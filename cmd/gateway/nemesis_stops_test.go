package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// stopsPlain is how often a gateway is stopped under clients that never ask again, and in a torture.
	stopsPlain, stopsTorture = 5, 100
	// stopAfter is how many answers each of them has by then.
	stopAfter = 50
	// stopAhead is how many operations it has on their way.
	stopAhead = 64
)

const stopSettings = `socket: { listeners: [ { address: "127.0.0.1:0", codec: json, session: true } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "" }
log: { level: warn }
`

func TestUnderStopsWhatWasAcceptedIsAnswered(t *testing.T) {
	for range nemesisSize(stopsPlain, stopsTorture) {
		stopOnce(t)
	}
	undergo(t, nemesisStop)
}

// once is a client that asks as long as nobody stops it, never twice, and reads to the end.
type once struct {
	door     string
	answered map[string]bool // by id: whether it was done
	reached  chan struct{}   // closed after so many answers
	places   chan struct{}   // operations on their way
}

// take notes an answer.
func (o *once) take(id string, done bool) {
	o.answered[id] = done
	if len(o.answered) == stopAfter {
		close(o.reached)
	}
	<-o.places
}

// ask asks until quiet is closed. That a write fails is seen by who reads.
func (o *once) ask(quiet chan struct{}, ask func(n int, id string)) {
	for n := 1; ; n++ {
		select {
		case <-quiet:
			return
		case o.places <- struct{}{}:
			ask(n, fmt.Sprint(o.door, "-", n))
		}
	}
}

// stopOnce stops a gateway under a client of each door. What the journal has of an operation its client was told before the end of
// the connection, and what it was told is done the journal has: neither asks again, which would find an answer after a restart.
func stopOnce(t *testing.T) {
	t.Helper()
	p := serveWith(t, stopSettings)
	quiet := make(chan struct{})
	var work sync.WaitGroup
	var clients []*once
	for _, enter := range []func(*testing.T, *process, *once) (read func(), ask func(int, string)){onceBySocket, onceByMQTT} {
		o := &once{answered: map[string]bool{}, reached: make(chan struct{}), places: make(chan struct{}, stopAhead)}
		read, ask := enter(t, p, o)
		work.Go(read)
		work.Go(func() { o.ask(quiet, ask) })
		clients = append(clients, o)
	}
	for _, o := range clients {
		select {
		case <-o.reached:
		case <-time.After(patience):
			t.Fatalf("%s does not answer", o.door)
		}
	}
	signalled := p.cmd.Process.Signal(syscall.SIGTERM)
	close(quiet)
	code, err := p.wait()
	if work.Wait(); signalled != nil || code != exitDone || err != nil {
		t.Fatalf("exit code %d, %v, %v\n%s", code, signalled, err, p.stderr.String())
	}
	entries := dumpedEntries(t, p.cmd.Dir)
	for _, o := range clients {
		for id := range entries {
			if _, told := o.answered[id]; !told && strings.HasPrefix(id, o.door+"-") {
				t.Errorf("%s was done, and its client was told nothing", id)
			}
		}
		for id, done := range o.answered {
			if _, recorded := entries[id]; recorded != done {
				t.Errorf("%s: told to be done: %v, and there is an entry: %v", id, done, recorded)
			}
		}
	}
}

func onceBySocket(t *testing.T, p *process, o *once) (read func(), ask func(int, string)) {
	t.Helper()
	o.door = "socket"
	conn, err := net.Dial("tcp", p.addresses["socket"][0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	read = func() {
		in := bufio.NewScanner(conn)
		for in.Scan() {
			var reply struct{ ID, Code string }
			if err := json.Unmarshal(in.Bytes(), &reply); err == nil && reply.ID != "" {
				o.take(reply.ID, reply.Code == "ok")
			}
		}
	}
	return read, func(_ int, id string) { fmt.Fprintf(conn, `{"op":"deposit","account":"ana","amount":1,"id":%q}`, id) }
}

func onceByMQTT(t *testing.T, p *process, o *once) (read func(), ask func(int, string)) {
	t.Helper()
	o.door = "mqtt"
	l, _, err := connectLink(p.addresses["mqtt"][0], "once", 5)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.conn.Close() })
	read = func() {
		for {
			f, err := l.read()
			if err != nil {
				return
			}
			if f.kind == typePuback {
				o.take(fmt.Sprint(o.door, "-", f.id), f.reason < 0x80)
			}
		}
	}
	return read, func(n int, id string) {
		payload := fmt.Sprintf(`{"op":"deposit","account":"bia","amount":1,"id":%q}`, id)
		l.publish(&message{id: uint16(n), qos: 1, payload: payload})
	}
}
