package client_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
	"gateway/transport/mqtt"
	"gateway/transport/socket"
	"gateway/wire"
)

// gateway is a real one with its book in memory.
type gateway struct {
	single, session, sessionJSON, broker string // addresses
	memory                               *bank.Memory
}

// startGateway serves until stop, or until the test or example ends; then nothing runs any more and memory may be read.
func startGateway(fatal func(...any)) (g *gateway, stop func()) {
	g = &gateway{memory: bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)}
	serving, stopServing := context.WithCancel(context.Background())
	committing, stopCommitting := context.WithCancel(context.Background())
	banco := bank.New(g.memory, bank.Options{})
	broker, err := mqtt.New(banco, mqtt.Options{Decimals: 2, Anonymous: true})
	if err != nil {
		fatal(err)
	}
	var doors, committer sync.WaitGroup
	committer.Go(func() { banco.Run(committing) })
	sockets := socket.New(banco, socket.Options{})
	listen := func(address *string) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fatal(err)
		}
		*address = l.Addr().String()
		return l
	}
	door := func(address *string, format wire.Format, session bool) {
		l := socket.Listener{Net: listen(address), Codec: wire.NewCodec(format, 2), Session: session, Principal: bank.AnonymousPrincipal}
		doors.Go(func() { sockets.Serve(serving, l) })
	}
	door(&g.single, wire.Msgpack, false)
	door(&g.session, wire.Msgpack, true)
	door(&g.sessionJSON, wire.JSON, true)
	ln := mqtt.Listener{Net: listen(&g.broker)}
	doors.Go(func() { broker.Serve(serving, []mqtt.Listener{ln}) })
	return g, sync.OnceFunc(func() {
		stopServing()
		doors.Wait()
		stopCommitting()
		committer.Wait()
	})
}

// ways are the ways into the gateway, each to a client of it that dials dial(address).
func (g *gateway) ways(t *testing.T, dial func(address string) string) map[string]*client.Client {
	return map[string]*client.Client{
		"single":       socketClient(t, dial(g.single), client.SocketOptions{}),
		"session":      socketClient(t, dial(g.session), client.SocketOptions{Session: true}),
		"session json": socketClient(t, dial(g.sessionJSON), client.SocketOptions{Session: true, Format: wire.JSON}),
		"mqtt":         mqttClient(t, dial(g.broker), client.MQTTOptions{}),
		"mqtt json":    mqttClient(t, dial(g.broker), client.MQTTOptions{Format: wire.JSON}),
	}
}

// Every way moves the same balances and says the same of every kind of operation.
func TestEveryWayIntoTheGateway(t *testing.T) {
	g, stop := startGateway(t.Fatal)
	t.Cleanup(stop)
	for name, c := range g.ways(t, func(address string) string { return address }) {
		t.Run(name, func(t *testing.T) {
			ana, bia := name[:1]+"-ana", name[:1]+fmt.Sprint(len(name))+"-bia"
			mustDo(t, c, client.Operation{Kind: bank.KindOpen, Account: ana})
			before := mustDo(t, c, client.Operation{Kind: bank.KindBalance, Account: ana})
			first := mustDo(t, c, client.Operation{Kind: bank.KindDeposit, Account: ana, Amount: "12.50", Memo: "salário"})
			if first.Seq <= before.Seq || first.Time.IsZero() || first.Duplicate || len(first.ID) != 26 {
				t.Errorf("deposit: %+v", first)
			}
			mustDo(t, c, client.Operation{Kind: bank.KindTransfer, Account: ana, To: bia, Amount: "2.50"})
			mustDo(t, c, client.Operation{Kind: bank.KindWithdraw, Account: bia, Amount: "1"})
			if r := mustDo(t, c, client.Operation{Kind: bank.KindBalance, Account: bia}); r.Balance != "1.50" || r.ID != "" {
				t.Errorf("balance: %+v", r)
			}
			status := mustDo(t, c, client.Operation{Kind: bank.KindStatus, ID: first.ID})
			if first.Duplicate = true; status != first {
				t.Errorf("status: %+v, not %+v", status, first)
			}
			for code, op := range map[bank.Code]client.Operation{
				bank.InsufficientFunds: {Kind: bank.KindWithdraw, Account: bia, Amount: "99"},
				bank.IDConflict:        {Kind: bank.KindDeposit, Account: bia, Amount: "1", ID: first.ID},
				bank.IDNotFound:        {Kind: bank.KindStatus, ID: "never"},
				bank.InvalidID:         {Kind: bank.KindStatus},
				bank.InvalidAmount:     {Kind: bank.KindDeposit, Account: bia, Amount: "1.001"},
				bank.InvalidAccount:    {Kind: bank.KindBalance, Account: "@cash"},
				bank.Malformed:         {Kind: bank.KindDeposit, Account: bia, Amount: "1", Memo: string(make([]byte, 200))},
			} {
				reply, err := c.Do(within(t), op)
				if err != nil || reply.Code != code || reply.Msg == "" {
					t.Errorf("%s: %+v, %v", code, reply, err)
				}
			}
		})
	}
}

// cutter is a proxy that ends each connection after a random number of bytes.
type cutter struct {
	target string
	mu     sync.Mutex // guards random
	random *rand.Rand
}

// start listens until the test ends and returns the address.
func (p *cutter) start(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.relay(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func (p *cutter) relay(conn net.Conn) {
	defer conn.Close()
	behind, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer behind.Close()
	p.mu.Lock()
	there, back := int64(100+p.random.IntN(20000)), int64(100+p.random.IntN(20000))
	p.mu.Unlock()
	var both sync.WaitGroup
	one := func(to, from net.Conn, most int64) {
		io.Copy(to, io.LimitReader(from, most))
		conn.Close()
		behind.Close()
	}
	both.Go(func() { one(behind, conn, there) })
	one(conn, behind, back)
	both.Wait()
}

// Connections that are cut anywhere cost no operation and double none.
func TestThroughCuts(t *testing.T) {
	const goroutines, each = 8, 25
	g, stop := startGateway(t.Fatal)
	ways := g.ways(t, func(address string) string {
		return (&cutter{target: address, random: rand.New(rand.NewPCG(3, 4))}).start(t)
	})
	var all sync.WaitGroup
	for name, c := range ways {
		for i := range goroutines {
			account := fmt.Sprintf("%d-%d", len(name), i)
			all.Go(func() {
				for n := 1; n <= each; n++ {
					reply, err := c.Do(within(t), deposit(account))
					if err != nil || reply.Balance != fmt.Sprintf("%d.00", n) {
						t.Errorf("%s: operation %d of %s: %+v, %v", name, n, account, reply, err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	for _, c := range ways {
		c.Close()
	}
	stop()
	if n := len(g.memory.Entries()); n != len(ways)*goroutines*each || g.memory.Ledger().Sum() != 0 {
		t.Errorf("%d entries, the book sums to %d", n, g.memory.Ledger().Sum())
	}
}
