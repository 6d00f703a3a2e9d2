package disktest

import "gateway/disk"

// Forgetful is a disk that, when a file of it is opened to be changed, shows zeros from one place on, whatever it has just shown
// there: as a system does that had bytes in memory which the disk never had.
type Forgetful struct {
	disk.FS
	Name string // of the file
	From int64  // the first byte that is forgotten
}

// Edit implements [disk.FS].
func (f *Forgetful) Edit(name string) (disk.File, error) {
	file, err := f.FS.Edit(name)
	if err == nil && name == f.Name {
		file = &forgotten{file, f.From}
	}
	return file, err
}

type forgotten struct {
	disk.File
	from int64
}

// ReadAt implements [io.ReaderAt].
func (f *forgotten) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if behind := max(f.from-at, 0); behind < int64(n) {
		clear(b[behind:n])
	}
	return n, err
}
