// Package admin is the operators' HTTP: whether the process lives, whether it takes operations, and what it measures.
//
// It only reads. It answers GET and HEAD on the paths of its index page and nothing else; who may connect is decided by
// the address it is served on, and the server's timeouts belong to the caller of [New]. Who can connect is not alone: a
// browser on the same machine shows pages of strangers. One of those reads nothing here, also when its name was made to
// lead to this address.
package admin

import (
	_ "embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Options are the parts of the program that the pages show.
type Options struct {
	// Ready returns nil while operations are accepted, or why they are not; the reason is shown as it is. Any goroutine
	// may call it. Required.
	Ready func() error
	// Metrics answers /metrics. Without it the path is not found.
	Metrics http.Handler
	// Logger is told of answers that could not be written, at debug level. Default: none is told.
	Logger *slog.Logger
	// Version is shown on the index page.
	Version string
}

//go:embed index.html
var indexPage string

// New returns the handler of /, /healthz, /readyz and /metrics. Every other path is not found, every other method than GET
// and HEAD is not allowed, and a request for another host than this machine by its loopback name or address is misdirected.
func New(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &pages{options: o, index: template.Must(template.New("index").Parse(indexPage))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.showIndex)
	mux.HandleFunc("GET /healthz", a.showHealth)
	mux.HandleFunc("GET /readyz", a.showReadiness)
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	return guarded(mux)
}

// guarded turns away what a browser was led to here by another name, and sets the headers that every answer carries: nothing
// here is for caches, frames, guessing browsers or pages of other origins.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "+
			"frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if !loopback(r.Host) {
			http.Error(w, "ask for localhost, 127.0.0.1 or [::1]", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopback reports whether a Host header names this machine as only its own programs do. A page whose author's name server
// tells this machine's address for the author's name (DNS rebinding) is of one origin with what it reads here, but has that
// name in the header. No browser leaves the header out; a probe by HTTP/1.0 does.
func loopback(host string) bool {
	if host == "" {
		return true
	}
	name := (&url.URL{Host: host}).Hostname()
	address, err := netip.ParseAddr(name)
	return err == nil && address.Unmap().IsLoopback() || strings.EqualFold(name, "localhost")
}

type pages struct {
	options Options
	index   *template.Template
}

// showHealth is 200 for as long as the process can answer at all.
func (p *pages) showHealth(w http.ResponseWriter, _ *http.Request) {
	p.say(w, http.StatusOK, "ok")
}

func (p *pages) showReadiness(w http.ResponseWriter, _ *http.Request) {
	if err := p.options.Ready(); err != nil {
		p.say(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
		return
	}
	p.say(w, http.StatusOK, "ready")
}

func (p *pages) say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, err := fmt.Fprintln(w, text)
	p.note(err)
}

func (p *pages) showIndex(w http.ResponseWriter, _ *http.Request) {
	page := struct{ Version, NotReady string }{Version: p.options.Version}
	if err := p.options.Ready(); err != nil {
		page.NotReady = err.Error()
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	p.note(p.index.Execute(w, page))
}

// note logs an answer that did not reach its reader, which is the reader's loss alone.
func (p *pages) note(err error) {
	if err != nil {
		p.options.Logger.Debug("admin answer not written", "err", err)
	}
}
