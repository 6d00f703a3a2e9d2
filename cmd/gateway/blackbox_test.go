package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"gateway/bank"
	"gateway/bank/banktest"
	"gateway/client"
)

const (
	// windows is how many there are by default; GATEWAY_WINDOWS sets another number.
	windows = 4
	// windowOperations is the number of operations of a window, and windowClients that of the clients of each door that share it.
	windowOperations, windowClients = 1000, 4
	// windowAccounts are a window's own, so that it begins with a book that is known.
	windowAccounts = 4
	// windowPatience is how long the search for an order may take. One that finds none by then proves nothing, and fails.
	windowPatience = 30 * time.Second
	// windowKilled is which windows have a kill in them.
	windowKilled = 4
)

// TestBlackBox proves, from outside and without the seq in the replies, that the bank is one: whatever several clients are told by
// both doors at once, there is an order of their operations in which each begins after it was asked and ends before it was
// answered, and in which the rules give those very answers. In every fourth window the gateway is killed.
func TestBlackBox(t *testing.T) {
	count := countFor(t, "GATEWAY_WINDOWS", windows)
	seed := drawSeed(t)
	r := newTortureWith(t, seed, tortureOptions{dir: t.TempDir(), clients: windowClients})
	p := r.start()
	var longest time.Duration
	for n := range count {
		before := r.told.count()
		done := make(chan struct{})
		go func() { r.window(n, seed); close(done) }()
		if n%windowKilled == windowKilled-1 {
			<-time.After(time.Duration(r.random.Int64N(int64(recoveryTime))))
			if _, err := p.stop(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p = r.start()
		}
		<-done
		if err := r.failure(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if result := judgeWindow(r.told.since(before)); result != porcupine.Ok {
			t.Fatalf("window %d: %s: there is no order that explains what clients were told, or none was found in %v", n, result, windowPatience)
		}
		longest = max(longest, time.Since(began))
	}
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Fatalf("clean stop: exit code %d, %v", code, err)
	}
	r.compare(true)
	t.Logf("windows of %d operations that have an order: %d (%d); the longest search took %v (%v)", windowOperations, count, count,
		longest.Round(time.Millisecond), windowPatience)
}

// window lets every client ask its share.
func (r *torture) window(n int, seed uint64) {
	var asking sync.WaitGroup
	for i, d := range r.doors {
		random := rand.New(rand.NewPCG(seed, uint64(n*len(r.doors)+i)))
		asking.Go(func() {
			for k := range windowOperations / len(r.doors) {
				op := windowOperation(random, n)
				if op.Kind.Moves() {
					op.ID = fmt.Sprintf("%s-%d-%d", d.name, n, k)
				}
				ctx, cancel := context.WithTimeout(r.t.Context(), patience)
				_, err := r.askFor(ctx, d, d.name, op)
				cancel()
				if err != nil {
					r.fail(err)
					return
				}
			}
		})
	}
	asking.Wait()
}

func windowOperation(random *rand.Rand, n int) client.Operation {
	account := func() string { return fmt.Sprintf("window-%d-%d", n, random.IntN(windowAccounts)) }
	amount := strconv.Itoa(1 + random.IntN(5))
	switch kind := random.IntN(10); {
	case kind < 5:
		return client.Operation{Kind: bank.KindTransfer, Account: account(), To: account(), Amount: amount}
	case kind < 6:
		return client.Operation{Kind: bank.KindDeposit, Account: account(), Amount: amount}
	case kind < 7:
		return client.Operation{Kind: bank.KindWithdraw, Account: account(), Amount: amount}
	default:
		return client.Operation{Kind: bank.KindBalance, Account: account()}
	}
}

// windowBook is the balances of a window's accounts.
type windowBook [windowAccounts]bank.Amount

// windowModel is the rules of a window, from what is asked and told alone.
var windowModel = porcupine.Model{
	Init: func() any { return windowBook{} },
	Step: func(state, input, output any) (bool, any) {
		book, op, reply := state.(windowBook), input.(bank.Operation), output.(bank.Reply)
		at := func(a bank.Account) *bank.Amount { return &book[a[len(a)-1]-'0'] }
		code := bank.OK
		switch pays := op.Kind == bank.KindWithdraw || op.Kind == bank.KindTransfer; {
		case pays && *at(op.Account) < op.Amount:
			code = bank.InsufficientFunds
		case op.Kind == bank.KindDeposit:
			*at(op.Account) += op.Amount
		case pays:
			*at(op.Account) -= op.Amount
			if op.Kind == bank.KindTransfer {
				*at(op.To) += op.Amount
			}
		}
		return reply.Code == code && reply.Balance == *at(op.Account), book
	},
	Equal: func(a, b any) bool { return a.(windowBook) == b.(windowBook) },
}

// judgeWindow looks for an order of the operations of one window.
func judgeWindow(told []banktest.Told) porcupine.CheckResult {
	clients, history := map[string]int{}, make([]porcupine.Operation, len(told))
	for i := range told {
		t := &told[i]
		if _, known := clients[t.Client]; !known {
			clients[t.Client] = len(clients)
		}
		history[i] = porcupine.Operation{
			ClientId: clients[t.Client], Input: t.Op, Output: t.Reply, Call: int64(t.Called), Return: int64(t.Returned),
		}
	}
	return porcupine.CheckOperationsTimeout(windowModel, history, windowPatience)
}

// TestBlackBoxFindsWhatCannotBe shows the search two clients of a bank that forgets a deposit in between, and one that does not.
func TestBlackBoxFindsWhatCannotBe(t *testing.T) {
	deposit := bank.Operation{Kind: bank.KindDeposit, Account: "window-0-0", Amount: 5}
	balance := bank.Operation{Kind: bank.KindBalance, Account: "window-0-0"}
	told := []banktest.Told{
		{Client: "a", Op: deposit, Called: 1, Returned: 4, Reply: bank.Reply{Balance: 5}},
		{Client: "b", Op: balance, Called: 2, Returned: 3, Reply: bank.Reply{Balance: 5}},
		{Client: "b", Op: balance, Called: 5, Returned: 6, Reply: bank.Reply{Balance: 5}},
	}
	if got := judgeWindow(told); got != porcupine.Ok {
		t.Errorf("%s, want %s", got, porcupine.Ok)
	}
	told[2].Reply.Balance = 0
	if got := judgeWindow(told); got != porcupine.Illegal {
		t.Errorf("%s, want %s", got, porcupine.Illegal)
	}
}
