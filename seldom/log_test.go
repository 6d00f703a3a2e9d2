package seldom_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gateway/seldom"
)

func TestALogTellsTheSameOnceAMinuteAndHowOftenItDidNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := seldom.NewLog(slog.New(slog.NewTextHandler(&out, nil)))
		here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		tell := func(from netip.Addr, same string) {
			l.Tell(seldom.Event{Level: slog.LevelWarn, What: "knock", From: from, Same: same}, "same", same)
		}
		for range 100 {
			tell(here, "a")
		}
		tell(here, "b")
		tell(there, "a")
		if n := strings.Count(out.String(), "level=WARN msg=knock"); n != 3 || strings.Count(out.String(), "held_back=0") != 3 {
			t.Errorf("told %d times:\n%s", n, &out)
		}
		out.Reset()
		<-time.After(seldom.LogEvery)
		tell(here, "a")
		if !strings.Contains(out.String(), "same=a held_back=99") {
			t.Errorf("told\n%s", &out)
		}
	})
}
