package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/config"
	"gateway/disk"
	"gateway/statelog"
	"gateway/transport/mqtt"
)

// sessionsDirectory is where, within the journal's directory, what MQTT sessions are owed is kept.
const sessionsDirectory = "mqtt"

// storage is what survives this process.
type storage struct {
	engine   bank.Engine
	journal  mqtt.Journal  // what auditors are told; nil: nothing is kept that could be
	heads    *headMaker    // nil: none are made
	sessions *statelog.Log // nil: MQTT sessions live in memory
	keeping  *mqtt.Keeping // nil with it
}

// openStorage opens what the settings name, and recovers it.
func openStorage(settings config.Config, logger *slog.Logger, m *metrics) (*storage, error) {
	rules := bank.Rules{CreateAccounts: settings.Bank.CreateAccounts}
	if settings.Ledger.Engine == config.Memory {
		return &storage{engine: bank.NewMemory(rules, time.Now)}, nil
	}
	engine, err := journal.Open(settings.Ledger.Path, journal.Options{
		Rules: rules, Decimals: settings.Bank.Decimals, Logger: logger, Observer: &m.journal,
	})
	if err != nil {
		return nil, fmt.Errorf("open the journal in %s: %w", settings.Ledger.Path, err)
	}
	m.gauge("journal_seq", "The last entry of the journal.", nil, func() float64 { return float64(engine.Seq()) })
	s := &storage{engine: engine, journal: engine}
	if settings.Ledger.Heads.Enabled {
		if s.heads, err = openHeads(settings.Ledger, engine, logger, m); err != nil {
			return nil, errors.Join(fmt.Errorf("open the heads in %s: %w", settings.Ledger.Path, err), s.close())
		}
	}
	if len(settings.MQTT.Listeners) == 0 {
		return s, nil
	}
	path := filepath.Join(settings.Ledger.Path, sessionsDirectory)
	if err := s.openSessions(path, engine, logger); err != nil {
		return nil, errors.Join(fmt.Errorf("open the MQTT sessions in %s: %w", path, err), s.close())
	}
	return s, nil
}

// howToBeginAnew tells an operator what to do when the sessions are not the journal's.
const howToBeginAnew = "with the directory moved away, sessions begin anew"

// errAhead says that the sessions know of entries that the journal does not have.
var errAhead = errors.New("the sessions know of later entries than the journal has, which is older than they are; " + howToBeginAnew)

// openSessions reads what was kept of the sessions: their own records, and the entries behind those.
func (s *storage) openSessions(path string, engine *journal.Engine, logger *slog.Logger) error {
	directory, err := disk.Dir(path)
	if err != nil {
		return err
	}
	began := time.Now()
	recovery := mqtt.NewRecovery()
	s.sessions, err = statelog.Open(directory, engine.ID(), statelog.Options{Logger: logger}, recovery.Record)
	if errors.Is(err, statelog.ErrOwner) {
		return fmt.Errorf("%w: this journal is not theirs; %s", err, howToBeginAnew)
	}
	if err != nil {
		return err
	}
	if recovery.Seq() > engine.Seq() {
		return fmt.Errorf("%w: %d, %d", errAhead, recovery.Seq(), engine.Seq())
	}
	if recovery.Began() {
		if err := engine.Entries(recovery.Seq(), recovery.Entry); err != nil {
			return err
		}
	}
	s.keeping = &mqtt.Keeping{Store: sessionStore{s.sessions}, Recovery: recovery, Seq: engine.Seq}
	logger.Info("sessions opened", "after_entry", recovery.Seq(), "took", time.Since(began))
	return nil
}

// failed returns why nothing can be kept any more, or nil.
func (s *storage) failed() error {
	if s.sessions == nil {
		return nil
	}
	return s.sessions.Err()
}

// sessionsFailed is closed once the sessions have failed; nil when there are none to fail.
func (s *storage) sessionsFailed() <-chan struct{} {
	if s.sessions == nil {
		return nil
	}
	return s.sessions.Failed()
}

// close ends the heads, with one of the last entry, closes the sessions and then the engine.
func (s *storage) close() error {
	var err error
	if s.heads != nil {
		err = s.heads.close()
	}
	if s.sessions != nil {
		err = errors.Join(err, s.sessions.Close())
	}
	return errors.Join(err, s.engine.Close())
}

// sessionStore is the log of the sessions as the broker wants it.
type sessionStore struct{ *statelog.Log }

// Append implements [mqtt.Store]. A log with too much to write takes records again as one on a full disk does.
func (s sessionStore) Append(record []byte, done func(error)) {
	if done == nil {
		s.Log.Append(record, nil)
		return
	}
	s.Log.Append(record, func(err error) { done(storeError(err)) })
}

// Checkpoint implements [mqtt.Store].
func (s sessionStore) Checkpoint(write func(emit func([]byte) error) error) error {
	return storeError(s.Log.Checkpoint(write))
}

func storeError(err error) error {
	if errors.Is(err, statelog.ErrNoSpace) || errors.Is(err, statelog.ErrOverloaded) {
		return fmt.Errorf("%w: %w", mqtt.ErrNoSpace, err)
	}
	return err
}
