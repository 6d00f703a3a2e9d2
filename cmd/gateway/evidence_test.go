package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
	"gateway/evidence"
	"gateway/wire"
)

const evidenceSettings = `ledger: { heads: { every: 50ms, copy: ../elsewhere/heads } }
socket: { listeners: [ { address: "127.0.0.1:0", codec: json, session: true } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "" }
`

// evident is a gateway whose heads are copied to a directory beside its own.
type evident struct {
	t              *testing.T
	dir, elsewhere string
	p              *process
}

func newEvident(t *testing.T) *evident {
	t.Helper()
	root := t.TempDir()
	e := &evident{t: t, dir: filepath.Join(root, "bank"), elsewhere: filepath.Join(root, "elsewhere")}
	for _, dir := range []string{e.dir, e.elsewhere} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(e.dir, "config.yaml"), []byte(evidenceSettings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if e.p != nil {
			e.p.stop(syscall.SIGKILL)
		}
	})
	return e
}

func (e *evident) start() {
	e.t.Helper()
	var err error
	if e.p, err = startGateway(e.dir, ""); err != nil {
		e.t.Fatal(err)
	}
}

func (e *evident) end(signal syscall.Signal, want int) {
	e.t.Helper()
	code, err := e.p.stop(signal)
	if code != want || err != nil {
		e.t.Fatalf("exit code %d, %v\n%s", code, err, e.p.stderr.String())
	}
	e.p = nil
}

// key returns the public key, as the first auditor takes it.
func (e *evident) key() *evidence.PublicKey {
	e.t.Helper()
	key, err := publicKey(filepath.Join(e.dir, "data", evidence.PublicKeyFile))
	if err != nil {
		e.t.Fatal(err)
	}
	return key
}

// Both doors answer receipts among other operations that did not wait for them to be asked, in the order in which they were.
func TestReceiptsAmongOtherOperations(t *testing.T) {
	e := newEvident(t)
	e.start()
	key := e.key()
	conn, err := net.Dial("tcp", e.p.addresses["socket"][0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var asked strings.Builder
	const each = 10 // and no more than a principal may wait for
	for i := range each {
		fmt.Fprintf(&asked, `{"op":"deposit","account":"ana","amount":1,"id":"s%d"}`, i)
		fmt.Fprintf(&asked, `{"op":"status","id":"s%d","receipt":true}`, i)
		fmt.Fprintf(&asked, `{"op":"balance","account":"ana","id":"b%d"}`, i)
	}
	if _, err := conn.Write([]byte(asked.String())); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 4096), 4096)
	in.Scan() // the ack
	for i := range 3 * each {
		if !in.Scan() {
			t.Fatalf("reply %d: %v", i, in.Err())
		}
		var r replyLine
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("s", i/3)
		if i%3 == 2 {
			want = fmt.Sprint("b", i/3)
		}
		if r.ID != want || !r.Status || (r.Receipt != "") != (i%3 == 1) {
			t.Fatalf("reply %d: %+v", i, r)
		}
		if i%3 == 1 {
			proves(t, key, r.Receipt, want)
		}
	}
	e.receiptsOverMQTT(key, each)
	e.end(syscall.SIGTERM, exitDone)
}

func proves(t *testing.T, key *evidence.PublicKey, receipt, id string) {
	t.Helper()
	if r, err := evidence.CheckReceipt(receipt, key); err != nil || r.Entry.ID != id {
		t.Errorf("the receipt of %s proves %+v, %v", id, r.Entry, err)
	}
}

// receiptsOverMQTT asks for receipts over one connection, with other operations on their way beside them.
func (e *evident) receiptsOverMQTT(key *evidence.PublicKey, each int) {
	c, err := client.NewMQTT(e.p.addresses["mqtt"][0], client.MQTTOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	var asking sync.WaitGroup
	for i := range each {
		id := fmt.Sprint("m", i)
		asking.Go(func() {
			deposit := client.Operation{Kind: bank.KindDeposit, Account: "bia", Amount: "1", ID: id}
			if r, err := c.Do(ctx, deposit); err != nil || !r.Done() {
				e.t.Errorf("%s: %+v, %v", id, r, err)
			}
			r, err := c.Do(ctx, client.Operation{Kind: bank.KindStatus, ID: id, Receipt: true})
			if err != nil || !r.Done() {
				e.t.Errorf("%s: %+v, %v", id, r, err)
			}
			proves(e.t, key, r.Receipt, id)
		})
		asking.Go(func() {
			if r, err := c.Do(ctx, client.Operation{Kind: bank.KindBalance, Account: "bia"}); err != nil || r.Receipt != "" {
				e.t.Errorf("balance: %+v, %v", r, err)
			}
		})
	}
	asking.Wait()
}

// kills is how often TestHeadsAcrossKills kills a gateway; GATEWAY_TORTURE sets another number.
const kills = 5

// After every kill the journal agrees with every head that was kept elsewhere, the gateway starts, and the receipts that were
// given before still hold.
func TestHeadsAcrossKills(t *testing.T) {
	e := newEvident(t)
	receipts := map[string]string{}
	for round := range countFor(t, "GATEWAY_TORTURE", kills) {
		e.start()
		e.load(round, receipts)
		e.verify()
	}
	e.start()
	key := e.key()
	e.end(syscall.SIGTERM, exitDone)
	e.verify()
	for id, receipt := range receipts {
		proves(t, key, receipt, id)
	}
	if len(receipts) == 0 {
		t.Error("no receipt was given: the rounds prove nothing")
	}
}

// load makes entries from several clients at once, keeps a receipt, and kills the gateway while more are on their way.
func (e *evident) load(round int, receipts map[string]string) {
	e.t.Helper()
	c, err := client.NewSocket(e.p.addresses["socket"][0], client.SocketOptions{Format: wire.JSON, Session: true})
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	defer c.Close()
	first := make(chan string, 8)
	for i := range 8 {
		asking.Go(func() {
			for n := 0; ; n++ {
				op := client.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: "1", ID: fmt.Sprintf("r%d-%d-%d", round, i, n)}
				if _, err := c.Do(ctx, op); err != nil {
					return
				}
				if n == 100 {
					first <- op.ID
				}
			}
		})
	}
	id := <-first
	r, err := c.Do(ctx, client.Operation{Kind: bank.KindStatus, ID: id, Receipt: true})
	if err != nil || r.Receipt == "" {
		e.t.Errorf("%+v, %v", r, err)
	}
	receipts[id] = r.Receipt
	e.end(syscall.SIGKILL, -1)
}

// verify holds the journal against the heads elsewhere, by the program.
func (e *evident) verify() {
	e.t.Helper()
	command := exec.Command("gateway", "journal", "verify", "--heads", filepath.Join(e.elsewhere, "heads"),
		"--key", filepath.Join("data", evidence.PublicKeyFile))
	command.Dir = e.dir
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "\nheads     ") {
		e.t.Fatalf("%v\n%s", err, out)
	}
}
