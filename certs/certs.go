// Package certs is a listener's side of TLS: the certificate and the client authorities in its files, and the connections that
// they secure.
//
// An [Identity] is what the files held when they were last read well. It looks for new ones by itself, and what it cannot read
// changes nothing: the old stays in use. Every handshake takes what is newest then; connections go on as they began.
//
// A listener that has client authorities resumes no session: each handshake shows a certificate, which is held against the
// authorities of the moment, so that one whose authority was taken away is not let in by a ticket from before.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// checkEvery is how often the files are looked at for a change.
	checkEvery = 10 * time.Second
	// warnAhead is how long before a certificate's end it is warned of, and warnEvery how often.
	warnAhead = 30 * 24 * time.Hour
	warnEvery = 24 * time.Hour
	// maxFileBytes bounds each file.
	maxFileBytes = 1 << 20
)

// Files are the PEM files of a listener. ClientCA holds the authorities whose clients are let in, and nobody else is; "" asks
// no client for a certificate.
type Files struct {
	Cert, Key, ClientCA string
}

// Identity is a listener's certificate. Any goroutine may use it.
type Identity struct {
	files  Files
	logger *slog.Logger
	config *tls.Config // asks for the current one; it has the ticket keys, which Go changes daily

	current atomic.Pointer[generation]

	mu     sync.Mutex // guards all below; one reads the files at a time
	stamps [3]stamp   // of the files that were read last, well or not
	failed error      // what was wrong with them
}

// generation is what the files held at one time.
type generation struct {
	config   *tls.Config
	notAfter time.Time
}

// stamp tells whether a file has changed. Its zero value is that of a file that cannot be looked at.
type stamp struct {
	modified  time.Time
	sizeBytes int64
}

// Open reads the files. The logger is told of what Run does.
func Open(files Files, logger *slog.Logger) (*Identity, error) {
	i := &Identity{files: files, logger: logger}
	i.config = &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: files.ClientCA != "",
		GetConfigForClient:     func(*tls.ClientHelloInfo) (*tls.Config, error) { return i.current.Load().config, nil },
	}
	if err := i.Reload(); err != nil {
		return nil, err
	}
	return i, nil
}

// Reload reads the files again. After an error the old certificate and authorities stay in use, all of them.
func (i *Identity) Reload() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reloadLocked()
}

// NotAfter returns when the first of the certificates that are shown to clients ends.
func (i *Identity) NotAfter() time.Time { return i.current.Load().notAfter }

// Config returns the configuration of a server that shows the newest certificate and asks for client certificates of the
// newest authorities, always the same one. TLS is 1.2 at least, with the suites that Go prefers.
func (i *Identity) Config() *tls.Config { return i.config }

// Run looks for changes of the files and for the certificate's end until ctx ends.
func (i *Identity) Run(ctx context.Context) {
	check, warn := time.NewTicker(checkEvery), time.NewTicker(warnEvery)
	defer check.Stop()
	defer warn.Stop()
	i.warn()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			i.check()
		case <-warn.C:
			i.warn()
		}
	}
}

// check reloads the files when they have changed. Files that were found wrong are read every time, since whoever mends a mode
// or a directory changes no file; it is told once.
func (i *Identity) check() {
	i.mu.Lock()
	failed, changed := i.failed, i.stampsNow() != i.stamps
	if failed == nil && !changed {
		i.mu.Unlock()
		return
	}
	err := i.reloadLocked()
	i.mu.Unlock()
	switch {
	case err == nil:
		i.logger.Info("certificate reloaded", "not_after", i.NotAfter())
		i.warn()
	case failed == nil || failed.Error() != err.Error():
		i.logger.Error("certificate not reloaded; the old one stays in use", "err", err)
	}
}

// warn tells that the certificate ends soon.
func (i *Identity) warn() {
	ends := i.NotAfter()
	switch left := time.Until(ends); {
	case left <= 0:
		i.logger.Warn("the certificate has ended; no client will take it", "not_after", ends)
	case left <= warnAhead:
		i.logger.Warn("the certificate ends soon", "not_after", ends, "days", int(left/(24*time.Hour)))
	}
}

func (i *Identity) stampsNow() (stamps [3]stamp) {
	for n, file := range []string{i.files.Cert, i.files.Key, i.files.ClientCA} {
		if info, err := os.Stat(file); err == nil {
			stamps[n] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

// reloadLocked takes the stamps first: what changes while the files are read is seen at the next check.
func (i *Identity) reloadLocked() error {
	i.stamps = i.stampsNow()
	next, err := load(i.files)
	if err == nil {
		i.current.Store(next)
	}
	i.failed = err
	return err
}

func load(files Files) (*generation, error) {
	cert, _, err := read(files.Cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	key, mode, err := read(files.Key)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	if mode.Perm()&0o006 != 0 { // a group such as ssl-cert may read it
		return nil, fmt.Errorf("read the key: others may read %s, which has mode %04o: chmod 600 it", files.Key, mode.Perm())
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read %s with %s: %w", files.Cert, files.Key, err)
	}
	next := &generation{notAfter: pair.Leaf.NotAfter, config: &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		// A reply that goes out in one write is one record, and comes in by one read.
		DynamicRecordSizingDisabled: true,
	}}
	for _, der := range pair.Certificate[1:] {
		above, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read %s: the chain: %w", files.Cert, err)
		}
		if above.NotAfter.Before(next.notAfter) {
			next.notAfter = above.NotAfter
		}
	}
	if files.ClientCA == "" {
		return next, nil
	}
	authorities, _, err := read(files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read the client authorities: %w", err)
	}
	next.config.SessionTicketsDisabled = true
	next.config.ClientAuth = tls.RequireAndVerifyClientCert
	next.config.ClientCAs = x509.NewCertPool()
	if !next.config.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("read the client authorities: %s holds no certificate in PEM", files.ClientCA)
	}
	return next, nil
}

// read returns what a regular file of a sane size holds.
func read(file string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(file) // before it is opened, which waits for the writer of a pipe
	switch {
	case err != nil:
		return nil, 0, err // names the file
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("%s is no regular file", file)
	case info.Size() > maxFileBytes:
		return nil, 0, fmt.Errorf("%s has more than %d bytes", file, maxFileBytes)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() // nothing was written: an error loses nothing
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	return content, info.Mode(), err
}
