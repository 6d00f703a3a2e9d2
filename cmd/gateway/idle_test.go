package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// idleClients is the small run; GATEWAY_IDLE sets another number.
	idleClients = 200
	// idleMost is what a client may cost, in KiB, where there are enough of them, idleEnough, to tell.
	idleMost, idleEnough = 40, 5000
	// idleDialers is how many clients connect at once.
	idleDialers = 8
	// idlePerSource is how many clients have one source address: fewer than there are ports for outgoing connections.
	idlePerSource = 20000
	// idleSettled is how many readings of the memory in turn, idleEvery apart, must be one for it to have settled.
	idleSettled, idleEvery = 5, 100 * time.Millisecond
)

// TestIdle connects many clients of MQTT 3.1.1 and 5 that subscribe and are silent then, and tells what one costs in the
// gateway's resident memory. At the end they must be served as if they were few.
func TestIdle(t *testing.T) {
	needLinux(t)
	count := idleClients
	if text, ok := os.LookupEnv("GATEWAY_IDLE"); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("GATEWAY_IDLE=%q is not a number of clients", text)
		}
		count = n
	}
	p := startCrowded(t, t.TempDir(), count)
	clients := make([]*lean, count)
	t.Cleanup(func() {
		for _, l := range clients {
			if l != nil {
				_ = l.conn.Close()
			}
		}
	})
	before := settledMemory(t, p)
	callIdle(t, p.addresses["mqtt"][0], clients)
	after := settledMemory(t, p)
	each := (after.resident - before.resident) / float64(count)
	t.Logf("%d idle clients: %.1f MiB resident before them, %.1f MiB with them, %.1f KiB each", count, before.resident/1024,
		after.resident/1024, each)
	if count >= idleEnough && each > idleMost {
		t.Errorf("%.1f KiB a client, more than %d", each, idleMost)
	}
	for i := 0; i < count; i += 1 + count/100 {
		if err := wakeIdle(clients[i]); err != nil {
			t.Errorf("client %d after its rest: %v", i, err)
		}
	}
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Errorf("clean stop: exit code %d, %v\n%s", code, err, p.stderr.String())
	}
}

// callIdle connects all clients.
func callIdle(t *testing.T, address string, clients []*lean) {
	t.Helper()
	var dialing sync.WaitGroup
	for d := range idleDialers {
		dialing.Go(func() {
			for i := d; i < len(clients); i += idleDialers {
				source := fmt.Sprint("127.0.0.", 1+i/idlePerSource)
				l, err := callLean(address, source, fmt.Sprint("idle-", i), leanLevel(i))
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				clients[i] = l
			}
		})
	}
	dialing.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// settledMemory waits until the memory stays as it is.
func settledMemory(t *testing.T, p *process) memory {
	t.Helper()
	ticker := time.NewTicker(idleEvery)
	defer ticker.Stop()
	deadline := time.Now().Add(patience)
	var last memory
	for same := 0; same < idleSettled; <-ticker.C {
		m, err := memoryOf(p.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if same++; m != last {
			same, last = 0, m
		}
		if time.Now().After(deadline) {
			t.Logf("the memory still moves after %v", patience)
			break
		}
	}
	return last
}

// wakeIdle lets a client ask for something.
func wakeIdle(l *lean) error {
	if err := l.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := l.publish(1, []byte(`{"op":"balance","account":"idle"}`)); err != nil {
		return err
	}
	for _, want := range []byte{leanPuback, leanPublish} {
		p, err := l.next()
		if err != nil {
			return err
		}
		if p.kind != want {
			return fmt.Errorf("packet type %d, want %d", p.kind, want)
		}
	}
	return nil
}
