package evidence_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gateway/bank"
	"gateway/disk/disktest"
	"gateway/evidence"
)

// clerk is a bank that knows the ids of a house's deposits.
type clerk struct{ h *house }

func (c clerk) Submit(_ context.Context, op bank.Operation, done func(bank.Reply, error)) error {
	var seq uint64
	fmt.Sscanf(op.ID, "i%d", &seq)
	if op.Principal == "nobody" {
		return bank.ErrForbidden
	}
	if seq == 0 || seq > c.h.engine.Seq() {
		done(bank.Refusal(&op, bank.IDNotFound), nil)
		return nil
	}
	done(bank.Reply{Code: bank.OK, Kind: bank.KindDeposit, ID: op.ID, Seq: seq, Duplicate: true}, nil)
	return nil
}

// desk is a Desk that runs until the test ends.
type desk struct {
	*evidence.Desk
	t    *testing.T
	stop func()
}

func opened(t *testing.T, h *house, most int) *desk {
	return openedWith(t, h, most, slog.DiscardHandler)
}

func openedWith(t *testing.T, h *house, most int, log slog.Handler) *desk {
	d := &desk{Desk: evidence.NewDesk(clerk{h}, h.heads, most, slog.New(log)), t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	d.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(d.stop)
	return d
}

// ask asks for the receipt of an id and returns where the reply will be.
func (d *desk) ask(principal, id string, door bank.Door) <-chan bank.Reply {
	d.t.Helper()
	replied := make(chan bank.Reply, 2)
	op := bank.Operation{Kind: bank.KindStatus, Principal: principal, ID: id, Receipt: true, Origin: bank.Origin{Door: door}}
	if err := d.Submit(d.t.Context(), op, func(r bank.Reply, _ error) { replied <- r }); err != nil {
		d.t.Fatal(err)
	}
	return replied
}

func TestADeskAddsReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, disktest.New(1), evidence.Options{Every: never})
		h.deposit(3)
		d := opened(t, h, 4096)
		r := <-d.ask("p", "i2", bank.DoorSocket)
		if got, err := evidence.CheckReceipt(r.Receipt, h.heads.Public()); err != nil || got.Entry.Seq != 2 || r.Seq != 2 || r.Code != bank.OK {
			t.Errorf("%+v proves %+v, %v", r, got, err)
		}
		if r := <-d.ask("p", "i4", bank.DoorSocket); r.Code != bank.IDNotFound || r.Receipt != "" {
			t.Errorf("an id that nobody knows: %+v", r)
		}
		err := d.Submit(t.Context(), bank.Operation{Principal: "nobody", Receipt: true}, func(bank.Reply, error) { t.Error("it was answered") })
		if err != bank.ErrForbidden {
			t.Errorf("the bank's own refusal became %v", err)
		}
		plain := make(chan bank.Reply, 1)
		d.Submit(t.Context(), bank.Operation{ID: "i1"}, func(r bank.Reply, _ error) { plain <- r })
		if r := <-plain; r.Receipt != "" {
			t.Errorf("nobody asked for a receipt: %+v", r)
		}
	})
}

// A receipt too long for a socket is refused there, and given over MQTT.
func TestADeskKnowsTheDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, disktest.New(1), evidence.Options{Every: never})
		h.deposit(1)
		d := opened(t, h, 100)
		if r := <-d.ask("p", "i1", bank.DoorSocket); r.Code != bank.TooLarge || !strings.Contains(r.Detail, "ask there") {
			t.Errorf("by a socket: %+v", r)
		}
		if r := <-d.ask("p", "i1", bank.DoorMQTT); r.Code != bank.OK || r.Receipt == "" {
			t.Errorf("by MQTT: %+v", r)
		}
	})
}

func TestADeskWithoutHeads(t *testing.T) {
	d := &desk{Desk: evidence.NewDesk(clerk{}, nil, 4096, slog.New(slog.DiscardHandler)), t: t}
	if r := <-d.ask("p", "i1", bank.DoorSocket); r.Code != bank.UnknownOperation || r.Receipt != "" {
		t.Errorf("%+v", r)
	}
}

// So many may wait, of one principal and of all; who is told so has lost nothing, and a stop answers whoever waits, once.
func TestADeskIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, disktest.New(1), evidence.Options{Every: never})
		h.deposit(1)
		d := opened(t, h, 4096)
		<-d.ask("p", "i1", bank.DoorSocket) // the next head may be made in a second
		h.deposit(1)
		var waiting []<-chan bank.Reply
		overloaded := 0
		ask := func(principal string, n int) {
			for range n {
				replied := d.ask(principal, "i2", bank.DoorSocket)
				select {
				case r := <-replied:
					if r.Code != bank.Overloaded {
						t.Errorf("%+v", r)
					}
					overloaded++
				default:
					waiting = append(waiting, replied)
				}
				synctest.Wait()
			}
		}
		ask("greedy", evidence.MaxWaitingPrincipal+3)
		if overloaded != 3 {
			t.Errorf("%d of one principal were refused", overloaded)
		}
		for i := range evidence.MaxWaiting {
			ask(fmt.Sprint("p", i/evidence.MaxWaitingPrincipal), 1)
		}
		if want := evidence.MaxWaiting + 1; len(waiting) != want { // one is being made
			t.Errorf("%d wait, want %d", len(waiting), want)
		}
		d.stop()
		waiting = append(waiting, d.ask("late", "i1", bank.DoorSocket))
		for i, replied := range waiting {
			if r := <-replied; r.Code != bank.Unavailable || len(replied) > 0 {
				t.Fatalf("%d is told %+v", i, r)
			}
		}
	})
}

// While the disk takes no head, who asks for one is told so in MaxWait, and so are all who wait with him; a receipt under a head
// that there is waits no longer. With space again there is a head within a second.
func TestADeskWhoseHeadsLackSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := disktest.New(1)
		var failing atomic.Bool
		disk.Before = func(op disktest.Op) error {
			if failing.Load() && op.File == evidence.HeadsFile && op.Kind == disktest.Write {
				return syscall.ENOSPC
			}
			return nil
		}
		h := build(t, disk, evidence.Options{Every: never})
		h.deposit(3)
		d := opened(t, h, 4096)
		<-d.ask("p", "i2", bank.DoorSocket)
		synctest.Wait() // until it counts no more
		failing.Store(true)
		h.deposit(1)
		began := time.Now()
		var slow []<-chan bank.Reply
		for range evidence.MaxWaitingPrincipal {
			slow = append(slow, d.ask("p", "i4", bank.DoorSocket))
		}
		old := d.ask("q", "i2", bank.DoorSocket)
		for _, replied := range slow {
			if r := <-replied; r.Code != bank.Unavailable || strings.Contains(r.Detail, "stopping") || time.Since(began) > evidence.MaxWait {
				t.Errorf("%+v after %v", r, time.Since(began))
			}
		}
		if r := <-old; r.Receipt == "" || time.Since(began) > evidence.MaxWait {
			t.Errorf("%+v after %v", r, time.Since(began))
		}
		waiting := d.ask("p", "i4", bank.DoorSocket)
		<-time.After(evidence.MaxWait / 2)
		began = time.Now()
		failing.Store(false)
		if r := <-waiting; r.Receipt == "" || time.Since(began) > evidence.AskedEvery {
			t.Errorf("with space again: %+v after %v", r, time.Since(began))
		}
	})
}

// Who changes the files of a gateway that serves makes it tell the operator; the client is told no more than that there is no
// receipt.
func TestADeskTellsOfFilesThatWereChanged(t *testing.T) {
	for _, c := range []struct {
		change func(*disktest.Disk)
		says   string
	}{
		{func(d *disktest.Disk) {
			all := entriesOf(t, d)
			forge(d, renumbered(t, replace(all, 2, edit(t, all[2], 0, 7))))
		}, "entry 3 is not the one that was signed; nothing from entry 1 on can be trusted"},
		{func(d *disktest.Disk) {
			file, err := d.Edit(evidence.HeadsFile)
			if err == nil {
				_, err = file.WriteAt(make([]byte, 100), 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "no head that covers it"},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := disktest.New(1)
			h := build(t, disk, evidence.Options{Every: never, EveryEntries: 5})
			for range 2 {
				h.deposit(5)
				h.await(h.engine.Seq())
			}
			if err := h.restart(); err != nil {
				t.Fatal(err)
			}
			c.change(disk)
			var log bytes.Buffer
			d := openedWith(t, h, 4096, slog.NewTextHandler(&log, nil))
			if r := <-d.ask("p", "i3", bank.DoorSocket); r.Code != bank.Unavailable || r.Receipt != "" {
				t.Errorf("%+v", r)
			}
			d.stop()
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), c.says) {
				t.Errorf("the log has %q, not %q", log.String(), c.says)
			}
		})
	}
}

// While a receipt is waited for, others are answered.
func TestNobodyWaitsForTheReceiptOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, disktest.New(1), evidence.Options{Every: never})
		h.deposit(1)
		d := opened(t, h, 4096)
		<-d.ask("p", "i1", bank.DoorSocket)
		h.deposit(1)
		slow := d.ask("p", "i2", bank.DoorSocket)
		synctest.Wait()
		if len(slow) > 0 {
			t.Fatal("the head was made too early")
		}
		if r := <-d.ask("q", "unknown", bank.DoorSocket); r.Code != bank.IDNotFound {
			t.Errorf("%+v", r)
		}
		if r := <-slow; r.Receipt == "" {
			t.Errorf("%+v", r)
		}
	})
}
