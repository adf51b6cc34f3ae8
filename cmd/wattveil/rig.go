package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/server"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
)

// rig is a whole hub in this process, with throw-away certificates and a clock
// that its owner moves: what demo shows and bench measures.
type rig struct {
	hub       *server.Hub
	clock     *dataClock
	ca        *authority
	origin    string
	storeName string
	catalogue release.Catalogue

	log    *slog.Logger
	store  *store.Store
	ring   *keys.Keyring
	served chan error
	cancel context.CancelFunc
	conns  []*grpc.ClientConn
}

type rigConfig struct {
	Dir        string
	Store      string            // URL; SQLite in Dir if empty
	Keys       server.KeyService // a keyring in Dir if nil
	Start      time.Time
	Log        *slog.Logger
	Committers int
	HTTP       string // loopback address; any port of this machine if empty
}

// dataClock is a clock that follows data: it stands still until it is set.
// Setting it back has no effect.
type dataClock struct{ now atomic.Int64 } // unix ns

func (c *dataClock) Now() time.Time { return time.Unix(0, c.now.Load()).UTC() }

func (c *dataClock) set(t time.Time) {
	for {
		old := c.now.Load()
		if t.UnixNano() <= old || c.now.CompareAndSwap(old, t.UnixNano()) {
			return
		}
	}
}

// startRig makes and starts a hub.
func startRig(ctx context.Context, c rigConfig) (_ *rig, err error) {
	r := &rig{log: c.Log, clock: &dataClock{}, origin: "demo.wattveil.example/ledger", catalogue: release.DefaultCatalogue(), served: make(chan error, 1), cancel: func() {}}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	r.clock.set(c.Start)
	if r.ca, err = newAuthority(); err != nil {
		return nil, err
	}
	tlsDir := filepath.Join(c.Dir, "tls")
	if err := os.MkdirAll(tlsDir, 0o700); err != nil {
		return nil, fmt.Errorf("making directory: %w", err)
	}
	grpcDoor, err := r.ca.writeServer(tlsDir)
	if err != nil {
		return nil, err
	}
	url := c.Store
	if url == "" {
		url = "sqlite:" + filepath.Join(c.Dir, "hub.db")
	}
	if r.store, err = store.Open(ctx, url, store.Options{Migrate: true}); err != nil {
		return nil, err
	}
	r.storeName = map[string]string{"sqlite": "SQLite", "postgres": "PostgreSQL"}[r.store.Engine()]
	if c.Keys == nil {
		if r.ring, err = keys.OpenKeyring(filepath.Join(c.Dir, "keys"), rand.Reader); err != nil {
			return nil, fmt.Errorf("opening keyring: %w", err)
		}
		c.Keys = r.ring
	}
	cfg := server.Config{
		Origin: r.origin, Store: url, Keys: server.KeysConfig{Keyring: filepath.Join(c.Dir, "keys")},
		GRPC: grpcDoor, HTTP: server.ListenConfig{Listen: cmp.Or(c.HTTP, "127.0.0.1:0")}, Catalogue: r.catalogue, Ingest: server.IngestConfig{Committers: c.Committers},
		Ledger:  server.LedgerConfig{SelfWitness: filepath.Join(c.Dir, "ledger.witness")},
		Erasure: server.ErasureConfig{Journal: filepath.Join(c.Dir, "erasures")},
	}
	if r.hub, err = server.New(ctx, cfg, server.Deps{Store: r.store, Keys: c.Keys, Clock: r.clock.Now, Random: rand.Reader, Log: c.Log}); err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(ctx)
	r.cancel = cancel
	go func() { r.served <- r.hub.Serve(serving) }()
	return r, nil
}

// stage is a hub on which the demo's story is played, as its callers reach it.
type stage interface {
	// caller connects as a caller of the given kind and name.
	caller(kind, id string) (grpc.ClientConnInterface, error)
	// portal and record are where pages and REST are, and the ledger's public files:
	// URLs.
	portal() string
	record() string
	// verifierKeys are the ledger's public keys.
	verifierKeys() string
	// now is the hub's time, and turn sets it; tend does what time has brought.
	now() time.Time
	turn(ctx context.Context, to time.Time) error
	tend(ctx context.Context) error
}

// A rig is a stage.
func (r *rig) caller(kind, id string) (grpc.ClientConnInterface, error) { return r.dial(kind, id) }

func (r *rig) portal() string { return "http://" + r.hub.HTTPAddr() }

func (r *rig) record() string { return "http://" + r.hub.HTTPAddr() }

func (r *rig) verifierKeys() string           { return r.hub.VerifierKey() }
func (r *rig) now() time.Time                 { return r.clock.Now() }
func (r *rig) tend(ctx context.Context) error { return r.hub.Tend(ctx) }

func (r *rig) turn(_ context.Context, to time.Time) error {
	r.clock.set(to)
	return nil
}

// dial connects as a caller of the given kind and name.
func (r *rig) dial(kind, id string) (*grpc.ClientConn, error) {
	c, err := r.ca.client(kind, id)
	if err != nil {
		return nil, err
	}
	conn, err := dial(r.hub.GRPCAddr(), c)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	r.conns = append(r.conns, conn)
	return conn, nil
}

// stop ends the hub gracefully and closes what startRig opened.
func (r *rig) stop() {
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.cancel()
	if r.hub != nil {
		select {
		case err := <-r.served:
			if err != nil && !errors.Is(err, context.Canceled) {
				r.log.LogAttrs(context.Background(), slog.LevelError, "hub ended", slog.String("cause", err.Error()))
			}
		case <-time.After(30 * time.Second):
		}
		r.hub.Close()
	}
	if r.ring != nil {
		_ = r.ring.Close()
	}
	if r.store != nil {
		_ = r.store.Close()
	}
}
