package bank_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"gateway/bank"
)

// nowhere is a history that is never asked: every id below is new.
type nowhere struct{}

func (nowhere) Entry(uint64, *bank.Entry) error { panic("an id collided") }

// BenchmarkJudge is the cost of one transfer with an id in memory: the check, the id, two balances, the canonical bytes.
func BenchmarkJudge(b *testing.B) {
	const accounts = 100_000
	l := bank.NewLedger(bank.Rules{CreateAccounts: true}, [16]byte{1}, nowhere{})
	names := make([]bank.Account, accounts)
	var e bank.Entry
	var r bank.Reply
	for i := range names {
		names[i] = bank.Account(fmt.Sprintf("account-%06d", i))
		op := bank.Operation{Kind: bank.KindDeposit, Account: names[i], Amount: 1e12}
		if _, err := l.Decide(&op, time.Time{}, &e, &r); err != nil || l.Post(&e, 0) != nil {
			b.Fatal(err)
		}
	}
	ids := make([]string, 1<<20)
	for i := range ids {
		ids[i] = fmt.Sprintf("%016x", i)
	}
	var buffer []byte
	n, now := 0, time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if n == len(ids) {
			b.StopTimer()
			l = bank.NewLedger(bank.Rules{CreateAccounts: true}, [16]byte{1}, nowhere{})
			for i := range names {
				op := bank.Operation{Kind: bank.KindDeposit, Account: names[i], Amount: 1e12}
				if _, err := l.Decide(&op, time.Time{}, &e, &r); err != nil || l.Post(&e, 0) != nil {
					b.Fatal(err)
				}
			}
			n = 0
			b.StartTimer()
		}
		op := bank.Operation{
			Kind: bank.KindTransfer, Principal: "anonymous", Account: names[n*7919%accounts], To: names[n*104729%accounts],
			Amount: 1, ID: ids[n],
		}
		write, err := l.Decide(&op, now, &e, &r)
		if !write || err != nil || r.Code != bank.OK {
			b.Fatal(r.Code, err)
		}
		buffer = e.AppendCanonical(buffer[:0])
		if err := l.Post(&e, uint64(n)); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkMemory reports the bytes that an account and a remembered id take.
func BenchmarkMemory(b *testing.B) {
	const count = 1_000_000
	for b.Loop() {
		l := bank.NewLedger(bank.Rules{CreateAccounts: true}, [16]byte{1}, nowhere{})
		before := heap()
		for i := range count {
			post(b, l, bank.Entry{Seq: uint64(i) + 1, Kind: bank.KindOpen, Account: bank.Account(fmt.Sprintf("account-%07d", i))})
		}
		after := heap()
		b.ReportMetric(float64(after-before)/count, "B/account")
		for i := range count {
			post(b, l, bank.Entry{Seq: uint64(count+i) + 1, Kind: bank.KindOpen, Account: "account-0000000", ID: fmt.Sprint(i)})
		}
		b.ReportMetric(float64(heap()-after)/count, "B/id")
		runtime.KeepAlive(l)
	}
}

func post(b *testing.B, l *bank.Ledger, e bank.Entry) {
	if err := l.Post(&e, 0); err != nil {
		b.Fatal(err)
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
