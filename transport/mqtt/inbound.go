package mqtt

// inbound is the receiving half of a session: what came and must not be done twice. Its session's lock guards it.
type inbound struct {
	// unreleased has the packet ids of QoS 2 from their PUBLISH to their PUBREL: at most maxUnreleased, or Options.InFlight.
	unreleased map[uint16]unreleased
	// answers are the QoS 1 operations that a client may deliver again, oldest first, at most limit.
	answers []remembered
	limit   int
	// doubts are the QoS 1 operations that were refused because a write had failed, in a session that is kept. Here they are new
	// when they come again; a restart may find that they are not.
	doubts []*exchange
	// unacknowledged counts what the client may not have more than Receive Maximum of.
	unacknowledged int
}

// unreleased is a QoS 2 operation that was not released.
type unreleased struct {
	pending *exchange // until it is answered
	number  uint64
	kept    bool
	// asking is the connection that waits for the PUBCOMP while the release is made durable, and asked how many it is owed.
	asking *conn
	asked  int
}

// remembered is an answered QoS 1 operation.
type remembered struct {
	id     uint16
	mark   mark
	number uint64
	kept   bool
	acked  uint64    // the session's clock when it was last acknowledged
	answer *exchange // for the last keptAnswers; before them a redelivery is acknowledged and not answered again
}

func (in *inbound) begin(x *exchange) {
	if x.qos != 2 {
		return
	}
	if in.unreleased == nil {
		in.unreleased = make(map[uint16]unreleased)
	}
	in.unreleased[x.id] = unreleased{pending: x, number: x.number, kept: x.kept}
}

// settle remembers that x was answered, and acknowledged with why. An acknowledgement that says no ends the exchange: the
// same packet id is a new one then.
func (in *inbound) settle(x *exchange, why reason) {
	switch {
	case x.qos == 2 && why == success:
		in.unreleased[x.id] = unreleased{number: x.number, kept: x.kept}
	case x.qos == 2:
		delete(in.unreleased, x.id)
		in.acknowledged()
	case x.qos == 1:
		in.acknowledged()
		if why == success {
			in.remember(x)
		} else if x.unknown && x.kept {
			in.doubts = append(in.doubts, x)
		}
	}
}

func (in *inbound) acknowledged() { in.unacknowledged = max(in.unacknowledged-1, 0) }

func (in *inbound) remember(x *exchange) {
	for len(in.answers) >= in.limit {
		in.answers = in.answers[1:]
	}
	in.answers = append(in.answers, remembered{id: x.id, mark: x.mark, number: x.number, kept: x.kept, acked: x.acked, answer: x})
	if old := len(in.answers) - 1 - keptAnswers; old >= 0 {
		in.answers[old].answer = nil
	}
}

// find returns the last answered QoS 1 operation of that packet id, or nil. It is valid until the next is remembered.
func (in *inbound) find(id uint16) *remembered {
	for i := len(in.answers) - 1; i >= 0; i-- {
		if in.answers[i].id == id {
			return &in.answers[i]
		}
	}
	return nil
}

// confirm forgets operations that the client cannot deliver again. It has acknowledged a reply with that number, sent at
// the clock sent: it has all that was written before on this connection, which came at since. An acknowledgement that was
// written on an earlier connection, or after the reply, proves nothing. The last are kept whatever was proved, for clients
// that do not keep to the protocol.
func (in *inbound) confirm(number, since, sent uint64) {
	for len(in.answers) > keptAnswers {
		if r := &in.answers[0]; r.number > number || r.acked <= since || r.acked >= sent {
			return
		}
		in.answers = in.answers[1:]
	}
}
