package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gateway/bank"
	"gateway/gate"
	"gateway/seldom"
	"gateway/wire"
)

// publish takes a PUBLISH in. Its error ends the connection.
func (c *conn) publish(p *packet) error {
	var m publish
	if err := m.parse(p, c.level); err != nil {
		return err
	}
	if c.server.draining.Load() {
		return nil // too late, and not the client's fault
	}
	c.server.mirror.operation(c, &m)
	x := &exchange{session: c.session, began: time.Now(), qos: m.qos, id: m.id}
	if m.qos == 1 {
		x.mark = markOf(m.payload)
	}
	if m.qos > 0 {
		if err := c.session.admit(c, x, m.dup == 1); err != nil {
			return err
		}
	}
	if !c.hold() {
		return errGone
	}
	var op bank.Operation
	x.reply, x.judged = c.server.judge(c.session, &m, &op, &x.manner)
	if code := x.reply.Code; x.judged && (code == bank.Malformed || code == bank.TooLarge) {
		e := seldom.Event{Level: slog.LevelInfo, What: "no operation", From: gate.Network(c.peer.Addr())}
		c.server.log.Tell(e, "peer", c.peer, "err", code.String()+": "+x.reply.Detail)
	}
	op.Principal = c.session.principal
	op.Origin = bank.Origin{Door: bank.DoorMQTT, Peer: c.peer}
	if c.session.begin(c, x, &op, m.dup == 1) {
		c.submit(x, &op)
	}
	if m.retain == 1 && c.level == 5 {
		return retainNotSupported // [MQTT-3.2.2-14]
	}
	return nil
}

func (c *conn) submit(x *exchange, op *bank.Operation) {
	err := c.server.bank.Submit(c.ctx, *op, x.done)
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		// The connection ended while the bank had no room. Nothing was promised: an acknowledgement would have nowhere to go
		// and a refusal must not be remembered.
		c.session.withdraw(x)
	default:
		x.refuse(op, bank.CodeOf(err))
	}
}

// judge reads the operation of m into op and how its reply is to be delivered into how. It returns true with the reply
// when the bank is not to be asked. Of two reasons to refuse, the first in the order of the codes is told.
func (s *Server) judge(client *session, m *publish, op *bank.Operation, how *manner) (bank.Reply, bool) {
	refuse := func(code bank.Code, detail string) (bank.Reply, bool) {
		reply := bank.Refusal(op, code)
		reply.Detail = detail
		return reply, true
	}
	foreign := m.answerTo && !responseAllowed(m.responseTopic, client.own)
	if foreign {
		if !shallow(m.responseTopic, maxLevels) {
			s.options.Observer.Limited(LimitResponseTopic)
		}
		m.responseTopic = nil
	}
	tooMuch := len(m.correlation) > maxCorrelation
	if tooMuch {
		s.options.Observer.Limited(LimitCorrelation)
		m.correlation, m.correlated = nil, false
	}
	*how = mannerOf(m)
	if string(m.topic) != s.options.OperationsTopic {
		return refuse(bank.Forbidden, "publish operations to "+s.options.OperationsTopic)
	}
	if m.garbled {
		return refuse(bank.Malformed, "the payload is not the UTF-8 that its format indicator promises")
	}
	if fault := s.decode(how.format, m.payload, op); fault != nil {
		if fault.Code == bank.TooLarge {
			s.options.Observer.Limited(LimitMessage)
		}
		return fault.Reply(op), true
	}
	switch {
	case tooMuch:
		return refuse(bank.TooLarge, "correlation data have at most 512 bytes")
	case foreign:
		return refuse(bank.Forbidden, "a response topic is your replies topic or one below it, of at most 256 bytes")
	case m.retain == 1:
		return refuse(bank.Forbidden, "publish operations without retain")
	}
	return bank.Reply{}, false
}

// decode reads the one operation that payload is.
func (s *Server) decode(format wire.Format, payload []byte, op *bank.Operation) *wire.Fault {
	codec := s.codecs[format]
	payload = payload[codec.Space(payload):]
	if len(payload) > codec.MaxMessage() {
		return &wire.Fault{Code: bank.TooLarge, Detail: "send one operation, which needs a few hundred bytes"}
	}
	n, err := codec.Decode(payload, op)
	if err == wire.ErrIncomplete {
		return &wire.Fault{Code: bank.Malformed, Detail: "the operation is cut short"}
	}
	if fault := (*wire.Fault)(nil); errors.As(err, &fault) {
		return fault
	}
	if err != nil {
		return &wire.Fault{Code: bank.Malformed, Detail: "this is no operation"}
	}
	if rest := payload[n:]; codec.Space(rest) < len(rest) {
		*op = bank.Operation{Kind: op.Kind}
		return &wire.Fault{Code: bank.Malformed, Detail: "there is something behind the operation"}
	}
	return nil
}
