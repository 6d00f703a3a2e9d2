package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// TestAnAnswerThatRottedIsNeverTold asks for the answers of a segment whose bytes have changed since, or are gone, while the
// engine serves: a short entry, and one longer than what is read at first. It is not answered: the engine stops and names the place.
func TestAnAnswerThatRottedIsNeverTold(t *testing.T) {
	long := deposit("a", 1, "long")
	long.Memo, long.Origin.Delivery = strings.Repeat("m", 140), strings.Repeat("d", 1024)
	asked := 0
	for at := headerBytes; at < 2*headerBytes; at += 7 {
		for name, rot := range map[string]func(b []byte) []byte{
			"a flipped bit": func(b []byte) []byte { b[at] ^= 0x10; return b },
			"cut off":       func(b []byte) []byte { return b[:at] },
			"zeros":         func(b []byte) []byte { clear(b[at:]); return b },
		} {
			disk := disktest.New(1)
			o := options()
			o.FS, o.Inline, o.SnapshotEvery = disk, true, 1_000_000
			engine := open(t, "", o)
			first := commit(t, engine, deposit("a", 1, "short"), long)
			for engine.Seq() < 100 {
				commit(t, engine, deposit("a", 1, fmt.Sprint(engine.Seq())), deposit("a", 1, ""))
			}
			disk.Put(firstSegment, rot(disk.Bytes(firstSegment)))
			asked += mustNotBeTold(t, fmt.Sprint(name, " at ", at), engine, first, long)
			disk.Kill()
		}
	}
	if asked < 100 {
		t.Errorf("only %d answers were refused", asked)
	}
}

// mustNotBeTold asks for both answers and makes sure that each is as it was, or that the engine has stopped. It returns how many
// were refused.
func mustNotBeTold(t *testing.T, what string, engine *journal.Engine, first []bank.Reply, long bank.Operation) (refused int) {
	t.Helper()
	for i, op := range []bank.Operation{deposit("a", 1, "short"), long} {
		replies, err := bankCommit(engine, op)
		want := first[i]
		want.Duplicate, want.Recorded = true, false
		if err == nil && replies[0] != want {
			t.Fatalf("%s: answered %+v, want %+v", what, replies[0], want)
		}
		if err == nil {
			continue
		}
		refused++
		var damage *journal.DamageError
		if errors.Is(err, journal.ErrFailed) || !errors.As(err, &damage) || damage.File != firstSegment || refused == 1 && damage.Seq > uint64(i)+1 {
			t.Fatalf("%s: %v", what, err)
		}
		if ready := engine.Ready(); !errors.Is(ready, journal.ErrDamaged) {
			t.Fatalf("%s: it is ready after that: %v", what, ready)
		}
	}
	return refused
}
