package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestTheOperatorsPagesTellNoSecrets asks the real program for every page, and for some that are not there, after clients and
// strangers have said what may not be found there, and with secrets in its settings and its environment.
func TestTheOperatorsPagesTellNoSecrets(t *testing.T) {
	secrets := []string{
		"strangers-name", "strangers-word", "client-four", "person-five", "memo-six", "key-seven", "place-eight", "token-nine",
	}
	settings := `
ledger: { path: "${LEDGER}" }
socket: { listeners: [ { address: "127.0.0.1:0", codec: json } ] }
mqtt: { listeners: [ { address: "127.0.0.1:0" } ] }
admin: { address: "127.0.0.1:0" }
`
	p := serveWith(t, settings, "LEDGER=place-eight", "GATEWAY_TOKEN=token-nine")
	speak(t, p.addresses["mqtt"][0], strangersConnect("client-four", "strangers-name", "strangers-word"))
	speak(t, p.addresses["socket"][0], []byte(`{"op":"deposit","account":"person-five","amount":1,"memo":"memo-six","id":"key-seven"}`))
	for path, status := range map[string]string{
		"/": "200 ", "/healthz": "200 ", "/readyz": "200 ", "/metrics": "200 ",
		"/debug/pprof/": "404 ", "/debug/vars": "404 ", "/config.yaml": "404 ", "/nothing?all": "404 ",
	} {
		page := pageOf(t, p.addresses["admin"][0], path, "")
		for _, secret := range append(secrets, unspeakable...) {
			if strings.Contains(strings.ToLower(page), secret) {
				t.Errorf("%s tells %s", path, secret)
			}
		}
		if !strings.HasPrefix(page, status) {
			t.Errorf("%s: %.40q, want status %s", path, page, status)
		}
	}
	if page := pageOf(t, p.addresses["admin"][0], "/metrics", "rebound.example"); !strings.HasPrefix(page, "421 ") {
		t.Errorf("a page that rebinds its name is answered %.40q", page)
	}
	if code, err := p.stop(syscall.SIGTERM); code != exitDone || err != nil {
		t.Errorf("exit code %d, %v\n%s", code, err, p.stderr.String())
	}
}

// pageOf returns the status, the headers and the body of a page, asked for by the name of a host unless that is empty.
func pageOf(t *testing.T, address, path, host string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	client := http.Client{Timeout: patience}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(answer.StatusCode, " ", answer.Header, " ", string(body))
}
