package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"google.golang.org/grpc"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// services are what a process answers calls with; one that none of its roles has is
// nil, and not registered.
type services struct {
	meter    *meterService
	registry *registryService
	consent  *consentService
	reading  *readingService
	release  *releaseService
	audit    *auditService
	session  *sessionService
	notify   *notificationService

	authorization *authorizationService

	// Of other parts of the hub alone.
	key        *keyService
	checkpoint *checkpointService
	window     *windowService
}

// register registers what anybody may call, as far as the matrix lets them.
func (s *services) register(to *grpc.Server) {
	if s.meter != nil {
		wattveilv1.RegisterMeterServiceServer(to, s.meter)
	}
	if s.registry != nil {
		wattveilv1.RegisterRegistryServiceServer(to, s.registry)
	}
	if s.consent != nil {
		wattveilv1.RegisterConsentServiceServer(to, s.consent)
	}
	if s.reading != nil {
		wattveilv1.RegisterReadingServiceServer(to, s.reading)
	}
	if s.release != nil {
		wattveilv1.RegisterReleaseServiceServer(to, s.release)
	}
	if s.audit != nil {
		wattveilv1.RegisterAuditServiceServer(to, s.audit)
	}
	if s.session != nil {
		wattveilv1.RegisterSessionServiceServer(to, s.session)
	}
	if s.authorization != nil {
		wattveilv1.RegisterAuthorizationServiceServer(to, s.authorization)
	}
	if s.notify != nil {
		wattveilv1.RegisterNotificationServiceServer(to, s.notify)
	}
}

// registerInternal registers what only other parts of the hub may call. It is not behind
// REST and pages.
func (s *services) registerInternal(to *grpc.Server) {
	if s.key != nil {
		wattveilv1.RegisterKeyServiceServer(to, s.key)
	}
	if s.checkpoint != nil {
		wattveilv1.RegisterCheckpointServiceServer(to, s.checkpoint)
	}
	if s.window != nil {
		wattveilv1.RegisterWindowServiceServer(to, s.window)
	}
}

// wire makes the core of each role of this process, and the services above it.
func (h *Hub) wire(ctx context.Context, d Deps) (*services, error) {
	s := &services{}
	if !h.roles.has(recording) {
		return s, nil // pages need nothing but who answers them
	}
	if h.roles != allRoles {
		for _, r := range inOrder {
			if h.roles.has(r.set) {
				if err := d.Store.ActsAs(ctx, r.name); err != nil {
					return nil, err
				}
			}
		}
	}
	own, err := loadSecrets(ctx, d.Store, d.Keys, d.Random, d.Clock, h.roles)
	if err != nil {
		return nil, err
	}
	h.prover = ledger.NewProver(d.Store)
	unsigned, verifier, err := h.record(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		role roleSet
		wire func(context.Context, Deps, *secrets, *services) error
	}{
		{onLedger, h.wireLedger}, {onRelease, h.wireRelease}, {onIngest, h.wireIngest},
	} {
		if h.roles.has(part.role) {
			if err := part.wire(ctx, d, own, s); err != nil {
				return nil, err
			}
		}
	}
	if h.roles.has(onAccess) {
		if h.statements, err = newStatements(own.statements.bytes()); err != nil {
			return nil, err
		}
	}
	own.eraseSeeds()
	if err := h.stateKeys(ctx); err != nil {
		return nil, err
	}
	guardian := d.Guardian
	if h.roles.has(onKeyguard) {
		guardian = h.wireKeyguard(d, verifier, guardian, s)
	} else if guardian == nil && h.roles.has(onAccess) {
		guardian = NewRemoteGuard(h.peers[onKeyguard], d.Random)
	}
	if h.roles.has(onAccess) {
		if err := h.wireAccess(ctx, d, own, guardian, unsigned, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// record starts the sequencer, of a process that signs or of one that has its heads
// signed, with all that watches over it. It reports whether nothing had been signed
// before, and returns what the keeper of keys demands of a record.
func (h *Hub) record(ctx context.Context, d Deps) (unsigned bool, demanded *ledger.Verifier, err error) {
	policy, text, err := h.cfg.Ledger.policy()
	if err != nil {
		return false, nil, err
	}
	h.policy = text
	opt := ledger.Options{Now: d.Clock, Rand: d.Random, Logger: d.Log, Sealed: true}
	var signer ledger.Signer
	var signing *ledgerKeys
	if h.roles.has(onLedger) {
		if signing, err = h.signer(ctx, d); err == nil {
			signer = signing.signer()
		}
	} else {
		err = h.askNotary(ctx, &opt)
	}
	if err != nil {
		return false, nil, err
	}
	demanded = h.verifier
	if h.cfg.Ledger.ReleaseRequires == requireCosigned {
		demanded = h.verifier.WithPolicy(policy)
	}
	_, noCheckpoint := d.Store.Checkpoint(ctx) // before this process writes anything
	if err := h.openWitness(ctx, &opt); err != nil {
		return false, nil, err
	}
	if policy != nil && h.roles.has(onLedger) {
		h.cosigner = ledger.NewCosigner(ledger.CosignerConfig{
			Store: d.Store, Verifier: h.verifier, Policy: policy, Client: &http.Client{Timeout: witnessTimeout}, Logger: d.Log,
			Fail: func(err error) { h.sequencer.Fail(err) },
		})
		opt.Published = h.cosigner.Notify
	}
	h.sequencer = ledger.NewSequencer(ledger.Store[*store.Tx](d.Store), signer, opt)
	h.demanded = h.checkpoint()
	if signing != nil {
		h.signing = newLedgerRotation(signing, h.sequencer, h.prover, h.cfg.Ledger.KeyOverlap, d.Log, h.recordKeyPolicy)
	}
	return noCheckpoint != nil, demanded, nil
}

// signer begins the log where there is none, and makes what signs it.
func (h *Hub) signer(ctx context.Context, d Deps) (*ledgerKeys, error) {
	if err := d.Store.CreateLedger(ctx, h.cfg.Origin); err != nil {
		return nil, err
	}
	keys, err := openLedgerKeys(ctx, h.cfg.Origin, d)
	if err != nil {
		return nil, err
	}
	h.verifier = keys.verifier
	return keys, h.cfg.Ledger.publishKeys(h.VerifierKey())
}

// notaryPatience is how long a starting process waits for the one that signs.
const notaryPatience = time.Minute

// askNotary has heads signed by another process, under the keys that a file names, and
// waits until that answers.
func (h *Hub) askNotary(ctx context.Context, opt *ledger.Options) error {
	ctx, cancel := context.WithTimeout(ctx, notaryPatience)
	defer cancel()
	vkeys, err := h.cfg.Ledger.readKeys()
	for errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil { // the process that signs may be starting
		select {
		case <-time.After(notaryPatience / 120):
		case <-ctx.Done():
		}
		vkeys, err = h.cfg.Ledger.readKeys()
	}
	if err != nil {
		return err
	}
	if h.verifier, err = ledger.NewVerifier(vkeys); err != nil {
		return fmt.Errorf("%w: ledger.verifier_keys: %w", ErrConfig, err)
	}
	if h.verifier.Origin() != h.cfg.Origin {
		return fmt.Errorf("%w: ledger.verifier_keys are of another origin", ErrConfig)
	}
	h.notary = newRemoteNotary(h.peers[onLedger], h.verifier)
	opt.Elsewhere = h.notary
	if _, err := h.notary.Cover(ctx, 0); err != nil {
		return fmt.Errorf("waiting for the part that signs: %w", err)
	}
	return nil
}

// followKeys takes up what the ledger's keys have become, by the word of those that this
// process believes, and writes them into its file. The keeper of keys states in the ledger
// what it believes from then on.
func (h *Hub) followKeys(ctx context.Context) error {
	if err := h.notary.follow(ctx); err != nil {
		return err
	}
	h.following.Lock()
	defer h.following.Unlock()
	vkeys := h.VerifierKey()
	if h.roles.has(onKeyguard) && h.stated != vkeys {
		if err := h.recordKeyPolicy(ctx); err != nil {
			return err
		}
		h.stated = vkeys
	}
	return h.cfg.Ledger.keepKeys(vkeys)
}

// openWitness opens the file that remembers what was signed, if one is named.
func (h *Hub) openWitness(ctx context.Context, opt *ledger.Options) (err error) {
	path := h.cfg.Ledger.SelfWitness
	if path == "" {
		if h.roles.has(onLedger) {
			h.log.LogAttrs(ctx, slog.LevelWarn, "no witness file: a store that was set back before a start is not noticed")
		}
		return nil
	}
	if h.witness, err = ledger.OpenWitnessFile(path, h.cfg.Origin); err != nil {
		return err
	}
	opt.Witness = h.witness
	if size, _, err := h.witness.Recall(); err == nil && size == 0 {
		if _, err := h.store.Checkpoint(ctx); err == nil {
			h.log.LogAttrs(ctx, slog.LevelWarn, "the ledger's witness file is new and the ledger is not: what was signed before is not remembered")
		}
	}
	return nil
}

// checkpoint returns what gives the checkpoint under which the keeper of keys takes the
// record of a read: the newest, or one that is cosigned, as soon as there is one and at
// most for so long as the configuration says.
func (h *Hub) checkpoint() func(ctx context.Context, index uint64) ([]byte, error) {
	if h.cfg.Ledger.ReleaseRequires != requireCosigned {
		return func(ctx context.Context, _ uint64) ([]byte, error) { return h.store.Checkpoint(ctx) }
	}
	await := func(ctx context.Context, index uint64) ([]byte, error) { return h.cosigner.Await(ctx, index) }
	if h.notary != nil {
		await = h.notary.cosigned
	}
	return func(ctx context.Context, index uint64) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, h.cfg.Ledger.CosignTimeout)
		defer cancel()
		note, err := await(ctx, index)
		if err != nil && ctx.Err() != nil && !errors.Is(err, ledger.ErrNotCosigned) {
			err = fmt.Errorf("leaf %d: %w: %w", index, ledger.ErrNotCosigned, err)
		}
		return note, err
	}
}

// wireLedger makes what shows the record, and what has it watched.
func (h *Hub) wireLedger(_ context.Context, d Deps, _ *secrets, s *services) error {
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
	s.audit = &auditService{store: d.Store, prover: h.prover, sequencer: h.sequencer, mapper: h.mapper, clock: d.Clock, signing: h.signing}
	if h.apart() {
		s.checkpoint = &checkpointService{sequencer: h.sequencer, cosigner: h.cosigner, patience: h.cfg.Ledger.CosignTimeout}
	}
	return nil
}

// apart reports whether some roles run in other processes, which may call this one.
func (h *Hub) apart() bool { return h.roles != allRoles || h.cfg.serveParts }

// wireRelease makes what closes days and publishes.
func (h *Hub) wireRelease(_ context.Context, d Deps, secrets *secrets, s *services) error {
	h.releases = release.NewEngine(release.Config[*store.Tx]{
		Store: d.Store, Ledger: h.sequencer, Keys: d.Keys, Signer: ed25519.NewKeyFromSeed(secrets.release.bytes()), Catalogue: h.cfg.Catalogue, Origin: h.cfg.Origin,
		Now: d.Clock, Rand: d.Random, Log: d.Log,
	})
	s.release = &releaseService{store: d.Store, catalogue: h.cfg.Catalogue, clock: d.Clock}
	if h.apart() {
		s.window = &windowService{windows: h.releases}
	}
	return nil
}

// wireIngest makes what takes readings in.
func (h *Hub) wireIngest(ctx context.Context, d Deps, secrets *secrets, s *services) error {
	h.writers = &writers{sequencer: h.sequencer, random: d.Random, clock: d.Clock}
	if _, err := h.writers.get(ctx); err != nil {
		return err
	}
	var windows windowKeys = h.releases
	if h.releases == nil {
		h.windows = newRemoteWindows(h.peers[onRelease], h.cfg.Catalogue, d.Clock, d.Store.LastWindow)
		windows = h.windows
		if err := h.windows.ahead(ctx); err != nil { // asked again when a reading needs them
			h.log.LogAttrs(ctx, slog.LevelWarn, "asking for windows", slog.String("cause", err.Error()))
		}
	}
	h.committer = newCommitter(d.Store, h.cfg.Ingest.Committers, d.Log)
	h.meter = &meterService{
		preparer: &preparer{
			store: d.Store, writers: h.writers, windows: windows, macKey: secrets.batches, clock: d.Clock,
			keys:  &keyCache{load: d.Store.PublicKeys, lru: newLRU[store.KeyID, loadedKey](keyCacheSize), clock: d.Clock},
			slack: int64(h.cfg.Ingest.FutureSlack / time.Second), slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		},
		committer: h.committer, store: d.Store, cfg: h.cfg.Ingest, log: d.Log, stopping: h.stopping, sound: h.sequencer.Failure,
	}
	s.meter = h.meter
	return nil
}

// wireKeyguard makes the keeper of keys, or takes the one that is handed in, and what
// rotates the keys that wrap what is stored.
func (h *Hub) wireKeyguard(d Deps, demanded *ledger.Verifier, guardian keyguard.Guardian, s *services) keyguard.Guardian {
	if guardian == nil {
		guardian = keyguard.New(d.Store, d.Keys, demanded, d.Clock)
	}
	h.rotations, h.pairs = newRotations(d, h.sequencer, h.cfg.Erasure), newPairRotation(d, h.sequencer)
	s.registry = &registryService{keys: d.Keys, rotations: h.rotations, pairs: h.pairs}
	if h.apart() {
		s.key = newKeyService(guardian, d.Random, d.Log)
	}
	return guardian
}

// wireAccess makes the register, consents, and the opening of readings. Whoever was
// erased is erased again before anything is served.
func (h *Hub) wireAccess(ctx context.Context, d Deps, secrets *secrets, guardian keyguard.Guardian, unsigned bool, s *services) error {
	if err := h.openJournal(ctx, !unsigned); err != nil {
		return err
	}
	eraser := &eraser{store: d.Store, sequencer: h.sequencer, journal: h.erasures, clock: d.Clock, random: d.Random}
	if err := h.replayErasures(ctx, eraser); err != nil {
		return err
	}
	h.consents = consent.NewService(consent.Ledger[*store.Tx](h.sequencer), d.Random)
	codes := letterCodes{key: secrets.codes}
	s.registry = &registryService{store: d.Store, keys: d.Keys, rotations: h.rotations, pairs: h.pairs, codes: codes, eraser: eraser, clock: d.Clock, random: d.Random}
	s.consent = &consentService{
		store: d.Store, prover: h.prover, consents: h.consents, clock: d.Clock, origin: h.cfg.Origin, statements: h.statements,
		addresses: receiptAddresses{secrets.addresses}, narrowings: newBuckets(narrowingsPerHour, time.Hour),
	}
	s.reading = &readingService{
		store: d.Store, admission: newAdmission(h.sequencer, d.Clock), clock: d.Clock, log: d.Log,
		guard: guardian, proofs: &readProofs{
			store: d.Store, prover: h.prover, demanded: h.demanded, leaves: newLRU[consentTerms, uint64](consentLeafCacheSize),
		}, reads: newBuckets(readsPerMinute, time.Minute), cursors: cursorSealer{key: secrets.cursors},
	}
	s.session = &sessionService{
		store: d.Store, sequencer: h.sequencer, eraser: eraser, erasure: h.cfg.Erasure, codes: codes, clock: d.Clock, random: d.Random, tries: newBucket(60, time.Minute),
	}
	h.oauth = h.newOAuth(d)
	if h.cfg.PublicURL == "" && !loopback(h.cfg.HTTP.Listen) {
		h.log.LogAttrs(ctx, slog.LevelWarn, "no public_url: third parties are told the address that HTTP listens on")
	}
	s.authorization = &authorizationService{
		store: d.Store, prover: h.prover, consents: h.consents, oauth: h.oauth, clock: d.Clock, decisions: newBuckets(decisionsPerHour, time.Hour),
	}
	var err error
	if h.notifier, err = newNotifier(ctx, d, &h.cfg, h.publicURL, h.failure); err != nil {
		return err
	}
	s.notify = newNotificationService(d.Store, h.notifier, d.Clock)
	s.authorization.adopt = s.notify.adopt
	if s.meter == nil { // completeness is asked here
		s.meter = &meterService{store: d.Store, log: d.Log, sound: h.sequencer.Failure}
	}
	return nil
}

// stateKeys records at a start what signs, and what the keeper of keys demands.
func (h *Hub) stateKeys(ctx context.Context) error {
	switch {
	case h.signing != nil:
		return h.signing.stateIfNew(ctx)
	case h.roles.has(onKeyguard):
		h.stated = h.VerifierKey()
		return h.recordKeyPolicy(ctx)
	}
	return nil
}

// recordKeyPolicy writes into the ledger, at every start and when the ledger's keys have
// changed, whose signatures it bears from then on and what the keeper of keys demands
// before it hands out a key: who weakens either does it on record.
func (h *Hub) recordKeyPolicy(ctx context.Context) error {
	var start [16]byte
	if _, err := io.ReadFull(h.random, start[:]); err != nil {
		return fmt.Errorf("drawing a name: %w", err)
	}
	digest := ledger.KeyPolicyDigest(h.VerifierKey(), h.cfg.Ledger.ReleaseRequires, h.policy)
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
