package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/config"
	"gateway/evidence"
	"gateway/statelog"
	"gateway/wire"
)

const serveAbout = `It reads the settings, recovers the book, listens, and prints one line when
every listener is up: the word ready, and the address of each. Logs go to
stderr.

SIGINT or SIGTERM stops it: it accepts no more, answers all it accepted, syncs
and exits 0. A second signal kills it at once, which loses nothing acknowledged.

Exits otherwise: 65 the journal is damaged, 70 a write or sync failed, 73
another process has the directory, 75 a passing fault outside, such as an
address in use, 78 the settings are wrong.

SIGHUP reads the settings and the TLS files again: the users of auth.users
change at once, and who has lost a right loses its connections. Settings with
a problem change nothing.

Examples:

  gateway serve
  gateway serve --config /etc/gateway/config.yaml
`

func serveCommand() command {
	return command{
		name:    "serve",
		summary: "Serve until SIGINT or SIGTERM.",
		about:   serveAbout,
		flags: func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
			file := configFlag(fs)
			return func(ctx context.Context, env *environment, _ []string) int {
				settings, ok := loadSettings(env, env.stderr, *file)
				if !ok {
					return exitSettings
				}
				logger := newLogger(env.stderr, settings.Log)
				if _, chosen := env.getenv("GOMAXPROCS"); !chosen {
					defer journal.AddProcessors()()
				}
				asked := make(chan os.Signal, 1)
				signal.Notify(asked, syscall.SIGHUP) // before anything takes long: unheard, it would end the process
				defer signal.Stop(asked)
				again := reloads{asked, func() (config.Config, error) { return config.Load(*file, env.getenv) }}
				if err := serve(ctx, settings, again, logger, newHerald(env, logger)); err != nil {
					code := exitCode(err)
					logger.Error("failed", "err", err, "exit", code)
					return code
				}
				return exitDone
			}
		},
	}
}

func newLogger(w io.Writer, settings config.Log) *slog.Logger {
	w = wire.Escaper{Out: w} // slog leaves DEL as it is in text, and control characters beyond ASCII in JSON
	options := &slog.HandlerOptions{Level: settings.Level}
	if settings.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Why serving ends. Each has an exit code of its own.
var (
	errListen = errors.New("listen")
	errDoor   = errors.New("a listener failed")
	errEngine = errors.New("the engine failed")
	// errSettings says that settings were found wrong after they had been checked.
	errSettings = errors.New("the settings are wrong")
)

// exitCode tells the supervisor what err means.
func exitCode(err error) int {
	switch {
	case errors.Is(err, journal.ErrDamaged), errors.Is(err, statelog.ErrDamaged), errors.Is(err, statelog.ErrOwner),
		errors.Is(err, errAhead), errors.Is(err, evidence.ErrDamaged):
		return exitDamaged
	case errors.Is(err, journal.ErrLocked):
		return exitLocked
	case errors.Is(err, journal.ErrDecimals), errors.Is(err, journal.ErrFormat),
		errors.Is(err, statelog.ErrFormat): // this program is not the journal's
		return exitSettings
	case errors.Is(err, errSettings), errors.Is(err, evidence.ErrKey):
		return exitSettings
	case errors.Is(err, errEngine):
		return exitBroken
	case errors.Is(err, os.ErrPermission), neverDirectory(err): // a port or a directory that this user may never have
		return exitSettings
	case errors.Is(err, errListen), errors.Is(err, errDoor):
		return exitPassing
	}
	return exitBroken
}

// neverDirectory reports whether the settings name a directory where there cannot be one.
func neverDirectory(err error) bool {
	var failed *os.PathError
	return errors.As(err, &failed) && failed.Op == "mkdir" && (errors.Is(failed, syscall.ENOTDIR) || errors.Is(failed, os.ErrNotExist))
}

// serve opens what the settings name, and serves until ctx ends or a part fails.
func serve(ctx context.Context, settings config.Config, again reloads, logger *slog.Logger, tell *herald) error {
	warn(settings, logger)
	tell.recovering()
	m := newMetrics(readBuild())
	kept, err := openStorage(settings, logger, m)
	if err != nil {
		return err
	}
	err = serveStorage(ctx, settings, again, kept, m, logger, tell)
	if closeErr := kept.close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("%w: close: %w", errEngine, closeErr))
	}
	if err == nil {
		logger.Info("stopped")
	}
	return err
}

// serveStorage starts everything before the storage, in order, and stops it in the opposite one. The storage is the
// caller's to close.
func serveStorage(
	ctx context.Context, settings config.Config, again reloads, kept *storage, m *metrics, logger *slog.Logger, tell *herald,
) error {
	users, err := newRegistry(settings, m, logger)
	if err != nil {
		return fmt.Errorf("%w: %w", errSettings, err)
	}
	m.bank.yielded = func(period string, reply bank.Reply, err error) { logYield(logger, period, reply, err) }
	banco := bank.New(kept.engine, bank.Options{
		Investment: investment(settings.Bank.Investment), Authority: users, Observer: &m.bank,
	})
	s := &server{bank: banco, desk: kept.desk(banco, logger), kept: kept, users: users, logger: logger}
	if err := s.listen(ctx, settings, m); err != nil {
		return err
	}
	s.reloader = &reloader{
		reloads: again, served: settings, users: users, revoke: s.revoke, certificates: s.identities, metrics: &m.reload,
		tell: tell, logger: logger,
	}
	s.start(ctx)
	logger.Info("serving", "addresses", strings.TrimSpace(s.addresses()))
	tell.ready(s.addresses())
	defer tell.watch(banco, longestHold(settings.Bank.Investment))()
	why := s.wait(ctx)
	tell.stopping()
	return s.stop(why)
}

// warn tells what an operator may have chosen without meaning it.
func warn(settings config.Config, logger *slog.Logger) {
	if settings.Ledger.Engine == config.Memory {
		logger.Warn("the ledger is in memory: nothing survives this process")
	}
	if i := settings.Bank.Investment; i.Enabled {
		logger.Warn("the investment is on: money is created from @yield", "every", i.Every, "rate", string(i.Rate))
	}
}

func investment(settings config.Investment) bank.Investment {
	return bank.Investment{
		Enabled: settings.Enabled, FirstAfter: settings.FirstAfter, Every: settings.Every, Hold: settings.Hold,
		Rate: string(settings.Rate),
	}
}

// longestHold is how long the committer may let everyone wait for a yield.
func longestHold(settings config.Investment) time.Duration {
	if !settings.Enabled {
		return 0
	}
	return settings.Hold
}

// logYield tells how a yield ended. No client asks for one and is answered, so that one which nobody got is a warning.
func logYield(logger *slog.Logger, period string, reply bank.Reply, err error) {
	switch {
	case err != nil:
		logger.Error("yield failed", "period", period, "err", err)
	case reply.Code != bank.OK:
		logger.Warn("yield was skipped", "period", period, "code", reply.Code.String(), "seq", reply.Seq)
	case reply.Duplicate:
		logger.Info("yield was credited before", "period", period, "seq", reply.Seq)
	default:
		logger.Info("yield", "period", period, "code", reply.Code.String(), "seq", reply.Seq)
	}
}
