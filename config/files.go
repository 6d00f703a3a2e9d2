package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Bounds of what the settings point to.
const (
	maxPEMBytes      = 1 << 20 // of a certificate, key or CA file
	maxPasswordBytes = 4 << 10 // of a password file
	maxKeyBytes      = 4 << 10 // of the file of a key that heads are signed with
	maxArgonMemory   = 1 << 20 // in KiB: a login may take 1 GiB at most
	maxArgonTime     = 100     // passes
	maxArgonThreads  = 255
	maxBcryptCost    = 16 // some seconds a login
)

// exposed returns "mode 0644" if group or others may read or write a file, else "". Only a regular file has such a
// mode: a pipe, say, is whoever's who made it.
func exposed(info fs.FileInfo) string {
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o066 != 0 {
		return fmt.Sprintf("mode %04o", mode.Perm())
	}
	return ""
}

// content reads a file that a setting names; a file that cannot be read is the setting's problem.
func (r *reader) content(path, file string, limitBytes int64) (data []byte, info fs.FileInfo, ok bool) {
	if !r.sound(path) {
		return nil, nil, false
	}
	if file == "" {
		r.problem(path, "is missing; write the path of a file")
		return nil, nil, false
	}
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err == nil && info.Size() > limitBytes {
		err = fmt.Errorf("is larger than %v", Size(limitBytes))
	}
	if err == nil {
		data, err = readAtMost(file, limitBytes)
	}
	if err != nil {
		if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
			err = inner.Err // without the path, which may come from the environment
		}
		r.problem(path, "cannot read %s: %v", r.quote(path, file), err)
		return nil, nil, false
	}
	return data, info, true
}

func readAtMost(file string, limitBytes int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written: an error loses nothing
	return io.ReadAll(io.LimitReader(f, limitBytes))
}

// checkTLS reads the files of a listener's tls as the start would.
func (r *reader) checkTLS(path string, t *TLS) {
	if t == nil || !r.sound(path) {
		return
	}
	cert, _, haveCert := r.content(path+".cert", t.Cert, maxPEMBytes)
	key, info, haveKey := r.content(path+".key", t.Key, maxPEMBytes)
	if haveKey && info.Mode().Perm()&0o006 != 0 { // a group such as ssl-cert may read it
		r.problem(path+".key", "others may read this secret: the file has mode %04o; chmod 600 it", info.Mode().Perm())
	}
	if haveCert && haveKey {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			r.problem(path+".cert", "does not go with the key: %v", err)
		}
	}
	if r.given(path + ".client_ca") {
		ca, _, ok := r.content(path+".client_ca", t.ClientCA, maxPEMBytes)
		if ok && !x509.NewCertPool().AppendCertsFromPEM(ca) {
			r.problem(path+".client_ca", "holds no certificate in PEM")
		}
	}
}

// checkHeadKey looks whether a file may hold the key that heads are signed with.
func (r *reader) checkHeadKey(path, file string) {
	data, info, ok := r.content(path, file, maxKeyBytes)
	if !ok {
		return
	}
	if mode := exposed(info); mode != "" && !r.credential(file, info) {
		r.problem(path, "others may read this secret: the file has %s; chmod 600 it", mode)
	}
	if !strings.HasPrefix(string(data), "PRIVATE+KEY+") {
		r.problem(path, "the file holds no key; take the head.key that the gateway makes in ledger.path when there is none")
	}
}

// sameFile reports whether two paths lead to the same file, there or not.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err == nil {
		if second, err := os.Stat(b); err == nil {
			return os.SameFile(first, second)
		}
	}
	a, err = filepath.Abs(a)
	b, worse := filepath.Abs(b)
	return err == nil && worse == nil && a == b
}

// passwordIn returns the hash that a password file holds.
func (r *reader) passwordIn(path, file string) Secret {
	data, info, ok := r.content(path, file, maxPasswordBytes)
	if !ok {
		return ""
	}
	if mode := exposed(info); mode != "" && !r.credential(file, info) {
		r.problem(path, "others may read this secret: the file has %s; chmod 600 it", mode)
		return ""
	}
	hash := strings.TrimRight(string(data), "\r\n")
	if err := checkHash(hash); err != nil {
		r.problem(path, "the file %v", err)
		return ""
	}
	return Secret(hash)
}

// credential reports whether systemd shows a file to the service alone: one directly in $CREDENTIALS_DIRECTORY, where an ACL
// lets the service's user read, which looks like the group's right to read and is nothing more.
func (r *reader) credential(file string, info fs.FileInfo) bool {
	directory, ok := r.getenv("CREDENTIALS_DIRECTORY")
	return ok && filepath.IsAbs(directory) && filepath.Dir(file) == filepath.Clean(directory) && info.Mode().Perm()&0o026 == 0
}

var (
	argonPattern  = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,10})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$`)
	bcryptPattern = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
)

// checkHash accepts argon2id (RFC 9106, in the PHC string form) and bcrypt, at a cost that a login can pay. Its error
// never contains the hash.
func checkHash(hash string) error {
	if m := argonPattern.FindStringSubmatch(hash); m != nil {
		memory, _ := strconv.ParseUint(m[1], 10, 64) // ten digits always fit
		passes, _ := strconv.ParseUint(m[2], 10, 64)
		threads, _ := strconv.ParseUint(m[3], 10, 64)
		_, saltErr := base64.RawStdEncoding.DecodeString(m[4])
		_, sumErr := base64.RawStdEncoding.DecodeString(m[5])
		switch {
		case saltErr != nil, sumErr != nil:
			return errors.New("must hold a hash as `gateway passwd` prints it; this one is cut or mistyped")
		case passes < 1, passes > maxArgonTime, threads < 1, threads > maxArgonThreads,
			memory < 8*threads, memory > maxArgonMemory:
			return fmt.Errorf("must hold a hash with m from 8p to %d, t from 1 to %d and p from 1 to %d",
				maxArgonMemory, maxArgonTime, maxArgonThreads)
		}
		return nil
	}
	if m := bcryptPattern.FindStringSubmatch(hash); m != nil {
		if cost, _ := strconv.Atoi(m[1]); cost < 4 || cost > maxBcryptCost {
			return fmt.Errorf("must hold a bcrypt hash with a cost from 4 to %d", maxBcryptCost)
		}
		return nil
	}
	return errors.New("must hold a hash as `gateway passwd` prints it (argon2id, or bcrypt), not the password itself")
}
