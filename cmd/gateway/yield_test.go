package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"gateway/bank"
)

// TestAYieldThatIsSkippedIsAWarning, also where it was skipped before; one that was paid is none.
func TestAYieldThatIsSkippedIsAWarning(t *testing.T) {
	for _, c := range []struct {
		reply bank.Reply
		err   error
		want  string
	}{
		{bank.Reply{Seq: 7}, nil, `level=INFO msg=yield period=yield-1 code=ok seq=7`},
		{bank.Reply{Seq: 7, Duplicate: true}, nil, `level=INFO msg="yield was credited before" period=yield-1 seq=7`},
		{bank.Reply{Code: bank.Unavailable}, nil, `level=WARN msg="yield was skipped" period=yield-1 code=unavailable seq=0`},
		{bank.Reply{Code: bank.Overflow, Seq: 7}, nil, `level=WARN msg="yield was skipped" period=yield-1 code=overflow seq=7`},
		{bank.Reply{Code: bank.Overflow, Seq: 7, Duplicate: true}, nil, `level=WARN msg="yield was skipped" period=yield-1 code=overflow seq=7`},
		{bank.Reply{}, errors.New("gone"), `level=ERROR msg="yield failed" period=yield-1 err=gone`},
	} {
		var log bytes.Buffer
		logYield(slog.New(slog.NewTextHandler(&log, nil)), "yield-1", c.reply, c.err)
		if _, told, _ := strings.Cut(strings.TrimSpace(log.String()), " "); told != c.want {
			t.Errorf("%+v: %s; want %s", c.reply, told, c.want)
		}
	}
}
