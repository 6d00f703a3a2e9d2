package mqtt_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// times are what differs from one run of a transcript to the next.
var times = regexp.MustCompile(`"time":"[^"]*"`)

// The commands of DEVICES.md print what stands there, one after another at one bank.
func TestDevicesTranscriptsAreTrue(t *testing.T) {
	page, err := os.ReadFile("../../DEVICES.md")
	if err != nil {
		t.Fatal(err)
	}
	h := build(t, nil)
	h.mosquitto(t, "mosquitto_rr") // skips
	host, port, _ := net.SplitHostPort(h.address)
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			step = strings.ReplaceAll(step, "\\\n", "")
			command, want, _ := strings.Cut(step, "\n")
			name, arguments, _ := strings.Cut(command, " ")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			out, err := exec.CommandContext(ctx, "sh", "-c", name+" -h "+host+" -p "+port+" "+arguments).CombinedOutput()
			cancel()
			got, want := strings.TrimSpace(string(out)), strings.TrimSpace(want)
			if times.ReplaceAllString(got, "") != times.ReplaceAllString(want, "") {
				t.Errorf("%s\nsays %s (%v)\nDEVICES.md: %s", command, got, err, want)
			}
			ran++
		}
	}
	if ran < 7 {
		t.Errorf("DEVICES.md shows %d commands", ran)
	}
}
