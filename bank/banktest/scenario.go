package banktest

import (
	"embed"
	"fmt"
	"path"
	"strings"
	"testing"

	"gateway/bank"
)

//go:embed scenarios/*.txt
var scenarios embed.FS

// decimals of the amounts in scenarios.
const decimals = 2

// runScenarios plays each file of scenarios/. A line is an operation and the line after it what must come of it:
//
//	transfer ana → bia 70.00  id=t1 as=atm memo=rent     # a comment
//	refused: insufficient_funds     ana 50.00  bia 0.00
//
// The outcome is "ok" or "refused: CODE", then "again" when the id was answered before, then balances to check.
// "rules: open first" turns off the opening of accounts at first use; "restart" closes the engine and opens it again.
func runScenarios(t *testing.T, h Harness) {
	files, err := scenarios.ReadDir("scenarios")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		text, err := scenarios.ReadFile(path.Join("scenarios", file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nrestart\n") && !h.Durable {
			continue // the engine keeps nothing, and does not claim to
		}
		t.Run(strings.TrimSuffix(file.Name(), ".txt"), func(t *testing.T) {
			s := scenario{t: t, h: h, dir: t.TempDir(), clock: &stepClock{epoch}, rules: bank.Rules{CreateAccounts: true}}
			for i, line := range strings.Split(string(text), "\n") {
				s.where = fmt.Sprintf("%s:%d", file.Name(), i+1)
				line, _, _ = strings.Cut(line, "#")
				if words := strings.Fields(line); len(words) > 0 {
					s.play(words)
				}
			}
			if s.asked != nil {
				t.Fatalf("%s: the last operation has no outcome", s.where)
			}
			if s.engine == nil {
				t.Fatal("the scenario has no operation")
			}
			closeAndCheck(t, h, s.dir, s.engine)
		})
	}
}

type scenario struct {
	t      *testing.T
	h      Harness
	dir    string
	clock  *stepClock
	rules  bank.Rules
	engine bank.Engine
	where  string
	asked  *bank.Operation // waits for its outcome
}

func (s *scenario) play(words []string) {
	s.t.Helper()
	if words[0] == "rules:" {
		s.rules.CreateAccounts = false
		return
	}
	if s.engine == nil {
		s.engine = s.h.Open(s.t, s.dir, s.rules, s.clock.step)
	}
	switch {
	case words[0] == "restart":
		s.restart()
	case s.asked != nil:
		op := *s.asked
		s.asked = nil
		reply := commit(s.t, s.engine, op)[0]
		if reply.HasBalance && !reply.Duplicate {
			s.sameBalance(reply, op.Account)
		}
		s.expect(reply, words)
	default:
		op := s.operation(words)
		s.asked = &op
	}
}

func (s *scenario) restart() {
	if err := s.engine.Close(); err != nil {
		s.t.Fatalf("%s: close: %v", s.where, err)
	}
	s.engine = s.h.Open(s.t, s.dir, s.rules, s.clock.step)
}

func (s *scenario) operation(words []string) bank.Operation {
	s.t.Helper()
	op := bank.Operation{Principal: "anonymous"}
	var places []string
	for _, word := range words[1:] {
		key, value, found := strings.Cut(word, "=")
		switch {
		case !found:
			if word != "→" {
				places = append(places, word)
			}
		case key == "id":
			op.ID = value
		case key == "as":
			op.Principal = value
		case key == "memo":
			op.Memo = value
		}
	}
	kind, ok := bank.ParseKind(words[0])
	if words[0] == "yield" {
		kind, ok = bank.KindYield, true
		op.Principal = bank.HousePrincipal
	}
	if !ok {
		s.t.Fatalf("%s: no operation is called %q", s.where, words[0])
	}
	op.Kind = kind
	if kind.Moves() {
		last := len(places) - 1
		op.Amount = s.amount(places[last])
		places = places[:last]
	}
	if len(places) > 0 {
		op.Account = bank.Account(places[0])
	}
	if len(places) > 1 {
		op.To = bank.Account(places[1])
	}
	return op
}

func (s *scenario) amount(text string) bank.Amount {
	s.t.Helper()
	a, err := bank.ParseBalance(text, decimals)
	if err != nil {
		s.t.Fatalf("%s: %v", s.where, err)
	}
	return a
}

// sameBalance holds the balance that a reply tells against the account's own.
func (s *scenario) sameBalance(reply bank.Reply, account bank.Account) {
	s.t.Helper()
	own := commit(s.t, s.engine, bank.Operation{Kind: bank.KindBalance, Principal: "anonymous", Account: account})[0]
	if reply.Balance != own.Balance {
		s.t.Errorf("%s: told that %s has %d, which has %d", s.where, account, reply.Balance, own.Balance)
	}
}

func (s *scenario) expect(reply bank.Reply, words []string) {
	s.t.Helper()
	code, rest := words[0], words[1:]
	if code == "refused:" {
		code, rest = rest[0], rest[1:]
	}
	again := len(rest) > 0 && rest[0] == "again"
	if again {
		rest = rest[1:]
	}
	if reply.Code.String() != code || reply.Duplicate != again {
		s.t.Errorf("%s: answered %s (again: %v), want %s (again: %v)", s.where, reply.Code, reply.Duplicate, code, again)
	}
	for ; len(rest) >= 2; rest = rest[2:] {
		balance := commit(s.t, s.engine, bank.Operation{Kind: bank.KindBalance, Principal: "anonymous", Account: bank.Account(rest[0])})[0]
		if want := s.amount(rest[1]); balance.Code != bank.OK || balance.Balance != want {
			s.t.Errorf("%s: %s has %s (%s), want %s", s.where, rest[0], balance.Balance.Format(decimals), balance.Code, rest[1])
		}
	}
}
