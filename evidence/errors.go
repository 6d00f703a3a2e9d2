package evidence

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged says that the journal is not the one of which the heads are, or that the heads or their key are damaged. It is
	// always a [*DamageError].
	ErrDamaged = errors.New("evidence: damaged")
	// ErrUnavailable says that there is no receipt now.
	ErrUnavailable = errors.New("evidence: unavailable")
)

// DamageError says what a head contradicts.
type DamageError struct {
	Seq    uint64 // the first entry that cannot be trusted; 0: the journal is not in doubt
	Cut    uint64 // the entry that the last head is of, where the journal ends before it; 0: it does not
	Reason string
}

// Error tells the reason, and the entry if there is one.
func (e *DamageError) Error() string {
	if e.Seq == 0 {
		return "evidence: damaged: " + e.Reason
	}
	return fmt.Sprintf("evidence: damaged: %s; nothing from entry %d on can be trusted", e.Reason, e.Seq)
}

// Is reports whether target is ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// cut says that the journal ends before a head.
func cut(h *Head, end uint64) *DamageError {
	return &DamageError{Seq: end + 1, Cut: h.Seq, Reason: fmt.Sprintf(
		"the journal was cut: it ends with entry %d, and had entry %d on %s", end, h.Seq, h.Time.Format(headTime))}
}

// rewritten says that the journal has another entry than a head says. All up to the trusted one is proved by another head.
func rewritten(h *Head, trusted uint64) error {
	return &DamageError{Seq: trusted + 1, Reason: fmt.Sprintf(
		"history was rewritten: entry %d is not the one that it was on %s", h.Seq, h.Time.Format(headTime))}
}
