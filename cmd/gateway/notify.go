package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"gateway/bank"
)

// herald tells those who started this process how it does: by the ready line, and by systemd's datagrams as sd_notify(3)
// has them. What cannot be told is logged and is no failure: a bank does not stop for want of listeners.
//
// Any goroutine may call its methods.
type herald struct {
	stdout   io.Writer
	logger   *slog.Logger
	socket   string        // where systemd listens; "": nowhere
	watchdog time.Duration // systemd ends a process that does not feed it for so long; 0: it does not watch
}

const (
	// notifyTimeout bounds how long a datagram waits for a systemd that does not read.
	notifyTimeout = time.Second
	// watchdogMeals is how often within its time the watchdog is fed.
	watchdogMeals = 3
	// maxWatchdog is the longest time of a watchdog in microseconds, some 35 years: a Duration has room to add to it.
	maxWatchdog = 1 << 50
)

// newHerald reads what systemd's environment asks for, and takes it out of this process's, so that no child answers for
// it.
func newHerald(env *environment, logger *slog.Logger) *herald {
	h := &herald{stdout: env.stdout, logger: logger}
	h.socket, _ = env.getenv("NOTIFY_SOCKET")
	period, _ := env.getenv("WATCHDOG_USEC")
	pid, forOne := env.getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name) // fails for names that cannot be
	}
	if h.socket == "" || period == "" || forOne && pid != strconv.Itoa(os.Getpid()) {
		return h
	}
	microseconds, err := strconv.ParseUint(period, 10, 63)
	if err != nil || microseconds == 0 || microseconds > maxWatchdog {
		logger.Warn("the watchdog is not fed: its time cannot be", "WATCHDOG_USEC", period)
		return h
	}
	h.watchdog = time.Duration(microseconds) * time.Microsecond
	return h
}

// recovering tells that the book is read, which takes as long as it is large.
func (h *herald) recovering() { h.notify("STATUS=recovering the book") }

// ready tells that every listener is up. The addresses are as server.addresses has them.
func (h *herald) ready(addresses string) {
	if _, err := fmt.Fprintf(h.stdout, "ready%s\n", addresses); err != nil {
		h.logger.Warn("ready line not written", "err", err)
	}
	h.notify("READY=1", "STATUS=serving"+addresses)
}

// stopping tells that no more is accepted.
func (h *herald) stopping() { h.notify("STOPPING=1", "STATUS=answering what was accepted") }

// reload does a reload and tells systemd when it begins and ends: `systemctl reload` waits for the end. It returns what
// do returns; a reload that failed left everything as it was, and so the process is ready again in either case.
func (h *herald) reload(do func() error) error {
	now := strconv.FormatInt(monotonic().Microseconds(), 10)
	h.notify("RELOADING=1", "MONOTONIC_USEC="+now, "STATUS=reading the settings again")
	err := do()
	status := "STATUS=serving with the settings that were read last"
	if err != nil {
		status = "STATUS=serving with the settings of before: the new ones were refused, the log says why"
	}
	h.notify("READY=1", status)
	return err
}

// watch feeds systemd's watchdog, if there is one, for as long as the bank answers a question. hold is how long the bank
// may keep everyone waiting by design. The returned function ends that, and waits for its end.
func (h *herald) watch(banco *bank.Banco, hold time.Duration) (stop func()) {
	if h.watchdog == 0 {
		return func() {}
	}
	if hold > 0 {
		h.notify("WATCHDOG_USEC=" + strconv.FormatInt((h.watchdog+hold).Microseconds(), 10))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.feed(ctx, banco)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// feed asks and feeds until ctx ends. The question takes the way of every operation, through the queue, the committer and
// the engine's judgement, and writes nothing. While a sync hangs or the committer is stuck it has no answer.
func (h *herald) feed(ctx context.Context, banco *bank.Banco) {
	meals := time.NewTicker(h.watchdog / watchdogMeals)
	defer meals.Stop()
	question := bank.Operation{Kind: bank.KindStatus, Principal: bank.HousePrincipal, ID: "watchdog"}
	for {
		_, err := banco.Do(ctx, question)
		if errors.Is(err, bank.ErrOverloaded) {
			continue // Submit has waited for room that others were quicker to take: the bank works, so ask again
		}
		if err == nil {
			h.notify("WATCHDOG=1")
		}
		select {
		case <-meals.C:
		case <-ctx.Done():
			return
		}
	}
}

// notify sends one datagram of assignments. Each has a socket of its own, so that it reaches a systemd that has opened
// its own again.
func (h *herald) notify(assignments ...string) {
	if h.socket == "" {
		return
	}
	if err := send(h.socket, strings.Join(assignments, "\n")); err != nil {
		h.logger.Warn("systemd is not told", "what", assignments[0], "err", err)
	}
}

// send sends a datagram to a socket of the file system, or to an abstract one, whose name begins with '@'.
func send(socket, datagram string) (err error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(datagram))
	return err
}
