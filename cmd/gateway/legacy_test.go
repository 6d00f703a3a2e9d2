package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/wire"
)

// verdict is what both banks answered to one operation, as testdata/legacy/model.py writes it, and the name of the
// difference.
type verdict struct{ old, here, name string }

// oldBank is testdata/legacy/model.py: the old bank's rules in Python's own arithmetic, and its clients' pickler.
type oldBank struct {
	t       *testing.T
	in      *json.Encoder
	answers *json.Decoder
}

func startOldBank(t *testing.T, decimals int) *oldBank {
	t.Helper()
	python := needed(t, "python3", "apt-get install python3")
	cmd := exec.Command(python, "-B", "testdata/legacy/model.py", strconv.Itoa(decimals))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("model.py: %v\n%s", err, complaint.String())
		}
	})
	return &oldBank{t, json.NewEncoder(in), json.NewDecoder(out)}
}

// ask has the model do one thing; see there.
func (b *oldBank) ask(answer any, request ...any) {
	b.t.Helper()
	if err := b.in.Encode(request); err != nil {
		b.t.Fatalf("ask model.py: %v", err)
	}
	if err := b.answers.Decode(answer); err != nil {
		b.t.Fatalf("model.py to %v: %v", request, err)
	}
}

// rivals are the real program and the old bank, which are asked the same.
type rivals struct {
	t        *testing.T
	dir      string
	decimals int
	process  *process
	model    *oldBank
	yields   int  // that the model has been told of
	late     bool // a yield came before it was awaited
}

// startRivals starts both. The settings are those of an investment, or empty.
func startRivals(t *testing.T, decimals int, investment string) *rivals {
	t.Helper()
	r := &rivals{t: t, dir: t.TempDir(), decimals: decimals, model: startOldBank(t, decimals)}
	settings := fmt.Sprintf(`
bank: { decimals: %d, investment: { %s } }
socket: { listeners: [ { address: "127.0.0.1:0", codec: pickle } ] }
mqtt: { listeners: [] }
admin: { address: "127.0.0.1:0" }
`, decimals, investment)
	if err := os.WriteFile(filepath.Join(r.dir, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	t.Cleanup(func() { r.process.kill() })
	return r
}

func (r *rivals) start() {
	r.t.Helper()
	p, err := startGateway(r.dir, "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.process = p
}

// restart kills the gateway, and lets both banks begin again with what they have kept.
func (r *rivals) restart() {
	r.t.Helper()
	r.process.kill()
	r.start()
	r.model.ask(new(any), "restart")
}

// play lets both banks perform an operation, which comes as the pieces of its message.
func (r *rivals) play(pieces []string) verdict {
	r.t.Helper()
	var said [3]string
	r.model.ask(&said, "play", pieces, hex.EncodeToString(r.perform(pieces)))
	return verdict{said[0], said[1], said[2]}
}

// perform is an old client: it waits for the ack, sends its operation and reads what comes back.
func (r *rivals) perform(pieces []string) []byte {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.process.addresses["socket"][0])
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	ack := make([]byte, len(wire.Pickle.Ack()))
	if _, err := io.ReadFull(conn, ack); err != nil {
		r.t.Fatalf("the ack: %v", err)
	}
	for _, piece := range pieces {
		b, err := hex.DecodeString(piece)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			r.t.Fatalf("send an operation: %v", err)
		}
	}
	reply, err := io.ReadAll(conn)
	if err != nil || len(reply) > wire.MaxReply {
		r.t.Fatalf("a reply of %d bytes: %v", len(reply), err)
	}
	return reply
}

// letter is a message that a client is to send: how it pickles, what, and what the names of its accounts begin with. It goes to
// the model as a list.
type letter struct {
	protocol           int
	expression, prefix string
}

// make has the clients pickle messages.
func (r *rivals) make(messages ...letter) [][]string {
	r.t.Helper()
	var asked [][3]any
	for _, m := range messages {
		asked = append(asked, [3]any{m.protocol, m.expression, m.prefix})
	}
	var made [][]string
	r.model.ask(&made, "make", asked)
	return made
}

// close ends the gateway. Its journal must sum up to the balances that its clients were told last.
func (r *rivals) close(balances map[bank.Account]string) {
	r.t.Helper()
	if code, err := r.process.stop(syscall.SIGTERM); code != exitDone || err != nil {
		r.t.Fatalf("clean stop: exit code %d, %v\n%s", code, err, r.process.stderr.String())
	}
	book := map[bank.Account]bank.Amount{}
	for _, e := range dumpOf(r.t, r.dir) {
		for _, p := range e.Postings {
			book[p.Account] += p.Amount
		}
	}
	for account, said := range balances {
		told, err := strconv.ParseFloat(strings.TrimPrefix(said, "done "), 64)
		kept, _ := strconv.ParseFloat(book[account].Format(r.decimals), 64)
		if err != nil || told != kept {
			r.t.Errorf("%s was told %q, and the journal has %s", account, said, book[account].Format(r.decimals))
		}
	}
}
