package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The cost of a hash that [Hash] makes: the least that OWASP's password storage cheat sheet asks of Argon2id.
const (
	argonMemory    = 19456 // KiB
	argonPasses    = 2
	argonThreads   = 1
	argonSaltBytes = 16
	argonKeyBytes  = 32
)

// MaxPasswordBytes bounds a password. Longer ones are wrong.
const MaxPasswordBytes = 1024

// Hash returns the Argon2id hash (RFC 9106) of a password under a new salt, in the PHC string format.
func Hash(password []byte) string {
	salt := make([]byte, argonSaltBytes)
	rand.Read(salt) // never fails: it ends the process instead
	key := argon2.IDKey(password, salt, argonPasses, argonMemory, argonThreads, argonKeyBytes)
	encoding := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argonMemory, argonPasses, argonThreads, encoding.EncodeToString(salt), encoding.EncodeToString(key))
}

// secret is a hash that was read. One of its two forms is there.
type secret struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte

	bcrypt []byte
}

var errHash = errors.New("access: a hash that is neither Argon2id nor bcrypt")

// parseSecret reads a hash. Its error does not contain it.
func parseSecret(hash string) (*secret, error) {
	if !strings.HasPrefix(hash, "$argon2id$") {
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, errHash
		}
		return &secret{bcrypt: []byte(hash)}, nil
	}
	parts := strings.Split(hash, "$") // "", argon2id, v, costs, salt, key
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errHash
	}
	s := new(secret)
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &s.memory, &s.passes, &s.threads); n != 3 || err != nil {
		return nil, errHash
	}
	var err, keyErr error
	s.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	s.key, keyErr = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || keyErr != nil || s.passes == 0 || s.threads == 0 || len(s.key) == 0 {
		return nil, errHash
	}
	return s, nil
}

// matches reports whether password is the one. It takes as long whether it is or not.
func (s *secret) matches(password []byte) bool {
	if s.bcrypt != nil {
		const longest = 72 // bytes; bcrypt does not look at more, and the library refuses them
		return bcrypt.CompareHashAndPassword(s.bcrypt, password[:min(len(password), longest)]) == nil
	}
	key := argon2.IDKey(password, s.salt, s.passes, s.memory, s.threads, uint32(len(s.key)))
	return subtle.ConstantTimeCompare(key, s.key) == 1
}

// dummy returns a secret that nobody knows, as dear to check as s is.
func (s *secret) dummy() *secret {
	d := *s
	if s.bcrypt != nil {
		cost, _ := bcrypt.Cost(s.bcrypt) // it was looked at when the secret was read
		d.bcrypt, _ = bcrypt.GenerateFromPassword(unguessable(), cost)
		return &d
	}
	d.salt, d.key = unguessable()[:argonSaltBytes], unguessable()
	return &d
}

func unguessable() []byte {
	b := make([]byte, argonKeyBytes)
	rand.Read(b) // never fails: it ends the process instead
	return b
}
