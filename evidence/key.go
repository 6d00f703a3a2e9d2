package evidence

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxKeyName bounds the name of a key, in bytes: it is in every head.
const maxKeyName = 64

// ErrKey says that a text is no key, or that something was signed with another.
var ErrKey = errors.New("evidence: not the key")

// Key is the secret with which heads are signed.
type Key struct {
	signer note.Signer
	public *PublicKey
}

// PublicKey is what a head or a receipt is checked with.
type PublicKey struct {
	verifier note.Verifier
	text     string
}

// NewKey returns the text of a new key of that name, which has neither spaces nor plus signs. It is a secret.
func NewKey(name string) (string, error) {
	secret, _, err := note.GenerateKey(rand.Reader, name)
	if err == nil {
		_, err = ParseKey(secret)
	}
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return secret, nil
}

// ParseKey reads a text that [NewKey] returned. Its errors wrap [ErrKey] and tell nothing of the text.
func ParseKey(secret string) (*Key, error) {
	secret = strings.TrimSpace(secret)
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: not the text of a secret key", ErrKey)
	}
	parts := strings.SplitN(secret, "+", 5) // PRIVATE, KEY, the name, its hash, and the algorithm's byte before the seed
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, fmt.Errorf("%w: not an Ed25519 key", ErrKey)
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	text, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := ParsePublicKey(text)
	if err != nil {
		return nil, err
	}
	return &Key{signer, key}, nil
}

// Public returns the key with which is checked what k signs.
func (k *Key) Public() *PublicKey { return k.public }

// ParsePublicKey reads the text of a public key: a name, a hash and the key, with plus signs between them. Its errors wrap
// [ErrKey].
func ParsePublicKey(text string) (*PublicKey, error) {
	text = strings.TrimSpace(text)
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%w: not the text of a public key", ErrKey)
	}
	if len(verifier.Name()) > maxKeyName {
		return nil, fmt.Errorf("%w: its name has more than %d bytes", ErrKey, maxKeyName)
	}
	return &PublicKey{verifier, text}, nil
}

// String returns the text that [ParsePublicKey] reads.
func (k *PublicKey) String() string { return k.text }
