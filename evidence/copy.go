package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"gateway/disk"
	"gateway/seldom"
)

const (
	copyMode  = 0o644    // heads are no secret
	copyBytes = 64 << 10 // read and written at once
	// tornEnd ends what was torn: nothing that it is behind can be a head, whatever is missing of it.
	tornEnd = "(torn)\n" + recordEnd
)

// copyAll keeps the copy up to date until ctx ends, or until last is closed and it has tried once more. Nobody waits for it: a
// file on a network may hang.
func (h *Heads) copyAll(ctx context.Context, last <-chan struct{}) {
	if h.options.Copy == "" {
		return
	}
	c := duplicate{path: h.options.Copy}
	defer c.close()
	for ending := false; ; {
		_, newer := h.Head()
		if err := c.update(ctx, h); err != nil && ctx.Err() == nil {
			h.copyFailed.Add(1)
			h.log.Tell(seldom.Event{Level: slog.LevelError, What: "heads not copied, it is made up for later"}, "err", err)
		}
		if ending {
			return
		}
		again := time.NewTimer(h.options.Every)
		select {
		case <-newer:
		case <-again.C:
		case <-last:
			ending = true
		case <-ctx.Done():
			return
		}
		again.Stop()
	}
}

// duplicate is the copy of the roll. It is only ever appended to.
type duplicate struct {
	path string
	file *os.File // nil: to be opened
	size int64    // what was in it, and what was written
	done int64    // how much of the roll is in it
	torn bool     // its end is not that of a head
}

func (d *duplicate) close() {
	if d.file != nil {
		d.file.Close() // what was written was synced
		d.file = nil
	}
}

// update appends what is missing, and makes it durable.
func (d *duplicate) update(ctx context.Context, h *Heads) error {
	h.mu.Lock()
	own := roll{h.kept.file, h.newest.next}
	h.mu.Unlock()
	if !d.stands() {
		d.close()
	}
	if d.file != nil && d.done == own.size {
		return nil
	}
	err := error(nil)
	if d.file == nil {
		err = d.open(ctx, h, own)
	}
	if err == nil {
		err = ctx.Err() // it was left behind: another process may be at the copy
	}
	if err == nil {
		err = d.append(own)
	}
	if err != nil {
		d.close()
		return err
	}
	d.done = own.size
	return nil
}

// stands reports whether the open file is the one at the path, with all that was written. Whoever moves a copy away, or cuts it,
// gets another with all heads.
func (d *duplicate) stands() bool {
	if d.file == nil {
		return false
	}
	named, err := os.Stat(d.path)
	if err != nil {
		return false
	}
	status, err := d.file.Stat()
	return err == nil && os.SameFile(named, status) && status.Size() >= d.size
}

// open finds out what the copy has. A copy that knows a head of another history than the journal's, or of another key, is left as
// it is.
func (d *duplicate) open(ctx context.Context, h *Heads, own roll) (err error) {
	if d.file, err = os.OpenFile(d.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, copyMode); err != nil {
		return err
	}
	status, err := d.file.Stat()
	if err != nil {
		return err
	}
	if !status.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", d.path)
	}
	if sameFile(h.kept.file, status) {
		return fmt.Errorf("%s is the file that it should be the copy of", d.path)
	}
	there := roll{d.file, status.Size()}
	last, found, err := there.last()
	if err != nil {
		return err
	}
	d.size, d.done, d.torn = there.size, 0, last.next < there.size
	if !found {
		return d.foreign(there)
	}
	if err := d.belongs(ctx, h, &last.Head, &last.signature); err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	return d.meet(own, &last.Head)
}

// foreign returns an error if there, which has no head, is anything but what torn ones have left.
func (d *duplicate) foreign(there roll) error {
	if there.size > int64(windowBytes) {
		return fmt.Errorf("%s does not end with a head", d.path)
	}
	b := make([]byte, there.size)
	if _, err := there.file.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	for _, left := range strings.Split(string(b), tornEnd) {
		same := 0
		for same < min(len(left), len(headTitle)) && left[same] == headTitle[same] {
			same++
		}
		if same < len(headTitle) && !strings.HasPrefix(tornEnd, left[same:]) {
			return fmt.Errorf("%s is no copy of heads: name another file in ledger.heads.copy, or move it away", d.path)
		}
	}
	return nil
}

// meet finds the place in the roll behind the last head of the copy. Where heads were begun anew, the next may begin before that
// one does: behind it nobody could check it.
func (d *duplicate) meet(own roll, last *Head) error {
	next, more, err := own.find(last.Seq + 1)
	if err != nil {
		return err
	}
	d.done = next.at
	if !more { // it is still to be made, behind the last
		newest, _, err := own.last()
		if err != nil {
			return err
		}
		d.done, next.First = own.size, newest.Seq+1
	}
	if next.First < last.First {
		return fmt.Errorf("%s: the heads were begun anew behind it: %s", d.path, beginAnew)
	}
	return nil
}

// beginAnew tells an operator what to do about a copy that is left as it is.
const beginAnew = "move it away, and it begins anew too"

// sameFile reports whether a file on a real disk is the one of which that is the status.
func sameFile(file disk.File, status fs.FileInfo) bool {
	real, ok := file.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return false
	}
	own, err := real.Stat()
	return err == nil && os.SameFile(own, status)
}

// belongs holds the last head of the copy against the key and the journal.
func (d *duplicate) belongs(ctx context.Context, h *Heads, last *Head, signed *signature) error {
	if last.Journal != h.journal.ID() {
		return errors.New("it has the heads of another journal")
	}
	if err := h.Public().check(last, signed); err != nil {
		return fmt.Errorf("%w: %s", err, beginAnew)
	}
	if end := h.journal.Seq(); last.Seq > end {
		return cut(last, end)
	}
	hash, err := hashOf(ctx, h.journal, last.Seq)
	if err == nil && hash != last.Hash {
		err = rewritten(last, 0)
	}
	return err
}

func (d *duplicate) append(own roll) error {
	if d.done == own.size {
		return nil
	}
	if d.torn {
		if _, err := d.file.WriteString(tornEnd); err != nil {
			return err
		}
		d.size += int64(len(tornEnd))
		d.torn = false
	}
	missing := io.NewSectionReader(own.file, d.done, own.size-d.done)
	n, err := io.CopyBuffer(struct{ io.Writer }{d.file}, struct{ io.Reader }{missing}, make([]byte, copyBytes))
	if err != nil {
		return err
	}
	d.size += n
	return d.file.Sync()
}
