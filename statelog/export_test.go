package statelog

// Pending is a record for AppendAll.
type Pending struct {
	Record []byte
	Done   func(error)
}

// AppendAll is Append of several records that become one group, so that a run can be repeated exactly.
func (l *Log) AppendAll(pending []Pending) {
	l.mu.Lock()
	for _, p := range pending {
		l.gatherLocked(p.Record, p.Done)
	}
	l.mu.Unlock()
	l.changed.Signal()
}
