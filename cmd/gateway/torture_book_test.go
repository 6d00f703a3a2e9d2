package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"gateway/bank"
	"gateway/bank/banktest"
	"gateway/bank/journal"
	"gateway/client"
	"gateway/wire"
)

// compare joins the journal with what the clients were told, while no gateway runs: nothing of the promises that
// [banktest.CheckHistory] names may be broken. In the end the two must be the same set; before, the journal may hold what is not
// answered yet.
func (r *torture) compare(final bool) {
	r.t.Helper()
	if err := r.failure(); err != nil {
		r.t.Fatal(err)
	}
	entries := bankEntries(r.t, dumpOf(r.t, r.dir))
	told := r.told.all()
	for _, fault := range banktest.CheckHistory(entries, told) {
		r.t.Error(fault)
	}
	writes := 0
	for i := range told {
		if told[i].Op.Kind.Moves() && told[i].Answered {
			writes++
		}
	}
	if final && len(entries) != writes {
		r.t.Errorf("%d entries for %d operations", len(entries), writes)
	}
}

// bankEntries are the entries of a dump, as far as it tells them.
func bankEntries(t *testing.T, dumped []wire.Entry) []bank.Entry {
	t.Helper()
	entries := make([]bank.Entry, len(dumped))
	for i := range dumped {
		d := &dumped[i]
		kind, known := bank.ParseKind(d.Kind)
		if d.Kind == bank.KindYield.String() {
			kind, known = bank.KindYield, true
		}
		code, decided := bank.ParseCode(d.Code)
		if !known || !decided {
			t.Fatalf("entry %d: %s answered %s", d.Seq, d.Kind, d.Code)
		}
		e := bank.Entry{Seq: d.Seq, Time: d.Time, Kind: kind, Code: code, Principal: d.Principal, ID: d.ID, Memo: d.Memo}
		for _, p := range d.Postings {
			e.Postings = append(e.Postings, bank.Posting(p))
		}
		entries[i] = e
	}
	return entries
}

// moved is how an entry tells a movement.
func moved(from, to bank.Account, amount bank.Amount) []wire.EntryPosting {
	return []wire.EntryPosting{{Account: from, Amount: -amount}, {Account: to, Amount: amount}}
}

// dumpedEntries returns the entries of a journal by their ids, and checks that no id has two.
func dumpedEntries(t *testing.T, dir string) map[string]wire.Entry {
	t.Helper()
	entries := map[string]wire.Entry{}
	for _, e := range dumpOf(t, dir) {
		if _, twice := entries[e.ID]; twice {
			t.Fatalf("entry %d: id %s twice", e.Seq, e.ID)
		}
		entries[e.ID] = e
	}
	return entries
}

// dumpOf reads the journal of a directory by the command, which checks it on the way, and checks that entries follow one
// another and that each sums to zero.
func dumpOf(t *testing.T, dir string) []wire.Entry {
	t.Helper()
	cmd := exec.Command("gateway", "journal", "dump")
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("journal dump: %v\n%s", err, complaint.String())
	}
	var entries []wire.Entry
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var e wire.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("line %d: %v", len(entries)+1, err)
		}
		var sum bank.Amount
		for _, p := range e.Postings {
			sum += p.Amount
		}
		entries = append(entries, e)
		if e.Seq != uint64(len(entries)) || sum != 0 {
			t.Fatalf("line %d: seq %d, sum %d", len(entries), e.Seq, sum)
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	checkChain(t, dir, entries)
	return entries
}

// checkChain computes the hashes of a directory's entries from what each says and the hash before it. The directory's gateway may go
// on writing, so that there are more entries than were dumped.
func checkChain(t *testing.T, dir string, dumped []wire.Entry) {
	t.Helper()
	var chain banktest.Chain
	_, err := journal.Dump(filepath.Join(dir, "data"), func(e *bank.Entry, hash [32]byte) error {
		want := chain.Next(e)
		if hash != want {
			return fmt.Errorf("the hash of entry %d is %x, and by its bytes and the hash before it %x", e.Seq, hash, want)
		}
		if e.Seq <= uint64(len(dumped)) && dumped[e.Seq-1].Hash != fmt.Sprintf("%x", want) {
			return fmt.Errorf("the dump says that the hash of entry %d is %s, it is %x", e.Seq, dumped[e.Seq-1].Hash, want)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("I7: %v", err)
	}
}

// checkBalances asks every balance and a part of the statuses by each door, after all work is done.
func (r *torture) checkBalances() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	want, told := map[bank.Account]bank.Amount{}, r.told.all()
	for i := range told {
		op, reply := &told[i].Op, &told[i].Reply
		if !told[i].Answered || !op.Kind.Moves() || reply.Code != bank.OK {
			continue
		}
		switch op.Kind {
		case bank.KindDeposit:
			want[op.Account] += op.Amount
		case bank.KindWithdraw:
			want[op.Account] -= op.Amount
		default:
			want[op.Account] -= op.Amount
			want[op.To] += op.Amount
		}
	}
	for _, d := range r.doors {
		for account, balance := range want {
			reply, err := d.client.Do(ctx, client.Operation{Kind: bank.KindBalance, Account: string(account)})
			if err != nil || reply.Balance != balance.Format(2) {
				r.t.Errorf("%s: balance of %s is %q, %v, want %s", d.name, account, reply.Balance, err, balance.Format(2))
			}
		}
		if err := checkStatuses(ctx, d, told); err != nil {
			r.t.Errorf("%s: %v", d.name, err)
		}
	}
}

// checkStatuses asks what became of some operations; the answer must be the first one.
func checkStatuses(ctx context.Context, d *tortureDoor, told []banktest.Told) error {
	left := 1000
	for i := range told {
		first := &told[i]
		if !first.Answered || !first.Op.Kind.Moves() {
			continue
		}
		if left--; left < 0 {
			return nil
		}
		reply, err := d.client.Do(ctx, client.Operation{Kind: bank.KindStatus, ID: first.Op.ID})
		if err != nil {
			return err
		}
		if !reply.Duplicate {
			return errors.New("a status that is no duplicate")
		}
		if again, err := bankReply(reply); err != nil || !again.Time.Equal(first.Reply.Time) || !sameAnswer(again, first.Reply) {
			return fmt.Errorf("status of %s: %+v, %v, the first answer was %+v", first.Op.ID, again, err, first.Reply)
		}
	}
	return nil
}

// sameAnswer compares all but the time, which is compared as such, and that one is a repetition.
func sameAnswer(a, b bank.Reply) bool {
	a.Time, a.Duplicate = b.Time, b.Duplicate
	return a == b
}
