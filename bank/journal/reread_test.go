package journal_test

import (
	"errors"
	"strings"
	"syscall"
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

// TestAStartThatForgetsEarlierSaysSo: what the system has forgotten between the look at all frames and the reading of their entries,
// with a snapshot or without, is no damage either.
func TestAStartThatForgetsEarlierSaysSo(t *testing.T) {
	const reading = 3 // after the header and the frames
	for _, every := range []int{1_000_000, 1} {
		d := disktest.New(1)
		o := options()
		o.FS, o.Inline, o.SnapshotEvery = d, true, every
		engine := open(t, "", o)
		for range 4 {
			commit(t, engine, deposit("a", 1, ""))
		}
		mark, before := d.Bytes("mark"), d.Bytes(firstSegment)
		commit(t, engine, deposit("a", 2, ""))
		d.Kill()
		d = d.Fork(1)
		d.Put("mark", mark)
		o.FS = &later{d, firstSegment, reading, func() { d.Put(firstSegment, before) }}
		if _, err := journal.Open("", o); err == nil || errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), "start again") {
			t.Errorf("a snapshot every %d entries: %v", every, err)
		}
		o.FS = d
		again := open(t, "", o)
		if again.Seq() != 4 {
			t.Errorf("a snapshot every %d entries: the next start serves up to entry %d", every, again.Seq())
		}
		closeEngine(t, again)
	}
}

// TestAFailedLookAtWhatIsWrittenAnewIsTold fails every look of a start that has no mark and writes the last segment anew.
func TestAFailedLookAtWhatIsWrittenAnewIsTold(t *testing.T) {
	d := disktest.New(1)
	o := options()
	o.FS, o.Inline, o.SnapshotEvery = d, true, 1_000_000
	commit(t, open(t, "", o), deposit("a", 1, ""))
	d.Kill()
	d.Delete("mark")
	renewed := 0
	for k := int64(0); ; k++ {
		last := d.Fork(1)
		before := last.Ops()
		looking := &blind{FS: last, at: k}
		o.FS = looking
		engine, err := journal.Open("", o)
		looked := looking.looks.Load() > k
		if looking.at = -1; engine != nil { // a stop looks at more
			closeEngine(t, engine)
		}
		if !looked {
			break
		}
		if err == nil && looking.failed != "space" || err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("look %d, %s: %v", k, looking.failed, err)
		}
		if err != nil && last.Ops() > before {
			renewed++
		}
		last.Kill()
		o.FS = last
		again := open(t, "", o)
		if again.Seq() != 1 {
			t.Errorf("after look %d, %s: the next start serves up to entry %d", k, looking.failed, again.Seq())
		}
		closeEngine(t, again)
	}
	if renewed < 3 {
		t.Errorf("%d looks failed behind a first write", renewed)
	}
}
