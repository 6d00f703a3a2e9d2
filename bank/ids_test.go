package bank

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIDsThatShareAFingerprintAreToldApartByTheirEntries makes the collision that the key keeps clients from making.
func TestIDsThatShareAFingerprintAreToldApartByTheirEntries(t *testing.T) {
	var table idTable
	table.add(7, 1)
	table.add(7, 2)
	table.add(8, 3)
	var seen []uint64
	table.find(7, func(ref uint64) bool {
		seen = append(seen, ref)
		return false
	})
	if len(seen) != 2 || seen[0]+seen[1] != 3 {
		t.Errorf("found %v, want 1 and 2", seen)
	}
	calls := 0
	table.find(7, func(uint64) bool {
		calls++
		return true
	})
	if calls != 1 {
		t.Errorf("it went on after the right one: %d calls", calls)
	}
	table.find(9, func(ref uint64) bool {
		t.Errorf("found %d under a fingerprint that was never added", ref)
		return false
	})
}

// TestAnIDThatSharesAFingerprintIsFound makes an entry of one id stand under the fingerprint of another, before the other's own.
func TestAnIDThatSharesAFingerprintIsFound(t *testing.T) {
	entries := []Entry{{Seq: 1, Kind: KindOpen, Principal: "p", ID: "a"}, {Seq: 2, Kind: KindOpen, Principal: "q", ID: "b"}, {Seq: 3, Kind: KindOpen, Principal: "p", ID: "b"}}
	l := NewLedger(Rules{}, [16]byte{1}, entriesByIndex(entries))
	fingerprint := fingerprintOf(&l.key, "p", "b")
	ids := &l.shards[fingerprint>>(64-shardBits)].ids
	for ref := range uint64(3) {
		var e Entry
		var r Reply
		op := Operation{Kind: KindStatus, Principal: "p", ID: "b"}
		if _, err := l.Decide(&op, time.Time{}, &e, &r); err != nil || r.Code != IDNotFound {
			t.Errorf("with %d others under its fingerprint: %+v, %v", ref, r, err)
		}
		ids.add(fingerprint, ref)
	}
	var e Entry
	var r Reply
	op := Operation{Kind: KindStatus, Principal: "p", ID: "b"}
	if _, err := l.Decide(&op, time.Time{}, &e, &r); err != nil || r.Seq != 3 || !r.Duplicate {
		t.Errorf("its own: %+v, %v", r, err)
	}
}

type entriesByIndex []Entry

func (h entriesByIndex) Entry(ref uint64, e *Entry) error {
	*e = h[ref]
	return nil
}

// TestFingerprintsAreOfAllThatTheyStandFor holds them to the texts that are hashed: a snapshot is only read by who hashes the same.
func TestFingerprintsAreOfAllThatTheyStandFor(t *testing.T) {
	key := [16]byte{5}
	if got, want := fingerprintOf(&key, "ab", "c"), sipHash(&key, []byte("\x02abc")); got != want {
		t.Errorf("of an id: %x, want %x", got, want)
	}
	longest := strings.Repeat("p", maxPrincipal)
	if got, want := fingerprintOf(&key, longest, longest), sipHash(&key, []byte("\x40"+longest+longest)); got != want {
		t.Errorf("of the longest id: %x, want %x", got, want)
	}
	l := NewLedger(Rules{}, key, nil)
	if got, want := l.accountFingerprint("ana"), sipHash(&key, []byte("ana")); got != want {
		t.Errorf("of an account: %x, want %x", got, want)
	}
}

// ends are fingerprints of one part whose places are at the end of any table: all but the first go round to its beginning.
func ends(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = 1<<(64-shardBits) - 1 - uint64(i)
	}
	return all
}

// TestTablesGoRound fills the end of tables of both kinds.
func TestTablesGoRound(t *testing.T) {
	var ids idTable
	var accounts accountTable
	ids.reserve(20)
	accounts.reserve(20)
	for i, fingerprint := range ends(5) {
		ids.add(fingerprint, uint64(i))
		accounts.add(fingerprint, &accountRow{account: Account(rune('a' + i))})
	}
	if ids.slots[3].fingerprint == 0 || ids.slots[4].fingerprint != 0 || accounts.slots[3].row == nil || accounts.slots[4].row != nil {
		t.Errorf("the places taken are not the last and the first four")
	}
	for i, fingerprint := range ends(5) {
		found := -1
		ids.find(fingerprint, func(ref uint64) bool { found = int(ref); return true })
		account := Account(rune('a' + i))
		row, candidate := accounts.find(fingerprint, account), accounts.candidate(fingerprint)
		if found != i || row == nil || row.account != account || candidate != row {
			t.Errorf("%d: found %d, %v, %v", i, found, row, candidate)
		}
		if other := accounts.find(fingerprint, "z"); other != nil {
			t.Errorf("%d: found %v for another account", i, other)
		}
	}
	if row := accounts.candidate(1<<(64-shardBits) - 9); row != nil {
		t.Errorf("found %v under a fingerprint that was never added", row)
	}
}

// TestATableKeepsRoom adds to tables of both kinds until they have grown many times: a sixth is always free, lest a search have
// no end, and a third is not.
func TestATableKeepsRoom(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	var ids idTable
	var accounts accountTable
	var rows []*accountRow
	var fingerprints []uint64
	for n := 1; n <= 5000; n++ {
		fingerprints = append(fingerprints, random.Uint64()>>shardBits|1)
		rows = append(rows, &accountRow{account: Account(strconv.Itoa(n))})
		ids.add(fingerprints[n-1], uint64(n))
		accounts.add(fingerprints[n-1], rows[n-1])
		for _, slots := range []int{len(ids.slots), len(accounts.slots)} {
			if n > slots*5/6 || n > 100 && n < slots*6/10 {
				t.Fatalf("%d of %d slots are in use", n, slots)
			}
		}
	}
	if ids.used != 5000 || accounts.used != 5000 {
		t.Errorf("%d and %d are in use", ids.used, accounts.used)
	}
	for i, row := range rows {
		if accounts.find(fingerprints[i], row.account) != row {
			t.Errorf("%s is lost", row.account)
		}
	}
	for _, n := range []int{1, 5, 100, 5000} {
		var ids idTable
		var accounts accountTable
		ids.reserve(n)
		accounts.reserve(n)
		first, second := len(ids.slots), len(accounts.slots)
		for i := range n {
			ids.add(fingerprints[i], 1)
			accounts.add(fingerprints[i], rows[i])
		}
		if first != len(ids.slots) || second != len(accounts.slots) || max(first, second) > n*5/4+8 {
			t.Errorf("with room for %d: %d and %d slots became %d and %d", n, first, second, len(ids.slots), len(accounts.slots))
		}
		ids.reserve(1)
		accounts.reserve(1)
		if first != len(ids.slots) || second != len(accounts.slots) {
			t.Errorf("room for less changed %d and %d slots", first, second)
		}
	}
	if ids.home(0) != 0 || ids.home(1<<(63-shardBits)) != len(ids.slots)/2 || accounts.home(1<<(63-shardBits)) != len(accounts.slots)/2 {
		t.Errorf("places do not follow fingerprints")
	}
}

func TestATableOfIDsKeepsAllOfThemAndStaysSmall(t *testing.T) {
	const count = 200_000
	var table idTable
	key := [16]byte{9}
	for n := range count {
		table.add(fingerprintOf(&key, "p", string(rune('a'+n%26))+string(rune(n)))<<shardBits>>shardBits, uint64(n))
	}
	missing := 0
	for n := range count {
		found := false
		fingerprint := fingerprintOf(&key, "p", string(rune('a'+n%26))+string(rune(n))) << shardBits >> shardBits
		table.find(fingerprint, func(ref uint64) bool { found = found || ref == uint64(n); return found })
		if !found {
			missing++
		}
	}
	if bytes := len(table.slots) * 16 / table.used; missing > 0 || bytes > 24 {
		t.Errorf("%d of %d are missing; %d bytes an id, want at most 24", missing, count, bytes)
	}
}

// TestSipHash compares with the vectors of the paper's reference implementation: key 00..0f, texts of the bytes 00, 01, …
func TestSipHash(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	var text []byte
	want := map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 7: 0xab0200f58b01d137, 8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5,
	}
	for n := range 16 {
		if hash, known := want[n]; known && sipHash(&key, text) != hash {
			t.Errorf("of %d bytes: %x, want %x", n, sipHash(&key, text), hash)
		}
		text = append(text, byte(n))
	}
}

// TestWhatIsForeseenIsOnlyFaster asks for fingerprints in and out of the order that was foreseen, and for others.
func TestWhatIsForeseenIsOnlyFaster(t *testing.T) {
	l := NewLedger(Rules{}, [16]byte{3}, nil)
	random := rand.New(rand.NewPCG(1, 1))
	draw := func() (principal, id string) {
		return string(rune('p' + random.IntN(2))), string(rune('a'+random.IntN(5))) + string(rune('a'+random.IntN(5)))
	}
	for range 2000 {
		ops := make([]Operation, random.IntN(2*Foresight))
		for i := range ops {
			if ops[i].Principal, ops[i].ID = draw(); random.IntN(4) == 0 {
				ops[i].ID = ""
			}
		}
		l.Foresee(ops)
		for i := range ops {
			principal, id := ops[i].Principal, ops[i].ID
			if random.IntN(8) == 0 {
				principal, id = draw()
			}
			for range 2 {
				if got, want := l.fingerprint(principal, id), fingerprintOf(&l.key, principal, id); id != "" && got != want {
					t.Fatalf("%s %s: %x, want %x", principal, id, got, want)
				}
			}
		}
	}
}
