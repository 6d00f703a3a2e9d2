package mqtt_test

import (
	"log/slog"
	"net"
	"sync"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// The two baselines of the MQTT rows: what mochi does as it comes, and the least that can be done with it.

// echoReply is as long as a reply of the bank.
var echoReply = []byte(`{"status":true,"msg":20,"code":"ok","balance":"20.00","seq":1000000,"time":"2026-11-23T15:52:29.592063Z"}` + "\n")

// stockEcho answers every operation with Server.Publish, as a user of mochi would.
type stockEcho struct {
	mochi.HookBase
	server *mochi.Server
}

func (h *stockEcho) Provides(question byte) bool {
	return question == mochi.OnPublish || question == mochi.OnConnectAuthenticate || question == mochi.OnACLCheck
}

func (h *stockEcho) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (h *stockEcho) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

func (h *stockEcho) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	if err := h.server.Publish("bank/replies/"+cl.ID, echoReply, false, pk.FixedHeader.Qos); err != nil {
		return pk, err
	}
	return pk, packets.CodeSuccessIgnore
}

// batchNull takes every operation over and puts the PUBACKs and replies of all that one client has sent into one write.
// There is no bank.
type batchNull struct {
	mochi.HookBase
	clients sync.Map // of *nullClient
	writers sync.WaitGroup
}

type nullClient struct {
	conn  net.Conn
	topic string
	awake chan struct{}

	mu    sync.Mutex
	ids   []uint16
	outID uint16
}

func (h *batchNull) Provides(question byte) bool {
	switch question {
	case mochi.OnPacketRead, mochi.OnPublish, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnSessionEstablished, mochi.OnDisconnect:
		return true
	}
	return false
}

func (h *batchNull) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (h *batchNull) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

func (h *batchNull) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	c := &nullClient{conn: cl.Net.Conn, topic: "bank/replies/" + cl.ID, awake: make(chan struct{}, 1)}
	h.clients.Store(cl, c)
	h.writers.Go(c.write)
}

func (h *batchNull) OnDisconnect(cl *mochi.Client, _ error, _ bool) {
	if c, ok := h.clients.LoadAndDelete(cl); ok {
		close(c.(*nullClient).awake)
	}
}

func (h *batchNull) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		pk.Mods.MaxSize = uint32(pk.PacketID)
		pk.FixedHeader.Qos, pk.PacketID = 0, 0
	case packets.Puback:
		pk.PacketID = 0
	}
	return pk, nil
}

func (h *batchNull) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	found, _ := h.clients.Load(cl)
	c := found.(*nullClient)
	c.mu.Lock()
	c.ids = append(c.ids, uint16(pk.Mods.MaxSize))
	c.mu.Unlock()
	select {
	case c.awake <- struct{}{}:
	default:
	}
	return pk, packets.ErrRejectPacket
}

func (c *nullClient) write() {
	var ids []uint16
	var out []byte
	for range c.awake {
		c.mu.Lock()
		ids, c.ids = c.ids, ids[:0]
		c.mu.Unlock()
		out = out[:0]
		for _, id := range ids {
			out = append(out, tPuback<<4, 2, byte(id>>8), byte(id))
		}
		for range ids {
			if c.outID++; c.outID == 0 {
				c.outID = 1
			}
			size := 2 + len(c.topic) + 2 + len(echoReply)
			out = append(out, tPublish<<4|2, byte(size)|0x80, byte(size>>7), byte(len(c.topic)>>8), byte(len(c.topic)))
			out = append(append(out, c.topic...), byte(c.outID>>8), byte(c.outID))
			out = append(out, echoReply...)
		}
		c.conn.Write(out)
	}
}

// baseline serves a hook on a stock mochi and returns its address.
func baseline(tb testing.TB, inline bool, hook func(*mochi.Server) mochi.Hook) string {
	tb.Helper()
	server := mochi.New(&mochi.Options{InlineClient: inline, Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(hook(server), nil); err != nil {
		tb.Fatal(err)
	}
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := server.AddListener(tcp); err != nil {
		tb.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { server.Close() })
	return tcp.Address()
}

func stockAddress(tb testing.TB) string {
	return baseline(tb, true, func(s *mochi.Server) mochi.Hook { return &stockEcho{server: s} })
}

func nullAddress(tb testing.TB) string {
	return baseline(tb, false, func(*mochi.Server) mochi.Hook { return new(batchNull) })
}
