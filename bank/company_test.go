package bank_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
)

// meeting is a bank in a bubble, with an engine that commits when it is told to.
type meeting struct {
	t      *testing.T
	bank   *bank.Banco
	engine *gate
	stop   func() error
	took   time.Duration // by a commit
	next   int           // of the operations

	mu   sync.Mutex
	told []int // which were answered since somebody looked
}

func newMeeting(t *testing.T, options bank.Options) *meeting {
	m := &meeting{t: t, engine: newGate()}
	m.bank = bank.New(m.engine, options)
	m.stop = start(m.bank)
	return m
}

// submit hands n operations in.
func (m *meeting) submit(n int) {
	m.t.Helper()
	for range n {
		number := m.next
		m.next++
		if err := m.bank.Submit(m.t.Context(), deposit(1), func(bank.Reply, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.told = append(m.told, number)
		}); err != nil {
			m.t.Error(err)
		}
	}
	synctest.Wait()
}

// batch is the batch that is being committed, or 0.
func (m *meeting) batch() int {
	select {
	case n := <-m.engine.batches:
		return n
	default:
		return 0
	}
}

// commit ends the commit that is under way, and returns how many were answered at once.
func (m *meeting) commit() int {
	m.t.Helper()
	pass(m.took)
	m.engine.release <- nil
	synctest.Wait()
	return m.answers()
}

// answers returns how many were answered, and looks whether that was in their order.
func (m *meeting) answers() int {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.IsSorted(m.told) {
		m.t.Errorf("answered in the order %v", m.told)
	}
	n := len(m.told)
	m.told = m.told[:0]
	return n
}

// round commits n operations in one batch, while early more come in, and returns how many were answered at once. A batch of one
// goes before.
func (m *meeting) round(n, early int) int {
	m.t.Helper()
	m.submit(1)
	m.submit(n)
	if got := m.batch(); got != 1 {
		m.t.Fatalf("a batch of %d, want 1", got)
	}
	m.commit()
	m.submit(early)
	if got := m.batch(); got != n {
		m.t.Fatalf("a batch of %d, want %d", got, n)
	}
	return m.commit()
}

// end stops the bank, of which batches may be under way.
func (m *meeting) end() {
	m.t.Helper()
	close(m.engine.release)
	if err := m.stop(); err != nil {
		m.t.Error(err)
	}
}

func TestAQuarterIsAnsweredWhenTheOthersAreBack(t *testing.T) {
	for _, c := range []struct {
		name     string
		options  bank.Options
		n, early int // the batch, and those who came while it was written
		first    int // are answered at once
		after    int // so many more make the next batch; 0: nobody waits for any
	}{
		{"forty", bank.Options{}, 40, 0, 30, 28},
		{"forty, and others just short of three quarters", bank.Options{}, 40, 29, 30, 27},
		{"forty, and thirty others are company enough", bank.Options{}, 40, 30, 40, 0},
		{"eight", bank.Options{}, 8, 0, 6, 5},
		{"seven say nothing", bank.Options{}, 7, 0, 7, 0},
		{"just no crowd", bank.Options{}, 99, 0, 75, 71},
		{"a crowd", bank.Options{}, 100, 0, 100, 0},
		{"a queue with room for no more", bank.Options{Queue: 16}, 16, 7, 12, 9},
		{"a batch with room for no more", bank.Options{Batch: 40}, 40, 19, 30, 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMeeting(t, c.options)
				defer m.end()
				if got := m.round(c.n, c.early); got != c.first {
					t.Fatalf("%d are answered at once, want %d", got, c.first)
				}
				began := time.Now()
				if c.after == 0 && c.early == 0 {
					m.submit(1)
				}
				for n := range c.after {
					if batch, answers := m.batch(), m.answers(); batch != 0 || answers != 0 {
						t.Fatalf("with %d of %d a batch of %d, %d answers", n, c.after, batch, answers)
					}
					m.submit(1)
				}
				if time.Since(began) != 0 {
					t.Errorf("%v went by", time.Since(began))
				}
				if got, want := m.answers(), c.n-c.first; got != want {
					t.Errorf("%d late answers, want %d", got, want)
				}
				if got, want := m.batch(), max(c.early+c.after, 1); got != want {
					t.Errorf("a batch of %d, want %d", got, want)
				}
			})
		})
	}
}

// TestWhatIsLeftOfTheQueueIsCompanyEnough: only the last batch of what the committer took from the queue waits for others.
func TestWhatIsLeftOfTheQueueIsCompanyEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeeting(t, bank.Options{Batch: 20})
		defer m.end()
		m.submit(1)
		m.submit(41)
		for _, want := range []int{1, 20, 20, 1} {
			if got := m.commit(); got != want {
				t.Errorf("%d are answered at once, want %d", got, want)
			}
		}
	})
}

func TestAnAnswerIsLateByAMillisecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeeting(t, bank.Options{})
		defer m.end()
		m.round(40, 0)
		m.submit(1)
		pass(time.Millisecond - 1)
		synctest.Wait()
		if batch, answers := m.batch(), m.answers(); batch != 0 || answers != 0 {
			t.Errorf("before its time a batch of %d, %d answers", batch, answers)
		}
		pass(1)
		synctest.Wait()
		if batch, answers := m.batch(), m.answers(); batch != 1 || answers != 10 {
			t.Errorf("a batch of %d and %d answers, want 1 and 10", batch, answers)
		}
	})
}

// disappoint has a quarter of a batch wait in vain, and returns how many batches were answered at once before.
func (m *meeting) disappoint() (alone int) {
	m.t.Helper()
	for m.round(40, 0) == 40 {
		alone++
	}
	pass(time.Millisecond)
	synctest.Wait()
	if got := m.answers(); got != 10 {
		m.t.Errorf("%d late answers, want 10", got)
	}
	return alone
}

func TestWhoDoesNotComeBackIsWaitedForMoreAndMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeeting(t, bank.Options{})
		defer m.end()
		for _, want := range []int{0, 0, 1, 3, 7, 15, 31, 63, 127, 255, 255} {
			if got := m.disappoint(); got != want {
				t.Fatalf("%d batches were answered at once, want %d", got, want)
			}
		}
	})
}

// TestOnlyWhoComesBackPromptlyIsWaitedForAgain: within the time of two commits, and a millisecond. That makes good what was in
// vain before.
func TestOnlyWhoComesBackPromptlyIsWaitedForAgain(t *testing.T) {
	for _, c := range []struct {
		name        string
		took, after time.Duration
		back        bool
	}{
		{"just in time", 100 * time.Microsecond, 200 * time.Microsecond, true},
		{"too late", 100 * time.Microsecond, 200*time.Microsecond + 1, false},
		{"too late, with a slow disk", 10 * time.Millisecond, time.Millisecond + 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMeeting(t, bank.Options{})
				defer m.end()
				m.disappoint()
				m.disappoint()
				m.took = c.took
				for m.round(40, 0) == 40 {
				}
				m.submit(27)
				pass(c.after)
				m.submit(1)
				m.batch()
				m.took = 0
				m.commit()
				pass(time.Millisecond)
				synctest.Wait()
				m.answers()
				for m.batch() > 0 {
					m.commit()
				}
				if got := m.disappoint(); got == 0 != c.back {
					t.Errorf("%d batches were answered at once", got)
				}
			})
		})
	}
}

func TestAStopWaitsForNoCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeeting(t, bank.Options{})
		m.round(40, 0)
		m.submit(1)
		began := time.Now()
		if m.end(); time.Since(began) != 0 {
			t.Errorf("stopped after %v", time.Since(began))
		}
		if got := m.answers(); got != 11 {
			t.Errorf("%d answers, want 11", got)
		}
	})
}
