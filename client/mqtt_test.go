package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/client"
	"gateway/wire"
)

func mqttClient(t *testing.T, address string, o client.MQTTOptions) *client.Client {
	t.Helper()
	c, err := client.NewMQTT(address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var mqttFaults = map[string][]fault{
	"none":                        {},
	"dropped before CONNACK":      {dropAtOnce, dropAtOnce},
	"dropped unread":              {dropUnread, dropUnread},
	"dropped when done":           {dropDone, dropDone},
	"dropped in reply":            {dropInReply},
	"acknowledged, then dropped":  {ackedOnly},
	"reply before PUBACK":         {replyFirst},
	"reply twice":                 {replyTwice},
	"replies to others":           {stranger},
	"a reply that is none":        {garbage},
	"overloaded":                  {overloaded},
	"refused PUBACK with a reply": {refusedReply},
	"refused PUBACK without":      {refusedAlone},
	"DISCONNECT":                  {disconnect},
	"unknown, then lost":          {unavailable, dropDone},
	"one after the other":         {dropUnread, ackedOnly, dropAtOnce, dropDone, refusedReply, dropInReply},
}

// An operation happens once, whatever the connection and the session do, and its reply carries the id.
func TestOnceOverMQTT(t *testing.T) {
	for name, faults := range mqttFaults {
		for _, keeps := range []bool{false, true} {
			for _, format := range []wire.Format{wire.Msgpack, wire.JSON} {
				t.Run(fmt.Sprintf("%s/keeps=%t/%s", name, keeps, format), func(t *testing.T) {
					t.Parallel()
					b := newBroker(newBook(t))
					b.plan, b.keeps = first(faults...), keeps
					c := mqttClient(t, b.start(), client.MQTTOptions{Format: format})
					reply := mustDo(t, c, deposit("ana"))
					if reply.Balance != "1.00" || len(reply.ID) != 26 || b.balance("ana") != 100 {
						t.Errorf("%+v, in the book %d", reply, b.balance("ana"))
					}
					status := mustDo(t, c, client.Operation{Kind: bank.KindStatus, ID: reply.ID})
					if !status.Duplicate || status.Seq != reply.Seq {
						t.Errorf("status: %+v", status)
					}
				})
			}
		}
	}
}

// Many goroutines over connections that break in every way: each gets the answer to its own operation, and no packet id is
// in use twice.
func TestNobodyGetsAnothersReplyOverMQTT(t *testing.T) {
	const goroutines, each = 16, 40
	b := newBroker(newBook(t))
	var mu sync.Mutex // guards random
	random := rand.New(rand.NewPCG(1, 2))
	usual := []fault{dropAtOnce, dropUnread, dropDone, dropInReply, replyTwice, stranger, overloaded, unavailable, refusedReply,
		ackedOnly, replyFirst}
	b.plan = func(int, int) fault {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(10) > 0 {
			return honest
		}
		return usual[random.IntN(len(usual))]
	}
	c := mqttClient(t, b.start(), client.MQTTOptions{InFlight: 8})
	var all sync.WaitGroup
	for i := range goroutines {
		account := fmt.Sprintf("account-%d", i)
		all.Go(func() {
			for n := 1; n <= each; n++ {
				op := deposit(account)
				op.ID = fmt.Sprintf("%s/%d", account, n)
				reply, err := c.Do(within(t), op)
				if err != nil || reply.Balance != fmt.Sprintf("%d.00", n) || reply.ID != op.ID {
					t.Errorf("%s: %+v, %v", op.ID, reply, err)
					return
				}
			}
		})
	}
	all.Wait()
	if b.entries() != goroutines*each {
		t.Errorf("%d entries", b.entries())
	}
}

// To a gateway that kept the session, a publish without an acknowledgement is sent again as the standard has it: the same
// packet id and DUP. To one that did not, it is new.
func TestRedelivery(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		b := newBroker(newBook(t))
		b.plan, b.keeps = first(dropDone), keeps
		c := mqttClient(t, b.start(), client.MQTTOptions{})
		mustDo(t, c, deposit("ana"))
		if len(b.publishes) != 2 || b.publishes[0].Duplicate || b.publishes[1].Duplicate != keeps ||
			b.publishes[0].PacketID != b.publishes[1].PacketID || b.publishes[0].PacketID < 2 {
			t.Errorf("keeps=%t: %+v", keeps, b.publishes)
		}
	}
}

// The reply that a broken connection owed comes with the next one, and the caller gets that one.
func TestReplySurvivesReconnect(t *testing.T) {
	b := newBroker(newBook(t))
	b.plan = first(ackedOnly, dropAtOnce)
	c := mqttClient(t, b.start(), client.MQTTOptions{})
	if reply := mustDo(t, c, deposit("ana")); reply.Duplicate {
		t.Errorf("%+v: the first answer was kept for us", reply)
	}
}

// The gateway's Receive Maximum bounds what is on the way, and so does InFlight.
func TestReceiveMaximum(t *testing.T) {
	for receiveMax, want := range map[uint16]int{3: 3, 0: 8, 200: 8} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(newBook(t))
			network := newPipes()
			b.receiveMax, b.plan = receiveMax, func(int, int) fault { return silent }
			b.accept(network)
			c := mqttClient(t, "bank:1", client.MQTTOptions{InFlight: 8, Dial: network.dial})
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { c.Do(ctx, deposit("ana")) })
			}
			synctest.Wait()
			b.note(func() {
				if len(b.publishes) != want {
					t.Errorf("Receive Maximum %d: %d on the way, want %d", receiveMax, len(b.publishes), want)
				}
			})
			cancel()
			all.Wait()
		})
	}
}

// A place comes back whichever of PUBACK and reply is first.
func TestPlacesComeBack(t *testing.T) {
	for _, what := range []fault{honest, replyFirst, replyTwice, refusedReply} {
		b := newBroker(newBook(t))
		b.plan = func(_, op int) fault {
			if op%2 == 0 {
				return what
			}
			return honest
		}
		c := mqttClient(t, b.start(), client.MQTTOptions{InFlight: 1})
		for range 5 {
			mustDo(t, c, deposit("ana"))
		}
		if n := b.connections(); n != 1 {
			t.Errorf("fault %d: %d connections", what, n)
		}
	}
}

// What a gateway will never take ends Do at once.
func TestRefusedConnections(t *testing.T) {
	for name, spoil := range map[string]func(*fakeBroker){
		"credentials":  func(b *fakeBroker) { b.connack = 0x86 },
		"subscription": func(b *fakeBroker) { b.suback = 0x87 },
		"packet size":  func(b *fakeBroker) { b.maxPacket = 20 },
	} {
		b := newBroker(newBook(t))
		spoil(b)
		c := mqttClient(t, b.start(), client.MQTTOptions{User: "ana", Password: "secret-of-ana"})
		_, err := c.Do(within(t), deposit("ana"))
		if !errors.Is(err, client.ErrRefused) || !errors.Is(err, client.ErrNotSent) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	for name, spoil := range map[string]func(*fakeBroker){ // another time
		"busy":    func(b *fakeBroker) { b.connack = 0x89 },
		"full":    func(b *fakeBroker) { b.suback = 0x97 },
		"failing": func(b *fakeBroker) { b.suback = 0x83 },
	} {
		b := newBroker(newBook(t))
		spoil(b)
		c := mqttClient(t, b.start(), client.MQTTOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := c.Do(ctx, deposit("ana")); errors.Is(err, client.ErrRefused) || !errors.Is(err, client.ErrNotSent) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		c.Close()
	}
}

// The session outlives connections and ends with Close; the credentials are sent as given.
func TestSessionOfMQTT(t *testing.T) {
	b := newBroker(newBook(t))
	c := mqttClient(t, b.start(), client.MQTTOptions{User: "ana", Password: "secret", SessionExpiry: time.Minute})
	mustDo(t, c, deposit("ana"))
	c.Close()
	if goodbye := <-b.disconnects; goodbye.ReasonCode != 0 || *goodbye.Properties.SessionExpiryInterval != 0 {
		t.Errorf("DISCONNECT %s", goodbye.String())
	}
	connect := b.connects[0]
	if connect.CleanStart || *connect.Properties.SessionExpiryInterval != 60 || connect.Username != "ana" ||
		string(connect.Password) != "secret" || !strings.HasPrefix(connect.ClientID, "ana-") || len(connect.ClientID) > 64 {
		t.Errorf("CONNECT %s", connect.String())
	}
}

// A silent connection is asked for a sign of life, and given up when there is none.
func TestKeepAlive(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(newBook(t))
			network := newPipes()
			b.deaf, b.keepAlive = deaf, 10
			b.accept(network)
			c := mqttClient(t, "bank:1", client.MQTTOptions{Dial: network.dial})
			mustDoIn(t, c, deposit("ana"))
			<-time.After(time.Minute)
			mustDoIn(t, c, deposit("ana"))
			c.Close()
			b.mu.Lock()
			defer b.mu.Unlock()
			if deaf && (len(b.connects) != 2 || b.pings != 1) || !deaf && (len(b.connects) != 1 || b.pings < 6) {
				t.Errorf("deaf=%t: %d connections, %d pings", deaf, len(b.connects), b.pings)
			}
		})
	}
}

func mustDoIn(t *testing.T, c *client.Client, op client.Operation) {
	t.Helper()
	if reply, err := c.Do(t.Context(), op); err != nil || !reply.Done() {
		t.Fatalf("%+v, %v", reply, err)
	}
}

// One answer that stays away gives the connection up, even while others come.
func TestStalledMQTT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(newBook(t))
		network := newPipes()
		b.plan = first(silent)
		b.accept(network)
		c := mqttClient(t, "bank:1", client.MQTTOptions{Dial: network.dial, AnswerTimeout: 10 * time.Second})
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			mustDoIn(t, c, deposit("ana"))
		}()
		for {
			select {
			case <-done:
				if took := time.Since(began); took < 10*time.Second || took > 12*time.Second {
					t.Errorf("took %s", took)
				}
				c.Close()
				return
			case <-time.After(time.Second):
				mustDoIn(t, c, deposit("bia"))
			}
		}
	})
}

// What nobody waits for any more still holds its place until it is answered, and then gives it back.
func TestAbandonedOverMQTT(t *testing.T) {
	b := newBroker(newBook(t))
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	b.plan = func(_, op int) fault {
		if op == 0 {
			cancel()
			<-release
		}
		return honest
	}
	c := mqttClient(t, b.start(), client.MQTTOptions{InFlight: 1})
	if _, err := c.Do(ctx, deposit("ana")); !errors.Is(err, client.ErrUnknown) {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, deposit("ana")); !errors.Is(err, client.ErrNotSent) {
		t.Errorf("%v: there was no place", err)
	}
	close(release)
	mustDo(t, c, deposit("ana"))
	if n := b.entries(); n != 2 || len(b.connects) != 1 {
		t.Errorf("%d entries, %d connections", n, len(b.connects))
	}
}

func TestMQTTOptions(t *testing.T) {
	for _, o := range []client.MQTTOptions{
		{ClientID: "a b"}, {ClientID: strings.Repeat("a", client.MaxClientID+1)}, {KeepAlive: time.Millisecond},
		{OperationsTopic: strings.Repeat("a", client.MaxTopic+1)}, {RepliesTopic: strings.Repeat("a", client.MaxTopic+1)},
		{KeepAlive: 20 * time.Hour}, {SessionExpiry: time.Millisecond}, {Format: wire.Pickle},
	} {
		if _, err := client.NewMQTT("127.0.0.1:1", o); err == nil {
			t.Errorf("%+v", o)
		}
	}
	b := newBroker(newBook(t))
	mustDo(t, mqttClient(t, b.start(), client.MQTTOptions{}), deposit("ana"))
	if id := b.connects[0].ClientID; !strings.HasPrefix(id, "gateway-client-") || len(id) > client.MaxClientID {
		t.Errorf("client id %q", id)
	}
	if _, err := client.NewMQTT("127.0.0.1:1", client.MQTTOptions{ClientID: strings.Repeat("a", client.MaxClientID)}); err != nil {
		t.Error(err)
	}
}
