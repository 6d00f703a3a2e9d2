package access

import (
	"maps"
	"slices"
	"strings"

	"gateway/bank"
)

// User is a principal that has a name of its own. It is plain data.
type User struct {
	Name string
	// Hash is of its password, as [Hash] makes it or as bcrypt does; "" when it has none.
	Hash string
	// Certificate is the DNS name or URI, among the subject alternative names of a client's certificate, that is this user's;
	// "" when it has none.
	Certificate string
	// Accounts are those it may act on: read, draw from, pay into. [All] stands for every account. An auditor reads all.
	Accounts []string
	// Operations are the kinds it may ask for. Of these an auditor has balances and the status of ids only.
	Operations []bank.Kind
	// ClientIDs are the MQTT client ids it may use. One that ends in All stands for every id that begins so.
	ClientIDs []string
	// Auditor lets it read every account and the bank's topics, and move nothing.
	Auditor bool
}

// All stands for every account, and for any end of a client id.
const All = "*"

// principal is a user in a form that is quick to ask. It does not change.
type principal struct {
	User
	secret     *secret // nil: no password
	accounts   map[bank.Account]struct{}
	everything bool // all accounts
	operations uint32
	allowance  *allowance // nil: no limit
	right      *lastRight // its password, when it was right a while ago
}

func newPrincipal(u User) (*principal, error) {
	p := &principal{User: u, accounts: make(map[bank.Account]struct{}, len(u.Accounts)), right: new(lastRight)}
	if u.Hash != "" {
		var err error
		if p.secret, err = parseSecret(u.Hash); err != nil {
			return nil, err
		}
	}
	for _, account := range u.Accounts {
		p.everything = p.everything || account == All
		p.accounts[bank.Account(account)] = struct{}{}
	}
	for _, kind := range u.Operations {
		p.operations |= 1 << kind
	}
	if u.Auditor {
		p.everything = true
		p.operations &= 1<<bank.KindBalance | 1<<bank.KindStatus
	}
	return p, nil
}

// may reports whether the principal has the right to op, whatever its amount.
func (p *principal) may(op *bank.Operation) bool {
	if p.operations>>op.Kind&1 == 0 {
		return false
	}
	if p.everything || op.Kind == bank.KindStatus || !op.Account.Valid() { // what is no account is the ledger's to refuse
		return true
	}
	_, mine := p.accounts[op.Account]
	return mine
}

// uses reports whether the principal may use an MQTT client id.
func (p *principal) uses(clientID string) bool {
	return slices.ContainsFunc(p.ClientIDs, func(pattern string) bool { return covers(pattern, clientID) })
}

// covers reports whether a pattern of client ids stands for id.
func covers(pattern, id string) bool {
	if beginning, open := strings.CutSuffix(pattern, All); open {
		return strings.HasPrefix(id, beginning)
	}
	return pattern == id
}

// within reports whether p has everything that before had, and is known by the same credentials.
func (p *principal) within(before *principal) bool {
	if p.Hash != before.Hash || canonicalSAN(p.Certificate) != canonicalSAN(before.Certificate) || p.Auditor != before.Auditor {
		return false
	}
	if before.operations&^p.operations != 0 || before.everything && !p.everything {
		return false
	}
	if !p.everything {
		for account := range maps.Keys(before.accounts) {
			if _, still := p.accounts[account]; !still {
				return false
			}
		}
	}
	return !slices.ContainsFunc(before.ClientIDs, func(pattern string) bool {
		return !slices.ContainsFunc(p.ClientIDs, func(now string) bool { return includes(now, pattern) })
	})
}

// includes reports whether the pattern wide stands for all that narrow stands for.
func includes(wide, narrow string) bool {
	if beginning, open := strings.CutSuffix(wide, All); open {
		return strings.HasPrefix(strings.TrimSuffix(narrow, All), beginning)
	}
	return wide == narrow
}
