package wire

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"gateway/bank"
)

// Entry is an entry of the journal as JSON tells it, with the hash of the chain up to it. It is what `gateway journal dump`
// prints and what an auditor reads over MQTT, in these words and in this order.
type Entry struct {
	Seq       uint64         `json:"seq"`
	Time      time.Time      `json:"time"`
	Kind      string         `json:"kind"`
	Principal string         `json:"principal"`
	ID        string         `json:"id"`
	Code      string         `json:"code"`
	Postings  []EntryPosting `json:"postings"`
	Memo      string         `json:"memo"`
	Door      string         `json:"door"`
	Peer      string         `json:"peer,omitempty"`
	Hash      string         `json:"hash"`
}

// EntryPosting is a posting of an [Entry].
type EntryPosting struct {
	Account bank.Account `json:"account"`
	Amount  bank.Amount  `json:"amount"` // minor units
}

// EntryEncoder writes entries. What clients wrote and no printable character stands for is \uXXXX in it: it would command the
// terminal of whoever reads the journal.
type EntryEncoder struct {
	entry Entry
	lines *json.Encoder
}

// NewEntryEncoder returns an encoder that writes to w.
func NewEntryEncoder(w io.Writer) *EntryEncoder {
	lines := json.NewEncoder(Escaper{Out: w})
	lines.SetEscapeHTML(false)
	return &EntryEncoder{lines: lines}
}

// Encode writes e, whose hash is hash, as a JSON object and a newline, in one write. Its error is w's, or says that the time
// of e is no year of four digits.
func (c *EntryEncoder) Encode(e *bank.Entry, hash [32]byte) error {
	c.entry.set(e, hash)
	return c.lines.Encode(&c.entry)
}

// set makes the entry tell e, keeping the memory of its postings.
func (t *Entry) set(e *bank.Entry, hash [32]byte) {
	*t = Entry{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind.String(), Principal: e.Principal, ID: e.ID, Code: e.Code.String(),
		Postings: t.Postings[:0], Memo: e.Memo, Door: e.Origin.Door.String(), Hash: hex.EncodeToString(hash[:]),
	}
	if t.Postings == nil {
		t.Postings = []EntryPosting{}
	}
	if e.Origin.Peer.IsValid() {
		t.Peer = e.Origin.Peer.String()
	}
	for _, p := range e.Postings {
		t.Postings = append(t.Postings, EntryPosting{p.Account, p.Amount})
	}
}
