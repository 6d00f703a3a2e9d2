package bank

import "net/netip"

// Kind says what an operation asks. Its numbers are written into journals and never change meaning.
type Kind uint8

const (
	// KindBalance asks for the balance of Account. It writes nothing.
	KindBalance Kind = 1
	// KindDeposit moves Amount from [CashAccount] to Account.
	KindDeposit Kind = 2
	// KindWithdraw moves Amount from Account to [CashAccount].
	KindWithdraw Kind = 3
	// KindTransfer moves Amount from Account to To.
	KindTransfer Kind = 4
	// KindOpen opens Account at zero; opening it again is fine.
	KindOpen Kind = 5
	// KindStatus asks what was answered to ID. It writes nothing.
	KindStatus Kind = 6
	// KindYield credits a share of every positive balance from [YieldAccount]. Only the bank itself asks for it.
	KindYield Kind = 7
)

// kindNames is indexed by Kind; no name is empty but that of the zero Kind.
var kindNames = [...]string{"", "balance", "deposit", "withdraw", "transfer", "open", "status", "yield"}

// String returns the operation's name on the wire.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// ParseKind returns the kind that a client calls name, or false: there is no such operation for clients.
func ParseKind(name string) (Kind, bool) {
	for k := KindBalance; k <= KindStatus; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// Account names a place where money is. Names are compared byte by byte.
type Account string

const (
	// CashAccount is the other side of deposits and withdrawals.
	CashAccount Account = "@cash"
	// YieldAccount is the other side of yields.
	YieldAccount Account = "@yield"
	// HousePrincipal asks for the operations of the bank itself. No client's principal begins with '@'.
	HousePrincipal = "@gateway"
	// AnonymousPrincipal is everyone who acts without credentials.
	AnonymousPrincipal = "anonymous"

	maxAccount   = 64 // bytes
	maxID        = 64 // bytes
	maxMemo      = 140
	maxPrincipal = 64
	maxDelivery  = 1024
)

// Valid reports whether a client may name the account: [A-Za-z0-9][A-Za-z0-9._:@-]{0,63}.
func (a Account) Valid() bool {
	if len(a) == 0 || len(a) > maxAccount || !alphanumeric(a[0]) {
		return false
	}
	for i := 1; i < len(a); i++ {
		if c := a[i]; c >= 128 || accountBytes[c/64]>>(c%64)&1 == 0 {
			return false
		}
	}
	return true
}

// accountBytes has a bit set for each byte that an account may have after its first: [A-Za-z0-9._:@-].
var accountBytes = [2]uint64{0x07ff600000000000, 0x07fffffe87ffffff}

// House reports whether the account is one of the bank's own, which may be negative.
func (a Account) House() bool { return len(a) > 0 && a[0] == '@' }

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// ValidID reports whether id may name an operation: 1 to 64 printable ASCII characters, the space among them.
func ValidID(id string) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// Door is the way by which an operation came in. Its numbers are written into journals.
type Door uint8

const (
	// DoorHouse is the bank itself.
	DoorHouse Door = 0
	// DoorSocket is package transport/socket.
	DoorSocket Door = 1
	// DoorMQTT is package transport/mqtt.
	DoorMQTT Door = 2
)

// String names the door.
func (d Door) String() string {
	switch d {
	case DoorHouse:
		return "house"
	case DoorSocket:
		return "socket"
	case DoorMQTT:
		return "mqtt"
	}
	return ""
}

// Operation is what a client asks. The bank does not trust its fields: [Ledger.Decide] checks them all, so that a codec
// may leave an unreadable account, amount or id at a value that the check refuses.
type Operation struct {
	Kind      Kind
	Principal string  // who asks; ids are scoped by it
	Account   Account // whose; the payer of a transfer
	To        Account // the payee of a transfer
	Amount    Amount
	ID        string // the client's idempotency key; "" is none
	Memo      string // at most 140 bytes of UTF-8; a yield's is its rate
	Origin    Origin
	// Receipt asks for a proof of what was answered, with a status. The bank itself knows nothing of it: who stands before it
	// answers that.
	Receipt bool
}

// Origin is where an operation came from. It is kept in the entry for the audit trail and is no part of the content
// that an id stands for.
type Origin struct {
	Door Door
	Peer netip.AddrPort
	// Delivery is the transport's own note of the message that carried the operation, at most 1,024 bytes. The bank keeps
	// it in the entry and never reads it.
	Delivery string
}

// Check returns OK, or the code of the first field that cannot be, in the precedence of the codes. It looks at nothing
// but the operation.
func (op *Operation) Check() Code {
	if op.Kind == 0 || op.Kind > KindYield {
		return UnknownOperation
	}
	if len(op.Memo) > maxMemo || len(op.Principal) > maxPrincipal || len(op.Origin.Delivery) > maxDelivery {
		return Malformed
	}
	switch op.Kind {
	case KindStatus, KindYield:
	case KindTransfer:
		if !op.Account.Valid() || !op.To.Valid() {
			return InvalidAccount
		}
	default:
		if !op.Account.Valid() {
			return InvalidAccount
		}
	}
	if op.Kind.Moves() && (op.Amount <= 0 || op.Amount > MaxAmount) {
		return InvalidAmount
	}
	if (op.ID != "" || op.Kind == KindStatus) && !ValidID(op.ID) {
		return InvalidID
	}
	return OK
}

// Moves reports whether a client's operation of this kind carries an amount.
func (k Kind) Moves() bool { return k == KindDeposit || k == KindWithdraw || k == KindTransfer }
