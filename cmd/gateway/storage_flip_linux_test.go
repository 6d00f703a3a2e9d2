package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
)

const (
	// flips is how many bits are flipped, one at a time; GATEWAY_FLIPS sets another number.
	flips = 20
	// owedReplies is how many replies a client of a session that persists has not acknowledged.
	owedReplies = 5
)

// damageLine is how a gateway that will not start names the place.
var damageLine = regexp.MustCompile(`damaged: (\S+) at byte (\d+)`)

// TestFlippedBits flips one bit after the other in what a gateway has left: segments, mark, snapshot, and the sessions' log and
// checkpoint. The next gateway either serves with everything that was ever said, in entries, in answers and in what sessions are
// owed; or it does not start, exits 65, and names a file and a place in it: of a segment that one, and a place that is not behind the bit.
func TestFlippedBits(t *testing.T) {
	count, seed := countFor(t, "GATEWAY_FLIPS", flips), rand.Uint64()
	t.Logf("%d flips, seed %d", count, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	began := time.Now()
	v := newVault(t)
	kinds := map[string]*struct{ served, refused int }{}
	for range count {
		name, content, bit := v.draw(random)
		kind := kindOfFile(name)
		if kinds[kind] == nil {
			kinds[kind] = new(struct{ served, refused int })
		}
		served, err := v.flip(name, content, bit)
		if err != nil {
			t.Fatalf("bit %d of byte %d of %s: %v", bit%8, bit/8, name, err)
		}
		if served {
			kinds[kind].served++
		} else {
			kinds[kind].refused++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		row := kinds[kind]
		t.Logf("%s: %d flips; served with everything %d, exit 65 with file and place %d, anything else 0 (0)",
			kind, row.served+row.refused, row.served, row.refused)
	}
	t.Logf("%v", time.Since(began).Round(time.Millisecond))
}

// kindOfFile is the first word of a file's name, and what is behind the dot.
func kindOfFile(name string) string {
	kind, _, _ := strings.Cut(filepath.Base(name), "-")
	return kind + filepath.Ext(name)
}

// vault is a gateway's directory at rest, and all that was said by those who filled it.
type vault struct {
	*act
	t     *testing.T
	files []string // within begin, but for those that are empty
	told  []*scriptRun
	owed  []string // payloads
	chain [][32]byte
}

// newVault has one filled: a snapshot of a clean stop, entries behind it, replies that a session is owed, and then a kill, so
// that the mark says of everything that it was durable.
func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{t: t}
	v.act = newAct(t, "flips", nil)
	for n, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		p, err := startGateway(v.dir, "")
		if err != nil {
			t.Fatal(err)
		}
		s := v.script.start(t, fmt.Sprintf("run-%d", n))
		s.finish()
		v.told = append(v.told, s)
		if n == 1 {
			v.oweReplies()
		}
		if _, err := p.stop(end); err != nil {
			t.Fatal(err)
		}
	}
	v.begin = t.TempDir()
	if err := copyTree(v.data(), v.begin); err != nil {
		t.Fatal(err)
	}
	v.chain = v.hashes()
	err := fs.WalkDir(os.DirFS(v.begin), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err != nil || info.Size() > 0 && !strings.HasPrefix(path, "head") { // package evidence flips those
			v.files = append(v.files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// oweReplies leaves a session with replies that came and were not acknowledged.
func (v *vault) oweReplies() {
	v.t.Helper()
	l, _, err := connectLink(v.script.broker, "creditor", 5)
	if err != nil {
		v.t.Fatal(err)
	}
	defer l.conn.Close()
	l.subscribe("bank/replies/creditor")
	for n := range owedReplies {
		l.publish(&message{id: uint16(n + 1), qos: 1, payload: depositOf("creditor", fmt.Sprint("owed ", n))})
	}
	v.owed = readReplies(v.t, l)
}

// readReplies reads as many as a session is owed.
func readReplies(t *testing.T, l *link) (payloads []string) {
	t.Helper()
	for len(payloads) < owedReplies {
		f, err := l.read()
		if err != nil {
			t.Fatalf("%d replies came: %v", len(payloads), err)
		}
		if f.kind == typePublish {
			payloads = append(payloads, string(f.payload))
		}
	}
	return payloads
}

// hashes returns those of all entries.
func (v *vault) hashes() (chain [][32]byte) {
	v.t.Helper()
	_, err := journal.Dump(v.data(), func(_ *bank.Entry, hash [32]byte) error {
		chain = append(chain, hash)
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return chain
}

// draw draws a file and a bit of it: every second time of a byte that is not zero, because most are.
func (v *vault) draw(random *rand.Rand) (name string, content []byte, bit int) {
	v.t.Helper()
	name = v.files[random.IntN(len(v.files))]
	content, err := os.ReadFile(filepath.Join(v.begin, name))
	if err != nil {
		v.t.Fatal(err)
	}
	at := random.IntN(len(content))
	var written []int
	for i, b := range content {
		if b != 0 {
			written = append(written, i)
		}
	}
	if len(written) > 0 && random.IntN(2) == 0 {
		at = written[random.IntN(len(written))]
	}
	return name, content, at*8 + random.IntN(8)
}

// flip lets a gateway find one bit flipped, and reports whether it serves.
func (v *vault) flip(name string, content []byte, bit int) (served bool, err error) {
	v.t.Helper()
	v.reset(v.t)
	content[bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(filepath.Join(v.data(), name), content, 0o600); err != nil {
		v.t.Fatal(err)
	}
	p, err := startGateway(v.dir, "")
	if err != nil {
		return false, v.refused(name, bit/8, p, err)
	}
	defer p.kill()
	for _, s := range v.told {
		if err := s.ask(); err != nil {
			return true, err
		}
	}
	l, present, err := connectLink(v.script.broker, "creditor", 5)
	if err != nil || !present {
		return true, fmt.Errorf("the session is there: %t, %w", present, err)
	}
	defer l.conn.Close()
	if got := readReplies(v.t, l); fmt.Sprint(got) != fmt.Sprint(v.owed) {
		return true, fmt.Errorf("owed is %q, and was %q", got, v.owed)
	}
	p.kill()
	if got := v.hashes(); fmt.Sprint(got) != fmt.Sprint(v.chain) {
		return true, errors.New("the journal is another")
	}
	return true, nil
}

// refused checks how a gateway says that it will not start, after a byte was flipped.
func (v *vault) refused(name string, at int, p *process, err error) error {
	place := damageLine.FindStringSubmatch(err.Error())
	if code := p.cmd.ProcessState.ExitCode(); code != exitDamaged || place == nil {
		return fmt.Errorf("exit code %d: %w", code, err)
	}
	if said, err := strconv.Atoi(place[2]); filepath.Ext(name) == ".seg" && (err != nil || place[1] != filepath.Base(name) || said > at) {
		return fmt.Errorf("it is told as %s", place[0])
	}
	if place[1] != filepath.Base(name) {
		v.t.Logf("flipped in %s, told of %s", name, place[0])
	}
	return nil
}
