package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// tlsFiles serves a listener's certificate and authority as they lie in their files, and
// reads them again, at the next connection, when one of the files has changed: renewed
// certificates and another authority need no restart. Files that do not fit, such as a
// certificate whose key is not written yet, leave what was in force, and the log says so.
// Connections that stand are not touched. Safe for concurrent use.
type tlsFiles struct {
	paths []string // certificate, key, and the authority if there is one
	auth  tls.ClientAuthType
	alpn  []string
	log   *slog.Logger

	mu    sync.Mutex
	stamp stamps // of the files that are in force
	bad   stamps // of those that did not fit last
	inUse *tls.Config
}

// stamps tell whether files have changed: when they were written, and how long they are.
type stamps [3]struct {
	at   time.Time
	size int64
}

// serverTLS returns the configuration of a listener, for the protocols that it speaks.
func serverTLS(l ListenConfig, auth tls.ClientAuthType, log *slog.Logger, alpn ...string) (*tls.Config, error) {
	f := &tlsFiles{paths: []string{l.Cert, l.Key}, auth: auth, alpn: alpn, log: log}
	if l.ClientCA != "" {
		f.paths = append(f.paths, l.ClientCA)
	}
	f.stamp = f.look()
	var err error
	if f.inUse, err = f.read(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c := f.inUse.Clone()
	c.GetConfigForClient = f.current
	return c, nil
}

// current returns what is in force for a connection that comes in.
func (f *tlsFiles) current(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.look()
	if now == f.stamp {
		return f.inUse, nil
	}
	fresh, err := f.read()
	if err != nil { // tried again at the next connection, and said once
		if now != f.bad {
			f.log.LogAttrs(helloContext(hello), slog.LevelWarn, "the listener's certificate files do not fit; those before stay in force", slog.String("cause", err.Error()))
		}
		f.bad = now
		return f.inUse, nil
	}
	f.inUse, f.stamp, f.bad = fresh, now, stamps{}
	f.log.LogAttrs(helloContext(hello), slog.LevelInfo, "the listener's certificate files were read again")
	return f.inUse, nil
}

func helloContext(hello *tls.ClientHelloInfo) context.Context {
	if hello != nil && hello.Context() != nil {
		return hello.Context()
	}
	return context.Background()
}

// look stamps the files; one that is not there has the zero stamp.
func (f *tlsFiles) look() (s stamps) {
	for i, path := range f.paths {
		if info, err := os.Stat(path); err == nil {
			s[i].at, s[i].size = info.ModTime(), info.Size()
		}
	}
	return s
}

// read makes a configuration of the files. Its errors name no path.
func (f *tlsFiles) read() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.paths[0], f.paths[1])
	if err != nil {
		return nil, fmt.Errorf("loading certificate: %w", withoutPath(err))
	}
	// A ticket would let a caller back in whose authority is gone.
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: f.alpn, SessionTicketsDisabled: true}
	if len(f.paths) < 3 {
		return c, nil
	}
	pem, err := os.ReadFile(f.paths[2])
	if err != nil {
		return nil, fmt.Errorf("reading client_ca: %w", withoutPath(err))
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("client_ca holds no certificate")
	}
	c.ClientAuth = f.auth
	return c, nil
}

func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
