package socket_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"gateway/bank"
	"gateway/transport/socket"
	"gateway/wire"
)

// codes returns the codes of JSON replies, in order, and the ids where they have one.
func codes(replies string) string {
	var list []string
	for line := range strings.Lines(replies) {
		_, code, _ := strings.Cut(line, `"code":"`)
		code, rest, _ := strings.Cut(code, `"`)
		if after, ok := strings.CutPrefix(rest, `,"id":"`); ok {
			id, _, _ := strings.Cut(after, `"`)
			code += ":" + id
		}
		list = append(list, code)
	}
	return strings.Join(list, " ")
}

func numbered(kind string, id int) string {
	return fmt.Sprintf(`{"op":%q,"account":"ana","amount":1,"id":"%d"}`+"\n", kind, id)
}

// TestSessionOrder sends operations, some of them no operations but whole, in one write: each gets its reply in its turn.
func TestSessionOrder(t *testing.T) {
	s := start(t, setup{session: true})
	p := dial(t, s.address)
	var sent, want []string
	for i := range 300 { // more than may be in flight
		switch i % 5 {
		case 1:
			sent, want = append(sent, `{"op":"rob","account":"ana"}`), append(want, "unknown_operation")
		case 3:
			sent, want = append(sent, `{"op":"balance","account":"ana","colour":1}`), append(want, "malformed")
		default:
			sent, want = append(sent, numbered("deposit", i)), append(want, fmt.Sprintf("ok:%d", i))
		}
	}
	go func() {
		io.WriteString(p, strings.Join(sent, ""))
		p.half()
	}()
	if got := codes(p.rest()); got != strings.Join(want, " ") {
		t.Errorf("replies %s", got)
	}
}

// TestSessionPlaces: a fault keeps its place when the operations before it are answered long after it was found.
func TestSessionPlaces(t *testing.T) {
	h := newHeld()
	s := start(t, setup{bank: h, session: true})
	p := dial(t, s.address)
	p.send(numbered("deposit", 1) + `{"op":"rob"}` + numbered("deposit", 2) + "[]" + numbered("deposit", 3))
	<-h.took
	<-h.took
	h.answer(2)
	want := "ok:1 unknown_operation ok:2 malformed"
	if got := codes(p.rest()); got != want {
		t.Errorf("replies %s; want %s, then the end, for nobody knows where the next operation begins", got, want)
	}
	if n := h.accepted(); n != 2 {
		t.Errorf("%d operations were accepted", n)
	}
}

func TestSessionEnds(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"nothing", "", ""},
		{"space", "\n\n ", ""},
		{"whole", numbered("deposit", 1), "ok:1"},
		{"cut", numbered("deposit", 1) + numbered("deposit", 2)[:30], "ok:1 malformed"},
		{"too large", numbered("deposit", 1) + `{"op":"` + strings.Repeat("x", 300) + `"}` + numbered("deposit", 2), "ok:1 too_large"},
		{"garbage", numbered("deposit", 1) + "?" + strings.Repeat(numbered("deposit", 2), 10000), "ok:1 malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, setup{session: true, options: socket.Options{Message: 200}})
			p := dial(t, s.address)
			p.send(c.sent)
			p.half()
			if got := codes(p.rest()); got != c.want {
				t.Errorf("replies %q, want %q", got, c.want)
			}
		})
	}
}

// inEveryCodec is a deposit and a balance.
var inEveryCodec = map[wire.Format][2]string{
	wire.JSON:    {deposit, balance},
	wire.Msgpack: {"\x83\xa2op\xa7deposit\xa7account\xa3ana\xa6amount\x14", "\x82\xa2op\xa7balance\xa7account\xa3ana"},
	wire.Pickle: {
		"\x80\x02}(X\x06\x00\x00\x00classeX\x08\x00\x00\x00DepositoX\x06\x00\x00\x00objeto}(X\x09\x00\x00\x00id_pessoaX\x03\x00\x00\x00ana" +
			"X\x05\x00\x00\x00valorK\x14uu.",
		"\x80\x02cdominio.Operacao\nSaldo\n)\x81}X\x09\x00\x00\x00id_pessoaX\x03\x00\x00\x00anasb.",
	},
}

// TestSessionCodecs runs the same pipelined operations in every codec, cut at every byte into two writes.
func TestSessionCodecs(t *testing.T) {
	for format, pair := range inEveryCodec {
		both := pair[0] + pair[1] + pair[0]
		want := ""
		for cut := range len(both) {
			s := start(t, setup{session: true, codec: wire.NewCodec(format, 2)})
			p := connect(t, s.address)
			p.send(both[:cut])
			p.send(both[cut:])
			p.half()
			got := p.rest()
			if cut == 0 {
				want = got
			}
			if got != want {
				t.Fatalf("%v cut at %d: %q, not %q", format, cut, got, want)
			}
			s.stop()
			if n := len(s.memory.Entries()); n != 2 {
				t.Fatalf("%v cut at %d: %d entries, not 2", format, cut, n)
			}
		}
	}
}

// TestInFlight: a session reads no more while as many operations as may be are accepted and not answered; when some are, it
// reads on.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHeld(), newPipes()
		s := start(t, setup{bank: h, net: l, session: true, options: socket.Options{InFlight: 4}})
		p := l.dial(t)
		p.expect("true\n")
		const all = 5000
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range all {
				p.send(numbered("deposit", i))
			}
		}()
		go io.Copy(io.Discard, p)
		synctest.Wait()
		if n := h.accepted(); n != 4 {
			t.Fatalf("%d operations were accepted, not 4", n)
		}
		h.answer(3)
		synctest.Wait()
		if n := h.accepted(); n != 7 {
			t.Fatalf("%d operations were accepted, not 7", n)
		}
		select {
		case <-sent:
			t.Fatal("everything was read")
		default: // what was read beyond the bound is within one buffer
		}
		for h.accepted() < all || h.waiting() > 0 {
			h.answer(h.waiting())
			synctest.Wait()
		}
		<-sent
		p.Close()
		s.stop()
	})
}

// TestSessionWrites: the replies that are ready together go out together, in writes of at most 16 KiB.
func TestSessionWrites(t *testing.T) {
	const n = 1000
	h, l := newHeld(), &counting{Listener: listen(t), delay: make(chan int, 1)}
	s := start(t, setup{bank: h, net: l, session: true, options: socket.Options{InFlight: n}})
	p := dial(t, s.address)
	for i := range n {
		p.send(numbered("deposit", i))
		<-h.took
	}
	p.half()
	first := h.done[0]
	h.answered = 1
	h.answer(n - 1) // against the bank's promise, so that they are all ready when the first one is
	first(bank.Reply{}, nil)
	got := p.rest()
	if replies := strings.Count(got, "\n"); replies != n {
		t.Errorf("%d replies", replies)
	}
	s.stop()
	if writes, most := l.writes.Load()-1, l.most.Load(); writes > int64(len(got)/(14<<10)+1) || most > 16<<10 {
		t.Errorf("%d bytes in %d writes, the greatest of %d", len(got), writes, most)
	}
}
