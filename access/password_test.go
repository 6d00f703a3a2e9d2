package access_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"gateway/access"
)

// TestHash reads the printed hash as a verifier does, with the costs that it names.
func TestHash(t *testing.T) {
	const password = "correct horse battery staple"
	parts := strings.Split(access.Hash([]byte(password)), "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		t.Fatalf("not a PHC string: %q", parts)
	}
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		t.Fatal(err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) != 16 {
		t.Fatalf("salt of %d bytes, %v", len(salt), err)
	}
	key, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) != 32 {
		t.Fatalf("key of %d bytes, %v", len(key), err)
	}
	if !bytes.Equal(key, argon2.IDKey([]byte(password), salt, passes, memory, threads, 32)) {
		t.Error("the key is not that of the password")
	}
}
