package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// operations are those a user may be given; all but open, which must be named, are the default.
var operations = [...]string{"balance", "deposit", "withdraw", "transfer", "status", "open"}

var (
	userPattern      = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
	clientIDPattern  = regexp.MustCompile(`^([A-Za-z0-9._:-]{1,64}\*?|\*)$`)
	accountPattern   = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._:@-]{0,63}|\*)$`)
	operationPattern = regexp.MustCompile("^(" + strings.Join(operations[:], "|") + ")$")
	dnsPattern       = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// checkUsers checks each user, fills in what it leaves out, and tells names and certificates that are given twice.
func (r *reader) checkUsers(c *Config) {
	names, certificates := map[string]int{}, map[string]int{} // → line
	principals := map[string]bool{}
	for _, l := range c.Socket.Listeners {
		principals[l.Principal] = true
	}
	for i := range c.Auth.Users {
		u, path := &c.Auth.Users[i], fmt.Sprintf("auth.users[%d]", i)
		if !r.sound(path) {
			continue
		}
		r.checkName(path+".name", u.Name)
		r.once(names, path+".name", u.Name)
		r.checkCredentials(path, u, principals[u.Name])
		r.once(certificates, path+".certificate", strings.ToLower(u.Certificate))
		r.checkRights(path, u)
	}
}

func (r *reader) checkName(path, name string) {
	switch {
	case !r.given(path):
		r.problem(path, "is missing; every user has a name")
	case name == AnonymousName:
		r.problem(path, "%q is everyone without credentials; choose another name", name)
	case !userPattern.MatchString(name):
		r.problem(path, "must be 1 to 64 of A-Z a-z 0-9 . _ : -, not %s", r.quote(path, name))
	}
}

// once tells a key that an earlier user has, such as a name.
func (r *reader) once(seen map[string]int, path, key string) {
	if key == "" || !r.sound(path) {
		return
	}
	if line, again := seen[key]; again {
		r.problem(path, "is another user's already, on line %d", line)
		return
	}
	seen[key] = r.line(path)
}

// checkCredentials requires one, but not of a user whom a listener takes its clients for: the listener's address and
// allow_from are its credential, and it cannot log in anywhere else.
func (r *reader) checkCredentials(path string, u *User, principal bool) {
	password, file, certificate := path+".password", path+".password_file", path+".certificate"
	switch {
	case r.given(password) && r.given(file):
		r.problem(file, "stands beside password; keep one of the two")
	case r.given(password):
		r.checkPassword(password, u.Password)
	case r.given(file):
		u.Password = r.passwordIn(file, u.PasswordFile)
	case !r.given(certificate) && !principal:
		r.problem(path, "has no credential; give it a password (from `gateway passwd`), a password_file or a certificate, or make it a listener's principal")
	}
	if r.given(certificate) && !validSAN(u.Certificate) {
		r.problem(certificate, `must be a DNS name or URI of a client certificate, such as "atm.example", not %s`,
			r.quote(certificate, u.Certificate))
	}
}

// checkPassword checks the hash, and that the settings file does not show it to others.
func (r *reader) checkPassword(path string, hash Secret) {
	if !r.sound(path) {
		return
	}
	if err := checkHash(string(hash)); err != nil {
		r.problem(path, "%v", err)
		return
	}
	if r.exposed != "" && !onlyVariable.MatchString(r.written[path]) {
		r.problem(path, "others may read this secret: the file has %s; chmod 600 it, or use password_file", r.exposed)
		r.exposed = "" // once is enough
	}
}

// onlyVariable matches a setting that holds nothing but the name of an environment variable.
var onlyVariable = regexp.MustCompile(`^\$\{[A-Za-z0-9_]+\}$`)

// validSAN reports whether a client certificate can carry this as a DNS name or URI.
func validSAN(san string) bool {
	const longestDNS, longestURI = 253, 2048 // bytes
	if dnsPattern.MatchString(san) {
		_, err := netip.ParseAddr(san)
		return err != nil && len(san) <= longestDNS
	}
	u, err := url.Parse(san)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "" || u.Path != "") && len(san) <= longestURI
}

// checkRights fills in the lists that were left out. A list that is there and empty is a mistake: it may have been
// meant as none or as all.
func (r *reader) checkRights(path string, u *User) {
	accounts, ops, ids := path+".accounts", path+".operations", path+".client_ids"
	switch {
	case r.given(accounts):
		r.checkList(accounts, u.Accounts, accountPattern, `an account, such as "1", or "*" for all`)
	case !u.Auditor:
		r.problem(accounts, `is missing; name the accounts that the user may act on, or ["*"] for all`)
	}
	switch {
	case r.given(ops):
		r.checkOperations(ops, u)
	case u.Auditor:
		u.Operations = []string{"balance", "status"}
	default:
		u.Operations = slices.Clone(operations[:len(operations)-1])
	}
	if r.given(ids) {
		r.checkList(ids, u.ClientIDs, clientIDPattern, `a client id, such as "atm-1", or the beginning of some, such as "atm-*"`)
	} else {
		u.ClientIDs = []string{u.Name, u.Name + "-*"}
	}
}

func (r *reader) checkList(path string, items []string, pattern *regexp.Regexp, wanted string) {
	if len(items) == 0 {
		r.problem(path, "is an empty list; name what the user may, or remove the user")
	}
	for i, item := range items {
		if at := fmt.Sprintf("%s[%d]", path, i); !pattern.MatchString(item) {
			r.problem(at, "must be %s, not %s", wanted, r.quote(at, item))
		}
	}
}

func (r *reader) checkOperations(path string, u *User) {
	r.checkList(path, u.Operations, operationPattern, "one of "+strings.Join(operations[:], ", "))
	for i, op := range u.Operations {
		if u.Auditor && op != "balance" && op != "status" {
			r.problem(fmt.Sprintf("%s[%d]", path, i), "an auditor moves nothing; remove %s, or auditor: true", r.quote("", op))
		}
	}
}
