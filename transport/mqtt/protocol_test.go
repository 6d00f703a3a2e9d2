package mqtt_test

import (
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"gateway/bank"
)

// line is a block of PROTOCOL.md's section on MQTT: who says what, and its bytes.
type line struct {
	number int
	title  string // "mqtt client: CONNECT …"
	bytes  []byte
}

func protocolLines(t *testing.T) (lines []line) {
	t.Helper()
	page, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(string(page), "\n")
	for i := 0; i < len(rows)-1; i++ {
		if rows[i] != "```hexdump" || !strings.HasPrefix(rows[i+1], "mqtt ") {
			continue
		}
		l := line{number: i + 2, title: rows[i+1]}
		for i += 2; rows[i] != "```"; i++ {
			digits, _, _ := strings.Cut(rows[i][min(10, len(rows[i])):], "|")
			b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
			if err != nil {
				t.Fatalf("PROTOCOL.md:%d: %v", i+1, err)
			}
			l.bytes = append(l.bytes, b...)
		}
		lines = append(lines, l)
	}
	return lines
}

// PROTOCOL.md tells one conversation; a CONNECT opens a connection.
func TestProtocolIsTrue(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	address := ours(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, func() time.Time { return now }))
	lines := protocolLines(t)
	if len(lines) < 20 {
		t.Fatalf("PROTOCOL.md shows %d packets", len(lines))
	}
	var p *peer
	for _, l := range lines {
		if l.bytes[0]>>4 == tConnect {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			p = newPeer(t, conn)
		}
		if strings.HasPrefix(l.title, "mqtt client: ") {
			p.send(l.bytes)
			continue
		}
		got := make([]byte, len(l.bytes))
		n, err := io.ReadFull(p.in, got)
		if err != nil || string(got) != string(l.bytes) {
			t.Fatalf("PROTOCOL.md:%d: %s\nthe server says\n%s(%v)", l.number, l.title, hex.Dump(got[:n]), err)
		}
	}
	p.quiet()
}
