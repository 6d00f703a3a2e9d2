package mqtt_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gateway/transport/mqtt"
)

// TestAMovingDeadlineLeavesTheTimeThatWasAsked moves one with 10,000 packets, which come ever more seldom.
func TestAMovingDeadlineLeavesTheTimeThatWasAsked(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		const asked = 10 * time.Second
		move := mqtt.MovingDeadline()
		var set time.Time
		times := 0
		for pause := range time.Duration(10_000) {
			<-time.After(pause * 2 * time.Microsecond)
			if err := move(asked, func(t time.Time) error { set = t; times++; return nil }); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(set); left < asked || left > asked+asked/16 {
				t.Fatalf("%v are left, of %v asked", left, asked)
			}
		}
		if most := 10_000 / 50; times > most {
			t.Errorf("set %d times, want at most %d", times, most)
		}
		<-time.After(asked)
		broken := errors.New("closed")
		if err := move(asked, func(time.Time) error { return broken }); err != broken {
			t.Errorf("the error is %v", err)
		}
	})
}
