// Package admin is the operators' HTTP: whether the process lives, whether it takes operations, and what it measures.
//
// It only reads. It answers GET and HEAD on the paths of its index page and nothing else; who may connect is decided by
// the address it is served on, and the server's timeouts belong to the caller of [New].
package admin

import (
	_ "embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
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

// New returns the handler of /, /healthz, /readyz and /metrics. Every other path is not found, and every other method
// than GET and HEAD is not allowed.
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

// guarded sets the headers that every answer carries: nothing here is for caches, frames or guessing browsers.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
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
