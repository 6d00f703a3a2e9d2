package banktest

import (
	"math/big"
	"sort"

	"gateway/bank"
)

// Model is the rules once more, as plainly as they can be put: big integers, maps, no batches. What it says and what an
// engine says must be the same.
type Model struct {
	create   bool
	balances map[bank.Account]*big.Int
	answers  map[[2]string]answered
	seq      uint64
}

type answered struct {
	op    bank.Operation
	reply bank.Reply
}

// NewModel returns the model of an empty book in which the first use opens an account, or only [bank.KindOpen] does.
func NewModel(create bool) *Model {
	return &Model{create: create, balances: map[bank.Account]*big.Int{}, answers: map[[2]string]answered{}}
}

func (m *Model) balance(a bank.Account) *big.Int {
	if b, ok := m.balances[a]; ok {
		return b
	}
	return new(big.Int)
}

func (m *Model) move(from, to bank.Account, amount int64) {
	m.balances[from] = new(big.Int).Sub(m.balance(from), big.NewInt(amount))
	m.balances[to] = new(big.Int).Add(m.balance(to), big.NewInt(amount))
}

// Seq returns the seq of the last entry.
func (m *Model) Seq() uint64 { return m.seq }

// Do answers op. The time is not modelled.
func (m *Model) Do(op bank.Operation) bank.Reply {
	if code := op.Check(); code != bank.OK {
		return bank.Refusal(&op, code)
	}
	_, open := m.balances[op.Account]
	if op.Kind == bank.KindBalance {
		if !open && !m.create {
			return bank.Refusal(&op, bank.AccountNotFound)
		}
		return bank.Reply{Kind: op.Kind, ID: op.ID, Seq: m.seq, Balance: bank.Amount(m.balance(op.Account).Int64()), HasBalance: true}
	}
	key := [2]string{op.Principal, op.ID}
	if known, ok := m.answers[key]; ok && op.ID != "" {
		first := known.reply
		first.Duplicate, first.Recorded = true, false
		op.Origin, known.op.Origin = bank.Origin{}, bank.Origin{}
		if op.Kind == bank.KindStatus || op == known.op {
			return first
		}
		return bank.Refusal(&op, bank.IDConflict)
	}
	if op.Kind == bank.KindStatus {
		return bank.Refusal(&op, bank.IDNotFound)
	}
	reply := bank.Reply{Kind: op.Kind, ID: op.ID, Amount: op.Amount}
	reply.Code = m.judge(&op)
	if op.Kind != bank.KindYield && reply.Code != bank.AccountNotFound {
		reply.Balance, reply.HasBalance = bank.Amount(m.balance(op.Account).Int64()), true
	}
	wrote := op.ID != "" || reply.Code == bank.OK && !(op.Kind == bank.KindOpen && open)
	if wrote {
		m.seq++
		reply.Seq, reply.Recorded = m.seq, true
	} else if reply.Code == bank.OK {
		reply.Seq = m.seq
	}
	if op.ID != "" {
		m.answers[key] = answered{op, reply}
	}
	return reply
}

// judge moves the money, if it can be moved.
func (m *Model) judge(op *bank.Operation) bank.Code {
	ceiling := big.NewInt(int64(bank.MaxAmount))
	_, open := m.balances[op.Account]
	_, toOpen := m.balances[op.To]
	amount := big.NewInt(int64(op.Amount))
	switch op.Kind {
	case bank.KindOpen:
		m.balances[op.Account] = m.balance(op.Account)
		return bank.OK
	case bank.KindYield:
		return m.yield(op.Memo)
	}
	if !m.create && (!open || op.Kind == bank.KindTransfer && !toOpen) {
		return bank.AccountNotFound
	}
	from, to := op.Account, op.To
	switch op.Kind {
	case bank.KindDeposit:
		from, to = bank.CashAccount, op.Account
	case bank.KindWithdraw:
		to = bank.CashAccount
	}
	if !from.House() && m.balance(from).Cmp(amount) < 0 {
		return bank.InsufficientFunds
	}
	if from != to && !to.House() && new(big.Int).Add(m.balance(to), amount).Cmp(ceiling) > 0 {
		return bank.Overflow
	}
	if from == bank.CashAccount && !new(big.Int).Sub(m.balance(from), amount).IsInt64() {
		return bank.Overflow
	}
	m.move(from, to, int64(op.Amount))
	return bank.OK
}

// yield credits the rate of every positive balance by exact rational arithmetic.
func (m *Model) yield(text string) bank.Code {
	rate, ok := new(big.Rat).SetString(text)
	if !ok {
		return bank.Malformed
	}
	credits := map[bank.Account]int64{}
	for account, balance := range m.balances {
		if account.House() || balance.Sign() <= 0 {
			continue
		}
		share := roundHalfEven(new(big.Rat).Mul(rate, new(big.Rat).SetInt(balance)))
		if new(big.Int).Add(balance, share).Cmp(big.NewInt(int64(bank.MaxAmount))) > 0 {
			return bank.Overflow
		}
		credits[account] = share.Int64()
	}
	accounts := make([]string, 0, len(credits))
	for account := range credits {
		accounts = append(accounts, string(account))
	}
	sort.Strings(accounts)
	for _, account := range accounts {
		if credits[bank.Account(account)] > 0 {
			m.move(bank.YieldAccount, bank.Account(account), credits[bank.Account(account)])
		}
	}
	return bank.OK
}

// roundHalfEven rounds by comparing twice the remainder with the denominator.
func roundHalfEven(r *big.Rat) *big.Int {
	quotient, remainder := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	twice := remainder.Lsh(remainder, 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && quotient.Bit(0) == 1 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}
