package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
)

// TestHashPassword reads the printed hash as a verifier does, with the costs that it names.
func TestHashPassword(t *testing.T) {
	const password = "correct horse battery staple"
	parts := strings.Split(hashPassword([]byte(password)), "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		t.Fatalf("not a PHC string: %q", parts)
	}
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		t.Fatal(err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) != argonSaltBytes {
		t.Fatalf("salt of %d bytes, %v", len(salt), err)
	}
	key, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) != argonKeyBytes {
		t.Fatalf("key of %d bytes, %v", len(key), err)
	}
	if !bytes.Equal(key, argon2.IDKey([]byte(password), salt, passes, memory, threads, argonKeyBytes)) {
		t.Error("the key is not that of the password")
	}
}

func TestReadPasswordLine(t *testing.T) {
	longest := strings.Repeat("x", maxPasswordBytes)
	for _, test := range []struct{ name, in, want, fault string }{
		{"a line", "secret\n", "secret", ""},
		{"no end", "secret", "secret", ""},
		{"windows", "secret\r\n", "secret", ""},
		{"blanks belong to it", "  s \n", "  s ", ""},
		{"longest", longest + "\r\n", longest, ""},
		{"too long", longest + "x\n", "", "longer than"},
		{"far too long", strings.Repeat("x", 1<<20), "", "longer than"},
		{"empty", "\n", "", "empty"},
		{"nothing", "", "", "empty"},
		{"two lines", "a\nb\n", "", "more than one line"},
		{"an empty second", "a\n\n", "", "more than one line"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readPasswordLine(strings.NewReader(test.in))
			switch {
			case test.fault == "" && (err != nil || string(got) != test.want):
				t.Errorf("%q, %v", got, err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("error %v, want %q in it", err, test.fault)
			}
		})
	}
}
