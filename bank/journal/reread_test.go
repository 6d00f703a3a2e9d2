package journal_test

import (
	"strings"
	"testing"

	"gateway/bank/journal"
	"gateway/disk/disktest"
)

// TestAStartServesOnlyWhatIsStillThere: after a failed sync the system may show what the disk does not have, once. A start that has
// read it, and finds something else when it writes it anew, does not serve; the next one serves what there is.
func TestAStartServesOnlyWhatIsStillThere(t *testing.T) {
	const name = firstSegment
	d := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = d, true, 1_000_000
	engine := open(t, "", o)
	commit(t, engine, deposit("a", 1, ""))
	mark, was := d.Bytes("mark"), len(strings.TrimRight(string(d.Bytes(name)), "\x00"))
	commit(t, engine, deposit("a", 2, ""))
	d.Kill()
	d = d.Fork(1)
	d.Put("mark", mark)
	o.FS = &disktest.Forgetful{FS: d, Name: name, From: int64(was)}
	if engine, err := journal.Open("", o); err == nil {
		t.Errorf("it serves, up to entry %d", engine.Seq())
	} else if !strings.Contains(err.Error(), "start again") {
		t.Error(err)
	}
	o.FS = d
	again := open(t, "", o)
	if again.Seq() != 1 {
		t.Errorf("the next start serves up to entry %d", again.Seq())
	}
	closeEngine(t, again)
}
