package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/client"
	"gateway/transport/mqtt"
	"gateway/transport/socket"
	"gateway/wire"
)

// trialDoors is a gateway in this process, with its book in memory.
type trialDoors struct{ socket, session, mqtt string }

// trialGateway serves until the test ends.
func trialGateway(t testing.TB) trialDoors {
	banco := bank.New(bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now), bank.Options{})
	broker, err := mqtt.New(banco, mqtt.Options{Decimals: 2, Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	var doors trialDoors
	listen := func(address *string) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*address = l.Addr().String()
		return l
	}
	codec := wire.NewCodec(wire.Msgpack, 2)
	single := socket.Listener{Net: listen(&doors.socket), Codec: codec, Principal: bank.AnonymousPrincipal}
	session := socket.Listener{Net: listen(&doors.session), Codec: codec, Session: true, Principal: bank.AnonymousPrincipal}
	listeners := []mqtt.Listener{{Net: listen(&doors.mqtt)}}
	serving, stopServing := context.WithCancel(context.Background())
	committing, stopCommitting := context.WithCancel(context.Background())
	sockets := socket.New(banco, socket.Options{})
	var running, committer sync.WaitGroup
	committer.Go(func() { banco.Run(committing) })
	running.Go(func() { sockets.Serve(serving, single) })
	running.Go(func() { sockets.Serve(serving, session) })
	running.Go(func() { broker.Serve(serving, listeners) })
	t.Cleanup(func() {
		stopServing()
		running.Wait()
		stopCommitting()
		committer.Wait()
	})
	return doors
}

// result is what a command line came to.
type result struct {
	code           int
	stdout, stderr string
}

func runLine(t testing.TB, table []command, args ...string) result {
	var stdout, stderr bytes.Buffer
	env := &environment{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: os.LookupEnv}
	code := run(t.Context(), env, table, args)
	return result{code, stdout.String(), stderr.String()}
}

// Every command does its operation through both doors and says what came of it.
func TestTellerAtBothDoors(t *testing.T) {
	doors := trialGateway(t)
	for via, address := range map[string]string{"socket": doors.socket, "mqtt": doors.mqtt} {
		teller := func(args ...string) result {
			return runLine(t, tellerCommands(), append(args, "--via", via, "--address="+address)...)
		}
		ana, bia := via+"-ana", via+"-bia"
		for _, step := range []struct {
			line   string
			code   int
			stdout string
		}{
			{"open " + ana, exitDone, "0.00\n"},
			{"deposit --id " + via + "/1 " + ana + " 20 --memo salary", exitDone, "20.00\n"},
			{"transfer " + ana + " " + bia + " 7.50", exitDone, "12.50\n"},
			{"withdraw " + bia + " 5", exitDone, "2.50\n"},
			{"balance " + bia, exitDone, "2.50\n"},
			{"deposit " + ana + " 20 --id " + via + "/1 --memo salary", exitDone, "20.00\n"},
			{"status " + via + "/1", exitDone, "20.00\n"},
			{"balance " + ana, exitDone, "12.50\n"},
			{"withdraw " + ana + " 20", exitRefused, "tem na conta 12.5. faltam 7.5 para sacar 20\n"},
		} {
			if got := teller(strings.Fields(step.line)...); got != (result{step.code, step.stdout, ""}) {
				t.Errorf("%s: %+v", step.line, got)
			}
		}
		for _, line := range []string{"status never", "deposit " + ana + " 21 --id " + via + "/1", "deposit " + ana + " -5", "balance @cash"} {
			if got := teller(strings.Fields(line)...); got.code != exitRefused || got.stdout == "" || got.stderr != "" {
				t.Errorf("%s: %+v", line, got)
			}
		}
	}
}

// --json prints the reply map, refusals too.
func TestTellerJSON(t *testing.T) {
	doors := trialGateway(t)
	for line, want := range map[string]map[string]any{
		"deposit ana 12.50 --id x": {"status": true, "msg": 12.5, "code": "ok", "id": "x", "balance": "12.50", "seq": 1.0},
		"withdraw bia 1 --id y":    {"status": false, "msg": "tem na conta 0. faltam 1 para sacar 1", "code": "insufficient_funds", "id": "y"},
		"open caio --id z":         {"status": true, "msg": nil, "code": "ok", "id": "z", "balance": "0.00"},
	} {
		got := runLine(t, tellerCommands(), append(strings.Fields(line), "--json", "--address", doors.socket)...)
		var reply map[string]any
		if err := json.Unmarshal([]byte(got.stdout), &reply); err != nil || strings.Count(got.stdout, "\n") != 1 {
			t.Fatalf("%s: %+v, %v", line, got, err)
		}
		for field, value := range want {
			if field != "seq" && reply[field] != value || reply["seq"] == nil {
				t.Errorf("%s: %s is %v in %s", line, field, reply[field], got.stdout)
			}
		}
		if _, err := time.Parse(time.RFC3339Nano, reply["time"].(string)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// What --json prints is as PROTOCOL.md has it: the time with all six digits, the seq wherever there is one.
func TestTellerJSONIsTheProtocols(t *testing.T) {
	reply := client.Reply{Code: bank.OK, Balance: "0.00", Time: time.Date(2026, 1, 2, 3, 4, 5, 120_000_000, time.UTC)}
	for _, test := range []struct {
		code bank.Code
		seq  uint64
		want string
	}{
		{bank.OK, 0, `{"status":true,"msg":null,"code":"ok","balance":"0.00","seq":0,"time":"2026-01-02T03:04:05.120000Z"}`},
		{bank.InsufficientFunds, 7, `{"status":false,"msg":"","code":"insufficient_funds","balance":"0.00","seq":7,"time":"2026-01-02T03:04:05.120000Z"}`},
		{bank.Overloaded, 0, `{"status":false,"msg":"","code":"overloaded","balance":"0.00","time":"2026-01-02T03:04:05.120000Z"}`},
	} {
		reply.Code, reply.Seq = test.code, test.seq
		if got, err := json.Marshal(jsonReply(reply)); err != nil || string(got) != test.want {
			t.Errorf("%s, %v; want %s", got, err, test.want)
		}
	}
}

// A gateway that takes the operation and says nothing leaves the outcome unknown: exit 3, with the id and what to type.
func TestTellerWithoutAnAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				conn.Write([]byte{0xc3})
				io.Copy(io.Discard, conn)
				conn.Close()
			})
		}
	})
	address := "--address=" + l.Addr().String()
	got := runLine(t, tellerCommands(), "deposit", "ana", "1", "--id", "it's mine", "--timeout", "100ms", address)
	ask := "gateway: deposit: ask with: gateway status " + address + ` 'it'\''s mine'`
	if got.code != exitNoAnswer || got.stdout != "" || !strings.Contains(got.stderr, ask) {
		t.Errorf("%+v", got)
	}
	got = runLine(t, tellerCommands(), "deposit", "ana", "1", "--id", "x", "--timeout", "100ms", "--json", address)
	if got.code != exitNoAnswer || got.stdout != `{"id":"x","outcome":"unknown"}`+"\n" {
		t.Errorf("%+v", got)
	}
	l.Close()
	serving.Wait()
	got = runLine(t, tellerCommands(), "deposit", "ana", "1", "--timeout", "100ms", address)
	if got.code != exitNoAnswer || !strings.Contains(got.stderr, "nothing was done") || strings.Contains(got.stderr, "ask with") {
		t.Errorf("%+v", got)
	}
	if got = runLine(t, tellerCommands(), "balance", "ana", "--timeout", "100ms", address); got.code != exitNoAnswer {
		t.Errorf("%+v", got)
	}
}

// What cannot be meant is a matter of usage, and nothing is sent.
func TestTellerUsage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"balance", "balance ana bia", "deposit ana 1 --id=", "deposit ana", "transfer ana bia", "status", "balance ana --via pigeon", "balance ana --timeout 0s",
		"balance ana --address nowhere", "balance ana --user ana", "balance ana --cert " + empty, "balance ana --ca " + empty,
		"balance ana --via mqtt --password-file " + empty, "balance ana --via mqtt --user ana --password-file " + empty,
		"balance ana --via mqtt --user ana --password-file /nowhere", "balance ana --memo x", "status x --id y",
		"balance ana --via mqtt --client-id a/b", "balance ana --cert " + empty + " --key " + empty,
	} {
		if got := runLine(t, tellerCommands(), strings.Fields(line)...); got.code != exitUsage || got.stdout != "" || got.stderr == "" {
			t.Errorf("%s: %+v", line, got)
		}
	}
}
