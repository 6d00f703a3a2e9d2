package disktest

import (
	"io"
	"slices"
)

// file is an open file of a [Disk].
type file struct {
	disk  *Disk
	inode *inode
	name  string
	life  *bool
}

func (f *file) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.disk.before(Op{Kind: Read, File: f.name, Offset: offset, Bytes: len(b)}); err != nil {
		return 0, err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !*f.life {
		return 0, ErrDead
	}
	if offset >= int64(len(f.inode.seen)) {
		return 0, io.EOF
	}
	n := copy(b, f.inode.seen[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	fault := f.disk.before(Op{Kind: Write, File: f.name, Offset: offset, Bytes: len(b)})
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !*f.life {
		return 0, ErrDead
	}
	if fault != nil {
		b = b[:f.disk.random.IntN(len(b)+1)]
	}
	growth := offset + int64(len(b)) - int64(len(f.inode.seen))
	if growth > 0 {
		if free := f.disk.freeLocked(); growth > free {
			b = b[:max(0, int64(len(b))-(growth-free))]
			fault = errFull
		}
	}
	f.inode.write(b, offset)
	return len(b), fault
}

func (n *inode) write(b []byte, offset int64) {
	if len(b) == 0 {
		return
	}
	n.own(int(offset) + len(b))
	copy(n.seen[offset:], b)
	n.pending = append(n.pending, write{offset: offset, bytes: slices.Clone(b), size: int64(len(n.seen))})
}

// own makes seen a slice of its own, of at least size bytes.
func (n *inode) own(size int) {
	grown := max(size, len(n.seen))
	if n.shared || grown > cap(n.seen) {
		owned := make([]byte, grown)
		copy(owned, n.seen)
		n.seen, n.shared = owned, false
		return
	}
	n.seen = n.seen[:grown]
}

func (n *inode) truncate(size int64) {
	if held := int64(len(n.seen)); size < held {
		n.seen = slices.Clone(n.seen[:size])
		n.shared = false
	} else {
		n.own(int(size))
	}
	n.pending = append(n.pending, write{offset: size, truncated: true, size: size})
}

func (f *file) Sync() error {
	fault := f.disk.before(Op{Kind: Sync, File: f.name})
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !*f.life {
		return ErrDead
	}
	if fault != nil {
		f.inode.disk = cutFile(f.inode, f.disk.random)
	} else if len(f.inode.pending) > 0 {
		f.inode.flush()
	}
	f.inode.pending = nil
	return fault
}

// flush brings to the disk what is pending, and nothing else: bytes whose sync failed before are seen and stay lost.
func (n *inode) flush() {
	size := n.pending[len(n.pending)-1].size
	longest := max(size, int64(len(n.disk)))
	for _, w := range n.pending {
		longest = max(longest, w.size)
	}
	arrived := make([]byte, longest)
	copy(arrived, n.disk)
	for i := range n.pending {
		n.pending[i].apply(arrived, 0, longest)
	}
	n.disk = arrived[:size]
}

func (f *file) Truncate(size int64) error {
	if err := f.disk.before(Op{Kind: Truncate, File: f.name, Offset: size}); err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !*f.life {
		return ErrDead
	}
	f.inode.truncate(size)
	return nil
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.inode.seen)), nil
}

// Close implements [disk.File]. It syncs nothing.
func (f *file) Close() error { return nil }
