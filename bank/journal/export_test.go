package journal

import (
	"gateway/bank"
	"gateway/disk"
)

// VerifyFS is Verify on any FS.
func VerifyFS(fsys disk.FS) (Report, error) {
	return verify(fsys, func(*bank.Entry, [32]byte) error { return nil })
}

// DumpFS is Dump on any FS.
func DumpFS(fsys disk.FS, f func(*bank.Entry, [32]byte) error) (Report, error) {
	return verify(fsys, f)
}
