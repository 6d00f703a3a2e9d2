package bank

import (
	"encoding/binary"
	"math/bits"
)

// idTable remembers where the answers to ids are: for each, a 64-bit fingerprint and a reference to its entry, by which
// the entry is read again. Two ids may share a fingerprint, so that only the entry tells whether an id is known.
//
// It is an open-addressing table with linear probing. It grows by a quarter at most when five sixths are in use: 19 to
// 24 bytes an id. A Go map took 36.
type idTable struct {
	slots []idSlot
	used  int
}

// idSlot is empty when its fingerprint is zero.
type idSlot struct{ fingerprint, ref uint64 }

const smallestIDTable = 8 // slots

// grown returns the next size of a table: a tenth to a quarter more, by what the fingerprint draws, so that the parts of the
// book do not all grow at the same time.
func grown(slots int, fingerprint uint64) int {
	return max(slots*(70+int(fingerprint%11))/64, slots+4, smallestIDTable)
}

// fingerprintOf maps an id within its principal's scope to 64 bits, by SipHash-2-4 of the principal's length, the principal
// and the id. The key keeps a client from choosing ids that share one. It is never zero.
func fingerprintOf(key *[16]byte, principal, id string) uint64 {
	var text [1 + maxPrincipal + maxID]byte
	text[0] = byte(len(principal))
	n := 1 + copy(text[1:], principal)
	n += copy(text[n:], id)
	return max(sipHash(key, text[:n]), 1)
}

// sipHash is SipHash-2-4 (Aumasson and Bernstein, 2012): a hash for tables whose keys strangers choose. SHA-256 took
// more than twice as long.
func sipHash(key *[16]byte, b []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	v0, v1, v2, v3 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d, k0^0x6c7967656e657261, k1^0x7465646279746573
	last := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		word := binary.LittleEndian.Uint64(b)
		v3 ^= word
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= word
	}
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// sipRound is small enough for the compiler to put it in place.
func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32) + v3
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	return v0, v1, bits.RotateLeft64(v2, 32), v3
}

// home is where a fingerprint's probe sequence starts. The shard took the highest bits, so they are shifted out.
func (t *idTable) home(fingerprint uint64) int {
	high, _ := bits.Mul64(fingerprint<<shardBits, uint64(len(t.slots)))
	return int(high)
}

// find calls match with the reference of each entry that may have the fingerprint until match reports true.
func (t *idTable) find(fingerprint uint64, match func(ref uint64) bool) {
	if len(t.slots) == 0 {
		return
	}
	for i := t.home(fingerprint); t.slots[i].fingerprint != 0; {
		if t.slots[i].fingerprint == fingerprint && match(t.slots[i].ref) {
			return
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

func (t *idTable) add(fingerprint, ref uint64) {
	if t.used+1 > len(t.slots)*5/6 {
		t.resize(grown(len(t.slots), fingerprint))
	}
	t.put(idSlot{fingerprint, ref})
}

func (t *idTable) put(slot idSlot) {
	i := t.home(slot.fingerprint)
	for t.slots[i].fingerprint != 0 {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = slot
	t.used++
}

// reserve makes room for n ids in all, so that loading many never moves one twice.
func (t *idTable) reserve(n int) {
	if slots := n*6/5 + 2; n > 0 && slots > len(t.slots) {
		t.resize(max(smallestIDTable, slots))
	}
}

func (t *idTable) resize(slots int) {
	old := t.slots
	t.slots, t.used = make([]idSlot, slots), 0
	for _, slot := range old {
		if slot.fingerprint != 0 {
			t.put(slot)
		}
	}
}
