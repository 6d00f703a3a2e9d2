package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"gateway/bank"
	"gateway/packed"

	"golang.org/x/mod/sumdb/tlog"
)

// A receipt is a text: these bytes in base64 as URLs have it, without padding. Integers are varints as encoding/binary writes
// them.
//
//	version (1)
//	hash of the entry before the entry (32 bytes)
//	bytes of the entry, and the entry's canonical bytes
//	place of the entry in the range of the head, from 0
//	entries of the range
//	number of hashes in the path (1 byte), and these (32 bytes each)
//	the head: id of the journal (16 bytes), hash of its last entry (32), time (signed, microseconds since 1970), root (32)
//	the signature: hash of the key (4 bytes), and 64 bytes
//
// The seq of the head and the first of its range follow from the entry's own and its place. The head's text follows from all
// these, and the signature is of that text.
const (
	receiptVersion = 1

	maxPath = 16 // hashes: of a range of MaxRange entries
	// maxEntry bounds an entry in a receipt, in bytes. What a client can make is far below; a yield over many accounts is
	// above, and nobody asks for it.
	maxEntry = 2048
	// maxReceipt bounds the text.
	maxReceipt = 4096
)

// ErrReceipt says that a text is no receipt, or one that proves nothing.
var ErrReceipt = errors.New("evidence: not a valid receipt")

var receiptText = base64.RawURLEncoding.Strict()

// Receipt is what a receipt proves: that the journal had this entry when the head was made.
type Receipt struct {
	Entry bank.Entry
	Hash  [32]byte // of the entry
	Head  Head
}

// proof is what a receipt is made of.
type proof struct {
	before    [32]byte
	canonical []byte
	seq       uint64
	path      tlog.RecordProof
	head      Head
	signature signature
}

// text returns the receipt.
func (p *proof) text() string {
	h := &p.head
	b := make([]byte, 0, maxReceipt)
	b = append(b, receiptVersion)
	b = append(b, p.before[:]...)
	b = packed.AppendText(b, p.canonical)
	b = binary.AppendUvarint(b, p.seq-h.First)
	b = binary.AppendUvarint(b, h.entries())
	b = append(b, byte(len(p.path)))
	for i := range p.path {
		b = append(b, p.path[i][:]...)
	}
	b = append(append(b, h.Journal[:]...), h.Hash[:]...)
	b = binary.AppendVarint(b, h.Time.UnixMicro())
	b = append(b, h.Root[:]...)
	b = binary.BigEndian.AppendUint32(b, p.signature.hash)
	b = append(b, p.signature.sum[:]...)
	return receiptText.EncodeToString(b)
}

// CheckReceipt returns what a receipt proves to who trusts the key. It needs nothing else, and refuses every other text for
// the same. Errors wrap [ErrReceipt], [ErrHead] or [ErrKey].
func CheckReceipt(text string, k *PublicKey) (Receipt, error) {
	var r Receipt
	p, ok := parseReceipt(text, &r.Entry)
	if !ok || p.text() != text {
		return r, fmt.Errorf("%w: cut, mistyped or altered", ErrReceipt)
	}
	p.signature.name = k.verifier.Name() // the hash of the key stands for it
	if err := k.check(&p.head, &p.signature); err != nil {
		return r, err
	}
	r.Hash = chained(p.before, p.canonical)
	if !leads(p.path, int64(p.head.entries()), p.head.Root, int64(p.seq-p.head.First), r.Hash) {
		return r, fmt.Errorf("%w: entry %d is not under head %d", ErrReceipt, p.seq, p.head.Seq)
	}
	r.Head = p.head
	return r, nil
}

// chained returns the hash of an entry, which is over the hash of the one before.
func chained(before [32]byte, canonical []byte) [32]byte {
	sum := sha256.New()
	sum.Write(before[:])
	sum.Write(canonical)
	return [32]byte(sum.Sum(nil))
}

// parseReceipt reads the form of a receipt and checks nothing that it says.
func parseReceipt(text string, e *bank.Entry) (*proof, bool) {
	if len(text) > maxReceipt {
		return nil, false
	}
	b, err := receiptText.DecodeString(text)
	if err != nil {
		return nil, false
	}
	f := packed.Reader{Rest: b}
	if f.Byte() != receiptVersion {
		return nil, false
	}
	p := new(proof)
	copy(p.before[:], f.Bytes(32))
	p.canonical = f.Bytes(min(f.Uvarint(), maxEntry+1))
	place, entries := f.Uvarint(), f.Uvarint()
	p.path = make(tlog.RecordProof, min(f.Byte(), maxPath))
	for i := range p.path {
		copy(p.path[i][:], f.Bytes(32))
	}
	copy(p.head.Journal[:], f.Bytes(16))
	copy(p.head.Hash[:], f.Bytes(32))
	p.head.Time = time.UnixMicro(f.Varint()).UTC()
	copy(p.head.Root[:], f.Bytes(32))
	p.signature.hash = binary.BigEndian.Uint32(append(f.Bytes(4), 0, 0, 0, 0))
	copy(p.signature.sum[:], f.Bytes(signatureBytes))
	if f.Bad || len(f.Rest) > 0 || bank.ParseEntry(p.canonical, e) != nil {
		return nil, false
	}
	p.seq = e.Seq
	if entries == 0 || entries > MaxRange || place >= entries || place >= p.seq || p.seq > math.MaxUint64-entries {
		return nil, false
	}
	p.head.First = p.seq - place
	p.head.Seq = p.head.First + entries - 1
	return p, p.head.sound()
}
