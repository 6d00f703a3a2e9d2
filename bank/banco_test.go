package bank_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
)

// gate is an engine that commits each batch when it is told to, with what it is told.
type gate struct {
	bank.Engine
	release chan error
	batches chan int
}

func newGate() *gate {
	return &gate{
		Engine:  bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now),
		release: make(chan error), batches: make(chan int, 100),
	}
}

func (g *gate) Commit(ctx context.Context, ops []bank.Operation, replies []bank.Reply) error {
	g.batches <- len(ops)
	if err := <-g.release; err != nil {
		return err
	}
	return g.Engine.Commit(ctx, ops, replies)
}

func deposit(n int) bank.Operation {
	return bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: "ana", Amount: bank.Amount(n)}
}

// pass lets d go by on the clock of the bubble, which takes no time.
func pass(d time.Duration) { <-time.After(d) }

// start runs b until the returned function is called, which returns what Run returned.
func start(b *bank.Banco) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func TestABatchIsWhateverArrivedWhileTheLastOneWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{Batch: 4})
		stop := start(b)
		var answers []bank.Amount
		submit := func(n int) {
			if err := b.Submit(t.Context(), deposit(n), func(r bank.Reply, err error) {
				if err != nil {
					t.Errorf("operation %d: %v", n, err)
				}
				answers = append(answers, r.Amount)
			}); err != nil {
				t.Errorf("submit %d: %v", n, err)
			}
		}
		submit(1)
		synctest.Wait()
		for n := 2; n <= 7; n++ {
			submit(n)
		}
		synctest.Wait()
		if len(answers) != 0 {
			t.Errorf("%d answers came before the commit returned", len(answers))
		}
		for range 3 {
			engine.release <- nil
		}
		synctest.Wait()
		if got := fmt.Sprint(<-engine.batches, <-engine.batches, <-engine.batches); got != "1 4 2" {
			t.Errorf("the batches are %s, want 1 4 2", got)
		}
		if got := fmt.Sprint(answers); got != "[1 2 3 4 5 6 7]" {
			t.Errorf("answered in the order %s", got)
		}
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestStoppingAnswersWhatWasAcceptedAndTakesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{})
		answered := 0
		for range 3 {
			if err := b.Submit(t.Context(), deposit(1), func(r bank.Reply, _ error) {
				if r.Code == bank.OK {
					answered++
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		go func() { engine.release <- nil }()
		if err := b.Run(ctx); err != nil || answered != 3 {
			t.Errorf("run: %v, %d of 3 answered", err, answered)
		}
		if err := b.Submit(t.Context(), deposit(1), func(bank.Reply, error) { t.Error("answered after the end") }); !errors.Is(err, bank.ErrClosed) {
			t.Errorf("submit after the end: %v", err)
		}
		if err := b.Ready(); !errors.Is(err, bank.ErrClosed) {
			t.Errorf("ready after the end: %v", err)
		}
	})
}

func TestAFailedEngineAnswersEverythingThatWaitsAndIsNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{Batch: 2})
		ended := make(chan error, 1)
		go func() { ended <- b.Run(t.Context()) }()
		broken := errors.New("the disk is gone")
		unavailable := 0
		done := func(r bank.Reply, err error) {
			if r.Code == bank.Unavailable && errors.Is(err, broken) {
				unavailable++
			}
		}
		for range 5 {
			if err := b.Submit(t.Context(), deposit(1), done); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		engine.release <- broken
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("run: %v", err)
		}
		if unavailable != 5 || len(engine.batches) != 1 {
			t.Errorf("%d of 5 told unavailable, %d batches", unavailable, len(engine.batches))
		}
		if err := b.Submit(t.Context(), deposit(1), done); !errors.Is(err, bank.ErrClosed) || !errors.Is(err, broken) {
			t.Errorf("submit after the failure: %v", err)
		}
	})
}

func TestABatchThatDidNotHappenIsUnavailableAndTheBankGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{})
		stop := start(b)
		go func() { engine.release <- fmt.Errorf("away: %w", bank.ErrUnavailable); engine.release <- nil }()
		if r, err := b.Do(t.Context(), deposit(1)); r.Code != bank.Unavailable || !errors.Is(err, bank.ErrUnavailable) {
			t.Errorf("the first: %v, %v", r.Code, err)
		}
		if r, err := b.Do(t.Context(), deposit(1)); r.Code != bank.OK || r.Balance != 1 || err != nil {
			t.Errorf("the second: %+v, %v", r, err)
		}
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestAFullQueueWaitsForRoomThenIsOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{Queue: 2, Patience: 3 * time.Second})
		stop := start(b)
		ignore := func(bank.Reply, error) {}
		for range 3 { // one in the engine, two in the queue
			if err := b.Submit(t.Context(), deposit(1), ignore); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		began := time.Now()
		if err := b.Submit(t.Context(), deposit(1), ignore); !errors.Is(err, bank.ErrOverloaded) || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Submit(ctx, deposit(1), ignore); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		var waited sync.WaitGroup
		waited.Go(func() {
			if err := b.Submit(t.Context(), deposit(1), ignore); err != nil {
				t.Errorf("with room again: %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			engine.release <- nil
			synctest.Wait()
		}
		waited.Wait()
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestAnInvestmentHoldsOperationsAndCreditsAtTheEndOfTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
		b := bank.New(engine, bank.Options{Investment: bank.Investment{
			Enabled: true, FirstAfter: 20 * time.Second, Every: 15 * time.Second, Hold: 5 * time.Second, Rate: "0.10",
		}})
		stop := start(b)
		began := time.Now()
		ask := func(op bank.Operation) (bank.Amount, time.Duration) {
			r, err := b.Do(t.Context(), op)
			if err != nil || r.Code != bank.OK {
				t.Fatalf("%s: %v, %v", op.Kind, r.Code, err)
			}
			return r.Balance, time.Since(began)
		}
		ask(deposit(1000))
		balance := bank.Operation{Kind: bank.KindBalance, Account: "ana"}
		pass(20*time.Second - time.Millisecond)
		if amount, at := ask(balance); amount != 1000 || at != 20*time.Second-time.Millisecond {
			t.Errorf("before the hold: %d at %v", amount, at)
		}
		pass(time.Second)
		if amount, at := ask(balance); amount != 1100 || at != 25*time.Second {
			t.Errorf("asked within the hold: %d at %v, want 1100 at 25s", amount, at)
		}
		pass(11 * time.Second)
		if amount, at := ask(balance); amount != 1210 || at != 40*time.Second {
			t.Errorf("asked within the second hold: %d at %v, want 1210 at 40s", amount, at)
		}
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if sum := engine.Ledger().Sum(); sum != 0 {
			t.Errorf("the book sums to %d", sum)
		}
	})
}

func TestARestartOrAClockSetBackNeverPaysAPeriodTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
		commitOne(t, engine, deposit(1000))
		shift := time.Duration(0)
		run := func(lasting time.Duration) {
			b := bank.New(engine, bank.Options{
				Investment: bank.Investment{Enabled: true, FirstAfter: time.Second, Every: time.Minute, Rate: "0.10"},
				Now:        func() time.Time { return time.Now().Add(shift) },
			})
			stop := start(b)
			pass(lasting)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		run(10 * time.Second)
		want := bank.Amount(1100)
		for _, step := range []time.Duration{0, 0, -time.Second, -10 * time.Second} {
			shift += step
			run(2 * time.Second)
			if got, _ := engine.Ledger().Balance("ana"); got != want {
				t.Fatalf("after a restart and a step of %v: %d, want %d", step, got, want)
			}
		}
		run(3 * time.Minute)
		if got, _ := engine.Ledger().Balance("ana"); got <= want {
			t.Errorf("later periods paid nothing: %d", got)
		}
	})
}

func commitOne(t *testing.T, engine bank.Engine, op bank.Operation) bank.Reply {
	t.Helper()
	replies := make([]bank.Reply, 1)
	if err := engine.Commit(context.Background(), []bank.Operation{op}, replies); err != nil {
		t.Fatal(err)
	}
	return replies[0]
}

func TestStoppingEndsAHoldAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)
		b := bank.New(engine, bank.Options{Investment: bank.Investment{
			Enabled: true, FirstAfter: time.Second, Every: time.Hour, Hold: time.Minute, Rate: "0.10",
		}})
		stop := start(b)
		pass(2 * time.Second)
		answered := make(chan bank.Reply, 1)
		if err := b.Submit(t.Context(), deposit(1000), func(r bank.Reply, _ error) { answered <- r }); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := stop(); err != nil || time.Since(began) != 0 {
			t.Errorf("run: %v after %v", err, time.Since(began))
		}
		if r := <-answered; r.Code != bank.OK || r.Balance != 1000 {
			t.Errorf("answered %+v", r)
		}
		if n := len(engine.Entries()); n != 1 {
			t.Errorf("%d entries, want the deposit alone", n)
		}
	})
}
