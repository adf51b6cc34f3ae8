package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/server/oauth"
	"github.com/wattveil/wattveil/server/store"
)

// Deps are what a hub is handed: nothing of it is made inside.
type Deps struct {
	Store *store.Store
	Keys  KeyService
	// Clock is the hub's now. A hub that replays data hands one that follows it.
	Clock Clock
	// Random draws identifiers, keys and nonces; crypto/rand.Reader. Noise never
	// comes from it.
	Random io.Reader
	Log    *slog.Logger
	// Guardian keeps the households' keys; nil for the hub's own, in its process. See
	// [NewRemoteGuard].
	Guardian keyguard.Guardian
}

// Hub is the roles that one process runs: all of them, unless the configuration names
// some. Make one with New, run it with Serve, end it with Close.
type Hub struct {
	cfg   Config
	roles roleSet
	store *store.Store // nil for a portal alone
	keys  KeyService   // likewise
	log   *slog.Logger
	clock Clock
	peers peers // the roles of other processes

	random io.Reader

	verifier  *ledger.Verifier             // of the ledger's public keys, as they change; nil for a portal alone
	sequencer *ledger.Sequencer[*store.Tx] // nil for a portal alone
	prover    *ledger.Prover               // nil for a portal alone
	demanded  func(ctx context.Context, index uint64) (note []byte, err error)
	policy    []byte // text of the witness policy in force; nil without one

	// What its roles have; nil in other processes.
	witness   *ledger.WitnessFile // or nil
	cosigner  *ledger.Cosigner    // or nil
	signing   *ledgerRotation
	notary    *remoteNotary // of a process that records and does not sign
	following sync.Mutex    // guards stated
	stated    string        // ledger's keys, that the keyguard has stated it believes
	mapper    *ledger.Mapper[*store.Tx]
	mapped    atomic.Int64    // by the hub's clock, unix ns, when a map head was last due
	erasures  *erasureJournal // or nil
	rotations []*rotation
	pairs     *pairRotation
	consents  *consent.Service[*store.Tx]
	// statements signs what is told to others in JSON.
	statements *statements
	oauth      *oauth.Server
	notifier   *notifier
	releases   *release.Engine[*store.Tx]
	windows    *remoteWindows
	committer  *committer
	writers    *writers
	meter      *meterService

	grpc, internal *grpc.Server // nil for a portal alone
	health         *health.Server
	http           *http.Server
	tables         *tables
	grpcListener   net.Listener
	httpListener   net.Listener
	bufListener    *bufconn.Listener
	conn           *grpc.ClientConn

	stopping     chan struct{}
	stopOnce     sync.Once
	stopWatching func() // or nil
}

// New wires a hub and binds its listeners: after it returns, GRPCAddr and
// HTTPAddr are known, and clients may connect though nobody answers before
// Serve. The store must be migrated. A process that records events and does not sign
// waits here for the one that does, at most a minute.
func New(ctx context.Context, cfg Config, d Deps) (_ *Hub, err error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	roles, err := parseRoles(cfg.Roles)
	if err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, roles: roles, store: d.Store, keys: d.Keys, log: d.Log, clock: d.Clock, random: d.Random, stopping: make(chan struct{})}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if h.peers, err = dialPeers(cfg.Peers, roles.needed()); err != nil {
		return nil, err
	}
	if err := roles.keysReady(ctx, d.Keys); err != nil {
		return nil, err
	}
	services, err := h.wire(ctx, d)
	if err != nil {
		return nil, err
	}
	h.health = health.NewServer()
	if err := h.doors(ctx, services); err != nil {
		return nil, err
	}
	if err := h.listen(); err != nil {
		return nil, err
	}
	return h, nil
}

// failure says why the ledger can no longer be trusted; nil while it can.
func (h *Hub) failure() error {
	if h.sequencer == nil {
		return nil
	}
	return h.sequencer.Failure()
}

// VerifierKey is the ledger's public keys, in the form that ledger.NewVerifier takes:
// signed notes' vkeys, Ed25519 and ML-DSA-44, one a line, and older generations after the
// sizes that they are believed for. It is empty for a portal alone.
func (h *Hub) VerifierKey() string {
	if h.verifier == nil {
		return ""
	}
	return h.verifier.Keys()
}

// tick is how often a serving hub looks for days to close and consents to end.
const tick = 30 * time.Second

// Serve answers until ctx ends, then stops gracefully: batches under way are
// stored and answered, new ones are not taken. It returns nil after a graceful
// stop. Call it once.
func (h *Hub) Serve(ctx context.Context) error {
	h.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	failed := make(chan error, 3)
	if h.grpc != nil {
		go func() { failed <- h.grpc.Serve(h.grpcListener) }()
		go func() { failed <- h.internal.Serve(h.bufListener) }()
	}
	go func() {
		if h.http.TLSConfig != nil {
			failed <- h.http.ServeTLS(h.httpListener, "", "")
			return
		}
		failed <- h.http.Serve(h.httpListener)
	}()
	h.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("grpc", h.GRPCAddr()), slog.String("http", h.HTTPAddr()))
	rotation, stopRotating := context.WithCancel(ctx)
	rotated := make(chan struct{})
	go func() { defer close(rotated); h.rotating(rotation) }()
	defer func() { stopRotating(); <-rotated }()
	if h.notifier != nil {
		telling, stopTelling := context.WithCancel(ctx)
		told := make(chan struct{})
		go func() { defer close(told); h.notifier.run(telling) }()
		defer func() { stopTelling(); <-told }()
	}
	every, second := time.NewTicker(tick), time.NewTicker(time.Second)
	defer every.Stop()
	defer second.Stop()
	var err error
	for running := true; running; {
		select {
		case <-second.C:
			if err := h.mapIfDue(ctx); err != nil && ctx.Err() == nil {
				h.log.LogAttrs(ctx, slog.LevelError, "writing map head", slog.String("cause", err.Error()))
			}
		case <-every.C:
			if err := h.Tend(ctx); err != nil && ctx.Err() == nil {
				h.log.LogAttrs(ctx, slog.LevelError, "tending", slog.String("cause", err.Error()))
			}
		case err = <-failed:
			running = false
		case <-ctx.Done():
			running = false
		}
	}
	h.stop()
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// Tend does what time brings, of what this process's roles do: it closes the days whose
// watermark has passed, publishes them and what is live, and ends consents that have run
// out. Serve calls it every tick; a hub whose clock follows data is tended by whoever
// moves the clock. Safe for concurrent use; what is already done is not done again. Over
// a ledger that can no longer be trusted it does nothing: budget would be spent on a
// release that cannot be recorded.
func (h *Hub) Tend(ctx context.Context) error {
	h.hear(ctx)
	if err := h.failure(); err != nil {
		return err
	}
	var errs []error // a day that will not close keeps nobody's consent alive
	failed := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	if h.roles.has(onRelease) {
		_, err := h.releases.CloseDue(ctx)
		failed("closing days", err)
		_, err = h.releases.PublishLive(ctx)
		failed("publishing live load", err)
	}
	if h.roles.has(onIngest) {
		// Ingest keeps no key of a day past its watermark, closed or not: keys seal,
		// and a day that cannot be closed yet needs none.
		h.writers.forget(meter.DayOf(h.clock().Add(-h.cfg.Catalogue.Watermark).Unix()))
		h.meter.preparer.keys.forget()
		if h.windows != nil {
			failed("asking for windows", h.windows.ahead(ctx))
		}
	}
	if h.roles.has(onAccess) {
		_, err := h.consents.ExpireDue(ctx)
		failed("ending consents", err)
		failed("forgetting tokens", h.oauth.Sweep(ctx))
	}
	return errors.Join(errs...)
}

// hear asks the process that signs whether the ledger can still be trusted: it notices
// first when the store was set back, and the others stop with it.
func (h *Hub) hear(ctx context.Context) {
	if h.notary == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hearTimeout)
	defer cancel()
	_, err := h.notary.Cover(ctx, 0)
	for _, final := range []error{ledger.ErrRollback, ledger.ErrFork, ledger.ErrCorrupt} {
		if errors.Is(err, final) {
			h.sequencer.Fail(fmt.Errorf("the part that signs: %w", err))
		}
	}
}

// hearTimeout bounds that question: who is away is no reason to stop.
const hearTimeout = 2 * time.Second

// Rotate does one step of what is due of the rotation of keys. Serve does so every tick, beside
// everything else: looking through what is stored takes time. Safe for concurrent use.
func (h *Hub) Rotate(ctx context.Context) error {
	if err := h.failure(); err != nil {
		return err
	}
	var errs []error
	for _, r := range h.rotations {
		errs = append(errs, r.tend(ctx))
	}
	if h.signing != nil {
		errs = append(errs, h.signing.tend(ctx), h.cfg.Ledger.publishKeys(h.VerifierKey()))
	}
	if h.notary != nil {
		errs = append(errs, h.followKeys(ctx))
	}
	return errors.Join(errs...)
}

// rotating rotates until ctx ends.
func (h *Hub) rotating(ctx context.Context) {
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if err := h.Rotate(ctx); err != nil && ctx.Err() == nil {
				h.log.LogAttrs(ctx, slog.LevelError, "rotating keys", slog.String("cause", err.Error()))
			}
		case <-ctx.Done():
			return
		}
	}
}

// mapIfDue writes a map head if one is due by the hub's clock.
func (h *Hub) mapIfDue(ctx context.Context) error {
	if h.mapper == nil {
		return nil
	}
	now := h.clock().UnixNano()
	if now-h.mapped.Load() < int64(h.cfg.Ledger.MapEvery) {
		return nil
	}
	h.mapped.Store(now)
	_, err := h.mapper.Tick(ctx)
	return err
}

// graceful is how long a stopping hub waits for its callers.
const graceful = 15 * time.Second

func (h *Hub) stop() {
	h.stopOnce.Do(func() {
		close(h.stopping)
		if h.health != nil {
			h.health.Shutdown()
		}
		ctx, cancel := context.WithTimeout(context.Background(), graceful)
		defer cancel()
		if h.http != nil {
			_ = h.http.Shutdown(ctx)
		}
		for _, s := range []*grpc.Server{h.grpc, h.internal} {
			if s == nil {
				continue
			}
			stopped := make(chan struct{})
			go func() { s.GracefulStop(); close(stopped) }()
			select {
			case <-stopped:
			case <-ctx.Done():
				s.Stop()
				<-stopped
			}
		}
	})
}

// Close stops the hub and lets go of everything New made; the store and the key
// service stay their owner's. Harmless after Serve has returned, and again.
func (h *Hub) Close() {
	h.stop()
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
	if h.bufListener != nil {
		_ = h.bufListener.Close()
	}
	for _, l := range []net.Listener{h.grpcListener, h.httpListener} {
		if l != nil {
			_ = l.Close()
		}
	}
	if h.committer != nil {
		h.committer.close()
		h.committer = nil
	}
	if h.stopWatching != nil {
		h.stopWatching()
	}
	if h.sequencer != nil {
		h.sequencer.Close()
	}
	h.peers.close()
	h.peers = nil
	if h.witness != nil {
		_ = h.witness.Close()
		h.witness = nil
	}
	h.erasures.close()
	h.erasures = nil
}
