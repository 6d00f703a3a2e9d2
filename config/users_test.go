package config_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"gateway/config"
)

// user is a settings file with one user on line 3.
func user(settings string) string { return "auth:\n  users:\n  - {" + settings + "}\n" }

func TestUserDefaults(t *testing.T) {
	c, err := parse(user("name: ana, password: '" + bcrypt + "', accounts: ['1']"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := config.User{
		Name: "ana", Password: bcrypt, Accounts: []string{"1"},
		Operations: []string{"balance", "deposit", "withdraw", "transfer", "status"},
		ClientIDs:  []string{"ana", "ana-*"},
	}
	if !reflect.DeepEqual(c.Auth.Users, []config.User{wanted}) {
		t.Errorf("%+v", c.Auth.Users)
	}
	c, err = parse(user("name: eve, certificate: 'urn:bank:eve', auditor: true"))
	if err != nil {
		t.Fatal(err)
	}
	wanted = config.User{
		Name: "eve", Certificate: "urn:bank:eve", Auditor: true,
		Operations: []string{"balance", "status"}, ClientIDs: []string{"eve", "eve-*"},
	}
	if !reflect.DeepEqual(c.Auth.Users, []config.User{wanted}) {
		t.Errorf("%+v", c.Auth.Users)
	}
}

func TestUserNames(t *testing.T) {
	const rest = ", certificate: c, accounts: ['*']"
	for _, name := range []string{"ana", "A.b_c:d-9", strings.Repeat("x", 64)} {
		want(t, user("name: '"+name+"'"+rest))
	}
	for _, name := range []string{"", "@cash", "ana maria", "aná", "a/b", "a*", strings.Repeat("x", 65)} {
		quoted := fmt.Sprintf("%q", name)
		if len(name) > 64 {
			quoted = `"` + name[:64] + `…"`
		}
		want(t, user("name: '"+name+"'"+rest), "F:3: auth.users[0].name: must be 1 to 64 of A-Z a-z 0-9 . _ : -, not "+quoted)
	}
	want(t, user("name: anonymous"+rest), `F:3: auth.users[0].name: "anonymous" is everyone without credentials; choose another name`)
	want(t, user(rest[2:]), "F:3: auth.users[0].name: is missing; every user has a name")
	want(t, user("name: ana, certificate: a, accounts: ['*']")+"  - name: bia\n    certificate: b\n    accounts: ['*']\n  - {accounts: ['*'], certificate: A,\n    name: ana}\n",
		`F:7: auth.users[2].certificate: is another user's already, on line 3`,
		`F:8: auth.users[2].name: is another user's already, on line 3`)
}

func TestCredentials(t *testing.T) {
	const base = "name: ana, accounts: ['1']"
	const hash = "must hold a hash as `gateway passwd` prints it (argon2id, or bcrypt), not the password itself"
	const cut = "must hold a hash as `gateway passwd` prints it; this one is cut or mistyped"
	const cost = "must hold a hash with m from 8p to 1048576, t from 1 to 100 and p from 1 to 255"
	for _, good := range []string{
		argon, bcrypt, strings.Replace(bcrypt, "$2b$12", "$2y$04", 1), strings.Replace(bcrypt, "$2b$12", "$2a$16", 1),
		strings.Replace(argon, "m=19456,t=2,p=1", "m=1048576,t=100,p=1", 1), strings.Replace(argon, "m=19456,t=2,p=1", "m=2040,t=1,p=255", 1),
		"${HASH}",
	} {
		want(t, user(base+", password: '"+good+"'"))
	}
	for bad, wanted := range map[string]string{
		"hunter2":                                hash,
		"":                                       hash,
		"${EMPTY}":                               hash,
		argon[:60]:                               hash,
		bcrypt[:59]:                              hash,
		argon + " ":                              hash,
		argon[:len(argon)-1] + "B":               "", // trailing bits, as some encoders leave them
		argon[:len(argon)-2]:                     cut,
		strings.Replace(argon, "c29t", "c29", 1): cut,
		"$argon2i" + argon[9:]:                   hash,
		"$1$abcdefgh$abcdefghijklmnop":           hash,
		strings.Replace(argon, "m=19456", "m=1048577", 1):           cost,
		strings.Replace(argon, "m=19456", "m=9999999999", 1):        cost,
		strings.Replace(argon, "m=19456,t=2,p=1", "m=7,t=2,p=1", 1): cost,
		strings.Replace(argon, "t=2", "t=0", 1):                     cost,
		strings.Replace(argon, "t=2", "t=101", 1):                   cost,
		strings.Replace(argon, "p=1", "p=0", 1):                     cost,
		strings.Replace(argon, "p=1", "p=256", 1):                   cost,
		strings.Replace(bcrypt, "$12", "$17", 1):                    "must hold a bcrypt hash with a cost from 4 to 16",
		strings.Replace(bcrypt, "$12", "$03", 1):                    "must hold a bcrypt hash with a cost from 4 to 16",
	} {
		if wanted == "" {
			want(t, user(base+", password: '"+bad+"'"))
		} else {
			want(t, user(base+", password: '"+bad+"'"), "F:3: auth.users[0].password: "+wanted)
		}
	}
	const none = "F:3: auth.users[0]: has no credential; give it a password (from `gateway passwd`), a password_file or a certificate, or make it a listener's principal"
	want(t, user(base), none)
	want(t, user(base+", auditor: true"), none)
	want(t, user(base+", password: '"+argon+"', password_file: x"), "F:3: auth.users[0].password_file: stands beside password; keep one of the two")
	want(t, user(base+", password: 12345"), "F:3: auth.users[0].password: must be a string, not a number; write it in quotes")
	want(t, user(base+", password: ["+argon+"]"), "F:3: auth.users[0].password: must be a string, not a list")
}

func TestCertificates(t *testing.T) {
	const base = "name: ana, accounts: ['1'], certificate: "
	for _, san := range []string{"atm.example", "ATM-7", "spiffe://bank/atm/7", "urn:uuid:1", "spiffe://bank", "file:/ana", "https://bank.example/ana", "_x.example"} {
		want(t, user(base+"'"+san+"'"))
	}
	longest := strings.Repeat("a.", 126) + "a" // 253 bytes
	want(t, user(base+"'"+longest+"'"))
	want(t, user(base+"'a:"+strings.Repeat("x", 2046)+"'"))
	for _, san := range []string{"a" + longest, "a:" + strings.Repeat("x", 2047)} {
		want(t, user(base+"'"+san+"'"), fmt.Sprintf("F:3: auth.users[0].certificate: must be a DNS name or URI of a client "+
			`certificate, such as "atm.example", not "%s…"`, san[:64]))
	}
	for _, san := range []string{"", "*.example", "a b", "-a", "a..b", "10.0.0.1", "//x", "/x", "spiffe:", strings.Repeat("a.", 30) + "é"} {
		want(t, user(base+"'"+san+"'"), fmt.Sprintf(
			`F:3: auth.users[0].certificate: must be a DNS name or URI of a client certificate, such as "atm.example", not %q`, san))
	}
}

func TestRights(t *testing.T) {
	const base = "name: ana, password: '" + argon + "'"
	want(t, user(base+", accounts: ['1', 'ana.x_y:z@w-0'], operations: [open, balance], client_ids: ['*', 'atm-*', 'atm-7']"))
	want(t, user(base+", accounts: [], operations: [], client_ids: []"),
		"F:3: auth.users[0].accounts: is an empty list; name what the user may, or remove the user",
		"F:3: auth.users[0].operations: is an empty list; name what the user may, or remove the user",
		"F:3: auth.users[0].client_ids: is an empty list; name what the user may, or remove the user")
	want(t, user(base), `F:3: auth.users[0].accounts: is missing; name the accounts that the user may act on, or ["*"] for all`)
	want(t, user(base+", accounts: ['1', '@cash', '', '1*', '-1'], operations: [balance, audit, ''], client_ids: ['a*b', '@', '']"),
		`F:3: auth.users[0].accounts[1]: must be an account, such as "1", or "*" for all, not "@cash"`,
		`F:3: auth.users[0].accounts[2]: must be an account, such as "1", or "*" for all, not ""`,
		`F:3: auth.users[0].accounts[3]: must be an account, such as "1", or "*" for all, not "1*"`,
		`F:3: auth.users[0].accounts[4]: must be an account, such as "1", or "*" for all, not "-1"`,
		`F:3: auth.users[0].operations[1]: must be one of balance, deposit, withdraw, transfer, status, open, not "audit"`,
		`F:3: auth.users[0].operations[2]: must be one of balance, deposit, withdraw, transfer, status, open, not ""`,
		`F:3: auth.users[0].client_ids[0]: must be a client id, such as "atm-1", or the beginning of some, such as "atm-*", not "a*b"`,
		`F:3: auth.users[0].client_ids[1]: must be a client id, such as "atm-1", or the beginning of some, such as "atm-*", not "@"`,
		`F:3: auth.users[0].client_ids[2]: must be a client id, such as "atm-1", or the beginning of some, such as "atm-*", not ""`)
	want(t, user(base+", accounts: [1]"), "F:3: auth.users[0].accounts[0]: must be a string, not a number; write it in quotes")
	want(t, user(base+", accounts: '*'"), "F:3: auth.users[0].accounts: must be a list, not a string")
	want(t, user(base+", auditor: true, operations: [balance, status]"))
	want(t, user(base+", auditor: true, operations: [balance, deposit]"),
		`F:3: auth.users[0].operations[1]: an auditor moves nothing; remove "deposit", or auditor: true`)
}

func TestOthersMayReadSecret(t *testing.T) {
	t.Chdir(t.TempDir())
	const rest = "accounts: ['1']"
	with := func(settings string) string { return user("name: ana, " + rest + ", " + settings) }
	for _, c := range []struct {
		mode       os.FileMode
		text, want string
	}{
		{0o600, with("password: '" + argon + "'"), ""},
		{0o400, with("password: '" + argon + "'"), ""},
		{0o644, with("password: '${HASH}'"), ""},
		{0o644, with("certificate: a"), ""},
		{0o644, with("password: '" + argon + "'"), "f.yaml:3: auth.users[0].password: others may read this secret: the file has mode 0644; chmod 600 it, or use password_file"},
		{0o640, with("password: '" + argon + "'"), "f.yaml:3: auth.users[0].password: others may read this secret: the file has mode 0640; chmod 600 it, or use password_file"},
		{0o604, with("password: '${ABSENT:-"+argon+"}'") + "  - {name: bia, " + rest + ", password: '" + argon + "'}\n", "f.yaml:3: auth.users[0].password: others may read this secret: the file has mode 0604; chmod 600 it, or use password_file"},
	} {
		writeFile(t, "f.yaml", c.text, c.mode)
		_, err := config.Load("f.yaml", environment)
		if c.want == "" {
			wantError(t, err)
		} else {
			wantError(t, err, c.want)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	t.Chdir(t.TempDir())
	text := user("name: ana, accounts: ['1'], password_file: p")
	for _, c := range []struct {
		mode          os.FileMode
		content, want string
	}{
		{0o600, argon, ""},
		{0o400, argon + "\n", ""},
		{0o600, bcrypt + "\r\n", ""},
		{0o600, argon + strings.Repeat("\n", 4096-len(argon)), ""},
		{0o640, argon, "others may read this secret: the file has mode 0640; chmod 600 it"},
		{0o604, argon, "others may read this secret: the file has mode 0604; chmod 600 it"},
		{0o600, "", "the file must hold a hash as `gateway passwd` prints it (argon2id, or bcrypt), not the password itself"},
		{0o600, "hunter2\n", "the file must hold a hash as `gateway passwd` prints it (argon2id, or bcrypt), not the password itself"},
		{0o600, strings.Repeat("x", 4097), `cannot read "p": is larger than 4KiB`},
	} {
		writeFile(t, "p", c.content, c.mode)
		if c.want != "" {
			want(t, text, "F:3: auth.users[0].password_file: "+c.want)
			continue
		}
		got, err := parse(text)
		if wanted := strings.TrimSpace(c.content); err != nil || string(got.Auth.Users[0].Password) != wanted {
			t.Errorf("%q: %v", wanted, err)
		}
	}
	for file, wanted := range map[string]string{
		"absent":  `cannot read "absent": no such file or directory`,
		".":       `cannot read ".": is not a regular file`,
		"":        "is missing; write the path of a file",
		"${HOST}": `cannot read "${HOST}": no such file or directory`,
	} {
		want(t, user("name: ana, accounts: ['1'], password_file: '"+file+"'"), "F:3: auth.users[0].password_file: "+wanted)
	}
}

// TestACredentialOfSystemds: there, and nowhere else, a group's right to read is an ACL of the service's user.
func TestACredentialOfSystemds(t *testing.T) {
	directory := t.TempDir()
	for _, c := range []struct {
		directory, file string
		mode            os.FileMode
		want            string
	}{
		{directory, "ana.hash", 0o440, ""},
		{directory + "/", "ana.hash", 0o640, ""},
		{directory, "ana.hash", 0o460, "mode 0460"},
		{directory, "ana.hash", 0o444, "mode 0444"},
		{directory, "ana.hash", 0o442, "mode 0442"},
		{directory, "below/ana.hash", 0o440, "mode 0440"},
		{directory + "/below", "below/../ana.hash", 0o440, "mode 0440"},
		{"", "ana.hash", 0o440, "mode 0440"},
		{".", "ana.hash", 0o440, "mode 0440"},
	} {
		if err := os.MkdirAll(directory+"/below", 0o700); err != nil {
			t.Fatal(err)
		}
		file := directory + "/" + c.file
		writeFile(t, file, argon, c.mode)
		_, err := config.Parse("F", []byte(user("name: ana, accounts: ['1'], password_file: '"+file+"'")), func(name string) (string, bool) {
			return c.directory, name == "CREDENTIALS_DIRECTORY"
		})
		if c.want == "" {
			wantError(t, err)
		} else {
			wantError(t, err, "F:3: auth.users[0].password_file: others may read this secret: the file has "+c.want+"; chmod 600 it")
		}
	}
	t.Chdir(directory)
	writeFile(t, "ana.hash", argon, 0o440)
	_, err := config.Parse("F", []byte(user("name: ana, accounts: ['1'], password_file: ana.hash")), func(name string) (string, bool) {
		return ".", name == "CREDENTIALS_DIRECTORY"
	})
	wantError(t, err, "F:3: auth.users[0].password_file: others may read this secret: the file has mode 0440; chmod 600 it")
}
