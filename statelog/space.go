package statelog

import (
	"fmt"
	"time"

	"gateway/disk"
)

const (
	// smallCheckpoint is how many bytes a checkpoint may take of the reserve: a start cannot do without one, and one makes
	// good for what a full disk has not kept.
	smallCheckpoint = 64 << 10
	// ampleBytes is how much must be free above the reserve for a checkpoint that nobody has measured.
	ampleBytes = 1 << 30

	// firstPause is how long no checkpoint is tried after one that lacked space, unless more is free; it doubles.
	firstPause   = time.Second
	longestPause = time.Minute
)

// lack is what a checkpoint lacked. The zero value lacks nothing.
type lack struct {
	enough int64 // bytes that must be free, or
	until  time.Time
	pause  time.Duration
}

// room returns how far the log of a checkpoint may be filled ahead, or [ErrNoSpace] when there is none for the checkpoint: before
// anything was written, because whoever tries again must not take space each time. When the disk does not say, it has room.
func (l *Log) room(write func(emit func([]byte) error) error) (ahead int64, err error) {
	free, total, err := l.fsys.Space()
	if err != nil {
		return l.ahead, nil
	}
	if free < l.lack.enough && time.Now().Before(l.lack.until) {
		return 0, fmt.Errorf("%w: %d bytes are free, a checkpoint needs %d to be", ErrNoSpace, free, l.lack.enough)
	}
	room := free - disk.Reserve(total)
	if room >= ampleBytes && l.lack.pause == 0 {
		return l.ahead, nil
	}
	need, err := l.measure(write)
	if err != nil {
		return 0, err
	}
	if need <= smallCheckpoint {
		room = free
	}
	if room < need {
		l.postpone(free + need - room)
		return 0, fmt.Errorf("%w: a checkpoint needs %d bytes, and may take %d", ErrNoSpace, need, room)
	}
	if l.lack.pause > 0 || room < need+l.ahead {
		return 0, nil
	}
	return l.ahead, nil
}

// measure returns how many bytes a checkpoint takes, with the log that begins with it.
func (l *Log) measure(write func(emit func([]byte) error) error) (bytes int64, err error) {
	bytes = 2 * (sector + frameHeader)
	var failed error
	err = write(func(record []byte) error {
		if failed == nil {
			failed = l.stopped()
		}
		bytes += int64(frameHeader + len(record))
		return failed
	})
	if err == nil {
		err = failed
	}
	return bytes, err
}

// postpone has no checkpoint tried for a while, unless so many bytes are free.
func (l *Log) postpone(enough int64) {
	pause := min(max(2*l.lack.pause, firstPause), longestPause)
	l.lack = lack{enough: enough, until: time.Now().Add(pause), pause: pause}
}

// surprised postpones the next checkpoint after one that found no space where there seemed to be some.
func (l *Log) surprised() {
	if free, _, err := l.fsys.Space(); err == nil {
		l.postpone(free + smallCheckpoint)
	}
}
