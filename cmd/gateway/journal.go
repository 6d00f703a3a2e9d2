package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/config"
	"gateway/wire"
)

const verifyAbout = `It reads the journal in DIR, by default that of the settings, and changes
nothing. Every checksum, every link of the hash chain, every entry's postings
and the sum of all accounts are checked. A torn tail, which was never
acknowledged, is told and is no damage. Exits 65 with the first bad entry when
there is damage, 1 when there is no journal, or what is in question cannot be
read.

Signed heads are held against the journal too: those in FILE, or those that DIR
has itself. Only heads that were kept elsewhere, checked with a key that was,
show that somebody has cut the journal or written it anew with other hashes:
what is in DIR he could write anew as well, so that it shows accidents alone.

Examples:

  gateway journal verify
  gateway journal verify /var/lib/gateway
  gateway journal verify --heads /mnt/elsewhere/heads --key auditor/head.pub
`

const dumpAbout = `It reads the journal in DIR, by default that of the settings, and changes
nothing. Amounts are integers in minor units. The journal is checked on the
way, as verify does it. Exits 65 when there is damage.

Examples:

  gateway journal dump | jq -r 'select(.code == "ok") | .id'
  gateway journal dump /var/lib/gateway > entries.jsonl
`

func journalCommands() []command {
	return []command{
		{
			name: "journal verify", args: "[DIR]", summary: "Check every entry of the journal, offline.",
			about: verifyAbout, flags: journalFlags(verifyFlags),
		},
		{
			name: "journal dump", args: "[DIR]", summary: "Print every entry of the journal as a line of JSON.",
			about: dumpAbout, flags: journalFlags(func(*flag.FlagSet) func(*environment, string) int { return dumpJournal }),
		},
		{
			name: "journal key", args: "[DIR]", summary: "Print the public key that the journal's heads are signed with.",
			about: keyAbout, flags: journalFlags(func(*flag.FlagSet) func(*environment, string) int { return printKey }),
		},
	}
}

// journalFlags declares what these commands take, and what declare adds; what that returns is given the directory.
func journalFlags(
	declare func(*flag.FlagSet) func(env *environment, dir string) int,
) func(*flag.FlagSet) func(context.Context, *environment, []string) int {
	return func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
		read := declare(fs)
		file := fs.String("config", settingsFile, "Without DIR, read ledger.path from `FILE`, if it is there.")
		return func(_ context.Context, env *environment, args []string) int {
			dir, ok := journalDir(env, *file, args)
			if !ok {
				return exitSettings
			}
			switch info, err := os.Stat(dir); {
			case errors.Is(err, os.ErrNotExist):
				env.complain("there is no journal in %s: no such directory", dir)
				return exitRefused
			case err != nil:
				env.complain("%v", err)
				return exitRefused
			case !info.IsDir():
				env.complain("there is no journal in %s: it is no directory", dir)
				return exitRefused
			}
			signal.Reset(syscall.SIGINT, syscall.SIGTERM) // reading may end anywhere, at once
			return read(env, dir)
		}
	}
}

// journalDir returns the directory that args name, or that of the settings.
func journalDir(env *environment, file string, args []string) (dir string, ok bool) {
	if len(args) > 0 {
		return args[0], true
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && file == settingsFile {
		return config.Default().Ledger.Path, true
	}
	settings, ok := loadSettings(env, env.stderr, file)
	return settings.Ledger.Path, ok
}

func verifyJournal(env *environment, dir string, against headFlags) int {
	began := time.Now()
	heads, err := against.open(dir) // before the journal: none of them is of an entry that it does not have
	if err != nil {
		env.complain("journal verify: %v", err)
		if errors.Is(err, errNoKey) {
			return exitUsage
		}
		return exitRefused
	}
	defer heads.close()
	report, err := heads.verify(dir)
	took := time.Since(began)
	if err != nil {
		return explainJournal(env, dir, err)
	}
	if report.Segments == 0 {
		return heads.tell(env, dir, report)
	}
	out := env.stdout
	fmt.Fprintf(out, "entries   %d\nseq       %d\nhash      %x\n", report.Entries, report.Entries, report.Hash)
	if report.Entries > 0 {
		fmt.Fprintf(out, "time      %s\n", report.Time.Format(time.RFC3339Nano))
	}
	fmt.Fprintf(out, "decimals  %d\naccounts  %d\nids       %d\nsegments  %d\n",
		report.Decimals, report.Accounts, report.IDs, report.Segments)
	fmt.Fprintf(out, "sum       0\ntorn      %s\n", describeTear(report.Torn))
	if code := heads.tell(env, dir, report); code != exitDone {
		return code
	}
	fmt.Fprintf(out, "verified in %v, %.0f entries/s\n", took.Round(time.Microsecond), float64(report.Entries)/took.Seconds())
	return exitDone
}

func describeTear(torn journal.Tear) string {
	if torn.Bytes == 0 {
		return "no"
	}
	return fmt.Sprintf("%d bytes of %s from byte %d on: not acknowledged; if no gateway is writing them, the next start cuts them off",
		torn.Bytes, torn.File, torn.Offset)
}

// explainJournal says why a journal could not be read and returns the exit code.
func explainJournal(env *environment, dir string, err error) int {
	var damage *journal.DamageError
	if errors.As(err, &damage) {
		env.complain("the journal in %s is damaged", dir)
		fmt.Fprintf(env.stderr, "seq     %d\nfile    %s\noffset  %d\nreason  %s\n", damage.Seq, damage.File, damage.Offset, damage.Reason)
		return exitDamaged
	}
	env.complain("%v", err)
	if errors.Is(err, journal.ErrFormat) {
		return exitSettings
	}
	return exitRefused
}

func dumpJournal(env *environment, dir string) int {
	out := bufio.NewWriterSize(env.stdout, 1<<16)
	lines := wire.NewEntryEncoder(out)
	var writeErr error
	report, err := journal.Dump(dir, func(e *bank.Entry, hash [32]byte) error {
		writeErr = lines.Encode(e, hash)
		return writeErr
	})
	if writeErr == nil {
		writeErr = out.Flush()
	}
	switch {
	case errors.Is(writeErr, syscall.EPIPE):
		return exitDone // the reader has seen enough
	case writeErr != nil:
		env.complain("journal dump: %v", writeErr)
		return exitRefused
	case err != nil:
		return explainJournal(env, dir, err)
	case report.Segments == 0:
		env.complain("there is no journal in %s", dir)
		return exitRefused
	}
	return exitDone
}
