package mqtt_test

import (
	"encoding/hex"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gateway/bank"

	"github.com/mochi-mqtt/server/v2/packets"
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
			if p != nil {
				p.quiet() // the gateway has read what was said before
			}
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

// protocolWords returns what PROTOCOL.md says about MQTT, without its dumps and the names of files.
func protocolWords(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## MQTT\n")
	if !found {
		t.Fatal("PROTOCOL.md has no section MQTT")
	}
	return regexp.MustCompile("(?s)```hexdump.*?```|\\w+\\.md").ReplaceAllString(section, "")
}

// reasons returns the reason codes of packets.go, as PROTOCOL.md writes them.
func reasons(t *testing.T) map[string]bool {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), "packets.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	ast.Inspect(syntax, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "reason" {
			codes[spec.Values[0].(*ast.BasicLit).Value] = true
		}
		return true
	})
	return codes
}

// PROTOCOL.md explains every reason that a client may be told, and no other, and calls packets by their names.
func TestProtocolKnowsEveryReasonAndPacket(t *testing.T) {
	words, known := protocolWords(t), reasons(t)
	if len(known) < 10 {
		t.Fatalf("packets.go has %d reasons", len(known))
	}
	told := map[string]bool{"0x80": true} // the least that says no, and all that MQTT 3 has for a subscription
	for _, code := range regexp.MustCompile(`\b0x[0-9a-f]{2}\b`).FindAllString(words, -1) {
		if told[code] = true; !known[code] && code != "0x80" {
			t.Errorf("PROTOCOL.md tells of %s, and nobody says it", code)
		}
	}
	for code := range known {
		if !told[code] {
			t.Errorf("PROTOCOL.md does not tell of %s", code)
		}
	}
	named := map[string]bool{}
	for _, name := range packets.PacketNames {
		named[strings.ToUpper(name)] = true
	}
	for _, word := range regexp.MustCompile(`\b[A-Z]{6,}\b`).FindAllString(words, -1) {
		if !named[word] {
			t.Errorf("PROTOCOL.md: there is no packet %s", word)
		}
	}
}
