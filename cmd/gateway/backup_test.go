package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/banktest"
	"gateway/client"
	"gateway/disk"
	"gateway/disk/disktest"
	"gateway/evidence"
)

// backupRounds is how often a gateway is killed while it is backed up; GATEWAY_BACKUP_TORTURE sets another number.
const backupRounds = 2

// TestTortureOfBackups takes backup after backup of a gateway that is loaded by both doors, and killed and restarted while one
// is taken. Each is verified, and served by a gateway of its own: every operation that was answered before the backup began is
// there with its first answer, the balances are the sums of the entries, and a session that persists gets the reply that it
// is owed.
func TestTortureOfBackups(t *testing.T) {
	rounds := countFor(t, "GATEWAY_BACKUP_TORTURE", backupRounds)
	seed := rand.Uint64()
	t.Logf("%d rounds, seed %d", rounds, seed)
	run := newTorture(t, seed)
	p := run.start()
	owe(t, p.addresses["mqtt"][0])
	met := 0
	for range rounds {
		for _, killed := range []bool{false, true} {
			home, before := homeOfBackup(t), run.told.all()
			taken := make(chan error, 1)
			began := time.Now()
			go func() { taken <- takeBackup(run.dir, filepath.Join(home, "data")) }()
			if killed {
				<-time.After(time.Duration(run.random.Int64N(int64(recoveryTime))))
				if _, err := p.stop(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if len(taken) == 0 { // it is still being taken
					met++
				}
				p = run.start()
			}
			if err := <-taken; err != nil {
				t.Fatal(err)
			}
			t.Logf("a backup of more than %d entries in %v", len(before), time.Since(began).Round(time.Millisecond))
			run.await(tortureFloor)
			bringKey(t, run.dir, home)
			checkBackup(t, home, before)
		}
	}
	run.finish()
	t.Logf("%d kills of %d met a backup", met, rounds)
	if met == 0 && rounds >= 6 {
		t.Fatal("void: no kill met a backup")
	}
}

// TestTortureOfVerify verifies the journal of a gateway again and again while it is loaded by both doors, killed and restarted.
// It never sees damage, and never less than what was answered when it began.
func TestTortureOfVerify(t *testing.T) {
	rounds := countFor(t, "GATEWAY_VERIFY_TORTURE", backupRounds)
	run := newTorture(t, rand.Uint64())
	stop, verified := make(chan struct{}), make(chan error, 1)
	count := 0
	p := run.start()
	go func() {
		var err error
		for ; err == nil; count++ {
			select {
			case <-stop:
				verified <- nil
				return
			default:
				err = run.verifyBeside()
			}
		}
		verified <- err
	}()
	for range rounds {
		run.await(tortureFloor)
		if _, err := p.stop(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p = run.start()
	}
	run.finish()
	close(stop)
	if err := <-verified; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d verifications, %d entries", count, run.newest())
	if count < rounds {
		t.Fatal("void: too few verifications")
	}
}

// verifyBeside verifies once.
func (r *torture) verifyBeside() error {
	before := r.newest()
	cmd := exec.Command("gateway", "journal", "verify")
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	var entries uint64
	if _, err := fmt.Sscanf(string(out), "entries %d", &entries); err != nil || entries < before {
		return fmt.Errorf("%d entries of %d that were answered, %w", entries, before, err)
	}
	return nil
}

// newest returns the last entry that anybody was told of.
func (r *torture) newest() (seq uint64) {
	for _, told := range r.told.all() {
		seq = max(seq, told.Reply.Seq)
	}
	return seq
}

// homeOfBackup returns a directory whose settings serve what will be in data, at addresses of its own.
func homeOfBackup(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	settings := `
socket: { listeners: [ { address: "127.0.0.1:0", codec: msgpack, session: true } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "" }
log: { level: warn }
`
	if err := os.WriteFile(filepath.Join(home, settingsFile), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

// takeBackup backs the gateway of a directory up, and verifies the backup.
func takeBackup(dir, target string) error {
	cmd := exec.Command("gateway", "backup", target)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("backup: %w\n%s", err, out)
	}
	return verifyOf(target)
}

// owedTo is the client id of a session that never acknowledges its one reply, and owedID that operation's.
const owedTo, owedID = "creditor", "owed-1"

// owe makes a session that is owed a reply.
func owe(t *testing.T, address string) {
	t.Helper()
	l, _, err := connectLink(address, owedTo, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer l.conn.Close()
	l.subscribe("bank/replies/" + owedTo)
	l.publish(&message{qos: 1, id: 7, payload: `{"op":"deposit","account":"creditor","amount":"1.00","id":"` + owedID + `"}`})
	for replied, acked := false, false; !replied || !acked; {
		f, err := l.read()
		if err != nil {
			t.Fatal(err)
		}
		replied, acked = replied || f.kind == typePublish, acked || f.kind == typePuback
	}
}

// checkBackup serves a backup and asks it.
func checkBackup(t *testing.T, home string, before []banktest.Told) {
	t.Helper()
	sums := map[bank.Account]bank.Amount{}
	found := map[string]bool{}
	for _, e := range dumpOf(t, home) {
		found[e.ID] = true
		for _, p := range e.Postings {
			sums[p.Account] += p.Amount
		}
	}
	p, err := startGateway(home, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	asking, err := client.NewSocket(p.addresses["socket"][0], client.SocketOptions{Session: true})
	if err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	if err := checkStatuses(ctx, &tortureDoor{client: asking}, before); err != nil {
		t.Error(err)
	}
	for _, told := range before {
		if told.Answered && told.Op.Kind.Moves() && !found[told.Op.ID] {
			t.Errorf("%s was answered %s before the backup, and is not in it", told.Op.ID, told.Reply.Code)
		}
	}
	for account, sum := range sums {
		if account.House() {
			continue
		}
		reply, err := asking.Do(ctx, client.Operation{Kind: bank.KindBalance, Account: string(account)})
		if err != nil || reply.Balance != sum.Format(2) {
			t.Errorf("balance of %s is %q, %v, want %s", account, reply.Balance, err, sum.Format(2))
		}
	}
	collect(t, p.addresses["mqtt"][0])
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Errorf("the restored gateway ended with %d, %v\n%s", code, err, p.stderr.String())
	}
}

// bringKey puts the key that signs heads, which no backup has, where the backup is served.
func bringKey(t *testing.T, from, home string) {
	t.Helper()
	target := filepath.Join(home, "data", evidence.KeyFile)
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the backup has the secret key: %v", err)
	}
	key, err := os.ReadFile(filepath.Join(from, "data", evidence.KeyFile))
	if err == nil {
		err = os.WriteFile(target, key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// collect comes back to the session that is owed a reply, and must get it.
func collect(t *testing.T, address string) {
	t.Helper()
	l, present, err := connectLink(address, owedTo, 5)
	if err != nil || !present {
		t.Errorf("the session is present: %v, %v", present, err)
		return
	}
	defer l.conn.Close()
	f, err := l.read()
	if err != nil || f.kind != typePublish || !strings.Contains(string(f.payload), owedID) {
		t.Errorf("the owed reply is %+v %s, %v", f, f.payload, err)
	}
}

// TestABackupOnAFullDisk backs up to disks of every size from the least to one that is enough. Where there is not enough
// space nothing is left.
func TestABackupOnAFullDisk(t *testing.T) {
	home := bankOfOneEntry(t)
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("SKIPPED: no small disk can be mounted, so no backup has met a full one: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	}()
	target := filepath.Join(mount, "backup")
	for pages := 1; ; pages++ {
		if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dk", 4*pages)); err != nil {
			t.Fatal(err)
		}
		code, out := runBackup(t, home, exec.Command("gateway", "backup", target))
		if code == exitDone {
			if pages < 5 {
				t.Errorf("%d pages were enough", pages)
			}
			break
		}
		if code != exitPassing || !strings.Contains(out, "not enough space") {
			t.Fatalf("%d pages: exit code %d\n%s", pages, code, out)
		}
		if left, err := os.ReadDir(mount); err != nil || len(left) > 0 {
			t.Fatalf("%d pages: %v is left, %v", pages, left, err)
		}
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(mount, &s); err != nil || s.Bavail < s.Blocks/disk.ReserveShare {
		t.Errorf("of %d blocks %d are left to a gateway, %v", s.Blocks, s.Bavail, err)
	}
	if err := verifyOf(target); err != nil {
		t.Error(err)
	}
}

// bankOfOneEntry returns the directory of a gateway that has served and ended.
func bankOfOneEntry(t *testing.T) string {
	t.Helper()
	home := homeOfBackup(t)
	p, err := startGateway(home, "")
	if err != nil {
		t.Fatal(err)
	}
	owe(t, p.addresses["mqtt"][0])
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Fatal(code, err)
	}
	return home
}

// runBackup runs a command in a directory and returns its exit code and what it printed.
func runBackup(t *testing.T, dir string, cmd *exec.Cmd) (code int, out string) {
	t.Helper()
	cmd.Dir = dir
	printed, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(printed)
}

func verifyOf(dir string) error {
	if out, err := exec.Command("gateway", "journal", "verify", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("verify %s: %w\n%s", dir, err, out)
	}
	return nil
}

// TestABackupWhoseSyncFails lets the syncs of a backup fail, from the first, the second and so on of a thread, and its rename.
// There is an error and no backup.
func TestABackupWhoseSyncFails(t *testing.T) {
	strace := needed(t, "strace", "apt-get install strace")
	home := bankOfOneEntry(t)
	path, err := exec.LookPath("gateway")
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"fdatasync", "fsync", "renameat"} {
		for k := 1; ; k++ {
			name := fmt.Sprint("backup-", call, k)
			cmd := exec.Command(strace, "-f", "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:error=EIO:when=%d+", call, k),
				path, "backup", name)
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
			code, out := runBackup(t, home, cmd)
			left, err := filepath.Glob(filepath.Join(home, name+"*"))
			if err != nil {
				t.Fatal(err)
			}
			if code == exitDone {
				if k == 1 || len(left) != 1 {
					t.Errorf("%s %d was not met; %v is left", call, k, left)
				}
				break
			}
			if code != exitBroken || len(left) > 0 {
				t.Fatalf("%s %d: exit code %d, %v is left\n%s", call, k, code, left, out)
			}
		}
	}
}

// TestAnInterruptedBackupLeavesNothing ends a backup before it is whole.
func TestAnInterruptedBackupLeavesNothing(t *testing.T) {
	home := bankOfOneEntry(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := &backup{source: filepath.Join(home, "data")}
	if err := b.make(ctx, filepath.Join(home, "backup")); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(home, "backup*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestAnInterruptedBackupThatCannotBeRemovedSaysSo abandons one whose directory cannot be removed under the name that it has.
func TestAnInterruptedBackupThatCannotBeRemovedSaysSo(t *testing.T) {
	for draft, says := range map[string]string{
		filepath.Join(t.TempDir(), "backup.tmp"): "backup: interrupted; nothing of it is left\n",
		t.TempDir() + "/.":                       "what there is of the backup could not be removed",
	} {
		var out bytes.Buffer
		env := &environment{stderr: &out}
		b := &backup{draft: draft}
		if code := explainBackup(env, "data", b.abandon(context.Canceled)); code != exitPassing || !strings.Contains(out.String(), says) {
			t.Errorf("%d, %s", code, out.String())
		}
	}
}

// TestABackupWhereNobodyMayWrite backs up into a file system that lets nobody make a directory.
func TestABackupWhereNobodyMayWrite(t *testing.T) {
	const closed = "/sys"
	if _, err := os.Stat(filepath.Join(closed, "kernel")); err != nil {
		t.Skipf("SKIPPED: there is no %s, so no backup has met a directory that is closed to all: %v", closed, err)
	}
	home := bankOfOneEntry(t)
	for _, target := range []string{"backup", "backups/monday"} {
		code, out := runBackup(t, home, exec.Command("gateway", "backup", filepath.Join(closed, target)))
		if code != exitUsage || !strings.Contains(out, "the directory cannot be used") {
			t.Errorf("%s: exit code %d\n%s", target, code, out)
		}
	}
}

// TestABackupWhoseNameMayNotLastIsNone fails the sync of the name: what has it is what will be removed.
func TestABackupWhoseNameMayNotLastIsNone(t *testing.T) {
	parent := disktest.New(1)
	parent.Put("b.tmp", nil)
	parent.Before = func(op disktest.Op) error {
		if op.Kind == disktest.SyncDir {
			return syscall.EIO
		}
		return nil
	}
	b := &backup{target: "/b", draft: "/b.tmp"}
	if err := b.publish(parent); !errors.Is(err, syscall.EIO) || b.draft != b.target {
		t.Errorf("%v; %s will be removed", err, b.draft)
	}
}
