package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"gateway/access"
	"gateway/bank"
	"gateway/bank/journal"
	"gateway/certs"
	"gateway/evidence"
	"gateway/transport/mqtt"
	"gateway/transport/socket"
)

// server is what serves: the committer and the doors before it. It is used once: listen, start, wait, stop.
type server struct {
	bank   *bank.Banco
	desk   *evidence.Desk // the bank, as the doors see it
	kept   *storage
	users  *access.Registry
	logger *slog.Logger
	phase  atomic.Int32 // one of the phases below

	sockets     *socket.Server
	socketDoors []socket.Listener
	broker      *mqtt.Server
	mqttDoors   []mqtt.Listener
	identities  []*certs.Identity // of the listeners that have TLS
	admin       *http.Server
	adminDoor   net.Listener // nil: off

	closeDoors, stopCommitter context.CancelFunc
	watching                  sync.WaitGroup // the identities, the reloader and the desk
	reloader                  *reloader      // nil: the settings are read once

	committed chan struct{} // closed when the committer has ended, with commitErr set
	commitErr error
	doors     int        // doors that run, the admin's not counted
	ended     chan error // the end of each of them
	adminEnd  chan error // that of the admin's
}

const (
	phaseStarting int32 = iota
	phaseServing
	phaseStopping
)

// watchEvery is how often the engine is asked whether it has failed: what it does beside the traffic may fail too, and on
// an idle bank no commit would tell.
const watchEvery = time.Second

// The bounds of a stop. All that was accepted is answered however long its sync takes; these are for peers that do not
// read, and for an investment's hold.
const (
	// settleTimeout is how long the doors may wait for answers before the committer is told to finish, which ends a hold.
	settleTimeout = 2 * time.Second
	// drainTimeout is how long, after that, peers may take to read what was answered.
	drainTimeout = 6 * time.Second
	// adminTimeout is how long the operators' HTTP may take to finish an answer at the end.
	adminTimeout = time.Second
)

// ready is nil while operations are accepted, or why they are not. Any goroutine may call it.
func (s *server) ready() error {
	switch s.phase.Load() {
	case phaseStarting:
		return errors.New("starting")
	case phaseStopping:
		return errors.New("stopping")
	}
	if err := s.kept.failed(); err != nil {
		return err
	}
	return s.bank.Ready()
}

// start runs the committer and then every door. Each stage has a context of its own, because the end of ctx must not
// reach the committer before the doors are done.
func (s *server) start(ctx context.Context) {
	lasting := context.WithoutCancel(ctx)
	committer, stopCommitter := context.WithCancel(lasting)
	doors, closeDoors := context.WithCancel(lasting)
	s.stopCommitter, s.closeDoors = stopCommitter, closeDoors
	s.committed = make(chan struct{})
	go func() {
		defer close(s.committed)
		s.commitErr = s.bank.Run(committer)
	}()
	s.ended = make(chan error, len(s.socketDoors)+1)
	for _, door := range s.socketDoors {
		s.open(func() error { return s.sockets.Serve(doors, door) })
	}
	if len(s.mqttDoors) > 0 {
		s.open(func() error { return s.broker.Serve(doors, s.mqttDoors) })
	}
	s.watching.Go(func() { s.desk.Run(doors) })
	for _, identity := range s.identities {
		s.watching.Go(func() { identity.Run(doors) })
	}
	if s.reloader != nil {
		s.watching.Go(func() { s.reloader.run(doors) })
	}
	s.adminEnd = make(chan error, 1)
	if s.adminDoor != nil {
		go func() { s.adminEnd <- s.admin.Serve(s.adminDoor) }()
	}
	s.phase.Store(phaseServing)
}

// open runs a door and tells its end.
func (s *server) open(serve func() error) {
	s.doors++
	go func() { s.ended <- serve() }()
}

// revoke ends the connections of those who have lost something.
func (s *server) revoke(lost func(principal string) bool) {
	s.sockets.Revoke(lost)
	if s.broker != nil {
		s.broker.Revoke(lost)
	}
}

// wait returns when there is a reason to stop: nil when ctx ended, or what failed.
func (s *server) wait(ctx context.Context) error {
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.committed:
			return fmt.Errorf("%w: %w", errEngine, s.commitErr)
		case err := <-s.ended:
			s.doors--
			return fmt.Errorf("%w: %w", errDoor, err)
		case err := <-s.adminEnd:
			return fmt.Errorf("%w: admin: %w", errDoor, err)
		case <-s.kept.sessionsFailed():
			return fmt.Errorf("%w: %w", errEngine, s.kept.failed())
		case <-watch.C:
			if err := s.bank.Ready(); errors.Is(err, journal.ErrFailed) {
				return fmt.Errorf("%w: %w", errEngine, err)
			}
		}
	}
}

// stop stops in stages and returns why, or what failed on the way: the doors close, what they accepted is answered, the
// committer ends, and last the operators' HTTP, which tells all along that this is not ready.
func (s *server) stop(why error) error {
	s.phase.Store(phaseStopping)
	s.logger.Info("stopping")
	s.closeDoors()
	s.watching.Wait()
	s.await(settleTimeout)
	s.stopCommitter()
	<-s.committed
	if s.commitErr != nil && why == nil {
		why = fmt.Errorf("%w: %w", errEngine, s.commitErr)
	}
	if left := s.await(drainTimeout); left > 0 {
		s.logger.Warn("left peers that do not read", "doors", left)
	}
	s.stopAdmin()
	return why
}

// await waits for the doors to end, but no longer than limit, and returns how many have not.
func (s *server) await(limit time.Duration) int {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for ; s.doors > 0; s.doors-- {
		select {
		case err := <-s.ended:
			if err != nil {
				s.logger.Error("listener failed", "err", err)
			}
		case <-timer.C:
			return s.doors
		}
	}
	return 0
}

func (s *server) stopAdmin() {
	if s.adminDoor == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if err := s.admin.Shutdown(ctx); err != nil {
		_ = s.admin.Close() // its reader was too slow; there is nobody to tell
	}
}
