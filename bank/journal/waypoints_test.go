package journal

import "testing"

// TestTheLastWaypointsAreKnown, each at its place, and none before them.
func TestTheLastWaypointsAreKnown(t *testing.T) {
	var w waypoints
	if at, known := w.before(waypointEvery); known {
		t.Errorf("without any there is %+v", at)
	}
	const last = 2*waypointCount + 5
	for number := range uint64(last + 1) {
		for _, seq := range []uint64{number * waypointEvery, number*waypointEvery + 1} { // the second is none
			w.pass(position{segment: number, seq: seq})
		}
	}
	for number := range uint64(last + 1) {
		for _, seq := range []uint64{number * waypointEvery, (number+1)*waypointEvery - 1} {
			at, known := w.before(seq)
			if known != (number > last-waypointCount) || known && (at != position{segment: number, seq: number * waypointEvery}) {
				t.Fatalf("before %d there is %+v, %v", seq, at, known)
			}
		}
	}
	if at, known := w.before((last + 1) * waypointEvery); known {
		t.Errorf("before one that nobody came by there is %+v", at)
	}
}
