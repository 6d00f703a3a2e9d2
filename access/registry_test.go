package access_test

import (
	"crypto/x509"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gateway/access"
	"gateway/bank"
)

// Kinds in short, for tables.
const (
	balance  = bank.KindBalance
	deposit  = bank.KindDeposit
	withdraw = bank.KindWithdraw
	transfer = bank.KindTransfer
	open     = bank.KindOpen
	status   = bank.KindStatus
)

// witness notes what a registry tells.
type witness struct {
	mu      sync.Mutex
	logins  map[access.Outcome]int
	refused map[bank.Code]int
}

func (w *witness) Login(_ netip.Addr, _ string, outcome access.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logins == nil {
		w.logins = map[access.Outcome]int{}
	}
	w.logins[outcome]++
}

func (w *witness) Refused(_ bank.Operation, code bank.Code) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused == nil {
		w.refused = map[bank.Code]int{}
	}
	w.refused[code]++
}

func (w *witness) count(outcome access.Outcome) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logins[outcome]
}

func registry(t testing.TB, o access.Options, users ...access.User) *access.Registry {
	t.Helper()
	r, err := access.New(users, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAPrincipalMayWhatItsAccountsAndOperationsSay(t *testing.T) {
	r := registry(t, access.Options{Anonymous: true},
		access.User{Name: "ana", Accounts: []string{"1", "2"}, Operations: []bank.Kind{balance, withdraw, transfer, status}},
		access.User{Name: "till", Accounts: []string{access.All}, Operations: []bank.Kind{deposit}},
		access.User{Name: "eyes", Auditor: true, Operations: []bank.Kind{balance, deposit, status}},
	)
	for _, c := range []struct {
		principal string
		kind      bank.Kind
		account   bank.Account
		want      bank.Code
	}{
		{"ana", balance, "1", bank.OK}, {"ana", balance, "2", bank.OK}, {"ana", balance, "3", bank.Forbidden},
		{"ana", withdraw, "1", bank.OK}, {"ana", withdraw, "10", bank.Forbidden}, {"ana", transfer, "2", bank.OK},
		{"ana", transfer, "3", bank.Forbidden}, {"ana", deposit, "1", bank.Forbidden}, {"ana", open, "1", bank.Forbidden},
		{"ana", status, "", bank.OK},
		{"ana", balance, "", bank.OK}, {"ana", withdraw, "@cash", bank.OK}, // which the ledger refuses: they are no accounts
		{"ana", deposit, "@cash", bank.Forbidden},
		{"till", deposit, "7", bank.OK}, {"till", balance, "7", bank.Forbidden}, {"till", status, "", bank.Forbidden},
		{"eyes", balance, "9", bank.OK}, {"eyes", status, "", bank.OK}, {"eyes", deposit, "9", bank.Forbidden},
		{"eyes", transfer, "9", bank.Forbidden},
		{bank.AnonymousPrincipal, open, "5", bank.OK}, {bank.AnonymousPrincipal, transfer, "5", bank.OK},
		{"", balance, "1", bank.Unauthorized}, {"Ana", balance, "1", bank.Unauthorized},
		{"nobody", status, "", bank.Unauthorized},
	} {
		op := bank.Operation{Kind: c.kind, Principal: c.principal, Account: c.account, To: "99"}
		if code := r.Authorize(op); code != c.want {
			t.Errorf("%q asks %v of %q: %v, want %v", c.principal, c.kind, c.account, code, c.want)
		}
	}
	if r := registry(t, access.Options{}); r.Authorize(bank.Operation{Kind: balance, Principal: "anonymous"}) != bank.Unauthorized {
		t.Error("anonymous may act though nobody may")
	}
}

func TestAPrincipalMayAskAsOftenAsItsRateAndNoOftener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		r := registry(t, access.Options{Rate: 10, Burst: 30, Observer: w},
			access.User{Name: "ana", Accounts: []string{"1"}, Operations: []bank.Kind{balance}},
			access.User{Name: "bia", Accounts: []string{"1"}, Operations: []bank.Kind{balance}})
		ask := func(who string, times int) (granted int) {
			for range times {
				if r.Authorize(bank.Operation{Kind: balance, Principal: who, Account: "1"}) == bank.OK {
					granted++
				}
			}
			return granted
		}
		if got := ask("ana", 29); got != 29 {
			t.Errorf("below the burst: %d of 29", got)
		}
		if got := ask("ana", 1000); got != 1 {
			t.Errorf("the burst is 30: %d more", got)
		}
		if got := ask("bia", 30); got != 30 {
			t.Errorf("another pays for it: %d of 30", got)
		}
		<-time.After(2 * time.Second)
		if _, err := r.Replace([]access.User{{Name: "ana", Accounts: []string{"1"}, Operations: []bank.Kind{balance}}}); err != nil {
			t.Fatal(err)
		}
		if got := ask("ana", 1000); got != 20 {
			t.Errorf("after two seconds and a reload: %d, want 20", got)
		}
		if w.refused[bank.Overloaded] != 999+980 {
			t.Errorf("told of %d refusals", w.refused[bank.Overloaded])
		}
	})
}

func TestX4ACertificateIsTheUserThatItsAlternativeNamesSay(t *testing.T) {
	r := registry(t, access.Options{},
		access.User{Name: "atm", Certificate: "ATM.example"}, access.User{Name: "till", Certificate: "urn:till:7"},
		access.User{Name: "web", Certificate: "spiffe://bank.example/web"}, access.User{Name: "atm.example"})
	for _, c := range []struct {
		dns  []string
		uris []string
		cn   string
		want string
	}{
		{[]string{"atm.example"}, nil, "", "atm"}, {[]string{"Atm.Example"}, nil, "till", "atm"},
		{[]string{"other.example", "atm.example"}, nil, "", "atm"}, {[]string{"atm.example", "atm.example"}, nil, "", "atm"},
		{nil, []string{"urn:till:7"}, "", "till"}, {nil, []string{"spiffe://bank.example/web"}, "", "web"},
		{[]string{"other.example"}, []string{"urn:till:7"}, "", "till"},
		{nil, nil, "atm.example", ""}, {nil, nil, "", ""}, {[]string{"x.atm.example"}, nil, "", ""},
		{[]string{"*.example"}, nil, "", ""}, {[]string{"atm.example."}, nil, "", ""}, {nil, []string{"urn:till:70"}, "", ""},
		{nil, []string{"URN:till:7"}, "", "till"}, // net/url lowers a scheme, whose case means nothing
		{nil, []string{"urn:TILL:7"}, "", ""}, {[]string{"urn"}, nil, "", ""},
		{[]string{"atm.example"}, []string{"urn:till:7"}, "", ""}, // two users: neither
	} {
		certificate := &x509.Certificate{DNSNames: c.dns}
		certificate.Subject.CommonName = c.cn
		for _, uri := range c.uris {
			u, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}
			certificate.URIs = append(certificate.URIs, u)
		}
		name, ok := r.Certified(certificate)
		if name != c.want && ok || ok != (c.want != "") {
			t.Errorf("%v %v %q: %q, %v; want %q", c.dns, c.uris, c.cn, name, ok, c.want)
		}
	}
}

func TestN6AClientIDIsOnlyForThoseWhosePatternsNameIt(t *testing.T) {
	r := registry(t, access.Options{Anonymous: true},
		access.User{Name: "ana", ClientIDs: []string{"ana", "ana-*"}}, access.User{Name: "any", ClientIDs: []string{"*"}},
		access.User{Name: "none"})
	for _, c := range []struct {
		principal, id string
		want          bool
	}{
		{"ana", "ana", true}, {"ana", "ana-", true}, {"ana", "ana-1", true}, {"ana", "ana1", false}, {"ana", "an", false},
		{"ana", "Ana", false}, {"ana", "bia", false}, {"any", "ana", true}, {"any", "x", true}, {"none", "none", false},
		{bank.AnonymousPrincipal, "x", true}, {bank.AnonymousPrincipal, "ana", false}, {bank.AnonymousPrincipal, "ana-9", false},
		{bank.AnonymousPrincipal, "anab", true}, {"gone", "gone", false},
	} {
		if got := r.MayUse(c.principal, c.id); got != c.want {
			t.Errorf("%s uses %q: %v, want %v", c.principal, c.id, got, c.want)
		}
	}
	for principal, want := range map[string][]string{"ana": {"ana-"}, "any": {""}, "none": nil, bank.AnonymousPrincipal: nil, "gone": nil} {
		if got := r.Beginnings(principal); !slices.Equal(got, want) {
			t.Errorf("those of %s begin with %q, want %q", principal, got, want)
		}
	}
}

func TestAReloadTellsWhoLostSomething(t *testing.T) {
	full := access.User{
		Name: "ana", Hash: cheapHash("one"), Certificate: "a.example", Accounts: []string{"1", "2"},
		Operations: []bank.Kind{balance, deposit}, ClientIDs: []string{"ana", "ana-*"},
	}
	with := func(change func(*access.User)) access.User {
		u := full
		u.Accounts, u.Operations, u.ClientIDs = slices.Clone(u.Accounts), slices.Clone(u.Operations), slices.Clone(u.ClientIDs)
		change(&u)
		return u
	}
	for name, c := range map[string]struct {
		user access.User
		lost bool
	}{
		"the same":             {full, false},
		"another order":        {with(func(u *access.User) { slices.Reverse(u.Accounts) }), false},
		"one account more":     {with(func(u *access.User) { u.Accounts = append(u.Accounts, "3") }), false},
		"all accounts":         {with(func(u *access.User) { u.Accounts = []string{"*"} }), false},
		"an operation more":    {with(func(u *access.User) { u.Operations = append(u.Operations, status) }), false},
		"wider ids":            {with(func(u *access.User) { u.ClientIDs = []string{"an*"} }), false},
		"an account less":      {with(func(u *access.User) { u.Accounts = u.Accounts[:1] }), true},
		"an operation less":    {with(func(u *access.User) { u.Operations = u.Operations[1:] }), true},
		"narrower ids":         {with(func(u *access.User) { u.ClientIDs = []string{"ana", "ana-1*"} }), true},
		"another password":     {with(func(u *access.User) { u.Hash = cheapHash("two") }), true},
		"no password":          {with(func(u *access.User) { u.Hash = "" }), true},
		"another certificate":  {with(func(u *access.User) { u.Certificate = "b.example" }), true},
		"DNS in capitals":      {with(func(u *access.User) { u.Certificate = "A.EXAMPLE" }), false},
		"an auditor now":       {with(func(u *access.User) { u.Auditor = true }), true},
		"another has its name": {with(func(u *access.User) { u.Name = "bia" }), true},
	} {
		r := registry(t, access.Options{}, full)
		lost, err := r.Replace([]access.User{c.user})
		if err != nil || lost["ana"] != c.lost || len(lost) > 1 {
			t.Errorf("%s: lost %v, %v; want %v", name, slices.Sorted(maps.Keys(lost)), err, c.lost)
		}
	}
}

// URIs are compared byte by byte, also by a reload: one in other letters is of other certificates.
func TestAReloadTellsThatAURIHasOtherLetters(t *testing.T) {
	user := func(uri string) access.User {
		return access.User{Name: "ana", Certificate: uri, ClientIDs: []string{"ana"}}
	}
	r := registry(t, access.Options{}, user("spiffe://bank/ATM"))
	for _, step := range []struct {
		uri  string
		lost bool
	}{{"spiffe://bank/ATM", false}, {"spiffe://bank/atm", true}} {
		if lost, err := r.Replace([]access.User{user(step.uri)}); err != nil || lost["ana"] != step.lost {
			t.Errorf("%s: lost %v, %v", step.uri, lost, err)
		}
	}
}

// What a reload sets apart for a user is the anonymous' no longer. They have lost nothing else: their other connections go on.
func TestAReloadTakesClientIDsFromTheAnonymous(t *testing.T) {
	r := registry(t, access.Options{Anonymous: true})
	before := r.MayUse(bank.AnonymousPrincipal, "atm-1")
	lost, err := r.Replace([]access.User{{Name: "atm", Certificate: "atm.example", ClientIDs: []string{"atm-*"}}})
	if after := r.MayUse(bank.AnonymousPrincipal, "atm-1"); err != nil || !before || after || len(lost) > 0 {
		t.Errorf("anonymous may use atm-1: %v, then %v; lost %v, %v", before, after, lost, err)
	}
}

func TestAReloadThatCannotBeLeavesTheUsersAsTheyWere(t *testing.T) {
	r := registry(t, access.Options{}, access.User{Name: "ana", Certificate: "a.example"})
	for name, users := range map[string][]access.User{
		"a broken hash":       {{Name: "bia", Hash: "$argon2id$v=19$m=8,t=1$x$y"}},
		"a plain password":    {{Name: "bia", Hash: "secret"}},
		"a name twice":        {{Name: "bia"}, {Name: "bia"}},
		"no name":             {{}},
		"everyone's name":     {{Name: bank.AnonymousPrincipal}},
		"a certificate twice": {{Name: "bia", Certificate: "x.example"}, {Name: "eva", Certificate: "X.example"}},
	} {
		if lost, err := r.Replace(users); err == nil || len(lost) > 0 {
			t.Errorf("%s: %v, %v", name, lost, err)
		}
		for who, want := range map[string]bool{"ana": true, "bia": false} {
			op := bank.Operation{Kind: balance, Principal: who, Account: "1"}
			if known := r.Authorize(op) != bank.Unauthorized; known != want {
				t.Errorf("%s: %s is known: %v", name, who, known)
			}
		}
	}
}
