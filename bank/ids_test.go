package bank

import (
	"math/rand/v2"
	"testing"
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
	table.find(9, func(ref uint64) bool {
		t.Errorf("found %d under a fingerprint that was never added", ref)
		return false
	})
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
