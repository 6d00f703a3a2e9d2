package main

import (
	"syscall"
	"time"
	"unsafe"
)

// clockMonotonic is CLOCK_MONOTONIC, by which systemd orders what it did and what it is told.
const clockMonotonic = 1

// monotonic returns the time since the kernel's own beginning, without the time that the machine slept.
func monotonic() time.Duration {
	var now syscall.Timespec
	_, _, fault := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	if fault != 0 {
		return 0 // it has been there in every kernel that Go runs on
	}
	return time.Duration(now.Nano())
}
