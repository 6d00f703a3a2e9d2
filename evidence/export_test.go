package evidence

// Sign returns a head as a signed note.
func (k *Key) Sign(h *Head) ([]byte, error) { return k.sign(h) }

// ParseHeadForm reports whether bytes have the form of a signed head, whoever has signed it, and what that says.
func ParseHeadForm(signed string) (Head, bool) {
	h, _, ok := splitHead(signed)
	return h, ok
}

// RenewReceipt reads the form of a receipt, whoever has signed it, and writes it again.
func RenewReceipt(text string) (string, bool) {
	var r Receipt
	p, ok := parseReceipt(text, &r.Entry)
	if !ok {
		return "", false
	}
	return p.text(), true
}
