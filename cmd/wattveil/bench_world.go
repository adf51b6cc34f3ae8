package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/store"
)

// ledgerWorld is a ledger as a hub keeps it, with households whose consents stand,
// ready to be read.
type ledgerWorld struct {
	store    *store.Store
	witness  *ledger.WitnessFile
	seq      *ledger.Sequencer[*store.Tx]
	mapper   *ledger.Mapper[*store.Tx]
	verifier *ledger.Verifier
	gate     *consent.Gate[*store.Tx]

	consents  []consent.ID // by household
	from      int64        // of the data that is read
	mapping   context.CancelFunc
	mapped    chan error
	recipient func(household int) consent.Recipient
}

const (
	benchOrigin     = "bench.wattveil.example/ledger"
	benchNode       = "region"
	benchRecipients = 50
	benchMapEvery   = 2 * time.Second // as a hub does by default
)

func newLedgerWorld(ctx context.Context, url, dir string, households int) (_ *ledgerWorld, err error) {
	w := &ledgerWorld{
		from: time.Now().Unix() - 20*86400, mapped: make(chan error, 1), mapping: func() {},
		recipient: func(h int) consent.Recipient { return consent.Recipient(fmt.Sprint("recipient-", h%benchRecipients)) },
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.store, err = store.Open(ctx, url, store.Options{Migrate: true}); err != nil {
		return nil, err
	}
	if err := w.store.CreateLedger(ctx, benchOrigin); err != nil {
		return nil, err
	}
	if err := w.sequence(dir); err != nil {
		return nil, err
	}
	if err := w.postKey(ctx); err != nil {
		return nil, err
	}
	if err := w.populate(ctx, households); err != nil {
		return nil, err
	}
	mapping, cancel := context.WithCancel(ctx)
	w.mapping = cancel
	go func() { w.mapped <- w.mapHeads(mapping) }()
	return w, nil
}

// sequence starts the sequencer with everything a hub gives it.
func (w *ledgerWorld) sequence(dir string) error {
	seeds := make([]byte, 64)
	if _, err := rand.Read(seeds); err != nil {
		return err
	}
	signer, ed, err := ledger.NewSigner(benchOrigin, seeds[:32])
	if err != nil {
		return err
	}
	pq, err := signer.AddMLDSA(seeds[32:], time.Now)
	if err != nil {
		return err
	}
	if w.verifier, err = ledger.NewVerifier(ed + "\n" + pq); err != nil {
		return err
	}
	if w.witness, err = ledger.OpenWitnessFile(filepath.Join(dir, "ledger.witness"), benchOrigin); err != nil {
		return err
	}
	w.seq = ledger.NewSequencer(ledger.Store[*store.Tx](w.store), signer, ledger.Options{Now: time.Now, Rand: rand.Reader, Sealed: true, Witness: w.witness})
	w.mapper = ledger.NewMapper(ledger.MapStore[*store.Tx](w.store), w.seq)
	w.gate = consent.NewGate(consent.Ledger[*store.Tx](w.seq), time.Now)
	return nil
}

func (w *ledgerWorld) settings() string {
	return fmt.Sprintf("wattveil: %s, %d households, Ed25519 and ML-DSA-44, witness file, one regulator's envelopes, map head every %s", w.store.Engine(), len(w.consents), benchMapEvery)
}

// postKey posts a regulator's key, without which nobody reads.
func (w *ledgerWorld) postKey(ctx context.Context) error {
	key, err := ledger.NewEnvelopePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	posted := ledger.EnvelopeKey{ID: key.ID(), Public: key.Public(), From: now - 60, Until: now + 30*86400}
	_, err = w.seq.Propose(ctx, "envelope-key", func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: ledger.DetailEnvelopeKey, Digest: posted.ID, From: posted.From, Until: posted.Until},
			tx.PutRegulatorKey(ctx, store.RegulatorKey{EnvelopeKey: posted, Regulator: "regulator", LeafIndex: at.Index})
	})
	return err
}

// populate moves households in, and lets each grant one consent.
func (w *ledgerWorld) populate(ctx context.Context, n int) error {
	if err := w.store.PutUtilities(ctx, []store.Utility{{ID: "utility", Name: "Utility"}}); err != nil {
		return err
	}
	if err := w.store.PutGridNodes(ctx, []store.GridNode{{ID: benchNode, Kind: "region"}}); err != nil {
		return err
	}
	points := make([]store.UsagePoint, n)
	households := make([]store.NewHousehold, n)
	for i := range n {
		p := meter.UsagePoint(benchPoint(i))
		points[i] = store.UsagePoint{ID: p, Utility: "utility", Node: benchNode, CapWatts: 20_000, Zone: "Europe/Zurich"}
		h := store.NewHousehold{
			ID: benchHousehold(i), Generation: 1, PublicKey: make([]byte, 1216), WrappedPrivate: []byte{0}, UsagePoints: []meter.UsagePoint{p}, From: 0, CreatedAt: 1,
			CodeHash: sha256.Sum256(fmt.Append(nil, i)),
		}
		if _, err := rand.Read(h.SubjectKey[:]); err != nil {
			return err
		}
		households[i] = h
	}
	if err := w.store.PutUsagePoints(ctx, points); err != nil {
		return err
	}
	if err := w.store.CreateHouseholds(ctx, households); err != nil {
		return err
	}
	service := consent.NewService(consent.Ledger[*store.Tx](w.seq), rand.Reader)
	w.consents = make([]consent.ID, n)
	terms := consent.Terms{
		Purpose: consent.Purpose{Code: "advice", Text: "We look for what could be saved."}, Registers: []meter.Register{meter.ActiveImport},
		Granularity: consent.Interval, DataFrom: w.from - 86400, DataUntil: time.Now().Unix() + 86400, PermissionUntil: time.Now().Unix() + 90*86400,
	}
	g, ctx := errgroup.WithContext(ctx)
	const workers = 256
	for worker := range workers {
		g.Go(func() error {
			for i := worker; i < n; i += workers {
				id, err := service.Request(ctx, fmt.Sprint("ask-", i), w.recipient(i), points[i].ID, terms)
				if err != nil {
					return fmt.Errorf("asking: %w", err)
				}
				if _, _, err := service.Grant(ctx, fmt.Sprint("grant-", i), households[i].ID, id, nil); err != nil {
					return fmt.Errorf("granting: %w", err)
				}
				w.consents[i] = id
			}
			return nil
		})
	}
	return g.Wait()
}

func benchHousehold(i int) consent.Household { return consent.Household(fmt.Sprint("household-", i)) }

// access returns a call that reads ten days of a household's data, as far as the
// gate: decided, recorded, sealed and signed. Households take turns.
func (w *ledgerWorld) access(run string) func(ctx context.Context, caller, n int) error {
	return func(ctx context.Context, caller, n int) error {
		h := (caller*7919 + n*104_729) % len(w.consents)
		_, err := w.gate.Admit(ctx, consent.Access{
			RequestID: fmt.Sprintf("%s.%d.%d", run, caller, n), Recipient: w.recipient(h), Consent: w.consents[h], Purpose: "advice",
			From: w.from, Until: w.from + 10*86400,
		})
		return err
	}
}

// mapHeads writes map heads until ctx ends.
func (w *ledgerWorld) mapHeads(ctx context.Context) error {
	every := time.NewTicker(benchMapEvery)
	defer every.Stop()
	for {
		if _, err := w.mapper.Tick(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// householdsChecked is how many households' records are checked.
const householdsChecked = 100

// check verifies the whole ledger, and the records of some households under a map
// head over all of it.
func (w *ledgerWorld) check(ctx context.Context) (done ledgerChecked, err error) {
	w.mapping()
	if err := <-w.mapped; err != nil {
		return done, fmt.Errorf("writing map heads: %w", err)
	}
	w.mapped <- nil // for close
	if _, err := w.mapper.Tick(ctx); err != nil {
		return done, err
	}
	report, err := ledger.VerifyLog(ctx, w.verifier, ledger.ReaderSource(w.store), ledger.VerifyOptions{})
	if err != nil {
		return done, err
	}
	done.Records = report.Size
	for i := range householdsChecked {
		h := benchHousehold(i * len(w.consents) / householdsChecked)
		rec, err := w.record(ctx, h)
		if err != nil {
			return done, err
		}
		household, err := w.verifier.Household(rec)
		if err != nil {
			return done, err
		}
		if household.Events < 2 || household.Newer != 0 {
			return done, errors.New("a household's record is short")
		}
		done.Households++
	}
	return done, nil
}

// record is what a hub shows a household.
func (w *ledgerWorld) record(ctx context.Context, h consent.Household) (rec ledger.HouseholdRecord, err error) {
	keys, err := w.store.TagKeys(ctx, string(h))
	if err != nil {
		return rec, err
	}
	rec.Household, rec.TagKeys = string(h), keys[string(h)]
	head, _, proof, err := w.mapper.Prove(rec.TagKeys)
	if err != nil {
		return rec, err
	}
	rec.MapProof = proof
	events, err := w.store.HouseholdEvents(ctx, h, 0)
	if err != nil {
		return rec, err
	}
	for _, e := range events {
		rec.Events = append(rec.Events, ledger.HouseholdEvent{Index: e.Index, Payload: e.Payload, Nonce: e.Nonce, Envelope: e.Leaf.Envelope})
	}
	entry, err := w.store.ReadEntry(ctx, head)
	if err != nil {
		return rec, err
	}
	rec.MapPayload, rec.MapNonce = entry.Payload, entry.Nonce
	rec.MapReceipt, err = ledger.TLogProof(ctx, w.store, head)
	return rec, err
}

func (w *ledgerWorld) close() {
	w.mapping()
	if w.seq != nil {
		w.seq.Close()
	}
	if w.witness != nil {
		_ = w.witness.Close()
	}
	if w.store != nil {
		_ = w.store.Close()
	}
}
