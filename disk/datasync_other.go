//go:build unix && !linux

package disk

import "os"

func datasync(file *os.File) error { return file.Sync() }
