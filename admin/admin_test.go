package admin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gateway/admin"
)

// ask returns the answer of a handler whose bank is in the state ready.
func ask(t *testing.T, ready error, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	handler := admin.New(admin.Options{
		Ready:   func() error { return ready },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("measured 1\n")) }),
		Version: "v1.2.3 <b>",
	})
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(method, path, nil))
	return answer
}

func TestPages(t *testing.T) {
	full := errors.New("the disk is <full>")
	for _, test := range []struct {
		name         string
		ready        error
		method, path string
		status       int
		body         string
	}{
		{"alive", nil, "GET", "/healthz", 200, "ok\n"},
		{"alive but not ready", full, "GET", "/healthz", 200, "ok\n"},
		{"ready", nil, "GET", "/readyz", 200, "ready\n"},
		{"not ready", full, "GET", "/readyz", 503, "not ready: the disk is <full>\n"},
		{"head of not ready", full, "HEAD", "/readyz", 503, ""},
		{"metrics", nil, "GET", "/metrics", 200, "measured 1\n"},
		{"index", nil, "GET", "/", 200, "Takes operations."},
		{"index escapes the version", nil, "GET", "/", 200, "v1.2.3 &lt;b&gt;"},
		{"index tells the reason", full, "GET", "/", 200, "Takes no operations: the disk is &lt;full&gt;"},
		{"unknown path", nil, "GET", "/metrics/all", 404, ""},
		{"below a page", nil, "GET", "/healthz/", 404, ""},
		{"post", nil, "POST", "/readyz", 405, ""},
		{"delete", nil, "DELETE", "/", 405, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := ask(t, test.ready, test.method, test.path)
			if answer.Code != test.status {
				t.Errorf("status %d, want %d", answer.Code, test.status)
			}
			if !strings.Contains(answer.Body.String(), test.body) {
				t.Errorf("body %q, want %q in it", answer.Body, test.body)
			}
			if got := answer.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q: an answer of yesterday could be shown", got)
			}
		})
	}
}

func TestWithoutMetrics(t *testing.T) {
	handler := admin.New(admin.Options{Ready: func() error { return nil }})
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != http.StatusNotFound {
		t.Errorf("status %d, want 404", answer.Code)
	}
}
