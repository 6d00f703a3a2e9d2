package main

import (
	"math"
	"testing"

	"gateway/config"
)

func TestFilesAreKeptFromConnectionsForTheJournalAndEachListener(t *testing.T) {
	for _, test := range []struct {
		limit, sockets, mqtts int
		files                 uint64
		want                  int
	}{
		{limit: 10000, sockets: 1, mqtts: 1, files: 1024, want: 984},
		{limit: 984, sockets: 1, mqtts: 1, files: 1024, want: 984},
		{limit: 983, sockets: 1, mqtts: 1, files: 1024, want: 983},
		{limit: 10000, sockets: 14, mqtts: 14, files: 200, want: 108},
		{limit: 10000, sockets: 64, mqtts: 64, files: 64, want: 1},
		{limit: 10000, sockets: 64, mqtts: 64, files: 0, want: 1},
		{limit: 10000, sockets: 1, files: math.MaxUint64, want: 10000}, // RLIM_INFINITY
	} {
		var settings config.Config
		settings.Limits.Connections = test.limit
		settings.Socket.Listeners = make([]config.SocketListener, test.sockets)
		settings.MQTT.Listeners = make([]config.MQTTListener, test.mqtts)
		if got := affordable(settings, test.files); got != test.want {
			t.Errorf("%+v: %d connections", test, got)
		}
	}
}
