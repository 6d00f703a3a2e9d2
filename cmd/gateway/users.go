package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

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
		Observer: &accessWatch{metrics: &m.access, log: seldom.NewLog(logger)},
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

// maxUserName is how much of a user name that somebody tries the log shows, in bytes.
const maxUserName = 64

// accessWatch counts what the registry denies, and tells the log of it: events for an audit, without what was asked.
type accessWatch struct {
	metrics *accessMetrics
	log     *seldom.Log
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
	e := seldom.Event{Level: slog.LevelWarn, What: "login failed", From: gate.Network(from), Same: string(outcome) + " " + user}
	w.log.Tell(e, "user", user, "peer", from, "outcome", string(outcome))
}

// Refused implements [access.Observer].
func (w *accessWatch) Refused(op bank.Operation, code bank.Code) {
	w.metrics.Refused(op.Origin.Door, code)
	peer := op.Origin.Peer
	kind, told := op.Kind.String(), code.String()
	e := seldom.Event{
		Level: slog.LevelWarn, What: "operation denied", From: gate.Network(peer.Addr()), Same: op.Principal + " " + kind + " " + told,
	}
	w.log.Tell(e, "principal", op.Principal, "door", op.Origin.Door.String(), "peer", peer, "kind", kind, "code", told)
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
