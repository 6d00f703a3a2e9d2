package admin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gateway/admin"
)

// newHandler returns a handler whose bank is in the state ready.
func newHandler(ready error) http.Handler {
	return admin.New(admin.Options{
		Ready:   func() error { return ready },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("measured 1\n")) }),
		Version: "v1.2.3 <b>",
	})
}

// ask returns the answer of such a handler.
func ask(t *testing.T, ready error, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	newHandler(ready).ServeHTTP(answer, request(method, path))
	return answer
}

// request is one by a program of the same machine.
func request(method, path string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "127.0.0.1:8080"
	return r
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
	handler.ServeHTTP(answer, request("GET", "/metrics"))
	if answer.Code != http.StatusNotFound {
		t.Errorf("status %d, want 404", answer.Code)
	}
}

// TestOnlyThisMachineIsAskedFor turns away what a browser was led here for by another name.
func TestOnlyThisMachineIsAskedFor(t *testing.T) {
	hosts := map[string]bool{
		"127.0.0.1:8080": true, "127.0.0.1": true, "127.0.1.1:8080": true, "[::1]:8080": true, "[::1]": true,
		"[::ffff:127.0.0.1]:80": true, "localhost:8080": true, "LocalHost": true,
		"":                true, // HTTP/1.0
		"rebound.example": false, "rebound.example:8080": false, "localhost.rebound.example": false, "127.0.0.1.rebound.example": false,
		"192.0.2.1:8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "localhost.": false, "127.0.0.1 ": false,
		"rebound.example@127.0.0.1": false, "127.1": false, "2130706433": false,
	}
	for host, welcome := range hosts {
		for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/nothing"} {
			r := request("GET", path)
			r.Host = host
			answer := httptest.NewRecorder()
			newHandler(nil).ServeHTTP(answer, r)
			if misdirected := answer.Code == http.StatusMisdirectedRequest; misdirected == welcome {
				t.Errorf("%s of host %q: status %d", path, host, answer.Code)
			}
		}
	}
}

// TestNoOtherOriginReads has the headers by which a browser keeps every answer from pages of other origins.
func TestNoOtherOriginReads(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
		for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/nothing"} {
			for _, host := range []string{"127.0.0.1:8080", "rebound.example"} {
				r := request(method, path)
				r.Host = host
				r.Header.Set("Origin", "https://page.example")
				r.Header.Set("Access-Control-Request-Method", "GET")
				answer := httptest.NewRecorder()
				newHandler(errors.New("full")).ServeHTTP(answer, r)
				for name := range answer.Header() {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s: %s lets another origin read", method, path, name)
					}
				}
				for name, want := range map[string]string{
					"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
					"Cache-Control": "no-store",
				} {
					if got := answer.Header().Get(name); got != want {
						t.Errorf("%s %s of %s: %s is %q, want %q", method, path, host, name, got, want)
					}
				}
				policy := answer.Header().Get("Content-Security-Policy")
				if !strings.Contains(policy, "frame-ancestors 'none'") || !strings.HasPrefix(policy, "default-src 'none';") {
					t.Errorf("%s %s of %s: policy %q", method, path, host, policy)
				}
			}
		}
	}
}
