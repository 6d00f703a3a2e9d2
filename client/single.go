package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"gateway/wire"
)

// maxAnswer bounds an answer in bytes. It is what a gateway promises.
const maxAnswer = 2048

// singleWay takes a connection for every operation: ack, operation, answer, close.
type singleWay struct {
	dialer   *socketDialer
	language *wire.Client
	patience time.Duration // bounds the wait for the answer
	places   chan struct{} // one for each open connection
	life     *life
}

func (w *singleWay) forget(*call) {}

// close waits for nothing: every connection belongs to the goroutine of a Do.
func (w *singleWay) close() {}

func (w *singleWay) carry(ctx context.Context, k *call) (wire.Answer, error) {
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	case <-w.life.ended:
		return wire.Answer{}, ErrClosed
	case <-ctx.Done():
		return wire.Answer{}, ctx.Err()
	}
	ctx, release := w.life.bind(ctx)
	defer release()
	conn, err := w.dialer.acked(ctx)
	if err != nil {
		return wire.Answer{}, causeOf(ctx, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(w.patience))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() != nil {
		return wire.Answer{}, causeOf(ctx, ctx.Err())
	}
	k.sent = true
	answer, err := w.exchange(conn, k)
	return answer, causeOf(ctx, err)
}

// exchange sends the request on a connection that has had its ack and reads the answer.
func (w *singleWay) exchange(conn net.Conn, k *call) (wire.Answer, error) {
	if _, err := conn.Write(k.request); err != nil {
		return wire.Answer{}, fmt.Errorf("send the operation: %w", err)
	}
	buffer := make([]byte, 0, maxAnswer)
	for {
		n, err := conn.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		answer, _, wrong := w.language.DecodeAnswer(buffer)
		switch {
		case wrong == nil && k.claims(&answer):
			return answer, nil
		case wrong == nil:
			return wire.Answer{}, errStranger
		case !errors.Is(wrong, wire.ErrIncomplete) || len(buffer) == cap(buffer):
			return wire.Answer{}, fmt.Errorf("read the answer: %w", wrong)
		case err == io.EOF:
			return wire.Answer{}, fmt.Errorf("read the answer: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return wire.Answer{}, fmt.Errorf("read the answer: %w", err)
		}
	}
}

// errStranger says that a connection brought an answer to another operation than the one whose turn it was.
var errStranger = errors.New("the answer is not to this operation")
