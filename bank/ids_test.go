package bank

import "testing"

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
