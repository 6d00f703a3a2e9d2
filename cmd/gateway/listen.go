package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"gateway/bank"
	"gateway/certs"
	"gateway/config"
	"gateway/gate"
	"gateway/transport/mqtt"
	"gateway/transport/socket"
	"gateway/wire"
)

// spareFiles is the number of open files that are kept from connections: for the journal and the sessions' log, which fail for
// good when they cannot open one, and for operators. filesOfListener are kept for each listener of a door: its own, and one for a
// connection that is accepted to be turned away.
const (
	spareFiles      = 36
	filesOfListener = 2
)

// connections returns how many there may be: as many as the settings say, or as the open files of this process allow.
func (s *server) connections(settings config.Config) int {
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil {
		return settings.Limits.Connections
	}
	most := affordable(settings, uint64(files.Cur))
	if most < settings.Limits.Connections {
		s.logger.Warn("fewer connections than limits.connections: this process may open too few files", "connections", most,
			"limit", settings.Limits.Connections, "files", files.Cur)
	}
	return most
}

// affordable returns how many connections there may be where so many files may be open.
func affordable(settings config.Config, files uint64) int {
	spare := uint64(spareFiles + filesOfListener*(len(settings.Socket.Listeners)+len(settings.MQTT.Listeners)))
	left := max(files, spare+1) - spare
	return int(min(left, uint64(settings.Limits.Connections)))
}

// listen binds every listener, and makes the doors that will serve them. After an error it has bound none.
func (s *server) listen(ctx context.Context, settings config.Config, m *metrics) (err error) {
	var bound listeners
	defer func() {
		if err != nil {
			bound.close()
		}
	}()
	connections := gate.New(gate.Limits{
		Connections: s.connections(settings), PerAddress: settings.Limits.ConnectionsPerAddress,
		Unknown: settings.Limits.ConnectionsUnknown,
	})
	m.gauge("connections_unknown", "Open connections whose client is not known yet.", nil,
		func() float64 { return float64(connections.Unknown()) })
	if err := s.listenSockets(ctx, settings, m, connections, &bound); err != nil {
		return err
	}
	if err := s.listenMQTT(ctx, settings, m, connections, &bound); err != nil {
		return err
	}
	s.warnOfDoors(settings)
	m.gauge("ready", "1 while operations are accepted, else 0.", nil, func() float64 {
		if s.ready() != nil {
			return 0
		}
		return 1
	})
	if settings.Admin.Address == "" {
		return nil
	}
	s.adminDoor, err = new(net.ListenConfig).Listen(ctx, networkOf(settings.Admin.Address), settings.Admin.Address)
	if err := bound.keep("admin.address", s.adminDoor, err); err != nil {
		return err
	}
	s.adminDoor = newOperators(s.adminDoor)
	s.admin = adminServer(s, m)
	return nil
}

// warnOfDoors tells what an operator may have opened without meaning it.
func (s *server) warnOfDoors(settings config.Config) {
	var unasked []string // where nobody is asked for credentials
	for i, l := range settings.Socket.Listeners {
		ln := s.socketDoors[i].Net
		if l.TLS == nil && !onLoopback(ln) {
			s.logger.Warn("operations cross the network in the clear: the listener is beyond loopback and has no tls", "address", ln.Addr().String())
		}
		if s.socketDoors[i].Principal == bank.AnonymousPrincipal {
			unasked = append(unasked, ln.Addr().String())
		}
	}
	for i, l := range settings.MQTT.Listeners {
		ln := s.mqttDoors[i].Net
		if l.TLS == nil && !onLoopback(ln) {
			s.logger.Warn("logins cross the network in the clear: the listener is beyond loopback and has no tls", "address", ln.Addr().String())
		}
		if anonymous(ln, l.TLS, settings.Auth) {
			unasked = append(unasked, ln.Addr().String())
		}
	}
	if len(settings.Auth.Users) > 0 && len(unasked) > 0 {
		s.logger.Warn("whoever is on this machine needs no credentials; auth.anonymous: never asks for them",
			"addresses", strings.Join(unasked, ","))
	}
}

func (s *server) listenSockets(ctx context.Context, settings config.Config, m *metrics, connections *gate.Gate, bound *listeners) error {
	codecs := map[config.Codec]wire.Codec{}
	for i, l := range settings.Socket.Listeners {
		format, ok := wire.ParseFormat(string(l.Codec))
		if !ok {
			return fmt.Errorf("%w: no codec %q", errListen, l.Codec)
		}
		if _, ok := codecs[l.Codec]; !ok {
			codecs[l.Codec] = wire.NewCodec(format, settings.Bank.Decimals)
		}
		ln, err := socket.Listen(ctx, networkOf(l.Address), l.Address)
		if err := bound.keep(fmt.Sprintf("socket.listeners[%d]", i), ln, err); err != nil {
			return err
		}
		security, err := s.secure(ln, l.TLS, m)
		if err != nil {
			return fmt.Errorf("socket.listeners[%d].tls: %w", i, err)
		}
		s.socketDoors = append(s.socketDoors, socket.Listener{
			Net: ln, Codec: codecs[l.Codec], Session: l.Session, AllowFrom: l.AllowFrom, TLS: security,
			Principal: principalOf(l, ln, settings.Auth), Certified: s.users.Certified,
		})
	}
	s.sockets = socket.New(s.desk, socket.Options{
		Gate: connections, Observer: m.doors[bank.DoorSocket], Logger: s.logger.With("door", "socket"),
		ReadTimeout: settings.Limits.ReadTimeout, IdleTimeout: settings.Limits.IdleTimeout,
		Message: int(settings.Limits.Message), InFlight: settings.Limits.InFlight,
	})
	return nil
}

// principalOf names who everyone on a socket listener is: the user whom the settings name; or the anonymous principal; or
// nobody.
func principalOf(l config.SocketListener, ln net.Listener, auth config.Auth) string {
	switch {
	case l.Principal != "":
		return l.Principal
	case anonymous(ln, l.TLS, auth):
		return bank.AnonymousPrincipal
	}
	return ""
}

// anonymous reports whether one may act without credentials at a listener: on loopback, if the settings let it be. Where
// clients are asked for a certificate, nobody is anonymous.
func anonymous(ln net.Listener, security *config.TLS, auth config.Auth) bool {
	certified := security != nil && security.ClientCA != ""
	return auth.Anonymous == config.Loopback && onLoopback(ln) && !certified
}

// secure reads the TLS files of a listener, if it has any, and keeps them to be watched. What was there when the settings
// were checked may not be any more.
func (s *server) secure(ln net.Listener, files *config.TLS, m *metrics) (*tls.Config, error) {
	if files == nil {
		return nil, nil
	}
	address := ln.Addr().String()
	identity, err := certs.Open(
		certs.Files{Cert: files.Cert, Key: files.Key, ClientCA: files.ClientCA}, s.logger.With("listener", address),
	)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSettings, err)
	}
	s.identities = append(s.identities, identity)
	m.gauge("tls_certificate_not_after_timestamp_seconds", "When a listener's certificate ends, in seconds since 1970.",
		prometheus.Labels{"listener": address}, func() float64 { return float64(identity.NotAfter().Unix()) })
	return identity.Config(), nil
}

func (s *server) listenMQTT(ctx context.Context, settings config.Config, m *metrics, connections *gate.Gate, bound *listeners) error {
	if len(settings.MQTT.Listeners) == 0 {
		return nil
	}
	for i, l := range settings.MQTT.Listeners {
		ln, err := new(net.ListenConfig).Listen(ctx, networkOf(l.Address), l.Address)
		if err := bound.keep(fmt.Sprintf("mqtt.listeners[%d]", i), ln, err); err != nil {
			return err
		}
		security, err := s.secure(ln, l.TLS, m)
		if err != nil {
			return fmt.Errorf("mqtt.listeners[%d].tls: %w", i, err)
		}
		s.mqttDoors = append(s.mqttDoors, mqtt.Listener{
			Net: ln, WebSocket: l.WebSocket, AllowFrom: l.AllowFrom, Origins: l.Origins, TLS: security,
		})
	}
	broker, err := mqtt.New(s.desk, mqtt.Options{
		OperationsTopic: settings.MQTT.OperationsTopic, RepliesTopic: settings.MQTT.RepliesTopic,
		Decimals: settings.Bank.Decimals, Anonymous: settings.Auth.Anonymous == config.Loopback,
		Gate: connections, Observer: m.doors[bank.DoorMQTT], Logger: s.logger.With("door", "mqtt"),
		ReadTimeout: settings.Limits.ReadTimeout, IdleTimeout: settings.Limits.IdleTimeout,
		Message: int(settings.Limits.Message), InFlight: settings.Limits.InFlight,
		Access: mqttAccess{s.users}, PerPrincipal: settings.MQTT.SessionsPerPrincipal,
		Sessions: settings.MQTT.Sessions, Waiting: settings.MQTT.WaitingReplies, WaitingAll: settings.MQTT.WaitingRepliesTotal,
		Keeping: s.kept.keeping, Journal: s.kept.journal, Heads: s.kept.published(), Auditor: s.users.Auditor,
	})
	if err != nil {
		return fmt.Errorf("make the broker: %w", err)
	}
	s.broker = broker
	m.gauge("mqtt_sessions", "MQTT sessions, connected or stored.", nil, func() float64 { return float64(broker.Sessions()) })
	m.counter("mqtt_copies_missed_total", "Copies of operations and replies that auditors read too slowly for.", broker.Missed)
	m.gauge("mqtt_replies_waiting", "Replies that wait for MQTT clients, or are not acknowledged.", nil,
		func() float64 { return float64(broker.Waiting()) })
	return nil
}

// addresses names every listener's real address, as the ready line has them; a door without listeners is left out.
func (s *server) addresses() string {
	var line, door strings.Builder
	add := func(ln net.Listener) {
		if door.Len() > 0 {
			door.WriteByte(',')
		}
		door.WriteString(ln.Addr().String())
	}
	end := func(name string) {
		if door.Len() > 0 {
			line.WriteString(" " + name + "=" + door.String())
		}
		door.Reset()
	}
	for _, l := range s.socketDoors {
		add(l.Net)
	}
	end("socket")
	for _, l := range s.mqttDoors {
		add(l.Net)
	}
	end("mqtt")
	if s.adminDoor != nil {
		add(s.adminDoor)
	}
	end("admin")
	return line.String()
}

// listeners are those that are bound so far.
type listeners []net.Listener

// keep adds what listening gave, or says which setting it failed for.
func (ls *listeners) keep(setting string, ln net.Listener, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errListen, setting, err)
	}
	*ls = append(*ls, ln)
	return nil
}

func (ls listeners) close() {
	for _, ln := range ls {
		_ = ln.Close() // nothing was accepted on it
	}
}

// networkOf returns the network to listen on: for 0.0.0.0 package net would listen on every IPv6 address too, which nobody has
// asked for.
func networkOf(address string) string {
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Unmap().Is4() {
		return "tcp4"
	}
	return "tcp"
}

func onLoopback(ln net.Listener) bool {
	address, err := netip.ParseAddrPort(ln.Addr().String())
	return err == nil && address.Addr().Unmap().IsLoopback()
}
