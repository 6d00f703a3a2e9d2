package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// sessionRounds is how often a gateway is killed under the fleet; GATEWAY_SESSION_TORTURE sets another number.
	sessionRounds = 12
	// sessionFloor is the load below which a kill proves nothing: operations that are replied to since the start.
	sessionFloor = 100
	// fleetSize is a multiple of the kinds of devices.
	fleetSize = 24
	// killDelay is the longest between the floor and the kill, so that no reply foretells it.
	killDelay = 5 * time.Millisecond
	// stopTime is about how long a clean stop takes.
	stopTime = 20 * time.Millisecond
)

// TestTortureOfSessions kills a gateway again and again under devices whose sessions persist: under load, while it recovers,
// as soon as it is ready, and while it stops. The devices, most of which give their operations no ids, do only what MQTT
// says. In the end every operation was acknowledged and replied to; each is in the journal once if it is to be there, as its
// reply says; all copies of a reply are the same and have DUP but the first; replies came first in the order of their
// entries and of the operations; and nothing is owed any more.
func TestTortureOfSessions(t *testing.T) {
	rounds := countFor(t, "GATEWAY_SESSION_TORTURE", sessionRounds)
	seed := drawSeed(t)
	t.Logf("%d rounds", rounds)
	began := time.Now()
	f := newFleet(newKillable(t), seed)
	defer f.abandon()
	for round := range rounds {
		f.round(round)
	}
	f.end()
	f.mustBeWell()
	f.settle()
	entries := f.check()
	t.Logf("%d kills under load and %d others; %d operations, %d redeliveries, %d replies twice, %d entries, %v",
		rounds, f.others, f.operations(), f.redeliveries(), f.resent(), entries, time.Since(began).Round(time.Millisecond))
	if f.operations() < rounds*sessionFloor || f.redeliveries() < rounds {
		t.Fatal("void: too little was under way when it was killed")
	}
}

// fleet is one run.
type fleet struct {
	*killable
	random  *rand.Rand
	devices []*device
	replied chan struct{} // a token for each operation that is replied to, while there is room
	failed  chan error
	gone    chan struct{} // closed: the gateway does not come back
	end     func()        // lets the devices come to their end
	others  int           // kills besides those under load
}

// newFleet lets devices come to a gateway.
func newFleet(k *killable, seed uint64) *fleet {
	f := &fleet{
		killable: k, random: rand.New(rand.NewPCG(seed, fleetSize)), devices: make([]*device, fleetSize),
		replied: make(chan struct{}, 2*sessionFloor), failed: make(chan error, fleetSize), gone: make(chan struct{}),
	}
	names := make([]string, fleetSize)
	for i := range names {
		names[i] = fmt.Sprintf("d%02d", i)
	}
	stop := make(chan struct{})
	more := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	var running sync.WaitGroup
	for i := range f.devices {
		d := newDevice(i, names, rand.New(rand.NewPCG(seed, uint64(i))))
		d.address, d.replied, d.gone = f.address, f.replied, f.gone
		f.devices[i] = d
		running.Go(func() {
			if err := d.run(more); err != nil {
				f.failed <- err
			}
		})
	}
	f.end = sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
	return f
}

// newDevice makes the devices differ: both protocols, each QoS and both, each way to tell replies apart.
func newDevice(i int, fleet []string, random *rand.Rand) *device {
	d := &device{
		name: fleet[i], fleet: fleet, level: 4 + byte(i%2), qos: byte(i / 2 % 3), naming: naming(i / 6 % 4), random: random,
		window: 1 + random.IntN(deviceWindow), replies: map[string]*deviceReply{},
	}
	if d.level < 5 {
		d.naming %= byCorrelation
	} else if random.IntN(2) == 0 {
		d.receives = byte(1 + random.IntN(deviceWindow))
	}
	return d
}

// abandon ends a run that has failed.
func (f *fleet) abandon() {
	if f.t.Failed() {
		close(f.gone)
		f.process.kill()
	}
	f.end()
}

// round waits for the load and kills the gateway, and then starts it again: now and then it is killed once more, while it
// recovers, while all come back, or while it stops.
func (f *fleet) round(n int) {
	f.t.Helper()
	f.await(sessionFloor + f.random.IntN(sessionFloor))
	<-time.After(f.upTo(killDelay))
	f.kill(false)
	if n%dumpEvery == dumpEvery-1 {
		f.verify()
	}
	if n%3 == 2 {
		f.others++
		early := exec.Command("gateway")
		early.Dir = f.dir
		if err := early.Start(); err != nil {
			f.t.Fatal(err)
		}
		<-time.After(f.upTo(recoveryTime))
		_ = early.Process.Kill()
		_ = early.Wait()
	}
	f.start()
	if n%4 == 3 {
		f.others++
		<-time.After(f.upTo(killDelay))
		f.kill(false)
		f.start()
	}
	if n%6 == 5 {
		f.others++
		f.await(sessionFloor / 4)
		_ = f.process.cmd.Process.Signal(syscall.SIGTERM)
		<-time.After(f.upTo(stopTime))
		f.kill(true)
		f.start()
	}
}

func (f *fleet) upTo(longest time.Duration) time.Duration {
	return time.Duration(f.random.Int64N(int64(longest)))
}

// kill kills the gateway. It must not have ended by itself, unless it was told to.
func (f *fleet) kill(stopping bool) {
	f.t.Helper()
	_ = f.process.cmd.Process.Kill()
	code, err := f.process.wait()
	if err != nil || code != -1 && !(stopping && code == exitDone) {
		f.t.Fatalf("before it was killed it ended with %d, %v\n%s", code, err, f.process.stderr.String())
	}
}

// await waits until n operations more are replied to. A run that does not get there is void.
func (f *fleet) await(n int) {
	f.t.Helper()
	for len(f.replied) > 0 { // of the round before
		<-f.replied
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for range n {
		select {
		case <-f.replied:
		case err := <-f.failed:
			f.t.Fatal(err)
		case <-late.C:
			f.t.Fatal("void: nobody is answered")
		}
	}
}

func (f *fleet) verify() {
	f.t.Helper()
	verify := exec.Command("gateway", "journal", "verify")
	verify.Dir = f.dir
	if out, err := verify.CombinedOutput(); err != nil {
		f.t.Fatalf("journal verify: %v\n%s", err, out)
	}
}

// settle lets every device see, after clean stops, that nothing is owed to it any more.
func (f *fleet) settle() {
	f.t.Helper()
	for round := range 2 {
		resent := f.resent()
		f.stop()
		f.start()
		var asking sync.WaitGroup
		for _, d := range f.devices {
			asking.Go(func() {
				if err := d.ask(); err != nil {
					f.failed <- err
				}
			})
		}
		asking.Wait()
		f.mustBeWell()
		if again := f.resent() - resent; round == 1 && again > 0 {
			f.t.Errorf("%d replies came again although they were acknowledged", again)
		}
	}
	f.stop()
	f.verify()
}

func (f *fleet) mustBeWell() {
	f.t.Helper()
	for len(f.failed) > 0 {
		f.t.Error(<-f.failed)
	}
	if f.t.Failed() {
		f.t.FailNow()
	}
}

func (f *fleet) stop() {
	f.t.Helper()
	if code, err := f.process.stop(syscall.SIGTERM); code != exitDone || err != nil {
		f.t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, f.process.stderr.String())
	}
}

func (f *fleet) operations() int   { return f.sum(func(d *device) int { return len(d.operations) }) }
func (f *fleet) redeliveries() int { return f.sum(func(d *device) int { return d.redelivered }) }
func (f *fleet) resent() int       { return f.sum(func(d *device) int { return d.resent }) }

func (f *fleet) sum(of func(*device) int) (sum int) {
	for _, d := range f.devices {
		sum += of(d)
	}
	return sum
}
