package bank_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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

// TestMissedPeriodsAreNotMadeUpFor lets a process be paused for an hour: it pays once, after one hold, and goes on in step.
func TestMissedPeriodsAreNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &lockedEngine{Memory: bank.NewMemory(bank.Rules{CreateAccounts: true}, time.Now)}
		commitOne(t, engine, deposit(1000))
		var shift atomic.Int64
		b := bank.New(engine, bank.Options{
			Investment: bank.Investment{Enabled: true, FirstAfter: time.Minute, Every: time.Minute, Hold: 5 * time.Second, Rate: "1"},
			Now:        func() time.Time { return time.Now().Add(time.Duration(shift.Load())) },
		})
		stop := start(b)
		expect := func(want bank.Amount) {
			t.Helper()
			synctest.Wait()
			engine.mu.Lock()
			defer engine.mu.Unlock()
			if got, _ := engine.Ledger().Balance("ana"); got != want {
				t.Errorf("the balance is %d, want %d", got, want)
			}
		}
		pass(30 * time.Second)
		shift.Store(int64(time.Hour))
		pass(36 * time.Second)
		expect(2000)
		pass(58 * time.Second)
		expect(2000)
		pass(2 * time.Second)
		expect(4000)
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// lockedEngine can be looked at beside its committer, without asking it, which would wait for a hold.
type lockedEngine struct {
	mu sync.Mutex
	*bank.Memory
}

func (e *lockedEngine) Commit(ctx context.Context, ops []bank.Operation, replies []bank.Reply) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Memory.Commit(ctx, ops, replies)
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

// TestTheDefaultsAreWhatTheySay fills the queue of a bank without options, waits in vain for room, and counts its batches.
func TestTheDefaultsAreWhatTheySay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{})
		answered := 0
		for n := range bank.DefaultQueue {
			if err := b.Submit(t.Context(), deposit(1), func(bank.Reply, error) { answered++ }); err != nil {
				t.Fatalf("operation %d: %v", n, err)
			}
		}
		began := time.Now()
		if err := b.Submit(t.Context(), deposit(1), nil); !errors.Is(err, bank.ErrOverloaded) || time.Since(began) != bank.DefaultPatience {
			t.Errorf("one more: %v after %v", err, time.Since(began))
		}
		stop := start(b)
		for range bank.DefaultQueue / bank.DefaultBatch {
			if size := <-engine.batches; size != bank.DefaultBatch {
				t.Errorf("a batch of %d", size)
			}
			engine.release <- nil
		}
		if err := stop(); err != nil || answered != bank.DefaultQueue {
			t.Errorf("run: %v, %d answered", err, answered)
		}
	})
}

// TestTheLeastThatCanBeChosen gives a bank room for one, a batch of one and hardly any patience.
func TestTheLeastThatCanBeChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{Queue: 1, Batch: 1, Patience: 1})
		for n, want := range []error{nil, bank.ErrOverloaded} {
			began := time.Now()
			err := b.Submit(t.Context(), deposit(1), func(bank.Reply, error) {})
			if !errors.Is(err, want) || time.Since(began) != time.Duration(n) {
				t.Errorf("operation %d: %v after %v", n, err, time.Since(began))
			}
		}
		stop := start(b)
		engine.release <- nil
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		one := bank.New(engine, bank.Options{Batch: 1})
		for range 2 {
			if err := one.Submit(t.Context(), deposit(1), func(bank.Reply, error) {}); err != nil {
				t.Fatal(err)
			}
		}
		stop = start(one)
		engine.release <- nil
		engine.release <- nil
		if err := stop(); err != nil || len(engine.batches) != 3 {
			t.Errorf("run: %v, %d batches", err, len(engine.batches))
		}
	})
}

// TestPatienceOutlastsAHold: who waits while a yield holds everybody waits for that as well.
func TestPatienceOutlastsAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bank.New(newGate(), bank.Options{Queue: 1, Patience: 3 * time.Second, Investment: bank.Investment{Hold: 5 * time.Second}})
		b.Submit(t.Context(), deposit(1), func(bank.Reply, error) {})
		began := time.Now()
		if err := b.Submit(t.Context(), deposit(1), nil); !errors.Is(err, bank.ErrOverloaded) || time.Since(began) != 8*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestWhoWaitsForRoomIsLetInAgainAndAgain fills the queue and empties it, three times; at the end the engine fails, and who waits
// then is told at once.
func TestWhoWaitsForRoomIsLetInAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{Queue: 1, Patience: time.Hour})
		ended := make(chan error, 1)
		go func() { ended <- b.Run(t.Context()) }()
		began := time.Now()
		broken := errors.New("the disk is gone")
		accepted, refused := 0, 0
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				switch err := b.Submit(t.Context(), deposit(1), func(bank.Reply, error) {}); {
				case err == nil:
					accepted++
				case errors.Is(err, bank.ErrClosed) && errors.Is(err, broken):
					refused++
				}
			})
			synctest.Wait()
		}
		for range 3 {
			engine.release <- nil
			synctest.Wait()
		}
		engine.release <- broken
		all.Wait()
		if err := <-ended; !errors.Is(err, broken) || accepted != 5 || refused != 1 || time.Since(began) != 0 {
			t.Errorf("run: %v; %d accepted, %d refused, after %v", err, accepted, refused, time.Since(began))
		}
	})
}

// TestAFailureAnswersTheRestOfWhatWasTaken fails in the second of three batches that were taken at once, at a start and at a stop.
func TestAFailureAnswersTheRestOfWhatWasTaken(t *testing.T) {
	for n := range 20 { // a stop may be seen before what was asked or after it
		stopping := n > 0
		synctest.Test(t, func(t *testing.T) {
			engine := newGate()
			b := bank.New(engine, bank.Options{Batch: 2})
			broken := errors.New("the disk is gone")
			codes := ""
			for range 5 {
				if err := b.Submit(t.Context(), deposit(1), func(r bank.Reply, err error) {
					codes += fmt.Sprint(r.Code, " ", errors.Is(err, broken), " ")
				}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if stopping {
				cancel()
			}
			go func() { engine.release <- nil; engine.release <- broken }()
			err := b.Run(ctx)
			if want := "ok false ok false unavailable true unavailable true unavailable true "; codes != want || !errors.Is(err, broken) {
				t.Errorf("stopping %v: run returned %v, answered were %s", stopping, err, codes)
			}
		})
	}
}

func TestWhoGivesUpLeavesTheOutcomeUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newGate()
		b := bank.New(engine, bank.Options{})
		stop := start(b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r, err := b.Do(ctx, deposit(1)); !errors.Is(err, context.DeadlineExceeded) || r != (bank.Reply{}) {
			t.Errorf("%+v, %v", r, err)
		}
		if code := bank.CodeOf(context.DeadlineExceeded); code != bank.Unavailable {
			t.Errorf("it is told %s", code)
		}
		engine.release <- nil
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// full is an engine that has no space.
type full struct{ bank.Engine }

var errFull = errors.New("full")

func (full) Ready() error { return errFull }

func TestReadyIsTheEnginesWord(t *testing.T) {
	memory := bank.NewMemory(bank.Rules{}, time.Now)
	b, without := bank.New(memory, bank.Options{}), bank.New(full{memory}, bank.Options{})
	for range 2 {
		if err := errors.Join(b.Ready(), memory.Close()); err != nil {
			t.Errorf("ready: %v", err)
		}
		if err := without.Ready(); !errors.Is(err, errFull) {
			t.Errorf("without space: %v", err)
		}
	}
}

// notes is an observer that writes down what it hears.
type notes struct{ text string }

func (n *notes) Batch(size, waiting int, took time.Duration) {
	n.text += fmt.Sprint(size, waiting, took, " ")
}
func (n *notes) Yield(period string, r bank.Reply, err error) {
	n.text += fmt.Sprint(period, " ", r.Code, " ", err, " ")
}

// TestTheObserverHears two batches and three yields, whose periods are numbered by the clock, and the failure of the last.
func TestTheObserverHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, heard := newGate(), &notes{}
		b := bank.New(engine, bank.Options{Observer: heard, Investment: bank.Investment{
			Enabled: true, FirstAfter: 90 * time.Second, Every: time.Minute, Rate: "0.10",
		}})
		first := time.Now().Add(90*time.Second).Unix() / 60
		ended := make(chan error, 1)
		go func() { ended <- b.Run(t.Context()) }()
		for range 3 {
			if err := b.Submit(t.Context(), deposit(1), func(bank.Reply, error) {}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		pass(time.Second)
		engine.release <- nil
		synctest.Wait()
		broken := errors.New("gone")
		for _, outcome := range []error{nil, nil, nil, broken} {
			engine.release <- outcome
			synctest.Wait()
		}
		want := fmt.Sprintf("1 2 1s 2 0 0s yield-%d ok <nil> 1 0 0s yield-%d ok <nil> 1 0 0s yield-%d unavailable gone ", first, first+1, first+2)
		if err := <-ended; !errors.Is(err, broken) || heard.text != want {
			t.Errorf("run: %v; heard\n%s, want\n%s", err, heard.text, want)
		}
	})
}
