package evidence

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	// MaxRange is the most entries of the range of a head.
	MaxRange = 1 << 16
	// MaxHead is the most bytes of a signed head.
	MaxHead = 512

	headTitle = "gateway head 1\n"
	headTime  = "2006-01-02T15:04:05.000000Z"

	signatureBytes = 64
)

// ErrHead says that bytes are not a head that the key has signed.
var ErrHead = errors.New("evidence: not a signed head")

// Head says what a journal was at a time.
type Head struct {
	Journal [16]byte // its id
	Seq     uint64   // of the last entry
	Hash    [32]byte // of that entry
	Time    time.Time
	First   uint64   // the range of the head begins with this entry and ends with the last
	Root    [32]byte // of the tree over the hashes of the entries in the range
}

// Text returns what is signed.
func (h *Head) Text() string {
	return fmt.Sprintf(headTitle+"journal %x\nseq %d\nhash %x\ntime %s\nrange %d %x\n",
		h.Journal, h.Seq, h.Hash, h.Time.UTC().Format(headTime), h.First, h.Root)
}

// entries is how many the range has.
func (h *Head) entries() uint64 { return h.Seq - h.First + 1 }

// sound reports whether a head can be: a range of one entry or more, of no more than there may be, and a time that has a form.
func (h *Head) sound() bool {
	year := h.Time.UTC().Year()
	return h.First > 0 && h.First <= h.Seq && h.Seq-h.First < MaxRange && 0 < year && year <= 9999
}

// parseHead reads a text that [Head.Text] returned, and no other.
func parseHead(text string) (Head, bool) {
	var h Head
	rest, ok := strings.CutPrefix(text, headTitle)
	fields := strings.Fields(rest)
	if !ok || len(fields) != 11 {
		return h, false
	}
	var errs [6]error
	_, errs[0] = hex.Decode(h.Journal[:], exactly(fields[1], len(h.Journal)))
	h.Seq, errs[1] = strconv.ParseUint(fields[3], 10, 64)
	_, errs[2] = hex.Decode(h.Hash[:], exactly(fields[5], len(h.Hash)))
	h.Time, errs[3] = time.Parse(headTime, fields[7])
	h.First, errs[4] = strconv.ParseUint(fields[9], 10, 64)
	_, errs[5] = hex.Decode(h.Root[:], exactly(fields[10], len(h.Root)))
	return h, errors.Join(errs[:]...) == nil && h.sound() && h.Text() == text
}

// exactly returns the hex digits of so many bytes, or what is none.
func exactly(digits string, bytes int) []byte {
	if len(digits) != hex.EncodedLen(bytes) {
		return []byte("-")
	}
	return []byte(digits)
}

// sign returns the head as a signed note.
func (k *Key) sign(h *Head) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: h.Text()}, k.signer)
	if err == nil && len(signed) > MaxHead {
		err = fmt.Errorf("%d bytes, %d are the most", len(signed), MaxHead)
	}
	if err != nil {
		return nil, fmt.Errorf("sign head %d: %w", h.Seq, err)
	}
	return signed, nil
}

// signature is one line of a note: who has signed, and the bytes.
type signature struct {
	name string
	hash uint32 // of the key
	sum  [signatureBytes]byte
}

// note returns the note that the signature makes of a text.
func (s *signature) note(text string) string {
	b := append(binary.BigEndian.AppendUint32(nil, s.hash), s.sum[:]...)
	return text + "\n— " + s.name + " " + base64.StdEncoding.EncodeToString(b) + "\n"
}

// splitHead reads the form of a signed head and checks no signature. It takes exactly the bytes that [Key.sign] makes.
func splitHead(signed string) (h Head, s signature, ok bool) {
	if len(signed) > MaxHead {
		return h, s, false
	}
	text, line, cut := strings.Cut(signed, "\n\n— ")
	text += "\n"
	name, encoded, two := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	b, err := base64.StdEncoding.DecodeString(encoded)
	if !cut || !two || err != nil || len(b) != 4+signatureBytes {
		return h, s, false
	}
	s = signature{name: name, hash: binary.BigEndian.Uint32(b)}
	copy(s.sum[:], b[4:])
	h, ok = parseHead(text)
	return h, s, ok && s.note(text) == signed
}

// check reports whether s is k's signature of the head.
func (k *PublicKey) check(h *Head, s *signature) error {
	if s.name != k.verifier.Name() || s.hash != k.verifier.KeyHash() {
		return fmt.Errorf("%w: head %d is signed with that of %s+%08x", ErrKey, h.Seq, s.name, s.hash)
	}
	if !k.verifier.Verify([]byte(h.Text()), s.sum[:]) {
		return fmt.Errorf("%w: the signature of head %d is not the key's", ErrHead, h.Seq)
	}
	return nil
}

// OpenHead reads a signed head. Errors wrap [ErrHead], or [ErrKey] when another key has signed it.
func OpenHead(signed []byte, k *PublicKey) (Head, error) {
	h, s, ok := splitHead(string(signed))
	if !ok {
		return Head{}, ErrHead
	}
	if err := k.check(&h, &s); err != nil {
		return Head{}, err
	}
	return h, nil
}
