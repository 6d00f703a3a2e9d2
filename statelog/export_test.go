package statelog

// Pending is a record for AppendAll.
type Pending struct {
	Record []byte
	Done   func(error)
}

// AppendAll is Append of several records that become one group, so that a run can be repeated exactly.
func (l *Log) AppendAll(pending []Pending) {
	l.mu.Lock()
	refused := make([]error, len(pending))
	for i, p := range pending {
		refused[i] = l.gatherLocked(p.Record, p.Done)
	}
	ended := l.ended
	l.mu.Unlock()
	l.changed.Signal()
	for i, p := range pending {
		if ended && p.Done != nil {
			go p.Done(refused[i]) // whoever waits may not have begun to
		}
	}
}
