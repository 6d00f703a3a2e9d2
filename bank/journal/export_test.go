package journal

import "gateway/bank"

// VerifyFS is Verify on any FS.
func VerifyFS(disk FS) (Report, error) {
	return verify(disk, func(*bank.Entry, [32]byte) error { return nil })
}

// DumpFS is Dump on any FS.
func DumpFS(disk FS, f func(*bank.Entry, [32]byte) error) (Report, error) { return verify(disk, f) }
