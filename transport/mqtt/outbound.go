package mqtt

// outbound is the sending half of a session: the replies that are owed, in the order of their entries. Its session's lock
// guards it. Packet ids are its own; the client's are in another world.
type outbound struct {
	queue    line // to be sent, or to be sent again, on this connection
	inflight line // sent at QoS 1 on this connection and not acknowledged, in the order of sending
	ids      map[uint16]*exchange
	lastID   uint16
	reserved int // replies that are owed, from the acceptance of their operations on
}

// send moves the first of the queue on its way, or returns false: window replies are.
func (out *outbound) send(x *exchange, window int) bool {
	if x.grant == 1 && out.inflight.count >= window {
		return false
	}
	out.queue.remove(x)
	x.waits = false
	if x.grant == 0 {
		return true
	}
	if x.outID == 0 {
		x.outID = out.nextID()
		out.ids[x.outID] = x
	}
	out.inflight.push(x)
	return true
}

// nextID returns an id that no unacknowledged reply has. There is one: the limits of waiting replies are lower.
func (out *outbound) nextID() uint16 {
	if out.ids == nil {
		out.ids = make(map[uint16]*exchange)
	}
	for {
		out.lastID++
		if _, used := out.ids[out.lastID]; !used && out.lastID != 0 {
			return out.lastID
		}
	}
}

// delivered removes the reply with that packet id and returns it, or nil, and whether it was sent on this connection.
func (out *outbound) delivered(id uint16) (x *exchange, onThisConnection bool) {
	x = out.ids[id]
	if x == nil {
		return nil, false
	}
	onThisConnection = !x.waits
	out.drop(x)
	return x, onThisConnection
}

// drop removes x, which is in one of the lines.
func (out *outbound) drop(x *exchange) {
	if x.waits {
		out.queue.remove(x)
		x.waits = false
	} else {
		out.inflight.remove(x)
	}
	delete(out.ids, x.outID)
}

// rewind makes everything that was sent and not acknowledged be sent again, before the rest.
func (out *outbound) rewind() {
	for x := out.inflight.first; x != nil; x = x.next {
		x.waits = true
	}
	out.queue.prepend(&out.inflight)
}
