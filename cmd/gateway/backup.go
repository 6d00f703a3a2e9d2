package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/disk"
	"gateway/evidence"
	"gateway/statelog"
	"gateway/transport/mqtt"
)

const backupAbout = `It copies the bank of the settings into DIR, which it makes, while a gateway
serves it or while none does. The copy holds everything that was answered
before it began: the MQTT sessions, and the journal up to the last entry that
is known to be durable, with a snapshot for a quick start. It is written under
the name DIR.tmp, synced, read back and checked as journal verify does, and
only then called DIR. The gateway is not asked, locked or stopped. A sixteenth
of the disk that DIR is on stays free, of a large one 64 MiB: below that a
gateway on the same disk would refuse to write.

DIR may be there if it is empty; anything else is refused. To restore, stop the
gateway, put the directory of ledger.path aside, copy DIR there, and into it
the secret head.key, which no backup has: from the directory that was put
aside, or from where it is kept safe. Run gateway journal verify, and start.
When that key is lost, move heads away, and ledger.heads.copy, and heads begin
anew with another key.
What was answered after the backup is not in it: let clients whose sessions
were kept know, or move its mqtt directory away.

Exits 65 when what was to be copied is damaged, with the first bad entry; 1
when there is no journal, 2 when DIR cannot be used, 75 when there is no space
for it or the backup was interrupted, 70 when a read or a write failed, 78 when
this user may not read the bank or the settings are wrong. Then there is no DIR.

Examples:

  gateway backup /mnt/backups/monday
  gateway backup --config /etc/gateway/config.yaml /mnt/backups/monday
`

func backupCommand() command {
	return command{
		name: "backup", args: "DIR", summary: "Copy the bank, also while a gateway serves it.", about: backupAbout,
		flags: func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
			file := configFlag(fs)
			return func(ctx context.Context, env *environment, args []string) int {
				source, ok := journalDir(env, *file, nil)
				if !ok {
					return exitSettings
				}
				b := &backup{source: source, began: time.Now()}
				if err := b.make(ctx, args[0]); err != nil {
					return explainBackup(env, source, err)
				}
				b.print(env)
				return exitDone
			}
		},
	}
}

// headFiles are the files besides the journal and the sessions that a backup carries when they are there: the signed heads and
// the key to check them with. The key that signs stays where it is.
var headFiles = []string{evidence.HeadsFile, evidence.PublicKeyFile}

// Why there is no backup, besides what the packages below tell.
var (
	errTarget = errors.New("the directory cannot be used")
	errNoBank = errors.New("there is no journal")
	// errLeft says that an unfinished backup is still there.
	errLeft = errors.New("what there is of the backup could not be removed")
	// errCopy says that the copy is not what was read, and what was read is as it should be.
	errCopy = errors.New("the copy is damaged and its source is not")
	// errUnsettled says that the sessions or the heads know of entries that nobody knows to be durable.
	errUnsettled = errors.New("the last entries are not known to be durable, after a power cut; start the gateway once, and try again")
)

// backup is one run of the command.
type backup struct {
	source string
	target string // absolute, as is draft
	draft  string
	began  time.Time

	copied journal.Copied
	bytes  int64 // of all that was copied
	report journal.Report
}

// make makes the backup. After an error nothing of it is left, unless that is [errLeft] too.
func (b *backup) make(ctx context.Context, target string) error {
	from, err := disk.Existing(b.source)
	if err != nil {
		return err
	}
	id, err := journal.ReadID(from)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := journal.Verify(b.source); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // what else there is of a journal tells that its first segment is missing
		}
		return errNoBank
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	parent, err := b.begin(target)
	if err != nil {
		return err
	}
	if err = b.fill(ctx, from, id); err == nil {
		err = b.verify(ctx)
	}
	if err == nil {
		err = b.publish(parent)
	}
	if err != nil {
		return b.abandon(err)
	}
	return nil
}

// abandon removes what there is, because of err.
func (b *backup) abandon(err error) error {
	if failed := os.RemoveAll(b.draft); failed != nil {
		return fmt.Errorf("%w; %w: %w", err, errLeft, failed)
	}
	return err
}

// publish gives the draft its name. Where that may not last, what has it is still a draft.
func (b *backup) publish(parent disk.FS) error {
	if err := parent.Rename(filepath.Base(b.draft), filepath.Base(b.target)); err != nil {
		return err
	}
	b.draft = b.target
	return parent.SyncDir()
}

// begin makes the draft's directory and returns the one that it is in. An empty directory in the target's place is removed,
// which tells at once whether the draft can come to be there.
func (b *backup) begin(target string) (parent disk.FS, err error) {
	if target == "" { // nobody's choice of the working directory
		return nil, fmt.Errorf("%w: its name is empty", errTarget)
	}
	if b.target, err = filepath.Abs(target); err != nil {
		return nil, err
	}
	b.draft = b.target + disk.Unfinished
	switch found, err := os.Lstat(b.target); {
	case err == nil && !found.IsDir():
		return nil, fmt.Errorf("%w: %s is not one", errTarget, target)
	case err == nil:
		if err := os.Remove(b.target); err != nil {
			return nil, fmt.Errorf("%w: it must be empty, and no place where a disk is mounted: %w", errTarget, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", errTarget, err)
	}
	if parent, err = disk.Dir(filepath.Dir(b.target)); err == nil {
		err = os.Mkdir(b.draft, backupMode)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%w: %s is there: another backup is writing it, or one was interrupted; then remove it",
			errTarget, target+disk.Unfinished)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("%w: %w", errTarget, err)
	}
	return parent, err
}

const backupMode = 0o700 // as the directory of ledger.path

// fill copies the sessions first, so that the journal has all that they refer to, and the heads before the journal, so that
// none is beyond it.
func (b *backup) fill(ctx context.Context, from disk.FS, id [16]byte) error {
	to, err := disk.Existing(b.draft)
	if err != nil {
		return err
	}
	if err := b.checkRoom(to); err != nil {
		return err
	}
	if err := b.fillSessions(ctx, id); err != nil {
		return err
	}
	for _, name := range headFiles {
		bytes, err := disk.CopyWhole(ctx, from, to, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		b.bytes += bytes
	}
	b.copied, err = journal.Copy(ctx, from, to)
	b.bytes += b.copied.Bytes
	return err
}

// checkRoom makes sure that there is space for the sessions and the heads. [journal.Copy] asks for the rest.
func (b *backup) checkRoom(to disk.FS) error {
	sizes := make([]int64, len(headFiles))
	for i, name := range headFiles {
		if s, err := os.Stat(filepath.Join(b.source, name)); err == nil {
			sizes[i] = s.Size()
		}
	}
	entries, err := os.ReadDir(filepath.Join(b.source, sessionsDirectory))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if s, err := entry.Info(); err == nil { // one that has just gone is followed by another
			sizes = append(sizes, s.Size())
		}
	}
	return journal.CheckRoom(to, sizes...)
}

func (b *backup) fillSessions(ctx context.Context, id [16]byte) error {
	path := filepath.Join(b.source, sessionsDirectory)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	from, err := disk.Existing(path)
	if err != nil {
		return err
	}
	to, err := disk.Dir(filepath.Join(b.draft, sessionsDirectory))
	if err != nil {
		return err
	}
	if b.bytes, err = statelog.Copy(ctx, from, to, id); err != nil {
		return fmt.Errorf("the MQTT sessions in %s: %w", path, err)
	}
	return nil
}

// verify reads the draft as a start would, and all of the journal. Damage in it is the source's, if the source has it too.
func (b *backup) verify(ctx context.Context) error {
	heads, err := headFlags{}.open(b.draft)
	if err != nil {
		return err
	}
	defer heads.close()
	b.report, err = heads.read(b.draft, func(*bank.Entry, [32]byte) error { return ctx.Err() })
	if errors.Is(err, journal.ErrDamaged) {
		if _, of := journal.Verify(b.source); errors.Is(of, journal.ErrDamaged) {
			return of
		}
		return fmt.Errorf("%w: %w", errCopy, err)
	}
	if err != nil {
		return err
	}
	var damage *evidence.DamageError
	switch _, err := heads.finish(b.report); {
	case errors.As(err, &damage) && b.leftOut(damage.Cut):
		return errUnsettled
	case err != nil:
		return err
	}
	sessions, err := disk.Existing(filepath.Join(b.draft, sessionsDirectory))
	if err != nil {
		return err
	}
	recovery := mqtt.NewRecovery()
	if err := statelog.Read(sessions, b.report.ID, recovery.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the copy of the MQTT sessions: %w", err)
	}
	switch seq := recovery.Seq(); {
	case b.leftOut(seq):
		return errUnsettled
	case seq > b.report.Entries:
		return fmt.Errorf("%w: %d, %d", errAhead, seq, b.report.Entries)
	}
	return nil
}

// leftOut reports whether what was copied has the entry, and the copy has not.
func (b *backup) leftOut(seq uint64) bool {
	return seq > b.report.Entries && seq <= b.report.Entries+b.copied.LeftOut
}

func (b *backup) print(env *environment) {
	out := env.stdout
	fmt.Fprintf(out, "seq       %d\nhash      %x\n", b.report.Entries, b.report.Hash)
	if b.report.Entries > 0 {
		fmt.Fprintf(out, "time      %s\n", b.report.Time.Format(time.RFC3339Nano))
	}
	fmt.Fprintf(out, "entries   %d\nbytes     %d\n", b.report.Entries, b.bytes)
	if left := b.copied.LeftOut; left > 0 {
		fmt.Fprintf(out, "left out  %d entries of a batch that is not known to be durable\n", left)
	}
	fmt.Fprintf(out, "backed up in %v: %s\n", time.Since(b.began).Round(time.Microsecond), b.target)
}

// explainBackup says why there is no backup and returns the exit code.
func explainBackup(env *environment, source string, err error) int {
	switch {
	case errors.Is(err, errNoBank):
		env.complain("there is no journal in %s", source)
		return exitRefused
	case errors.Is(err, errTarget):
		env.complain("backup: %v", err)
		return exitUsage
	case errors.Is(err, journal.ErrNoSpace), disk.LacksSpace(err):
		env.complain("backup: there is not enough space: %v", err)
		return exitPassing
	case errors.Is(err, context.Canceled) && !errors.Is(err, errLeft):
		env.complain("backup: interrupted; nothing of it is left")
		return exitPassing
	case errors.Is(err, context.Canceled):
		env.complain("backup: interrupted: %v", err)
		return exitPassing
	case errors.Is(err, errUnsettled):
		env.complain("backup: %v", err)
		return exitPassing
	case errors.Is(err, errCopy):
		env.complain("backup: %v", err)
		return exitBroken
	}
	var damage *journal.DamageError
	if errors.As(err, &damage) {
		return explainJournal(env, source, err)
	}
	env.complain("backup: %v", err)
	return exitCode(err)
}
