package client_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"gateway/bank"
	"gateway/client"
	"gateway/wire"
)

// BenchmarkDo measures what the client itself costs: one connection with 32 operations on the way, to a peer in the same
// process that answers what it is asked and is no bank. Claim: more than 100,000 operations a second over one connection of
// either kind, the peer's work included, on two CPUs.
func BenchmarkDo(b *testing.B) {
	const inFlight = 32
	for name, serve := range map[string]func(net.Conn){"session": nullSession, "mqtt": nullBroker} {
		b.Run(name, func(b *testing.B) {
			address := serveNull(b, serve)
			var c *client.Client
			var err error
			if name == "mqtt" {
				c, err = client.NewMQTT(address, client.MQTTOptions{InFlight: inFlight})
			} else {
				c, err = client.NewSocket(address, client.SocketOptions{Session: true, InFlight: inFlight})
			}
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			op := client.Operation{Kind: bank.KindTransfer, Account: "bench-1", To: "bench-2", Amount: "1"}
			var left atomic.Int64
			left.Store(int64(b.N))
			var workers sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range inFlight {
				workers.Go(func() {
					for left.Add(-1) >= 0 {
						if reply, err := c.Do(b.Context(), op); err != nil || !reply.Done() {
							b.Error(reply, err)
							return
						}
					}
				})
			}
			workers.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

// serveNull serves every connection until the benchmark ends.
func serveNull(b *testing.B, serve func(net.Conn)) string {
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
				serve(conn)
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

// nullAnswer appends the reply to a request in msgpack whose id is at its end, where AppendRequest writes it, but for a memo.
func nullAnswer(dst []byte, codec wire.Codec, request []byte) []byte {
	reply := bank.Reply{Kind: bank.KindTransfer, ID: string(request[len(request)-26:]), Seq: 1, Balance: 100, HasBalance: true}
	return codec.AppendReply(dst, &reply)
}

// nullSession answers the requests of a session. All are as long as the first.
func nullSession(conn net.Conn) {
	codec := wire.NewCodec(wire.Msgpack, 2)
	conn.Write(codec.Ack())
	length := len(wire.NewClient(wire.Msgpack).AppendRequest(nil, &wire.Request{
		Op: "transfer", Account: "bench-1", To: "bench-2", Amount: "1", ID: "01234567890123456789012345",
	}))
	in := bufio.NewReaderSize(conn, 32<<10)
	request := make([]byte, length)
	var out []byte
	for {
		if _, err := io.ReadFull(in, request); err != nil {
			return
		}
		out = nullAnswer(out, codec, request)
		if in.Buffered() < length {
			conn.Write(out)
			out = out[:0]
		}
	}
}

// nullBroker answers publishes, PUBACK and reply at once. It reads packets of less than 16 KiB.
func nullBroker(conn net.Conn) {
	codec := wire.NewCodec(wire.Msgpack, 2)
	in := bufio.NewReaderSize(conn, 32<<10)
	var out, body []byte
	for {
		kind, err := in.ReadByte()
		if err != nil {
			return
		}
		length, err := binary.ReadUvarint(in) // the same as MQTT's
		if err != nil {
			return
		}
		body = append(body[:0], make([]byte, length)...)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		switch kind >> 4 {
		case 1: // CONNECT
			out = append(out, 0x20, 3, 0, 0, 0)
		case 8: // SUBSCRIBE
			out = append(out, 0x90, 4, body[0], body[1], 0, 1)
		case 3: // PUBLISH to bank/ops with 19 bytes of properties: correlation data
			id := body[10:12]
			out = append(out, 0x40, 2, id[0], id[1])
			payload := nullAnswer(nil, codec, body)
			properties := body[12:32]
			publish := append([]byte("\x00\x01x"), id...)
			publish = append(append(publish, properties...), payload...)
			out = append(binary.AppendUvarint(append(out, 0x32), uint64(len(publish))), publish...)
		}
		if in.Buffered() == 0 {
			conn.Write(out)
			out = out[:0]
		}
	}
}
