package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gateway/access"
	"gateway/bank"
	"gateway/config"
	"gateway/transport/mqtt"
)

// newRegistry makes the registry of the principals that the settings name.
func newRegistry(settings config.Config, m *metrics) (*access.Registry, error) {
	users, err := usersOf(settings.Auth.Users)
	if err != nil {
		return nil, err
	}
	return access.New(users, access.Options{
		Anonymous: settings.Auth.Anonymous == config.Loopback,
		Rate:      settings.Limits.Rate, Burst: settings.Limits.Burst, Observer: &m.access,
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
