package main

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"gateway/admin"
	"gateway/gate"
)

// adminConnections is the most connections to the operators' HTTP. The one that is there longest gives way to one more: whoever
// can connect to it needs no credentials, and the journal's files are not to go short for it. spareFiles has room for them.
const adminConnections = 8

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

// operators is the listener of the operators' HTTP, which has no more than adminConnections open.
type operators struct {
	net.Listener
	gate *gate.Gate
}

func newOperators(ln net.Listener) *operators {
	return &operators{ln, gate.New(gate.Limits{Connections: adminConnections, PerAddress: adminConnections + 1})} // which bounds none
}

// Accept implements [net.Listener].
func (o *operators) Accept() (net.Conn, error) {
	for {
		conn, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		place, full := o.gate.Enter(gate.Peer(conn).Addr(), func(string) { conn.Close() })
		if full == "" {
			return &operator{conn, place}, nil
		}
		conn.Close()
	}
}

// operator is a connection of the operators' HTTP.
type operator struct {
	net.Conn
	place *gate.Place
}

// Close implements [net.Conn].
func (o *operator) Close() error {
	o.place.Leave()
	return o.Conn.Close()
}
