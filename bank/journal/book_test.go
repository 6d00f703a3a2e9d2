package journal

import "testing"

func TestALockHasOneHolder(t *testing.T) {
	l := newLock()
	l.Lock()
	select {
	case l <- struct{}{}:
		t.Fatal("two hold it")
	default:
	}
	l.Unlock()
	l.Lock()
}
