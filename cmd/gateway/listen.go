package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"gateway/admin"
	"gateway/bank"
	"gateway/config"
	"gateway/transport/mqtt"
	"gateway/transport/socket"
	"gateway/wire"
)

// listen binds every listener, and makes the doors that will serve them. After an error it has bound none.
func (s *server) listen(ctx context.Context, settings config.Config, m *metrics) (err error) {
	var bound listeners
	defer func() {
		if err != nil {
			bound.close()
		}
	}()
	connections := &gate{limit: int64(settings.Limits.Connections)}
	if err := s.listenSockets(ctx, settings, m, connections, &bound); err != nil {
		return err
	}
	if err := s.listenMQTT(ctx, settings, m, connections, &bound); err != nil {
		return err
	}
	for _, ln := range bound {
		if !onLoopback(ln) {
			s.logger.Warn("listening beyond loopback", "address", ln.Addr().String())
		}
	}
	m.gauge("ready", "1 while operations are accepted, else 0.", nil, func() float64 {
		if s.ready() != nil {
			return 0
		}
		return 1
	})
	if settings.Admin.Address == "" {
		return nil
	}
	s.adminDoor, err = new(net.ListenConfig).Listen(ctx, "tcp", settings.Admin.Address)
	if err := bound.keep("admin.address", s.adminDoor, err); err != nil {
		return err
	}
	s.admin = adminServer(s, m)
	return nil
}

func (s *server) listenSockets(ctx context.Context, settings config.Config, m *metrics, connections *gate, bound *listeners) error {
	codecs := map[config.Codec]wire.Codec{}
	for i, l := range settings.Socket.Listeners {
		format, ok := wire.ParseFormat(string(l.Codec))
		if !ok {
			return fmt.Errorf("%w: no codec %q", errListen, l.Codec)
		}
		if _, ok := codecs[l.Codec]; !ok {
			codecs[l.Codec] = wire.NewCodec(format, settings.Bank.Decimals)
		}
		ln, err := socket.Listen(ctx, l.Address)
		if err := bound.keep(fmt.Sprintf("socket.listeners[%d]", i), ln, err); err != nil {
			return err
		}
		s.socketDoors = append(s.socketDoors, socket.Listener{
			Net: ln, Codec: codecs[l.Codec], Session: l.Session, AllowFrom: l.AllowFrom,
			Principal: principalOf(l, ln, settings.Auth),
		})
	}
	s.sockets = socket.New(s.bank, socket.Options{
		Gate: connections, Observer: m.doors[bank.DoorSocket], Logger: s.logger.With("door", "socket"),
		ReadTimeout: settings.Limits.ReadTimeout, IdleTimeout: settings.Limits.IdleTimeout,
		Message: int(settings.Limits.Message), InFlight: settings.Limits.InFlight,
	})
	return nil
}

// principalOf names who everyone on a socket listener is: the user whom the settings name; or, on loopback, the anonymous
// principal, if the settings let it be; or nobody, but for what certificates say.
func principalOf(l config.SocketListener, ln net.Listener, auth config.Auth) string {
	switch {
	case l.Principal != "":
		return l.Principal
	case auth.Anonymous == config.Loopback && onLoopback(ln):
		return bank.AnonymousPrincipal
	}
	return ""
}

func (s *server) listenMQTT(ctx context.Context, settings config.Config, m *metrics, connections *gate, bound *listeners) error {
	if len(settings.MQTT.Listeners) == 0 {
		return nil
	}
	for i, l := range settings.MQTT.Listeners {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Address)
		if err := bound.keep(fmt.Sprintf("mqtt.listeners[%d]", i), ln, err); err != nil {
			return err
		}
		s.mqttDoors = append(s.mqttDoors, mqtt.Listener{
			Net: ln, WebSocket: l.WebSocket, AllowFrom: l.AllowFrom, Origins: l.Origins,
		})
	}
	broker, err := mqtt.New(s.bank, mqtt.Options{
		OperationsTopic: settings.MQTT.OperationsTopic, RepliesTopic: settings.MQTT.RepliesTopic,
		Decimals: settings.Bank.Decimals, Anonymous: settings.Auth.Anonymous == config.Loopback,
		Gate: connections, Observer: m.doors[bank.DoorMQTT], Logger: s.logger.With("door", "mqtt"),
		ReadTimeout: settings.Limits.ReadTimeout, IdleTimeout: settings.Limits.IdleTimeout,
		Message: int(settings.Limits.Message), InFlight: settings.Limits.InFlight,
		Access: mqttAccess{s.users}, PerPrincipal: settings.MQTT.SessionsPerPrincipal,
		Sessions: settings.MQTT.Sessions, Waiting: settings.MQTT.WaitingReplies, WaitingAll: settings.MQTT.WaitingRepliesTotal,
		Keeping: s.kept.keeping,
	})
	if err != nil {
		return fmt.Errorf("%w: make the broker: %w", errListen, err)
	}
	s.broker = broker
	m.gauge("mqtt_sessions", "MQTT sessions, connected or stored.", nil, func() float64 { return float64(broker.Sessions()) })
	m.gauge("mqtt_replies_waiting", "Replies that wait for MQTT clients, or are not acknowledged.", nil,
		func() float64 { return float64(broker.Waiting()) })
	return nil
}

// adminServer bounds what a client of the operators' HTTP may cost.
func adminServer(s *server, m *metrics) *http.Server {
	return &http.Server{
		Handler: admin.New(admin.Options{
			Ready: s.ready, Metrics: m.handler(), Logger: s.logger, Version: readBuild().version,
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug), // strangers' mistakes, most of it
	}
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

func onLoopback(ln net.Listener) bool {
	address, err := netip.ParseAddrPort(ln.Addr().String())
	return err == nil && address.Addr().Unmap().IsLoopback()
}

// gate counts the connections of all doors together. Any goroutine may use it.
type gate struct {
	limit int64
	open  atomic.Int64
}

// Enter takes a place, or reports that there is none. Whoever got one calls Leave once.
func (g *gate) Enter() bool {
	if g.open.Add(1) <= g.limit {
		return true
	}
	g.open.Add(-1)
	return false
}

// Leave gives the place back.
func (g *gate) Leave() { g.open.Add(-1) }
