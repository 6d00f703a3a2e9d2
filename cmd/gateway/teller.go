package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gateway/access"
	"gateway/bank"
	"gateway/client"
)

const (
	// The doors of a gateway with the default settings.
	tellerSocketAddress = "127.0.0.1:9998"
	tellerMQTTAddress   = "127.0.0.1:1883"
	// tellerTimeout is how long a teller tries by default.
	tellerTimeout = 10 * time.Second
)

const tellerAbout = `It prints the balance, or why the bank refused. Until the time is up it sends
the operation again, always with the same id, so that it happens once. Exits 0
when it was done, 1 when it was refused, 3 when no answer came: then it prints
the id to ask about.

Examples:

`

// tellerCommands are the operations of the bank, one command each.
func tellerCommands() []command {
	return []command{
		tellerCommand(bank.KindBalance, "ACCOUNT", "Print the balance of an account.",
			"  gateway balance ana\n  gateway balance ana --via mqtt --json\n"),
		tellerCommand(bank.KindDeposit, "ACCOUNT AMOUNT", "Pay money into an account.",
			"  gateway deposit ana 20\n  gateway deposit ana 12.50 --id salary/2026-11 --memo salary\n"),
		tellerCommand(bank.KindWithdraw, "ACCOUNT AMOUNT", "Take money out of an account.",
			"  gateway withdraw ana 12.50\n"),
		tellerCommand(bank.KindTransfer, "ACCOUNT TO AMOUNT", "Move money from an account to another.",
			"  gateway transfer ana bia 12.50\n  gateway transfer ana bia 1 --via mqtt --user ana --password-file ana.txt\n"),
		tellerCommand(bank.KindOpen, "ACCOUNT", "Open an account, at zero.",
			"  gateway open ana\n"),
		tellerCommand(bank.KindStatus, "ID", "Ask what was answered to the operation with that id.",
			"  gateway status salary/2026-11\n  gateway status salary/2026-11 --receipt > receipt.txt\n"),
	}
}

func tellerCommand(kind bank.Kind, args, summary, examples string) command {
	return command{
		name: kind.String(), args: args, summary: summary, about: tellerAbout + examples,
		flags: func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
			t := teller{kind: kind, flags: fs}
			t.door.declare(fs)
			fs.DurationVar(&t.timeout, "timeout", tellerTimeout, "How long to try, as in 2s or 1m30s.")
			fs.BoolVar(&t.json, "json", false, "Print the reply as one line of JSON.")
			if kind != bank.KindStatus {
				fs.StringVar(&t.id, "id", "", "Name the operation: 1 to 64 printable ASCII characters. With the same `ID` it happens once. Without, it gets one.")
			}
			if kind == bank.KindStatus {
				fs.BoolVar(&t.receipt, "receipt", false, "Print the receipt of the entry, if there is one; receipt verify checks it.")
			}
			if kind != bank.KindStatus && kind != bank.KindBalance {
				fs.StringVar(&t.memo, "memo", "", "Keep `TEXT` with the operation, at most 140 bytes.")
			}
			return t.run
		},
	}
}

// teller performs one operation.
type teller struct {
	kind     bank.Kind
	flags    *flag.FlagSet
	door     door
	id, memo string
	timeout  time.Duration
	json     bool
	receipt  bool // of a status
}

func (t *teller) run(ctx context.Context, env *environment, args []string) int {
	c, err := t.open()
	if err != nil {
		env.complain("%s: %v", t.kind, err)
		return exitUsage
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	reply, err := c.Do(ctx, t.operation(args))
	if err != nil {
		return t.tellNoAnswer(env, reply.ID, err)
	}
	if err := t.tell(env.stdout, reply); err != nil {
		env.complain("%s: print the reply: %v", t.kind, err)
	}
	if !reply.Done() {
		return exitRefused
	}
	return exitDone
}

func (t *teller) open() (*client.Client, error) {
	if t.timeout <= 0 {
		return nil, errors.New("--timeout must be more than nothing")
	}
	if given := t.flags.Lookup("id"); t.id == "" && given != nil && t.names(given) {
		return nil, errors.New("--id names nothing; leave it out for an id of its own")
	}
	return t.door.open()
}

// names reports whether a flag was given.
func (t *teller) names(wanted *flag.Flag) (given bool) {
	t.flags.Visit(func(f *flag.Flag) { given = given || f == wanted })
	return given
}

// operation makes the operation of the positional arguments, of which there are as many as the command's args say.
func (t *teller) operation(args []string) client.Operation {
	op := client.Operation{Kind: t.kind, ID: t.id, Memo: t.memo}
	switch t.kind {
	case bank.KindStatus:
		op.ID, op.Receipt = args[0], t.receipt
	case bank.KindTransfer:
		op.Account, op.To, op.Amount = args[0], args[1], args[2]
	case bank.KindDeposit, bank.KindWithdraw:
		op.Account, op.Amount = args[0], args[1]
	default:
		op.Account = args[0]
	}
	return op
}

// tell prints the reply.
func (t *teller) tell(w io.Writer, reply client.Reply) error {
	var err error
	switch {
	case t.json:
		err = json.NewEncoder(w).Encode(jsonReply(reply))
	case reply.Receipt != "":
		_, err = fmt.Fprintln(w, reply.Receipt)
	case reply.Done():
		_, err = fmt.Fprintln(w, reply.Balance)
	default:
		_, err = fmt.Fprintln(w, reply.Msg)
	}
	return err
}

// replyTime is the layout of a reply's time: all six digits, so that times sort as texts.
const replyTime = "2006-01-02T15:04:05.000000Z"

// replyLine is a reply as PROTOCOL.md has it in JSON.
type replyLine struct {
	Status    bool    `json:"status"`
	Msg       any     `json:"msg"`
	Code      string  `json:"code"`
	ID        string  `json:"id,omitempty"`
	Balance   string  `json:"balance,omitempty"`
	Seq       *uint64 `json:"seq,omitempty"`
	Time      string  `json:"time,omitempty"`
	Duplicate bool    `json:"duplicate,omitempty"`
	Receipt   string  `json:"receipt,omitempty"`
}

func jsonReply(reply client.Reply) replyLine {
	line := replyLine{
		Status: reply.Done(), Code: reply.Code.String(), ID: reply.ID, Balance: reply.Balance, Duplicate: reply.Duplicate,
		Receipt: reply.Receipt,
	}
	if reply.Done() || reply.Seq > 0 {
		line.Seq = &reply.Seq
	}
	switch {
	case !reply.Done():
		line.Msg = reply.Msg
	case reply.Msg != "":
		line.Msg = json.Number(reply.Msg)
	}
	if !reply.Time.IsZero() {
		line.Time = reply.Time.UTC().Format(replyTime)
	}
	return line
}

// tellNoAnswer says what is known of an operation without an answer, and how to learn more.
func (t *teller) tellNoAnswer(env *environment, id string, err error) int {
	outcome := "not_sent"
	switch {
	case errors.Is(err, client.ErrUnknown):
		outcome = "unknown"
	case !errors.Is(err, client.ErrNotSent):
		outcome = "failed"
	}
	if t.json {
		json.NewEncoder(env.stdout).Encode(map[string]string{"outcome": outcome, "id": id})
	}
	env.complain("%s: no answer: %v", t.kind, err)
	switch {
	case t.kind == bank.KindBalance || t.kind == bank.KindStatus:
	case outcome == "unknown":
		env.complain("%s: it may have happened: its id is %s", t.kind, id)
		env.complain("%s: ask with: %s", t.kind, t.statusCommand(id))
	default:
		env.complain("%s: nothing was done: its id, %s, may be used again", t.kind, id)
	}
	return exitNoAnswer
}

// statusCommand is the command line that asks about id in the way that this one went.
func (t *teller) statusCommand(id string) string {
	line := "gateway status"
	t.flags.Visit(func(f *flag.Flag) {
		if f.Name != "id" && f.Name != "memo" && f.Name != "json" && f.Name != "timeout" {
			line += " --" + f.Name + "=" + quoted(f.Value.String())
		}
	})
	if strings.HasPrefix(id, "-") {
		line += " --"
	}
	return line + " " + quoted(id)
}

// quoted writes a word so that a shell takes it as it is.
func quoted(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._:/@=+,-", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// door says how to reach a gateway. The bench takes the same.
type door struct {
	via, address, user, passwordFile, clientID string
	tls                                        bool
	cert, key, ca                              string

	session  bool // one connection for all operations, via socket
	inFlight int  // 0: the client's default
}

func (d *door) declare(fs *flag.FlagSet) {
	fs.StringVar(&d.via, "via", "socket", "The `DOOR`: socket (msgpack) or mqtt.")
	fs.StringVar(&d.address, "address", "", "The gateway's `HOST:PORT`. By default "+tellerSocketAddress+", or "+tellerMQTTAddress+" via mqtt.")
	fs.StringVar(&d.user, "user", "", "Ask as `NAME`, via mqtt.")
	fs.StringVar(&d.passwordFile, "password-file", "", "Read the user's password from the first line of `FILE`.")
	fs.StringVar(&d.clientID, "client-id", "", "The MQTT client `ID`. By default the user's name, if any, and random characters.")
	fs.BoolVar(&d.tls, "tls", false, "Use TLS, as --cert, --key and --ca do.")
	fs.StringVar(&d.cert, "cert", "", "Show the certificate in `FILE`.")
	fs.StringVar(&d.key, "key", "", "The certificate's key, in `FILE`.")
	fs.StringVar(&d.ca, "ca", "", "Trust the certificates in `FILE` instead of the system's.")
}

// open returns a client, which has not connected yet.
func (d *door) open() (*client.Client, error) {
	security, err := d.security()
	if err != nil {
		return nil, err
	}
	switch d.via {
	case "socket":
		if d.user != "" || d.passwordFile != "" || d.clientID != "" {
			return nil, errors.New("--user, --password-file and --client-id are for --via mqtt; a socket knows its clients by --cert")
		}
		o := client.SocketOptions{Session: d.session, InFlight: d.inFlight, TLS: security}
		return client.NewSocket(d.addressOr(tellerSocketAddress), o)
	case "mqtt":
		password, err := d.password()
		if err != nil {
			return nil, err
		}
		o := client.MQTTOptions{ClientID: d.clientID, User: d.user, Password: password, InFlight: d.inFlight, TLS: security}
		return client.NewMQTT(d.addressOr(tellerMQTTAddress), o)
	}
	return nil, fmt.Errorf("--via %q: want socket or mqtt", d.via)
}

func (d *door) addressOr(standard string) string {
	if d.address == "" {
		return standard
	}
	return d.address
}

// password returns the first line of the password file.
func (d *door) password() (string, error) {
	if d.passwordFile == "" {
		return "", nil
	}
	if d.user == "" {
		return "", errors.New("--password-file needs --user")
	}
	file, err := os.Open(d.passwordFile)
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, access.MaxPasswordBytes+2))
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > access.MaxPasswordBytes {
		return "", fmt.Errorf("--password-file: want a password of 1 to %d bytes on its first line", access.MaxPasswordBytes)
	}
	return line, nil
}

// security returns what to do about TLS, or nil: nothing.
func (d *door) security() (*tls.Config, error) {
	if !d.tls && d.cert == "" && d.key == "" && d.ca == "" {
		return nil, nil
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.cert != "" || d.key != "" {
		if d.cert == "" || d.key == "" {
			return nil, errors.New("--cert and --key go together")
		}
		pair, err := tls.LoadX509KeyPair(d.cert, d.key)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		security.Certificates = []tls.Certificate{pair}
	}
	if d.ca != "" {
		pem, err := os.ReadFile(d.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		security.RootCAs = x509.NewCertPool()
		if !security.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca: no certificate in %s", d.ca)
		}
	}
	return security, nil
}
