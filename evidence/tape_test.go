package evidence_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/disk/disktest"
	"gateway/evidence"
)

// tape is a journal that was written beforehand, so that its id, and all that follows, is the same in every run.
type tape struct {
	entries []bank.Entry
	hashes  [][32]byte
}

func (j *tape) ID() [16]byte { return [16]byte([]byte("the tape's own id")[:16]) }

func (j *tape) Seq() uint64 { return uint64(len(j.entries)) }

func (j *tape) Follow(ctx context.Context, after uint64, visit func(*bank.Entry, [32]byte) error) error {
	for i := after; i < j.Seq(); i++ {
		if err := visit(&j.entries[i], j.hashes[i]); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// add appends an entry, whose seq it sets.
func (j *tape) add(e bank.Entry) {
	var before [32]byte
	if n := len(j.hashes); n > 0 {
		before = j.hashes[n-1]
	}
	e.Seq = j.Seq() + 1
	j.entries = append(j.entries, e)
	j.hashes = append(j.hashes, sha256.Sum256(e.AppendCanonical(before[:])))
}

// deposits returns a tape of n deposits.
func deposits(n int) *tape {
	j := new(tape)
	for i := range n {
		j.add(bank.Entry{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC).Add(time.Duration(i) * time.Second), Kind: bank.KindDeposit,
			Principal: "ana", ID: fmt.Sprint("i", i+1), Account: "ana", Amount: 1250, Balance: bank.Amount(1250 * (i + 1)), HasBalance: true,
			Origin:   bank.Origin{Door: bank.DoorSocket, Peer: netip.MustParseAddrPort("192.0.2.7:40312")},
			Postings: []bank.Posting{{Account: bank.CashAccount, Amount: -1250}, {Account: "ana", Amount: 1250}},
		})
	}
	return j
}

// proved returns the receipt of an entry of a tape, and the head that covers it.
func proved(tb testing.TB, j *tape, seq uint64) (receipt, head string) {
	tb.Helper()
	now := time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)
	heads, err := evidence.Open(disktest.New(1), j, goldenKey(tb), evidence.Options{
		Now: func() time.Time { return now }, EveryEntries: evidence.MaxRange,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		heads.Run(ctx)
	}()
	defer func() { <-ended }()
	defer cancel()
	if _, err := heads.Receipt(ctx, j.Seq()); err != nil { // so that one head covers all
		tb.Fatal(err)
	}
	if receipt, err = heads.Receipt(ctx, seq); err != nil {
		tb.Fatal(err)
	}
	signed, _ := heads.Head()
	return receipt, string(signed)
}

// largest returns the largest entry that a client of a socket can make, as entry seq of a tape.
func largest(seq uint64, code bank.Code) bank.Entry {
	long := strings.Repeat("x", 64)
	e := bank.Entry{
		Seq: seq, Time: time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), Kind: bank.KindTransfer, Code: code,
		Principal: long, ID: long, Account: bank.Account(long), To: bank.Account(strings.Repeat("y", 64)),
		Amount: bank.MaxAmount, Memo: strings.Repeat("m", 140), Balance: bank.MaxAmount, HasBalance: true,
		Origin: bank.Origin{
			Door: bank.DoorSocket, Peer: netip.MustParseAddrPort("[fe80:1111:2222:3333:4444:5555:6666:7777%longest-zone-15]:65535"),
		},
	}
	if code == bank.OK {
		e.Postings = []bank.Posting{{Account: e.Account, Amount: -bank.MaxAmount}, {Account: e.To, Amount: bank.MaxAmount}}
	}
	return e
}
