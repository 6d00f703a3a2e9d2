package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"gateway/access"
	"gateway/bank"
	"gateway/config"
	"gateway/gate"
	"gateway/seldom"
	"gateway/transport/mqtt"
)

// newRegistry makes the registry of the principals that the settings name.
func newRegistry(settings config.Config, m *metrics, logger *slog.Logger) (*access.Registry, error) {
	users, err := usersOf(settings.Auth.Users)
	if err != nil {
		return nil, err
	}
	return access.New(users, access.Options{
		Anonymous: settings.Auth.Anonymous == config.Loopback,
		Rate:      settings.Limits.Rate, Burst: settings.Limits.Burst,
		Observer: &accessWatch{metrics: &m.access, logger: logger, told: seldom.New[denial](tellEvery, toldOf)},
	})
}

// usersOf returns the users as the registry has them.
func usersOf(settings []config.User) ([]access.User, error) {
	users := make([]access.User, len(settings))
	for i, u := range settings {
		users[i] = access.User{
			Name: u.Name, Hash: string(u.Password), Certificate: u.Certificate,
			Accounts: u.Accounts, ClientIDs: u.ClientIDs, Auditor: u.Auditor,
		}
		for _, name := range u.Operations {
			kind, ok := bank.ParseKind(name)
			if !ok {
				return nil, fmt.Errorf("user %q: there is no operation %q", u.Name, name)
			}
			users[i].Operations = append(users[i].Operations, kind)
		}
	}
	return users, nil
}

const (
	// tellEvery is how often the log hears of the same denial, at most.
	tellEvery = time.Minute
	// toldOf is how many denials are remembered for that.
	toldOf = 4096
	// maxUserName is how much of a user name that somebody tries the log shows, in bytes.
	maxUserName = 64
)

// accessWatch counts what the registry denies, and tells the log of it: events for an audit, without what was asked.
type accessWatch struct {
	metrics *accessMetrics
	logger  *slog.Logger
	told    *seldom.Events[denial]
}

// denial is what is the same the next time.
type denial struct {
	who, what string
	from      netip.Addr
}

// Login implements [access.Observer].
func (w *accessWatch) Login(from netip.Addr, user string, outcome access.Outcome) {
	w.metrics.Login(outcome)
	if outcome == access.LoggedIn {
		return
	}
	if len(user) > maxUserName {
		user = user[:maxUserName]
	}
	if held, ok := w.told.Pass(denial{user, string(outcome), gate.Network(from)}); ok {
		w.logger.Warn("login failed", "user", user, "peer", from, "outcome", string(outcome), "held_back", held)
	}
}

// Refused implements [access.Observer].
func (w *accessWatch) Refused(op bank.Operation, code bank.Code) {
	w.metrics.Refused(op.Origin.Door, code)
	peer := op.Origin.Peer
	if held, ok := w.told.Pass(denial{op.Principal, op.Kind.String() + " " + code.String(), gate.Network(peer.Addr())}); ok {
		w.logger.Warn("operation denied", "principal", op.Principal, "door", op.Origin.Door.String(), "peer", peer,
			"kind", op.Kind.String(), "code", code.String(), "held_back", held)
	}
}

// mqttAccess is the registry as the broker wants it.
type mqttAccess struct{ *access.Registry }

// Login implements [mqtt.Access].
func (a mqttAccess) Login(ctx context.Context, from netip.Addr, user string, password []byte) (string, error) {
	principal, err := a.Registry.Login(ctx, from, user, password)
	switch {
	case errors.Is(err, access.ErrWrong):
		return "", mqtt.ErrCredentials
	case err != nil:
		return "", mqtt.ErrTryLater
	}
	return principal, nil
}
