package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
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
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
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

// Hub is all roles in one process. Make one with New, run it with Serve, end it
// with Close.
type Hub struct {
	cfg   Config
	store *store.Store
	log   *slog.Logger
	clock Clock

	vkey      string
	sequencer *ledger.Sequencer[*store.Tx]
	witness   *ledger.WitnessFile // or nil
	cosigner  *ledger.Cosigner    // or nil
	erasures  *erasureJournal     // or nil
	rotations []*rotation
	mapper    *ledger.Mapper[*store.Tx]
	prover    *ledger.Prover
	policy    []byte       // text of the witness policy in force; nil without one
	mapped    atomic.Int64 // by the hub's clock, unix ns, when a map head was last due
	consents  *consent.Service[*store.Tx]
	releases  *release.Engine[*store.Tx]
	committer *committer
	writers   *writers
	meter     *meterService

	grpc, internal *grpc.Server
	health         *health.Server
	http           *http.Server
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
// Serve. The store must be migrated.
func New(ctx context.Context, cfg Config, d Deps) (_ *Hub, err error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, store: d.Store, log: d.Log, clock: d.Clock, stopping: make(chan struct{})}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	for _, key := range []string{hubKey, keyguard.HouseholdKey} {
		if err := d.Keys.CreateKey(ctx, key); err != nil {
			return nil, fmt.Errorf("making key %s: %w", key, err)
		}
	}
	secrets, err := loadSecrets(ctx, d.Store, d.Keys, d.Random, d.Clock)
	if err != nil {
		return nil, err
	}
	if err := h.wire(ctx, d, secrets); err != nil {
		return nil, err
	}
	if err := h.listen(); err != nil {
		return nil, err
	}
	return h, nil
}

// wire makes the core and the services above it.
func (h *Hub) wire(ctx context.Context, d Deps, secrets *secrets) error {
	signer, vkey, err := ledger.NewSigner(h.cfg.Origin, secrets.ledger.bytes())
	if err != nil {
		return fmt.Errorf("making ledger signer: %w", err)
	}
	pq, err := signer.AddMLDSA(secrets.mldsa.bytes(), d.Clock)
	if err != nil {
		return fmt.Errorf("making ledger signer: %w", err)
	}
	h.vkey = vkey + "\n" + pq
	if err := d.Store.CreateLedger(ctx, h.cfg.Origin); err != nil {
		return err
	}
	verifier, err := ledger.NewVerifier(h.vkey)
	if err != nil {
		return fmt.Errorf("reading own verifier key: %w", err)
	}
	_, unsigned := d.Store.Checkpoint(ctx) // before this process writes anything
	demanded, err := h.sequence(ctx, d, signer, verifier)
	if err != nil {
		return err
	}
	h.consents = consent.NewService(consent.Ledger[*store.Tx](h.sequencer), d.Random)
	h.releases = release.NewEngine(release.Config[*store.Tx]{
		Store: d.Store, Ledger: h.sequencer, Keys: d.Keys, Signer: ed25519.NewKeyFromSeed(secrets.release.bytes()), Catalogue: h.cfg.Catalogue, Origin: h.cfg.Origin,
		Now: d.Clock, Rand: d.Random, Log: d.Log,
	})
	secrets.eraseSeeds()
	h.writers = &writers{sequencer: h.sequencer, random: d.Random, clock: d.Clock}
	if _, err := h.writers.get(ctx); err != nil {
		return err
	}
	if err := h.recordKeyPolicy(ctx, d.Random); err != nil {
		return err
	}
	h.committer = newCommitter(d.Store, h.cfg.Ingest.Committers, d.Log)
	h.meter = &meterService{
		preparer: &preparer{
			store: d.Store, writers: h.writers, windows: h.releases, macKey: secrets.batches, clock: d.Clock,
			keys:  &keyCache{load: d.Store.PublicKeys, lru: newLRU[store.KeyID, loadedKey](keyCacheSize), clock: d.Clock},
			slack: int64(h.cfg.Ingest.FutureSlack / time.Second), slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		},
		committer: h.committer, store: d.Store, cfg: h.cfg.Ingest, log: d.Log, stopping: h.stopping, sound: h.sequencer.Failure,
	}
	if err := h.openJournal(ctx, unsigned == nil); err != nil {
		return err
	}
	eraser := &eraser{store: d.Store, sequencer: h.sequencer, journal: h.erasures, clock: d.Clock, random: d.Random}
	if err := h.replayErasures(ctx, eraser); err != nil {
		return err
	}
	h.rotations = newRotations(d, h.sequencer, h.cfg.Erasure)
	h.prover = ledger.NewProver(d.Store)
	guardian := d.Guardian
	if guardian == nil {
		guardian = keyguard.New(d.Store, d.Keys, demanded, d.Clock)
	}
	codes := letterCodes{key: secrets.codes}
	services := services{
		meter:    h.meter,
		registry: &registryService{store: d.Store, keys: d.Keys, rotations: h.rotations, codes: codes, eraser: eraser, clock: d.Clock, random: d.Random},
		consent:  &consentService{store: d.Store, prover: h.prover, consents: h.consents, clock: d.Clock, narrowings: newBuckets(narrowingsPerHour, time.Hour)},
		reading: &readingService{
			store: d.Store, gate: consent.NewGate(consent.Ledger[*store.Tx](h.sequencer), d.Clock), clock: d.Clock, log: d.Log,
			guard: guardian, proofs: &readProofs{
				store: d.Store, prover: h.prover, demanded: h.demanded, leaves: newLRU[consentTerms, uint64](consentLeafCacheSize),
			}, reads: newBuckets(readsPerMinute, time.Minute),
		},
		release: &releaseService{store: d.Store, catalogue: h.cfg.Catalogue, clock: d.Clock},
		audit:   &auditService{store: d.Store, prover: h.prover, sequencer: h.sequencer, mapper: h.mapper, clock: d.Clock, vkey: vkey},
		session: &sessionService{
			store: d.Store, sequencer: h.sequencer, eraser: eraser, erasure: h.cfg.Erasure, codes: codes, clock: d.Clock, random: d.Random, tries: newBucket(60, time.Minute),
		},
	}
	if h.cfg.serveKeys {
		services.key = newKeyService(guardian, d.Random, d.Log)
	}
	h.health = health.NewServer()
	return h.doors(ctx, services)
}

// sequence starts the sequencer with all that watches over it, and returns what
// the keeper of keys demands of a record.
func (h *Hub) sequence(ctx context.Context, d Deps, signer ledger.Signer, verifier *ledger.Verifier) (demanded *ledger.Verifier, err error) {
	opt := ledger.Options{Now: d.Clock, Rand: d.Random, Logger: d.Log, Sealed: true}
	if path := h.cfg.Ledger.SelfWitness; path != "" {
		if h.witness, err = ledger.OpenWitnessFile(path, h.cfg.Origin); err != nil {
			return nil, err
		}
		opt.Witness = h.witness
		if size, _, err := h.witness.Recall(); err == nil && size == 0 {
			if _, err := d.Store.Checkpoint(ctx); err == nil {
				d.Log.LogAttrs(ctx, slog.LevelWarn, "the ledger's witness file is new and the ledger is not: what was signed before is not remembered")
			}
		}
	} else {
		d.Log.LogAttrs(ctx, slog.LevelWarn, "no witness file: a store that was set back before a start is not noticed")
	}
	policy, text, err := h.cfg.Ledger.policy()
	if err != nil {
		return nil, err
	}
	h.policy = text
	if policy != nil {
		h.cosigner = ledger.NewCosigner(ledger.CosignerConfig{
			Store: d.Store, Verifier: verifier, Policy: policy, Client: &http.Client{Timeout: witnessTimeout}, Logger: d.Log,
			Fail: func(err error) { h.sequencer.Fail(err) },
		})
		opt.Published = h.cosigner.Notify
	}
	demanded = verifier
	if h.cfg.Ledger.ReleaseRequires == requireCosigned {
		demanded = verifier.WithPolicy(policy)
	}
	h.sequencer = ledger.NewSequencer(ledger.Store[*store.Tx](d.Store), signer, opt)
	h.mapper = ledger.NewMapper(ledger.MapStore[*store.Tx](d.Store), h.sequencer)
	h.mapped.Store(d.Clock().UnixNano())
	var watching context.Context
	watching, h.stopWatching = context.WithCancel(context.Background())
	if h.cosigner != nil {
		go h.cosigner.Run(watching)
	}
	if dir := h.cfg.Ledger.Export; dir != "" {
		go h.export(watching, ledger.NewExporter(d.Store, dir))
	}
	return demanded, nil
}

// recordKeyPolicy writes into the ledger, at every start, whose signatures it bears
// from then on and what the keeper of keys demands before it hands out a key: who
// weakens either does it on record.
func (h *Hub) recordKeyPolicy(ctx context.Context, random io.Reader) error {
	var start [16]byte
	if _, err := io.ReadFull(random, start[:]); err != nil {
		return fmt.Errorf("drawing a name: %w", err)
	}
	digest := ledger.KeyPolicyDigest(h.vkey, h.cfg.Ledger.ReleaseRequires, h.policy)
	_, err := h.sequencer.Propose(ctx, fmt.Sprintf("key-policy/%x", start), func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: ledger.DetailKeyPolicy, Digest: digest}, nil
	})
	if err != nil {
		return fmt.Errorf("recording keys and policy: %w", err)
	}
	return nil
}

// export copies the log to a directory until ctx ends. It is in nobody's way: what
// fails is said, and tried again.
func (h *Hub) export(ctx context.Context, e *ledger.Exporter) {
	every := time.NewTicker(h.cfg.Ledger.ExportEvery)
	defer every.Stop()
	for {
		if h.sequencer.Failure() == nil {
			if _, err := e.Export(ctx); err != nil && ctx.Err() == nil {
				h.log.LogAttrs(ctx, slog.LevelError, "exporting the ledger", slog.String("cause", err.Error()))
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// witnessTimeout bounds one question to a witness.
const witnessTimeout = 5 * time.Second

// demanded returns the checkpoint under which the keeper of keys takes the record
// of a read: the newest, or one that is cosigned, as soon as there is one and at
// most for so long as the configuration says.
func (h *Hub) demanded(ctx context.Context, index uint64) (note []byte, err error) {
	if h.cfg.Ledger.ReleaseRequires != requireCosigned {
		return h.store.Checkpoint(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Ledger.CosignTimeout)
	defer cancel()
	return h.cosigner.Await(ctx, index)
}

type services struct {
	meter    *meterService
	registry *registryService
	consent  *consentService
	reading  *readingService
	release  *releaseService
	audit    *auditService
	session  *sessionService
	key      *keyService // nil where no other process asks this one for keys
}

func (s services) register(to *grpc.Server) {
	wattveilv1.RegisterMeterServiceServer(to, s.meter)
	wattveilv1.RegisterRegistryServiceServer(to, s.registry)
	wattveilv1.RegisterConsentServiceServer(to, s.consent)
	wattveilv1.RegisterReadingServiceServer(to, s.reading)
	wattveilv1.RegisterReleaseServiceServer(to, s.release)
	wattveilv1.RegisterAuditServiceServer(to, s.audit)
	wattveilv1.RegisterSessionServiceServer(to, s.session)
}

// VerifierKey is the ledger's public keys as signed notes' vkeys, Ed25519 and
// ML-DSA-44, one a line.
func (h *Hub) VerifierKey() string { return h.vkey }

// tick is how often a serving hub looks for days to close and consents to end.
const tick = 30 * time.Second

// Serve answers until ctx ends, then stops gracefully: batches under way are
// stored and answered, new ones are not taken. It returns nil after a graceful
// stop. Call it once.
func (h *Hub) Serve(ctx context.Context) error {
	h.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	failed := make(chan error, 3)
	go func() { failed <- h.grpc.Serve(h.grpcListener) }()
	go func() { failed <- h.internal.Serve(h.bufListener) }()
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

// Tend does what time brings: it closes the days whose watermark has passed,
// publishes them and what is live, and ends consents that have run out. Serve calls it every
// tick; a hub whose clock follows data is tended by whoever moves the clock.
// Safe for concurrent use; what is already done is not done again. Over a ledger
// that can no longer be trusted it does nothing: budget would be spent on a release
// that cannot be recorded.
func (h *Hub) Tend(ctx context.Context) error {
	if err := h.sequencer.Failure(); err != nil {
		return err
	}
	_, closing := h.releases.CloseDue(ctx)
	if closing != nil {
		closing = fmt.Errorf("closing days: %w", closing)
	}
	_, live := h.releases.PublishLive(ctx)
	if live != nil {
		live = fmt.Errorf("publishing live load: %w", live)
	}
	// Ingest keeps no key of a day past its watermark, closed or not: keys seal,
	// and a day that cannot be closed yet needs none.
	h.writers.forget(meter.DayOf(h.clock().Add(-h.cfg.Catalogue.Watermark).Unix()))
	h.meter.preparer.keys.forget()
	_, expiring := h.consents.ExpireDue(ctx)
	if expiring != nil {
		expiring = fmt.Errorf("ending consents: %w", expiring)
	}
	return errors.Join(closing, live, expiring) // a day that will not close keeps nobody's consent alive
}

// Rotate does one step of what is due of the rotation of keys. Serve does so every tick, beside
// everything else: looking through what is stored takes time. Safe for concurrent use.
func (h *Hub) Rotate(ctx context.Context) error {
	if err := h.sequencer.Failure(); err != nil {
		return err
	}
	var errs []error
	for _, r := range h.rotations {
		errs = append(errs, r.tend(ctx))
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
	if h.witness != nil {
		_ = h.witness.Close()
		h.witness = nil
	}
	h.erasures.close()
	h.erasures = nil
}
