package mqtt_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// naiveHook is the bank behind mochi as one would write it first: it asks the bank when an operation is published, publishes
// the reply, and lets mochi do the rest. It is no straw man: it knows whose topics are whose, shared ones too, and waits for
// the bank before mochi acknowledges anything.
type naiveHook struct {
	mochi.HookBase
	server *mochi.Server
	banco  *bank.Banco
	codec  wire.Codec
}

func (h *naiveHook) Provides(question byte) bool {
	return question == mochi.OnPublish || question == mochi.OnConnectAuthenticate || question == mochi.OnACLCheck
}

func (h *naiveHook) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (h *naiveHook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	if write {
		return topic == "bank/ops"
	}
	if shared, ok := strings.CutPrefix(topic, "$share/"); ok {
		_, topic, _ = strings.Cut(shared, "/")
	}
	own := "bank/replies/" + cl.ID
	return topic == own || strings.HasPrefix(topic, own+"/") || topic != "bank/ops" && !strings.HasPrefix(topic, "bank/replies/")
}

func (h *naiveHook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline || pk.TopicName != "bank/ops" {
		return pk, nil
	}
	var op bank.Operation
	if _, err := h.codec.Decode(pk.Payload, &op); err != nil {
		return pk, packets.ErrPayloadFormatInvalid
	}
	op.Principal = bank.AnonymousPrincipal
	op.Origin.Door = bank.DoorMQTT
	reply, err := h.banco.Do(context.Background(), op)
	if err != nil {
		return pk, packets.ErrImplementationSpecificError
	}
	topic := "bank/replies/" + cl.ID
	if pk.Properties.ResponseTopic != "" {
		topic = pk.Properties.ResponseTopic
	}
	if err := h.server.Publish(topic, h.codec.AppendReply(nil, &reply), false, pk.FixedHeader.Qos); err != nil {
		return pk, err
	}
	return pk, packets.CodeSuccessIgnore
}

const (
	// naiveVariable in its environment makes a test binary the naive server.
	naiveVariable = "GATEWAY_TEST_NAIVE_MQTT"
	// naivePatience bounds every wait for a packet of the naive server where it is to fail: many traps end in a hang.
	naivePatience = time.Second
	// mostTries is how often a trap for a race is set. One processor may win it now and then.
	mostTries = 30
)

// TestTrapsCatchTheNaiveHook sets the traps for the naive server, a process of its own for each since some end it. A trap that
// does not catch it proves nothing about ours.
func TestTrapsCatchTheNaiveHook(t *testing.T) {
	t.Run("without a trap", func(t *testing.T) {
		if err := naive(t, patience).set(&trap{try: tryOrdinary}); err != nil {
			t.Errorf("it does not even serve: %v", err)
		}
	})
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			t.Parallel()
			bound := naivePatience
			if trap.spared != "" {
				bound = patience
			}
			err := naive(t, bound).set(&trap)
			for tries := 1; trap.race && err == nil && tries < mostTries; tries++ {
				err = naive(t, bound).set(&trap)
			}
			switch {
			case trap.spared != "" && err != nil:
				t.Errorf("notes %s: caught, which was not to be: %v", trap.note, err)
			case trap.spared != "":
				t.Logf("notes %s: spared: %s", trap.note, trap.spared)
			case err == nil:
				t.Errorf("notes %s: the naive server is not caught", trap.note)
			default:
				t.Logf("notes %s: %v", trap.note, err)
			}
		})
	}
}

// tryOrdinary is what every client does, and no trap.
func tryOrdinary(s *stand) {
	for level := byte(3); level <= 5; level++ {
		for qos := byte(0); qos <= 2; qos++ {
			p := s.listening(hello{id: fmt.Sprint("c", level, qos), level: level}) // a name taken over at once is a trap
			p.publish(note{qos: qos, id: 1, payload: deposit("1", 1)})
			acks, replies := p.harvest(int(min(qos, 1)), 1)
			if a := p.answer(replies[0]); !a.Status || qos > 0 && acks[0].reason > 1 {
				s.Fatalf("level %d QoS %d: %+v, acknowledged %+v", level, qos, a, acks)
			}
			p.conn.Close()
		}
	}
	p, web := s.surf(), s.listening(hello{id: "tcp"})
	p.greet(hello{id: "web"})
	p.quiet()
	web.quiet()
	if n := s.executed("1"); n != 9 {
		s.Fatalf("%d deposits were made, want 9", n)
	}
	if err := s.stop(); err != nil {
		s.Fatal(err)
	}
}

// naive starts the naive server and returns it as a stand of that patience.
func naive(t *testing.T, bound time.Duration) *stand {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, "-test.run=^TestNaiveChild$")
	cmd.Env, cmd.Stderr = append(os.Environ(), naiveVariable+"=yes"), &stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		for range lines { // Wait may come after the last read only
		}
		cmd.Wait()
		if t.Failed() {
			t.Logf("the naive server said:\n%s", stderr.String())
		}
	})
	s := &stand{TB: t, patience: bound}
	if _, err := fmt.Sscanf(<-lines, "naive %s %s", &s.address, &s.web); err != nil {
		t.Fatalf("the naive server did not start: %v", err)
	}
	ask := func(what string) error {
		if _, err := io.WriteString(in, what+"\n"); err != nil {
			return err
		}
		select {
		case answer := <-lines:
			if answer != what {
				return fmt.Errorf("asked to %s, it says %q", what, answer)
			}
			return nil
		case <-time.After(bound):
			return fmt.Errorf("asked to %s, it hangs", what)
		}
	}
	s.stop = func() error { return ask("stop") }
	s.hold = func() func() {
		if err := ask("hold"); err != nil {
			s.Fatal(err)
		}
		return func() { ask("release") }
	}
	s.leave = func(_ string, by time.Duration) { <-time.After(by + 2*time.Second) } // it has no clock but the one on the wall
	return s
}

// TestNaiveChild is the naive server when naive starts it, and nothing otherwise. Its standard input tells it what to do; with
// the end of that it ends.
func TestNaiveChild(t *testing.T) {
	if os.Getenv(naiveVariable) == "" {
		return
	}
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // some traps are for races
	engine := &heldEngine{Memory: bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)}
	hook := &naiveHook{banco: bank.New(engine, bank.Options{}), codec: wire.NewCodec(wire.JSON, 2)}
	go hook.banco.Run(t.Context())
	hook.server = mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	web := listen(t)
	web.Close() // mochi wants an address, and does not tell what became of port 0
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	socket := listeners.NewWebsocket(listeners.Config{ID: "web", Address: web.Addr().String()})
	if err := errors.Join(
		hook.server.AddHook(hook, nil), hook.server.AddListener(tcp), hook.server.AddListener(socket), hook.server.Serve(),
	); err != nil {
		t.Fatal(err)
	}
	for { // until it listens
		if conn, err := net.Dial("tcp", socket.Address()); err == nil {
			conn.Close()
			break
		}
	}
	fmt.Println("naive", tcp.Address(), socket.Address())
	release := func() {}
	for told := bufio.NewScanner(os.Stdin); told.Scan(); {
		switch told.Text() {
		case "hold":
			release = engine.hold()
		case "release":
			release()
		case "stop":
			hook.server.Close()
		}
		fmt.Println(told.Text())
	}
}
