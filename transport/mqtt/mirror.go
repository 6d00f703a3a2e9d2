package mqtt

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"
)

// mirror gives auditors copies of what clients publish and are replied. A copy is at QoS 0 and is dropped where there is no
// room for it: nobody ever waits for an auditor. While none listens it costs one atomic load.
type mirror struct {
	ears   atomic.Pointer[[]*ear] // nil: nobody listens
	missed atomic.Uint64          // copies that were dropped

	mu sync.Mutex // held while ears is replaced
}

// ear is where copies gather for the connection of an auditor, until its writer takes them.
type ear struct {
	conn *conn

	mu      sync.Mutex // guards all below
	filters []packets.Subscription
	held    bool // until the client knows that it listens
	copies  []byte
}

// set makes e hear what is for these filters; nothing, when there are none.
func (m *mirror) set(e *ear, filters []packets.Subscription) {
	e.mu.Lock()
	e.filters = filters
	e.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	var ears []*ear
	if old := m.ears.Load(); old != nil {
		ears = slices.DeleteFunc(slices.Clone(*old), func(other *ear) bool { return other == e })
	}
	if len(filters) > 0 {
		ears = append(ears, e)
	}
	if len(ears) == 0 {
		m.ears.Store(nil)
		return
	}
	m.ears.Store(&ears)
}

// operation copies a PUBLISH that came on c.
func (m *mirror) operation(c *conn, p *publish) {
	ears := m.ears.Load()
	if ears == nil || string(p.topic) != c.server.options.OperationsTopic {
		return
	}
	d := delivery{topic: c.server.options.OperationsTopic, payload: p.payload}
	if len(p.contentType) <= maxContentType {
		d.contentType = string(p.contentType)
	}
	for _, e := range *ears {
		e.offer(&d, e.conn == c, &m.missed)
	}
}

// reply copies a reply that is sent on c.
func (m *mirror) reply(c *conn, d *delivery) {
	ears := m.ears.Load()
	if ears == nil {
		return
	}
	copied := *d
	copied.id, copied.dup = 0, false
	for _, e := range *ears {
		if e.conn != c { // which has it
			e.offer(&copied, false, &m.missed)
		}
	}
}

// offer keeps a copy of d, if e listens to it and has room. own says that it comes from the auditor itself.
func (e *ear) offer(d *delivery, own bool, missed *atomic.Uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.hearsLocked(d.topic, own) {
		return
	}
	before := len(e.copies)
	if before+len(d.payload) < maxCopies {
		e.copies = d.append(e.copies, e.conn.level)
	}
	if size := len(e.copies) - before; size == 0 || size > e.conn.maxPacket || len(e.copies) > maxCopies {
		e.copies = e.copies[:before]
		missed.Add(1)
		return
	}
	e.conn.rouse()
}

func (e *ear) hearsLocked(topic string, own bool) bool {
	for i := range e.filters {
		if f := &e.filters[i]; matches(f.Filter, topic) && !(own && f.NoLocal) { // [MQTT-3.8.3-3]
			return true
		}
	}
	return false
}

// hold keeps copies back until release: the client is to have its SUBACK first.
func (e *ear) hold(held bool) {
	e.mu.Lock()
	e.held = held
	e.mu.Unlock()
	e.conn.rouse()
}

// take exchanges what has gathered for buf, which is empty.
func (e *ear) take(buf []byte) []byte {
	if e == nil {
		return buf
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held || len(e.copies) == 0 {
		return buf
	}
	buf, e.copies = e.copies, buf[:0]
	return buf
}
