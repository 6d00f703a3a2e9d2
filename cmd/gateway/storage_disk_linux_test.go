package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// dataDirectory is what ledger.path is by default.
	dataDirectory = "data"
	// diskBytes is the size of a disk whose power is cut. Its image is sparse.
	diskBytes = 256 << 20
	// diskImage is the name of its image, by which one that an earlier run has left is known.
	diskImage = "gateway-test-disk.img"
	// tinyDisk is the size in bytes of one that is too small for a segment of the usual size: so segments begin at 2 KiB, and
	// a few operations fill some.
	tinyDisk = 4 << 20

	// ext4Shutdown is EXT4_IOC_SHUTDOWN of Linux, and noLogFlush its argument: the file system stops at once, and what its
	// journal has not yet written is lost. Until it is mounted again, every call fails.
	ext4Shutdown = 0x8004587d
	noLogFlush   = 2
	// unmountPause is how long there is between two attempts to unmount what a process that was killed still holds.
	unmountPause = 5 * time.Millisecond
)

// powered is an ext4 on a loop device, mounted where a gateway keeps its data. Its power can be cut.
type powered struct {
	t       *testing.T
	image   string
	at      string // where it is mounted
	options string // of mount
	mounted bool
}

// newPowered makes one and mounts it. It goes with the test, however that ends. Without root, loop devices or mkfs.ext4 the test
// is skipped.
func newPowered(t *testing.T, dir, options string) *powered {
	t.Helper()
	needMounts(t)
	mkfs := needed(t, "mkfs.ext4", "apt-get install e2fsprogs")
	needed(t, "mount", "apt-get install mount")
	memory := t.TempDir() // so that nobody waits for the machine's own disk
	mountMemory(t, memory, 2*diskBytes)
	d := &powered{t: t, image: filepath.Join(memory, diskImage), at: filepath.Join(dir, dataDirectory), options: "loop"}
	if options != "" {
		d.options += "," + options
	}
	file, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(file.Truncate(diskBytes), file.Close(), os.MkdirAll(d.at, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if err := d.mount(); err != nil {
		t.Skipf("SKIPPED: no ext4 can be mounted on a loop device here, so no power was cut: %v", err)
	}
	t.Cleanup(func() {
		if d.mounted {
			d.unmount()
		}
	})
	return d
}

// needMounts skips the test where nothing may be mounted, and tells what an earlier run may have left.
func needMounts(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root may mount, so nothing was tested on a disk of its own")
	}
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range devices {
		if image, err := os.ReadFile(device); err == nil && strings.Contains(string(image), diskImage) {
			t.Logf("/dev/%s is another run's, or was left by one that was killed: %s", strings.Split(device, "/")[3], strings.TrimSpace(string(image)))
		}
	}
}

// mount mounts it; after a cut that is when ext4 finds what its own journal holds.
func (d *powered) mount() error {
	out, err := exec.Command("mount", "-t", "ext4", "-o", d.options, d.image, d.at).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	d.mounted = true
	return nil
}

// cut cuts the power. Who has files open there gets EIO from now on.
func (d *powered) cut() {
	d.t.Helper()
	dir, err := os.Open(d.at)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, noLogFlush), dir.Close())
	}
	if err != nil {
		d.t.Fatalf("cut the power: %v", err)
	}
}

// fail makes the device refuse every block but the first, until it is made well again. What ext4 cannot write then it holds to be
// clean from now on, as after any error of a disk.
func (d *powered) fail(failing bool) {
	d.t.Helper()
	out, err := exec.Command("losetup", "--noheadings", "--output", "NAME", "--associated", d.image).Output()
	if err != nil {
		d.t.Fatalf("losetup: %v", err)
	}
	device, err := os.OpenFile(strings.TrimSpace(string(out)), os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer device.Close()
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if err == nil {
		if info.Sizelimit = 0; failing {
			info.Sizelimit = uint64(os.Getpagesize())
		}
		err = unix.IoctlLoopSetStatus64(int(device.Fd()), info)
	}
	if err != nil {
		d.t.Fatalf("limit %s: %v", device.Name(), err)
	}
}

// restore brings the power back, once nobody has files open there.
func (d *powered) restore() {
	d.t.Helper()
	d.unmount()
	if err := d.mount(); err != nil {
		d.t.Fatal(err)
	}
}

// unmount gives the loop device back too.
func (d *powered) unmount() {
	d.t.Helper()
	pause := time.NewTicker(unmountPause)
	defer pause.Stop()
	for deadline := time.Now().Add(patience); ; <-pause.C {
		err := unix.Unmount(d.at, 0)
		if err == nil {
			d.mounted = false
			return
		}
		if time.Now().After(deadline) {
			d.t.Errorf("unmount %s: %v; it is left to `umount -l`", d.at, err)
			_ = unix.Unmount(d.at, unix.MNT_DETACH)
			d.mounted = false
			return
		}
	}
}

// mountSmall mounts a disk of tinyDisk where a gateway in dir keeps its data.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	needMounts(t)
	at := filepath.Join(dir, dataDirectory)
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	mountMemory(t, at, tinyDisk)
}

// mountMemory mounts a disk in memory, until the test ends.
func mountMemory(t *testing.T, at string, bytes int) {
	t.Helper()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d", bytes)); err != nil {
		t.Skipf("SKIPPED: no tmpfs can be mounted here, so nothing was tested on a disk of its own: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
}
