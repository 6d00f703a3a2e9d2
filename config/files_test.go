package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"syscall"
	"testing"
	"time"

	"gateway/config"
)

func writeFile(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// writePair writes a certificate that signs itself, and its key.
func writePair(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o644)
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
}

func TestTLS(t *testing.T) {
	t.Chdir(t.TempDir())
	writePair(t, "a.pem", "a.key")
	writePair(t, "b.pem", "b.key")
	writePair(t, "group.pem", "group.key")
	writePair(t, "open.pem", "open.key")
	writeFile(t, "junk", "junk", 0o600)
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"group.key": 0o640, "open.key": 0o644} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for tls, wanted := range map[string]string{
		"cert: a.pem, key: a.key":                         "",
		"cert: a.pem, key: a.key, client_ca: b.pem":       "",
		"cert: group.pem, key: group.key":                 "",
		"cert: open.pem, key: open.key":                   ".key: others may read this secret: the file has mode 0644; chmod 600 it",
		"cert: a.pem, key: b.key":                         ".cert: does not go with the key: tls: private key does not match public key",
		"cert: junk, key: a.key":                          ".cert: does not go with the key: tls: failed to find any PEM data in certificate input",
		"cert: absent, key: a.key":                        `.cert: cannot read "absent": no such file or directory`,
		"cert: a.pem, key: pipe":                          `.key: cannot read "pipe": is not a regular file`,
		"cert: a.pem, key: /dev/zero":                     `.key: cannot read "/dev/zero": is not a regular file`,
		"cert: a.pem":                                     ".key: is missing; write the path of a file",
		"key: a.key":                                      ".cert: is missing; write the path of a file",
		"cert: a.pem, key: a.key, client_ca: junk":        ".client_ca: holds no certificate in PEM",
		"cert: a.pem, key: a.key, client_ca: ''":          ".client_ca: is missing; write the path of a file",
		"cert: a.pem, key: a.key, client_ca: '${EMPTY}x'": `.client_ca: cannot read "${EMPTY}x": no such file or directory`,
	} {
		for section, codec := range map[string]string{"socket": "codec: json, ", "mqtt": ""} {
			text := section + ": {listeners: [{address: '127.0.0.1:1', " + codec + "tls: {" + tls + "}}]}"
			if wanted == "" {
				want(t, text)
			} else {
				want(t, text, "F:1: "+section+".listeners[0].tls"+wanted)
			}
		}
	}
}

// The key that heads are signed with is a secret, and must be there when it is named.
func TestHeadKeyFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, mode := range map[string]os.FileMode{"good": 0o600, "group": 0o640, "open": 0o644} {
		writeFile(t, name, "PRIVATE+KEY+n+00000000+AAAA\n", mode)
	}
	writeFile(t, "public", "n+00000000+AAAA\n", 0o600)
	const setting = "F:1: ledger.heads.key_file: "
	for file, wanted := range map[string]string{
		"":       "",
		"good":   "",
		"group":  setting + "others may read this secret: the file has mode 0640; chmod 600 it",
		"open":   setting + "others may read this secret: the file has mode 0644; chmod 600 it",
		"public": setting + "the file holds no key; take the head.key that the gateway makes in ledger.path when there is none",
		"absent": setting + `cannot read "absent": no such file or directory`,
	} {
		text := "ledger: {heads: {key_file: '" + file + "'}}"
		if wanted == "" {
			want(t, text)
		} else {
			want(t, text, wanted)
		}
	}
}

// What heads are signed with, when and where to.
func TestHeadSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	want(t, "ledger: {heads: {every: 1ns, every_entries: 0, copy: \"a\\0b\", enabled: 1}}",
		"F:1: ledger.heads.enabled: must be true or false, not a number",
		"F:1: ledger.heads.every: must be from 1ms to 24h0m0s, not 1ns",
		"F:1: ledger.heads.every_entries: must be from 1 to 65536, not 0",
		"F:1: ledger.heads.copy: must be the path of a file")
	want(t, "ledger: {heads: {every: 25h, every_entries: 65537}}",
		"F:1: ledger.heads.every: must be from 1ms to 24h0m0s, not 25h0m0s",
		"F:1: ledger.heads.every_entries: must be from 1 to 65536, not 65537")
	const same = "F:1: ledger.heads.copy: is the file heads in ledger.path, of which it should be a copy elsewhere"
	if err := os.Mkdir("there", 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "there/heads", "", 0o600)
	if err := os.Link("there/heads", "linked"); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{path: data, heads: {copy: x/../data/heads}}", "{path: there, heads: {copy: linked}}"} {
		want(t, "ledger: "+text, same)
	}
	want(t, "ledger: {path: there, heads: {copy: elsewhere}}")
}

func TestLoadFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := config.Load("absent.yaml", environment); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := config.Load(".", environment); err == nil {
		t.Error("a directory was read")
	}
	writeFile(t, "config.yaml", "bank: {decimals: 0}\nledger: {path: '${HOST}'}\n", 0o644)
	c, err := config.Load("config.yaml", environment)
	if err != nil || c.Bank.Decimals != 0 || c.Ledger.Path != "127.0.0.1" {
		t.Errorf("%+v %v", c, err)
	}
	// A pipe's mode says nothing: who made it chose who reads it.
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("pipe", 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		written <- os.WriteFile("pipe", []byte(user("name: ana, accounts: ['1'], password: '"+argon+"'")), 0)
	}()
	if _, err := config.Load("pipe", environment); err != nil {
		t.Error(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	writeFile(t, "config.yaml", "bank: {decimals: x}\n", 0o644)
	_, err = config.Load("config.yaml", environment)
	wantError(t, err, "config.yaml:1: bank.decimals: must be a whole number, not a string")
}
