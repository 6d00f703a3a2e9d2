package mqtt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"gateway/bank/journal"
)

const (
	// postgresPool is how many connections the worker has to PostgreSQL, and so how many transactions at once.
	postgresPool = 16
	// workerWindow is how many operations the broker hands to the worker ahead.
	workerWindow = 1000
)

// BenchmarkAgainstPostgres claims at least 20 times the rate of what one would build from parts: a mosquitto broker, a worker
// that subscribes to the operations, and PostgreSQL with its default durability, one transaction an operation. Both are loaded
// in turns by 50 clients with 8 operations on the way each. The broker's PUBACK promises nothing about the database, so that only
// the rates are compared.
func BenchmarkAgainstPostgres(b *testing.B) {
	const clients, window, length = 50, 8, time.Second
	defer journal.AddProcessors()()
	address, pool := startParts(b)
	parts := &contender{name: "parts", address: address}
	gateway := &contender{name: "gateway", address: ours(b, durable(b))}
	both := []*contender{parts, gateway}
	for _, c := range both {
		for i := range clients {
			c.clients = append(c.clients, newLoader(b, c.address, fmt.Sprint("c", i), window))
		}
	}
	for b.Loop() {
		for _, c := range both {
			runtime.GC()
			c.measure(b, length)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(parts.rate(), "parts/s")
	b.ReportMetric(gateway.rate(), "durable/s")
	b.ReportMetric(gateway.rate()/parts.rate(), "x-parts")
	var entries, sum int
	err := pool.QueryRow(b.Context(), "select (select count(*) from entries), (select sum(balance) from accounts)").Scan(&entries, &sum)
	if err != nil || entries != parts.ops || sum != 0 {
		b.Errorf("the database has %d entries of %d operations, and its balances sum to %d: %v", entries, parts.ops, sum, err)
	}
}

// startParts starts all three and returns the address of the broker and the worker's connections.
func startParts(b *testing.B) (string, *pgxpool.Pool) {
	b.Helper()
	mosquitto := partPath(b, "mosquitto", "mosquitto", "/usr/sbin/mosquitto")
	initdb := partPath(b, "initdb", "postgresql", "/usr/lib/postgresql/*/bin/initdb")
	postgres := partPath(b, "postgres", "postgresql", "/usr/lib/postgresql/*/bin/postgres")
	dir, err := os.MkdirTemp("/var/tmp", "gateway-parts-") // on a disk, and PostgreSQL's user may go there
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	pool := startPostgres(b, dir, initdb, postgres)
	address := startMosquitto(b, dir, mosquitto)
	startWorker(b, address, pool)
	return address, pool
}

// partPath finds a program in the path or where Debian has it.
func partPath(b *testing.B, name, debian, pattern string) string {
	b.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if found, _ := filepath.Glob(pattern); len(found) > 0 {
		return found[len(found)-1]
	}
	b.Skipf("SKIPPED: %s is missing, so there is nothing to compare with; to install it: apt-get install %s", name, debian)
	return ""
}

// startPart starts a program that runs until the benchmark ends.
func startPart(b *testing.B, who *syscall.SysProcAttr, path string, args ...string) {
	b.Helper()
	var complaint bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr, cmd.SysProcAttr, cmd.Dir = &complaint, who, os.TempDir()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT) // mosquitto ends, and PostgreSQL without waiting for its clients
		cmd.Wait()
		if b.Failed() {
			b.Logf("%s: %s", path, complaint.String())
		}
	})
}

// await tries until it succeeds.
func await(b *testing.B, what string, try func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			b.Fatalf("%s does not come up: %v", what, err)
		}
	}
}

// startMosquitto starts a broker. Nagle's algorithm, which it leaves on by default, would cost 40 ms an operation; its
// limits on what is under way would slow the worker.
func startMosquitto(b *testing.B, dir, path string) string {
	b.Helper()
	l := listen(b)
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	settings := filepath.Join(dir, "mosquitto.conf")
	err := os.WriteFile(settings, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"+
		"max_inflight_messages "+strconv.Itoa(workerWindow)+"\nmax_queued_messages 0\nlog_type error\n"), 0o644)
	if err != nil {
		b.Fatal(err)
	}
	startPart(b, nil, path, "-c", settings)
	await(b, "mosquitto", func(context.Context) error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return address
}

// postgresUser returns whom PostgreSQL is to run as: never root.
func postgresUser(b *testing.B) (*syscall.SysProcAttr, string) {
	b.Helper()
	who, err := osuser.Current()
	if err == nil && who.Uid == "0" {
		who, err = osuser.Lookup("postgres")
	}
	if err != nil {
		b.Fatal(err)
	}
	uid, err := strconv.Atoi(who.Uid)
	gid, err2 := strconv.Atoi(who.Gid)
	if err := errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	if uid == os.Getuid() {
		return nil, who.Username
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, who.Username
}

// startPostgres makes a cluster as initdb does by default, reached by a Unix socket, and in it the worker's tables.
func startPostgres(b *testing.B, dir, initdb, postgres string) *pgxpool.Pool {
	b.Helper()
	who, name := postgresUser(b)
	if who != nil {
		if err := os.Chown(dir, int(who.Credential.Uid), int(who.Credential.Gid)); err != nil {
			b.Fatal(err)
		}
	}
	cluster := filepath.Join(dir, "cluster")
	create := exec.Command(initdb, "-D", cluster, "-U", name, "--auth=trust", "-E", "UTF8", "--locale=C")
	create.SysProcAttr, create.Dir = who, dir
	if out, err := create.CombinedOutput(); err != nil {
		b.Fatalf("initdb: %v\n%s", err, out)
	}
	startPart(b, who, postgres, "-D", cluster, "-k", dir, "-c", "listen_addresses=")
	settings, err := pgxpool.ParseConfig("host=" + dir + " user=" + name + " dbname=postgres")
	if err != nil {
		b.Fatal(err)
	}
	settings.MaxConns = postgresPool
	pool, err := pgxpool.NewWithConfig(context.Background(), settings)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	await(b, "postgres", pool.Ping)
	if _, err := pool.Exec(context.Background(), partsTables); err != nil {
		b.Fatal(err)
	}
	return pool
}

const partsTables = `
create table accounts (name text primary key, balance bigint not null);
create table ids (id text primary key);
create table entries (seq bigserial primary key, id text not null, payer text not null, payee text not null, amount bigint not null,
	balance bigint not null, at timestamptz not null default now());`

// worker executes what is published to bank/ops.
type worker struct {
	pool   *pgxpool.Pool
	client *paho.Client
	work   chan partsOperation
}

// partsOperation is a deposit. The loader sends no ids; the worker names each after its account and number.
type partsOperation struct {
	Account string
	Amount  int64
	id      string
}

// startWorker subscribes a worker, with as many goroutines as connections.
func startWorker(b *testing.B, address string, pool *pgxpool.Pool) {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	w := &worker{pool: pool, work: make(chan partsOperation, workerWindow)}
	count := 0
	w.client = paho.NewClient(paho.ClientConfig{ClientID: "worker", Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(m paho.PublishReceived) (bool, error) {
			op := partsOperation{id: fmt.Sprint("op-", count)}
			count++
			err := json.Unmarshal(m.Packet.Payload, &op)
			w.work <- op
			return true, err
		},
	}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	window := uint16(workerWindow)
	_, err = w.client.Connect(ctx, &paho.Connect{ClientID: "worker", KeepAlive: 60, CleanStart: true,
		Properties: &paho.ConnectProperties{ReceiveMaximum: &window}})
	if err == nil {
		_, err = w.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "bank/ops", QoS: 1}}})
	}
	if err != nil {
		b.Fatal(err)
	}
	var working sync.WaitGroup
	for range postgresPool {
		working.Go(func() {
			for op := range w.work {
				if err := w.execute(context.Background(), op); err != nil {
					b.Errorf("worker: %v", err)
				}
			}
		})
	}
	b.Cleanup(func() {
		w.client.Disconnect(&paho.Disconnect{})
		<-w.client.Done()
		close(w.work)
		working.Wait()
	})
}

// execute does one operation in one transaction, and replies when it is committed.
func (w *worker) execute(ctx context.Context, op partsOperation) error {
	var balance int64
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		fresh, err := tx.Exec(ctx, "insert into ids values ($1) on conflict do nothing", op.id)
		if err != nil {
			return err
		}
		if fresh.RowsAffected() == 0 {
			return tx.QueryRow(ctx, "select balance from entries where id = $1", op.id).Scan(&balance)
		}
		const add = "insert into accounts values ($1, $2) on conflict (name) do update set balance = accounts.balance + $2 returning balance"
		payer := "@cash/" + op.Account // each its own, so that operations of different accounts do not wait for one row
		if err := tx.QueryRow(ctx, add, payer, -op.Amount).Scan(new(int64)); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, add, op.Account, op.Amount).Scan(&balance); err != nil {
			return err
		}
		const enter = "insert into entries (id, payer, payee, amount, balance) values ($1, $2, $3, $4, $5)"
		_, err = tx.Exec(ctx, enter, op.id, payer, op.Account, op.Amount, balance)
		return err
	})
	if err != nil {
		return err
	}
	_, err = w.client.PublishWithOptions(ctx, &paho.Publish{
		Topic: "bank/replies/" + op.Account, QoS: 1, Payload: fmt.Appendf(nil, `{"status":true,"msg":%d,"code":"ok","balance":"%[1]d.00"}`, balance),
	}, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	return err
}
