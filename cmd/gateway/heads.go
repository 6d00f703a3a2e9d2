package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/config"
	"gateway/disk"
	"gateway/evidence"
	"gateway/transport/mqtt"
	"gateway/wire"
)

// howToTrustAgain tells an operator what to do when the journal is not that of the heads.
const howToTrustAgain = "somebody has cut it or written it anew, or an older one was put in its place: restore the one that has all " +
	"entries; when you know that there is none, move the file heads away, and its copy, and heads begin anew"

// headMaker makes the heads of a journal while this process serves.
type headMaker struct {
	*evidence.Heads
	stop    context.CancelFunc
	running sync.WaitGroup
}

// openHeads opens the heads beside the journal, and begins to make them.
func openHeads(settings config.Ledger, engine *journal.Engine, logger *slog.Logger, m *metrics) (*headMaker, error) {
	directory, err := disk.Dir(settings.Path)
	if err != nil {
		return nil, err
	}
	key, err := headKey(directory, settings, engine.ID())
	if err != nil {
		return nil, err
	}
	heads, err := evidence.Open(directory, engine, key, evidence.Options{
		Every: settings.Heads.Every, EveryEntries: settings.Heads.EveryEntries, Copy: settings.Heads.Copy, Logger: logger,
	})
	if errors.Is(err, evidence.ErrDamaged) {
		return nil, fmt.Errorf("%w; %s", err, howToTrustAgain)
	}
	if err != nil {
		return nil, err
	}
	if err := evidence.KeepPublicKey(directory, key.Public()); err != nil { // which is now known to be that of the heads
		return nil, errors.Join(err, heads.Close())
	}
	m.addHeads(heads)
	ctx, stop := context.WithCancel(context.Background())
	h := &headMaker{Heads: heads, stop: stop}
	h.running.Go(func() { heads.Run(ctx) })
	logger.Info("heads opened", "last_entry", heads.Newest().Seq, "key", key.Public().String())
	return h, nil
}

// headKey returns the key to sign with: that of the settings, or the one beside the journal, which is made at the first start.
func headKey(directory disk.FS, settings config.Ledger, id [16]byte) (*evidence.Key, error) {
	if settings.Heads.KeyFile != "" {
		secret, err := os.ReadFile(settings.Heads.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: ledger.heads.key_file: %w", errSettings, err)
		}
		return evidence.ParseKey(string(secret))
	}
	path := filepath.Join(settings.Path, evidence.KeyFile)
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: others may read the secret %s: it has mode %04o; chmod 600 it", errSettings, path, info.Mode().Perm())
	}
	return evidence.OpenKey(directory, fmt.Sprintf("gateway-%x", id[:4]))
}

// close makes the last head.
func (h *headMaker) close() error {
	h.stop()
	h.running.Wait()
	return h.Heads.Close()
}

// desk puts what makes receipts before the bank.
func (s *storage) desk(banco *bank.Banco, logger *slog.Logger) *evidence.Desk {
	if s.heads == nil {
		return evidence.NewDesk(banco, nil, wire.MaxReceipt, logger)
	}
	return evidence.NewDesk(banco, s.heads.Heads, wire.MaxReceipt, logger)
}

// published returns the heads as auditors are told them, nil when there are none.
func (s *storage) published() mqtt.Heads {
	if s.heads == nil {
		return nil
	}
	return s.heads
}

// addHeads measures heads.
func (m *metrics) addHeads(heads *evidence.Heads) {
	m.gauge("head_seq", "The last entry of which there is a signed head.", nil, func() float64 { return float64(heads.Newest().Seq) })
	m.gauge("head_timestamp_seconds", "When the last head was made, in seconds since 1970; 0 without one.", nil, func() float64 {
		if newest := heads.Newest(); newest.Seq > 0 {
			return float64(newest.Time.UnixMicro()) / 1e6
		}
		return 0
	})
	m.counter("heads_total", "Heads that were made.", heads.Made)
	m.counter("heads_failed_total", "Heads that could not be kept.", heads.Failed)
	m.counter("heads_copy_failed_total", "How often the copy of the heads could not be brought up to date.", heads.CopyFailed)
}

// publicKey returns the key that text is, or that is in the file of that name.
func publicKey(text string) (*evidence.PublicKey, error) {
	if key, err := evidence.ParsePublicKey(text); err == nil {
		return key, nil
	}
	b, err := os.ReadFile(text)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q is neither a public key nor a file with one", text)
	}
	if err != nil {
		return nil, err
	}
	return evidence.ParsePublicKey(string(b))
}

const keyAbout = `It prints the key with which the heads and receipts of the journal in DIR, by
default that of the settings, are checked. It is no secret. Whoever wants to
check them keeps it, apart from the bank, before there is any doubt.

Examples:

  gateway journal key > head.pub
`

func printKey(env *environment, dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, evidence.PublicKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		env.complain("there is no %s in %s: no heads were ever signed", evidence.PublicKeyFile, dir)
		return exitRefused
	}
	var key *evidence.PublicKey
	if err == nil {
		key, err = evidence.ParsePublicKey(string(b))
	}
	if err == nil {
		_, err = fmt.Fprintln(env.stdout, key)
	}
	if err != nil {
		env.complain("journal key: %v", err)
		return exitRefused
	}
	return exitDone
}

// headFlags say which heads a journal is held against.
type headFlags struct{ file, key string }

func verifyFlags(fs *flag.FlagSet) func(*environment, string) int {
	var against headFlags
	fs.StringVar(&against.file, "heads", "", "Hold the journal against the heads in `FILE`. By default those in DIR, if there are any.")
	fs.StringVar(&against.key, "key", "", "The public `KEY` that has signed them, or a file with it. By default that in DIR.")
	return func(env *environment, dir string) int { return verifyJournal(env, dir, against) }
}

// headCheck are the heads that a journal is held against.
type headCheck struct {
	*evidence.Checker // nil: there are none
	file              *os.File
	untold            string // why there are none, though there is a file of them
	named             bool   // by who asked, so that there should be one
}

// errNoKey says that heads are to be checked with a key that was not said.
var errNoKey = errors.New("--heads needs --key: a key from where the journal is proves nothing")

// open opens them. Those in the journal's own directory may be missing.
func (f headFlags) open(dir string) (*headCheck, error) {
	own := filepath.Join(dir, evidence.HeadsFile)
	path, keyText := own, filepath.Join(dir, evidence.PublicKeyFile)
	if f.file != "" {
		path = f.file
	}
	switch {
	case f.key != "":
		keyText = f.key
	case f.file != "":
		return nil, errNoKey
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && f == (headFlags{}) {
		return &headCheck{}, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := publicKey(keyText)
	if err != nil && f.key == "" {
		return &headCheck{file: file, untold: fmt.Sprintf("not compared: %s is missing or is no key", evidence.PublicKeyFile)}, nil
	}
	var status fs.FileInfo
	if err == nil {
		status, err = file.Stat()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	checker := evidence.NewOwnChecker
	if f.file != "" {
		checker = evidence.NewChecker
	}
	return &headCheck{Checker: checker(file, status.Size(), key), file: file, named: f.file != ""}, nil
}

func (c *headCheck) close() {
	if c.file != nil {
		c.file.Close()
	}
}

// verify reads the journal and gives its entries to the checker.
func (c *headCheck) verify(dir string) (journal.Report, error) {
	if c.Checker == nil {
		return journal.Verify(dir)
	}
	return journal.Dump(dir, c.Entry)
}

// read is verify, and calls visit with every entry too.
func (c *headCheck) read(dir string, visit func(*bank.Entry, [32]byte) error) (journal.Report, error) {
	return journal.Dump(dir, func(e *bank.Entry, hash [32]byte) error {
		if err := visit(e, hash); err != nil || c.Checker == nil {
			return err
		}
		return c.Entry(e, hash)
	})
}

// finish holds what was read against the heads.
func (c *headCheck) finish(report journal.Report) (told evidence.CheckReport, err error) {
	if c.Checker == nil {
		return told, nil
	}
	if told, err = c.Finish(report.ID); err != nil {
		return told, fmt.Errorf("the heads in %s: %w", c.file.Name(), err)
	}
	return told, nil
}

// tell prints what the heads say of the journal in dir, and returns the exit code. Where there is no journal it tells that, unless
// there are heads of one.
func (c *headCheck) tell(env *environment, dir string, report journal.Report) int {
	told, err := c.finish(report)
	switch {
	case errors.Is(err, evidence.ErrDamaged), errors.Is(err, evidence.ErrHead), errors.Is(err, evidence.ErrKey):
		env.complain("%v", err)
		return exitDamaged
	case err != nil:
		env.complain("%v", err)
		return exitRefused
	case report.Segments == 0:
		env.complain("there is no journal in %s", dir)
		return exitRefused
	case told.Heads == 0 && c.named:
		env.complain("there is no head in %s: it proves nothing", c.file.Name())
		return exitRefused
	case c.Checker == nil && c.untold != "":
		fmt.Fprintf(env.stdout, "heads     %s\n", c.untold)
		return exitDone
	case c.Checker == nil:
		return exitDone
	}
	fmt.Fprintf(env.stdout, "heads     %d", told.Heads)
	if told.Heads > 0 {
		fmt.Fprintf(env.stdout, ", the last of entry %d, %s", told.Last.Seq, told.Last.Time.Format(time.RFC3339Nano))
	}
	if told.Torn > 0 {
		fmt.Fprintf(env.stdout, "; the first is torn, %d bytes that the next start cuts off", told.Torn)
	}
	if told.Gaps > 0 {
		fmt.Fprintf(env.stdout, "; between them %d are missing", told.Gaps)
	}
	fmt.Fprintln(env.stdout)
	return exitDone
}
