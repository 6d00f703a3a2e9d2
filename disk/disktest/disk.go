// Package disktest is a disk for tests: a [disk.FS] in memory that forgets what was not synced, tears writes at any byte,
// reorders them, fails on command and fills up.
//
// A [Disk] keeps two states. One is what a process sees, the page cache. The other is what the platter has: for each file
// what was synced, and each write since, any 512-byte sector of which may or may not have arrived; for the directory what
// was there at the last SyncDir, and each change since. [Disk.Cut] is a power cut: it draws what arrived. [Disk.Fork] copies
// both states, so that one history can lose its power at every operation.
//
// A failed sync does what Linux does: the bytes are taken for written from then on, and no later sync will write them,
// though reads go on showing them.
package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"gateway/disk"
)

// Kind is a kind of operation that changes a disk, or reads it.
type Kind uint8

// The kinds of operations.
const (
	Create Kind = iota
	Write
	Sync
	Truncate
	Rename
	Remove
	SyncDir
	Read
)

var kindNames = [...]string{"create", "write", "sync", "truncate", "rename", "remove", "syncdir", "read"}

func (k Kind) String() string { return kindNames[k] }

// Op is an operation that is about to happen.
type Op struct {
	Index  int // how many operations other than reads there were before it
	Kind   Kind
	File   string // its name when it was opened; "" for SyncDir
	Offset int64
	Bytes  int
}

func (o Op) String() string {
	return fmt.Sprintf("op %d: %s %s at %d, %d bytes", o.Index, o.Kind, o.File, o.Offset, o.Bytes)
}

// ErrDead is what every operation returns after the process that opened the files was killed.
var ErrDead = errors.New("disktest: the process is dead")

// Disk is one directory. Its zero value is not of use; see [New].
type Disk struct {
	// Before is called before every operation, with nothing locked. When it returns an error the operation fails with it: a
	// write after about half its bytes, a sync as Linux has it, all others without effect. Set it before the disk is used.
	Before func(Op) error

	mu       sync.Mutex // guards all below
	random   *rand.Rand // for what a failure leaves behind
	seen     map[string]*inode
	durable  map[string]*inode
	changes  []change
	capacity int64
	ops      int
	locks    map[string]*lock
	life     *bool // true until the process is killed; every file has the one of its process
}

// inode is a file. Slices of bytes are never written in place once they are shared.
type inode struct {
	seen    []byte
	shared  bool // seen must be copied before it is written
	disk    []byte
	pending []write
}

// write is a write or a truncation that was not synced. The file had size bytes after it.
type write struct {
	offset    int64
	bytes     []byte
	truncated bool // all from offset on became zeros
	size      int64
}

// change is a change of the directory: to is nil for a removal of from; from is "" for a creation.
type change struct {
	from, to string
	file     *inode
}

type lock struct{ life *bool }

const unlimited = 1 << 40

// New returns an empty disk. The seed decides what failures leave behind.
func New(seed uint64) *Disk {
	alive := true
	return &Disk{
		random: rand.New(rand.NewPCG(seed, 0)), seen: map[string]*inode{}, durable: map[string]*inode{},
		capacity: unlimited, locks: map[string]*lock{}, life: &alive,
	}
}

// Limit makes the disk hold that many bytes at most.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Ops returns how many operations other than reads there were.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Fork returns a copy of the disk that shares nothing with it, as if the process had been killed: no file is open and
// nothing is locked, and what was not synced is still not. It has no Before.
func (d *Disk) Fork(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copied := New(seed)
	copied.capacity = d.capacity
	inodes := map[*inode]*inode{}
	twin := func(file *inode) *inode {
		if file == nil {
			return nil
		}
		if inodes[file] == nil {
			file.shared = true
			inodes[file] = &inode{file.seen, true, file.disk, slices.Clip(file.pending)}
		}
		return inodes[file]
	}
	for name, file := range d.seen {
		copied.seen[name] = twin(file)
	}
	for name, file := range d.durable {
		copied.durable[name] = twin(file)
	}
	for _, c := range d.changes {
		copied.changes = append(copied.changes, change{c.from, c.to, twin(c.file)})
	}
	return copied
}

// Kill ends the process that uses the disk: its files are closed and its locks released. What was not synced is not lost.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killLocked()
}

func (d *Disk) killLocked() {
	*d.life = false
	alive := true
	d.life = &alive
	clear(d.locks)
}

// Cut is a power cut: it kills the process and draws by the given numbers which of the unsynced changes are there after it.
func (d *Disk) Cut(random *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killLocked()
	d.seen = cutDirectory(d.durable, d.changes, random)
	d.changes = nil
	settled := map[*inode]bool{}
	for _, name := range slices.Sorted(maps.Keys(d.seen)) { // or what is drawn would depend on the map
		if file := d.seen[name]; !settled[file] {
			settled[file] = true
			file.disk = cutFile(file, random)
			file.seen, file.shared, file.pending = file.disk, true, nil
		}
	}
	d.durable = maps.Clone(d.seen)
}

// cutDirectory applies to what is durable either the first few changes or any of them.
func cutDirectory(durable map[string]*inode, changes []change, random *rand.Rand) map[string]*inode {
	left := maps.Clone(durable)
	if len(changes) == 0 {
		return left
	}
	first, ordered := random.IntN(len(changes)+1), random.IntN(2) == 0
	for i, c := range changes {
		arrived := i < first
		if !ordered {
			arrived = random.IntN(2) == 0
		}
		switch {
		case !arrived:
		case c.from == "":
			left[c.to] = c.file
		case c.to == "":
			delete(left, c.from)
		case left[c.from] == c.file:
			delete(left, c.from)
			left[c.to] = c.file
		}
	}
	return left
}

const sector = 512

// cutFile returns what a file has after a power cut. Each sector is as it was at a moment of its own since the last sync, and
// a write that was under way then may have arrived up to any byte.
func cutFile(file *inode, random *rand.Rand) []byte {
	n := len(file.pending)
	if n == 0 {
		return file.disk
	}
	longest, size := int64(len(file.disk)), int64(len(file.disk))
	if at := moment(n, random); at > 0 {
		size = file.pending[at-1].size
	}
	for _, w := range file.pending {
		longest = max(longest, w.size, w.offset+int64(len(w.bytes)))
	}
	left := make([]byte, longest)
	copy(left, file.disk)
	mood := random.IntN(4) // nothing arrived, all did, or each sector by itself
	for begin := int64(0); begin < longest; begin += sector {
		end := min(begin+sector, longest)
		at, torn := 0, 0
		switch mood {
		case 0:
		case 1:
			at = n
		default:
			at, torn = random.IntN(n+1), random.IntN(2*sector)
		}
		for i := range file.pending[:min(at+1, n)] {
			limit := end
			if i == at {
				if limit = begin + int64(torn); torn == 0 || torn >= sector {
					break
				}
			}
			file.pending[i].apply(left, begin, min(limit, end))
		}
	}
	if size > longest {
		left = append(left, make([]byte, size-longest)...)
	}
	return left[:size]
}

func moment(n int, random *rand.Rand) int { return random.IntN(n + 1) }

// apply does what the write does to the bytes from begin to end.
func (w *write) apply(to []byte, begin, end int64) {
	if w.truncated {
		if from := max(begin, w.offset); from < end {
			clear(to[from:end])
		}
		return
	}
	from, until := max(begin, w.offset), min(end, w.offset+int64(len(w.bytes)))
	if from < until {
		copy(to[from:until], w.bytes[from-w.offset:until-w.offset])
	}
}

// before counts an operation and asks Before.
func (d *Disk) before(op Op) error {
	d.mu.Lock()
	op.Index = d.ops
	if op.Kind != Read {
		d.ops++
	}
	d.mu.Unlock()
	if d.Before == nil {
		return nil
	}
	return d.Before(op)
}

// Create implements [disk.FS].
func (d *Disk) Create(name string) (disk.File, error) {
	if err := d.before(Op{Kind: Create, File: name}); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	created := d.seen[name]
	if created == nil {
		created = &inode{}
		d.seen[name] = created
		d.changes = append(d.changes, change{to: name, file: created})
	} else {
		created.truncate(0)
	}
	return &file{d, created, name, d.life}, nil
}

// Open implements [disk.FS].
func (d *Disk) Open(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := d.seen[name]
	if found == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{d, found, name, d.life}, nil
}

// Edit implements [disk.FS].
func (d *Disk) Edit(name string) (disk.File, error) { return d.Open(name) }

// Rename implements [disk.FS].
func (d *Disk) Rename(from, to string) error {
	if err := d.before(Op{Kind: Rename, File: to}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	moved := d.seen[from]
	if moved == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(d.seen, from)
	d.seen[to] = moved
	d.changes = append(d.changes, change{from, to, moved})
	return nil
}

// Remove implements [disk.FS].
func (d *Disk) Remove(name string) error {
	if err := d.before(Op{Kind: Remove, File: name}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(d.seen, name)
	d.changes = append(d.changes, change{from: name})
	return nil
}

// List implements [disk.FS].
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.seen)), nil
}

// SyncDir implements [disk.FS].
func (d *Disk) SyncDir() error {
	if err := d.before(Op{Kind: SyncDir}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = maps.Clone(d.seen)
	d.changes = nil
	return nil
}

// Space implements [disk.FS].
func (d *Disk) Space() (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.freeLocked(), d.capacity, nil
}

func (d *Disk) freeLocked() int64 {
	free := d.capacity
	for _, file := range d.seen {
		free -= int64(len(file.seen))
	}
	return free
}

// Lock implements [disk.FS].
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locks[name] != nil {
		return nil, disk.ErrLocked
	}
	d.locks[name] = &lock{d.life}
	return unlocker{d, name, d.locks[name]}, nil
}

type unlocker struct {
	disk *Disk
	name string
	held *lock
}

func (u unlocker) Close() error {
	u.disk.mu.Lock()
	defer u.disk.mu.Unlock()
	if u.disk.locks[u.name] == u.held {
		delete(u.disk.locks, u.name)
	}
	return nil
}

// Bytes returns a copy of what a process sees of a file.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[name] == nil {
		return nil
	}
	return slices.Clone(d.seen[name].seen)
}

// Certain reports whether a power cut now leaves a file as a process sees it, whatever is drawn, but for what follows the
// last byte that is not zero. A file with nothing but zeros has nothing to lose.
func (d *Disk) Certain(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	file := d.seen[name]
	if file == nil {
		return false
	}
	content := bytes.TrimRight(file.seen, "\x00")
	if len(content) == 0 {
		return true
	}
	changed := func(c change) bool { return c.file == file || c.from == name || c.to == name }
	if d.durable[name] != file || slices.ContainsFunc(d.changes, changed) {
		return false
	}
	early := func(w write) bool { return w.offset < int64(len(content)) }
	return bytes.HasPrefix(file.disk, content) && !slices.ContainsFunc(file.pending, early)
}

// Put makes a file's bytes these, and durable, as if they had always been.
func (d *Disk) Put(name string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	put := &inode{seen: slices.Clone(content), disk: slices.Clone(content)}
	d.seen[name], d.durable[name] = put, put
}

// Spoil puts b over a part of a file, as far as the file goes, or in place of all from there on, as if it had always been.
func (d *Disk) Spoil(name string, b []byte, at int, cut bool) {
	content := d.Bytes(name)
	from := min(at, len(content))
	if cut {
		content = append(content[:from], b...)
	} else {
		copy(content[from:], b)
	}
	d.Put(name, content)
}

// Delete makes a file not exist, as if it never had.
func (d *Disk) Delete(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, name)
	delete(d.durable, name)
}

// errFull is what a write into a full disk returns.
var errFull = fmt.Errorf("disktest: %w", syscall.ENOSPC)
