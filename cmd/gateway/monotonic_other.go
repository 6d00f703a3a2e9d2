//go:build !linux

package main

import "time"

// monotonic has nobody to tell: systemd is Linux's.
func monotonic() time.Duration { return 0 }
