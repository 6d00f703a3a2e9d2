package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"gateway/access"
	"gateway/certs"
	"gateway/config"
)

// reloader takes in, at a SIGHUP, what of the settings may change while the gateway serves: the users, and
// what is in the TLS files.
type reloader struct {
	reloads
	served config.Config // what the rest of the gateway was started with
	users  *access.Registry
	revoke func(lost func(principal string) bool) // ends what those have open
	// certificates are those of the listeners, which have the files of served.
	certificates []*certs.Identity
	metrics      *reloadMetrics
	tell         *herald
	logger       *slog.Logger
}

// reloads are asked for by a signal. read returns the settings anew; a [config.Problems] is all that is wrong with them. The
// zero value is never asked.
type reloads struct {
	asked <-chan os.Signal
	read  func() (config.Config, error)
}

// run reloads whenever that is asked for, until ctx ends.
func (r *reloader) run(ctx context.Context) {
	for {
		select {
		case <-r.asked:
			if err := r.tell.reload(r.reload); err != nil {
				r.refuse(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// reload takes the settings in, or leaves everything as it is and returns why.
func (r *reloader) reload() error {
	settings, lost, err := r.take()
	if err == nil {
		r.revoke(func(principal string) bool { return lost[principal] })
		r.renew()
	}
	r.metrics.done(err == nil, time.Now())
	if err != nil {
		return err
	}
	attributes := []any{"users", len(settings.Auth.Users), "lost_something", slices.Sorted(maps.Keys(lost))}
	if waiting := changed(r.served, settings); len(waiting) > 0 {
		attributes = append(attributes, "only_at_a_restart", strings.Join(waiting, " "))
	}
	r.logger.Info("settings reloaded", attributes...)
	return nil
}

// take takes the users of the settings in and returns who has lost something.
func (r *reloader) take() (settings config.Config, lost map[string]bool, err error) {
	if settings, err = r.read(); err != nil {
		return settings, nil, err
	}
	users, err := usersOf(settings.Auth.Users)
	if err != nil {
		return settings, nil, err
	}
	lost, err = r.users.Replace(users)
	return settings, lost, err
}

// renew reads the certificates again. The settings that were read may name other files, and these may be gone: that is told, and
// keeps no user his rights.
func (r *reloader) renew() {
	for _, certificate := range r.certificates {
		if err := certificate.Reload(); err != nil {
			r.logger.Error("certificate not reloaded; the old one stays in use", "err", err)
		}
	}
}

// refuse says what is wrong with settings that were not taken in.
func (r *reloader) refuse(err error) {
	var problems config.Problems
	if !errors.As(err, &problems) {
		r.logger.Error("settings not reloaded", "err", err)
		return
	}
	r.logger.Error("settings not reloaded", "problems", len(problems))
	for _, problem := range problems {
		r.logger.Error("settings", "problem", problem.String())
	}
}

// changed names the sections of the settings that are others than before and that a reload does not take in.
func changed(before, now config.Config) []string {
	before.Auth.Users, now.Auth.Users = nil, nil
	var names []string
	old, new := reflect.ValueOf(before), reflect.ValueOf(now)
	for i := range old.NumField() {
		field := old.Type().Field(i)
		if field.IsExported() && !reflect.DeepEqual(old.Field(i).Interface(), new.Field(i).Interface()) {
			names = append(names, field.Tag.Get("key"))
		}
	}
	return names
}
