package main

import "golang.org/x/sys/unix"

// canTrace says that the registers are known.
const canTrace = true

// callKinds are the system calls that can be struck, by number.
var callKinds = map[uint64]callKind{
	unix.SYS_READ: {"read", 0}, unix.SYS_PREAD64: {"pread64", 0}, unix.SYS_GETDENTS64: {"getdents64", 0},
	unix.SYS_WRITE: {"write", 0}, unix.SYS_PWRITE64: {"pwrite64", 0}, unix.SYS_FTRUNCATE: {"ftruncate", 0},
	unix.SYS_FALLOCATE: {"fallocate", 0}, unix.SYS_FSYNC: {"fsync", 0}, unix.SYS_FDATASYNC: {"fdatasync", 0},
	unix.SYS_STATFS: {"statfs", 1}, unix.SYS_OPENAT: {"openat", 2}, unix.SYS_MKDIRAT: {"mkdirat", 2},
	unix.SYS_RENAMEAT: {"renameat", 2}, unix.SYS_RENAMEAT2: {"renameat2", 2}, unix.SYS_UNLINKAT: {"unlinkat", 2},
}

// registers are those of a thread that stands at the beginning or the end of a system call.
type registers struct{ unix.PtraceRegs }

func (r *registers) get(id int) error { return unix.PtraceGetRegs(id, &r.PtraceRegs) }
func (r *registers) set(id int) error { return unix.PtraceSetRegs(id, &r.PtraceRegs) }
func (r *registers) number() uint64   { return r.Orig_rax }

// argument returns one of the first three, counted from 0.
func (r *registers) argument(n int) uint64 { return [...]uint64{r.Rdi, r.Rsi, r.Rdx}[n] }

func (r *registers) setArgument2(value uint64) { r.Rdx = value }

// drop makes of the call one that there is not.
func (r *registers) drop() { r.Orig_rax = ^uint64(0) }

func (r *registers) setResult(value uint64) { r.Rax = value }
