package mqtt

import (
	"encoding/binary"

	"gateway/packed"
)

// appendSessionLocked appends the record of the session.
func (s *session) appendSessionLocked(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, recordSession), s.incarnation)
	dst = packed.AppendText(dst, s.id)
	dst = packed.AppendText(dst, s.principal)
	dst = appendLink(dst, &s.link)
	dst = appendFilters(dst, s.subscriptions)
	dst = binary.AppendUvarint(dst, s.arrivals)
	dst = binary.AppendUvarint(dst, s.settled)
	return binary.AppendUvarint(dst, s.ackedLocked())
}

// appendLinkLocked appends the record of what the session knows of its connections.
func (s *session) appendLinkLocked(dst []byte) []byte {
	return appendLink(binary.AppendUvarint(append(dst, recordLink), s.incarnation), &s.link)
}

// appendFiltersLocked appends the record of the subscriptions.
func (s *session) appendFiltersLocked(dst []byte) []byte {
	return appendFilters(binary.AppendUvarint(append(dst, recordFilters), s.incarnation), s.subscriptions)
}

// dump returns the records that say all there is to say of the session. An operation may be in several: as one whose reply
// is owed, and as one that may be delivered again.
func (s *session) dump() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := [][]byte{s.appendSessionLocked(nil)}
	add := func(x *exchange, known, owed, replied bool) {
		records = append(records, appendAnswer(nil, recordExchange, x, known, owed, replied))
	}
	for _, l := range [...]*line{&s.outbound.inflight, &s.outbound.queue} {
		for x := l.first; x != nil; x = x.next {
			if x.kept && x.owed {
				add(x, false, true, true)
			}
		}
	}
	for x := s.pending.first; x != nil; x = x.next {
		if x.kept && x.judged {
			add(x, x.reason() == success, x.owed, true)
		}
	}
	for i := range s.inbound.answers {
		r := &s.inbound.answers[i]
		if r.answer != nil && r.answer.kept {
			add(r.answer, true, false, true)
		} else if r.answer == nil && r.kept {
			add(&exchange{session: s, qos: 1, id: r.id, mark: r.mark, number: r.number}, true, false, false)
		}
	}
	for _, x := range s.inbound.doubts {
		add(x, false, false, true)
	}
	for id, u := range s.inbound.unreleased {
		if u.kept && u.pending == nil && u.asking == nil {
			add(&exchange{session: s, qos: 2, id: id, number: u.number}, true, false, false)
		}
	}
	return records
}
