package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	// scripts is where the JavaScript of these tests is, and after npmCI MQTT.js.
	scripts = "testdata/js"
	npmCI   = "npm ci --prefix cmd/gateway/" + scripts
)

// job is what MQTT.js is told to do.
type job struct {
	URL      string `json:"url"`
	ID       string `json:"id"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Version  int    `json:"version"`
	Patience int64  `json:"patience"` // in milliseconds
	Asks     []ask  `json:"asks"`
}

// outcomeOfJob is what came of it.
type outcomeOfJob struct {
	Replies [][]byte `json:"replies"`
	Error   string   `json:"error"`
}

// performer is a place where JavaScript runs, with the schemes of URL that it can connect to.
type performer struct {
	name    string
	schemes []string
	perform func(job) (outcomeOfJob, error)
}

// employ runs the list by MQTT.js: each scheme, version and quality.
func (c *counter) employ(t *testing.T, p performer) {
	addresses := map[string]string{"mqtt": c.mqtt, "ws": c.web}
	for _, scheme := range p.schemes {
		for _, version := range []int{4, 5} {
			for qos := range byte(3) {
				name := fmt.Sprint(p.name, "-", scheme, "-", version)
				c.serve(t, customer{name, qos, formats, func(id string, asks []ask) ([][]byte, error) {
					outcome, err := p.perform(job{
						URL: scheme + "://" + addresses[scheme], ID: id, Version: version, Patience: patience.Milliseconds(), Asks: asks,
					})
					if outcome.Error != "" {
						err = errors.New(outcome.Error)
					}
					return outcome.Replies, err
				}})
			}
		}
	}
}

func needMQTTjs(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(scripts, "node_modules", "mqtt")); err != nil {
		missing(t, "MQTT.js", npmCI)
	}
}

// node runs the list in node, over TCP and over WebSocket.
func (c *counter) node(t *testing.T) {
	path := needed(t, "node", "apt-get install nodejs npm")
	needMQTTjs(t)
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience) // for all jobs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, filepath.Join(scripts, "node.js"))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	jobs, outcomes := json.NewEncoder(in), json.NewDecoder(out)
	c.employ(t, performer{"node", []string{"mqtt", "ws"}, func(j job) (outcome outcomeOfJob, err error) {
		if err = errors.Join(jobs.Encode(j), outcomes.Decode(&outcome)); err != nil {
			err = fmt.Errorf("node: %w: %s", err, complaint.String())
		}
		return outcome, err
	}})
}

// desk serves the page in which a browser does jobs.
type desk struct {
	jobs     chan job
	outcomes chan outcomeOfJob
}

func newDesk() *desk { return &desk{make(chan job), make(chan outcomeOfJob)} }

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/job":
		select {
		case j := <-d.jobs:
			_ = json.NewEncoder(w).Encode(j)
		case <-r.Context().Done():
		}
	case "/done":
		var outcome outcomeOfJob
		if err := json.NewDecoder(r.Body).Decode(&outcome); err != nil {
			outcome.Error = err.Error()
		}
		select {
		case d.outcomes <- outcome:
		case <-r.Context().Done():
		}
	default:
		http.FileServer(http.Dir(scripts)).ServeHTTP(w, r)
	}
}

var errPage = errors.New("the page does not answer")

func (d *desk) perform(j job) (outcomeOfJob, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case d.jobs <- j:
	case <-late.C:
		return outcomeOfJob{}, errPage
	}
	select {
	case outcome := <-d.outcomes:
		return outcome, nil
	case <-late.C:
		return outcomeOfJob{}, errPage
	}
}

// chromium runs the list in a page of a real browser, whose origin is one that the gateway lists.
func (c *counter) chromium(t *testing.T) {
	browse(t, c.page.URL)
	c.employ(t, performer{"page", []string{"ws"}, c.desk.perform})
}

// browse has a real browser open the page of a desk until the test ends.
func browse(t *testing.T, desk string, more ...string) {
	t.Helper()
	path := needed(t, "chromium", "apt-get install chromium")
	needMQTTjs(t)
	dir, err := os.MkdirTemp("", "page") // not the test's, whose name would make the path of a socket in it too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-breakpad",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir=" + dir,
		desk + "/page.html",
	}, more...)...)
	var complaint bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), "TMPDIR="+dir), &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late := time.AfterFunc(patience, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer late.Stop()
		_ = cmd.Process.Signal(syscall.SIGTERM) // its children end with it
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("chromium: %s", complaint.String())
		}
	})
}
