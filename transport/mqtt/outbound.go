package mqtt

// outbound is the sending half of a session: the replies that are owed, in the order of their entries. Its session's lock
// guards it. Packet ids are its own; the client's are in another world.
type outbound struct {
	queue    line                 // to be sent, or to be sent again, on this connection
	inflight line                 // sent at QoS 1 on this connection and not acknowledged, in the order of sending
	ids      map[uint16]*exchange // sent at QoS 1 on any connection and not acknowledged
	reserved int                  // replies that are owed, from the acceptance of their operations on
}

// outID is the packet id of a reply. It follows from the number, so that a reply has the same one after a restart:
// [MQTT-4.4.0-1].
func (x *exchange) outID() uint16 { return uint16((x.number-1)%(1<<16-1)) + 1 }

// send moves the first of the queue on its way, or returns false: window replies are, or one that came 65,535 operations
// before and has the same packet id.
func (out *outbound) send(x *exchange, window int) bool {
	if x.grant == 1 {
		other := out.ids[x.outID()]
		if out.inflight.count >= window || other != nil && other != x {
			return false
		}
	}
	out.queue.remove(x)
	x.waits = false
	if x.grant == 0 {
		return true
	}
	if out.ids == nil {
		out.ids = make(map[uint16]*exchange)
	}
	out.ids[x.outID()] = x
	out.inflight.push(x)
	return true
}

// oldest returns the least number of a reply that is owed, or 0.
func (out *outbound) oldest() uint64 {
	least := uint64(0)
	for _, first := range [...]*exchange{out.inflight.first, out.queue.first} {
		for x := first; x != nil; x = x.next {
			if x.owed && !x.again {
				if least == 0 || x.number < least {
					least = x.number
				}
				break
			}
		}
	}
	return least
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
	if x.grant == 1 && out.ids[x.outID()] == x {
		delete(out.ids, x.outID())
	}
}

// rewind makes everything that was sent and not acknowledged be sent again, before the rest.
func (out *outbound) rewind() {
	for x := out.inflight.first; x != nil; x = x.next {
		x.waits = true
	}
	out.queue.prepend(&out.inflight)
}
