package bank

import "time"

// Observer is told what the committer does. Its methods are called by the committer between batches: they must be quick
// and must not call the Banco.
type Observer interface {
	// Batch reports a Commit of size operations that took that long. waiting operations arrived meanwhile.
	Batch(size, waiting int, took time.Duration)
	// Yield reports the outcome of a yield: its reply, or why there is none.
	Yield(period string, reply Reply, err error)
}

// silent observes nothing.
type silent struct{}

func (silent) Batch(int, int, time.Duration) {}
func (silent) Yield(string, Reply, error)    {}
