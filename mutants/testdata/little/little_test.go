package little

import "testing"

func TestBook(t *testing.T) {
	var b Book
	if _, known := b.Mean(); known {
		t.Error("a mean of nothing")
	}
	if b.Add(0) == nil || b.Add(30) == nil || b.Add(4) != nil || b.Add(8) != nil {
		t.Error("an amount was not judged right")
	}
	if mean, known := b.Mean(); mean != 6 || !known {
		t.Errorf("the mean is %d, %v", mean, known)
	}
}

func TestFirst(t *testing.T) {
	if i, err := First([]string{"", "a", "b"}, "b"); i != 2 || err != nil {
		t.Error(i, err)
	}
	if i, err := First([]string{"a"}, ""); i != 2 || err == nil {
		t.Error(i, err)
	}
}

func TestNever(t *testing.T) { Never(3) }
