package main

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gateway/certs/certstest"
)

// TestReadmeOnANetwork pastes into a shell what README.md tells to paste. A line that begins with # is what must be printed
// then, with anything for its dots.
func TestReadmeOnANetwork(t *testing.T) {
	needed(t, "openssl", "apt-get install openssl")
	needed(t, "python3", "apt-get install python3")
	needed(t, "mosquitto_pub", "apt-get install mosquitto-clients")
	script := readmeSession(t, "On a network")
	home := t.TempDir()
	old, secure := freeAddresses(t, rand.New(rand.NewPCG(rand.Uint64(), 1)))
	printed := paste(t, home, strings.NewReplacer(
		"9999", portOf(old), "8883", portOf(secure), "auth:\n", "admin: { address: \"\" }\nauth:\n", // its port is the default
	).Replace(script))
	if promised := comparePrinted(t, script, printed); promised < 9 {
		t.Errorf("README.md tells only %d lines of what is printed", promised)
	}
	watchLog(t, filepath.Join(home, "bank"))
}

// TestReadmeOnEvidence does so with what it tells to paste beside a gateway that serves.
func TestReadmeOnEvidence(t *testing.T) {
	home := homeOfBackup(t)
	p, err := startGateway(home, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	script := readmeSession(t, "Keep it, and prove it")
	address := " --address " + p.addresses["socket"][0]
	printed := paste(t, home, "cd "+home+"\n"+strings.NewReplacer(
		"--id pay/11", "--id pay/11"+address, "--receipt >", "--receipt"+address+" >",
	).Replace(script))
	if promised := comparePrinted(t, script, printed); promised < 4 {
		t.Errorf("README.md tells only %d lines of what is printed", promised)
	}
}

// readmeSession returns what a section of README.md tells to paste.
func readmeSession(t *testing.T, heading string) string {
	t.Helper()
	_, section, _ := strings.Cut(readFile(t, "../../README.md"), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		script.WriteString(block[1])
	}
	return script.String()
}

// comparePrinted checks that what a script says will be printed was, in its order, and returns how many lines that are.
func comparePrinted(t *testing.T, script, printed string) (promised int) {
	t.Helper()
	lines := strings.Split(printed, "\n")
	for line := range strings.Lines(script) {
		want, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !ok {
			continue
		}
		promised++
		want = "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$"
		for !regexp.MustCompile(want).MatchString(lines[0]) {
			if lines = lines[1:]; len(lines) == 0 {
				t.Fatalf("%s is not printed, or not in its place:\n%s", want, printed)
			}
		}
	}
	return promised
}

// paste runs a script in the tree, as somebody does whose home is that directory, and returns all that it prints. It must
// succeed, and leaves no process.
func paste(t *testing.T, home, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience) // it builds the gateway
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = "../..", os.Environ()
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // which are in the home of whoever runs the tests
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(string(value)))
	}
	cmd.Env = append(cmd.Env, "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	printed, err := cmd.CombinedOutput()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	return string(printed)
}

// watchLog lets the watch see the log in a directory, and seek the passwords and hashes that lie there.
func watchLog(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"*.txt", "*.hash"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files %s, %v", len(files), pattern, err)
		}
		for _, file := range files {
			logs.never(strings.TrimSpace(readFile(t, file)))
		}
	}
	if _, err := logs.writer().Write([]byte(readFile(t, filepath.Join(dir, "log")))); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func portOf(address string) string {
	_, port, _ := strings.Cut(address, ":")
	return port
}

// TestAListenerThatIsPlainBeyondLoopbackIsToldOf once, at the start, and no other.
func TestAListenerThatIsPlainBeyondLoopbackIsToldOf(t *testing.T) {
	dir := t.TempDir()
	certstest.NewAuthority(t, "authority").Issue(t, nil).Write(t, dir, "server")
	certstest.Write(t, dir, settingsFile, []byte(`
socket:
  listeners:
  - { address: "127.0.0.1:0", codec: json }
  - { address: "0.0.0.0:0", codec: json, principal: till, allow_from: ["127.0.0.0/8"] }
  - { address: "0.0.0.0:0", codec: json, principal: till, allow_from: ["127.0.0.0/8"], tls: { cert: server.pem, key: server.key } }
mqtt:
  listeners:
  - { address: "0.0.0.0:0", tls: { cert: server.pem, key: server.key } }
  - { address: "0.0.0.0:0" }
admin: { address: "" }
auth: { users: [ { name: till, accounts: ["1"] } ] }
`))
	p, err := startGateway(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Fatalf("exit code %d, %v\n%s", code, err, p.stderr.String())
	}
	told := regexp.MustCompile(`level=WARN msg="(operations|logins) cross the network in the clear: .*address=(\S+)`).
		FindAllStringSubmatch(p.stderr.String(), -1)
	if len(told) != 2 || told[0][1] != "operations" || told[0][2] != p.addresses["socket"][1] ||
		told[1][1] != "logins" || told[1][2] != p.addresses["mqtt"][1] {
		t.Errorf("%q of %s", told, p.ready)
	}
}
