package seldom

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

const (
	// LogEvery is how often a [Log] tells of the same event, at most.
	LogEvery = time.Minute
	// LogKeys is how many events it remembers for that.
	LogKeys = 4096
)

// Event is something that clients make happen, and could make happen all day.
type Event struct {
	Level slog.Level
	What  string // the log's words for it
	// From is whose doing it is, and Same what else tells it from others: a name or a reason of which there are few. Where
	// clients make that up, Same is empty. An event is told of beside those of others and those that are not the same.
	From netip.Addr
	Same string
}

// Log tells a logger of events. Any goroutine may use it.
type Log struct {
	logger *slog.Logger
	events *Events[Event]
}

// NewLog returns a Log that has told nothing.
func NewLog(logger *slog.Logger) *Log {
	return &Log{logger: logger, events: New[Event](LogEvery, LogKeys)}
}

// Tell logs e with its attributes, unless the same was told within LogEvery; the next line says how often.
func (l *Log) Tell(e Event, attributes ...any) {
	if held, ok := l.events.Pass(e); ok {
		l.logger.Log(context.Background(), e.Level, e.What, append(attributes, "held_back", held)...)
	}
}
