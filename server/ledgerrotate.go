package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// ledgerRotation changes the ledger's signing keys, a step at a time. This is what a crash
// after each leaves behind:
//
//  1. the next generation is stored, with its seeds   nothing else; the next tick binds it
//  2. a leaf binds it                                 it signs whatever covers that leaf, from the next signature on
//  3. the new verifier keys are stated, a leaf        as 2; every start states them
//  4. a leaf retires the generation before            that one signs nothing that covers this leaf; its seeds are stored
//  5. its seeds are destroyed                         nothing is left to do
//
// Nothing stops meanwhile. Between 2 and 4 both generations sign.
type ledgerRotation struct {
	*ledgerKeys
	sequencer *ledger.Sequencer[*store.Tx]
	prover    *ledger.Prover
	overlap   time.Duration // from 2 to 4
	log       *slog.Logger
	state     func(ctx context.Context) error // does 3

	turn   sync.Mutex // one step at a time; guards the rest
	stated string     // verifier keys that this process has stated
}

func newLedgerRotation(k *ledgerKeys, s *ledger.Sequencer[*store.Tx], p *ledger.Prover, overlap time.Duration, log *slog.Logger, state func(context.Context) error) *ledgerRotation {
	return &ledgerRotation{ledgerKeys: k, sequencer: s, prover: p, overlap: overlap, log: log, state: state}
}

// errNoOverlap says that there is nothing to retire.
var errNoOverlap = &inputError{codes.FailedPrecondition, "no_overlap", "one generation of the ledger's keys signs, and none beside it that could be retired"}

// newestKeys returns all generations, the newest, and the one before it or nil.
func (r *ledgerRotation) newestKeys(ctx context.Context) (all []store.LedgerKeys, newest, before *store.LedgerKeys, err error) {
	all, err = r.store.LedgerKeys(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	newest = &all[len(all)-1] // openLedgerKeys has written down the first
	if len(all) > 1 {
		before = &all[len(all)-2]
	}
	return all, newest, before, nil
}

// rotate makes and binds the next generation, unless one is bound and the one before it
// signs beside it: then there is nothing to do but wait. With retire it retires that one
// instead. What was begun it finishes. errBusy while another call does so.
func (r *ledgerRotation) rotate(ctx context.Context, retire bool) error {
	if !r.turn.TryLock() {
		return errBusy
	}
	defer r.turn.Unlock()
	all, newest, before, err := r.newestKeys(ctx)
	if err != nil {
		return err
	}
	retired := before != nil && before.Term.Retired != ledger.NoIndex
	switch {
	case retire && (!bound(*newest) || before == nil || before.DestroyedAt != 0):
		return errNoOverlap
	case retire && !retired:
		return r.retire(ctx, all)
	case retired && before.DestroyedAt == 0:
		if err := r.destroy(ctx, *before); err != nil || retire {
			return err
		}
	case before != nil && bound(*newest) && !retired:
		return nil
	}
	if bound(*newest) {
		if err := r.next(ctx, newest.Generation); err != nil {
			return fmt.Errorf("making keys of the ledger: %w", err)
		}
		if _, newest, _, err = r.newestKeys(ctx); err != nil {
			return err
		}
	}
	return r.bind(ctx, *newest)
}

// tend does what is due: follows what other processes did, goes on with what was begun,
// and retires the older generation when the overlap is over. While a call rotates it does
// nothing.
func (r *ledgerRotation) tend(ctx context.Context) error {
	if !r.turn.TryLock() {
		return nil
	}
	defer r.turn.Unlock()
	if err := r.follow(ctx); err != nil {
		return err
	}
	all, newest, before, err := r.newestKeys(ctx)
	switch {
	case err != nil:
		return err
	case !bound(*newest):
		err = r.bind(ctx, *newest)
	case before == nil:
	case before.Term.Retired == ledger.NoIndex:
		if r.clock().Unix() >= r.retiresAt(*newest) {
			err = r.retire(ctx, all)
		}
	case before.DestroyedAt == 0:
		err = r.destroy(ctx, *before)
	}
	if err != nil {
		return err
	}
	return r.stateIfNew(ctx)
}

// retiresAt is when the generation before one is retired.
func (r *ledgerRotation) retiresAt(g store.LedgerKeys) int64 {
	return g.BoundAt + int64(r.overlap/time.Second)
}

// bind records the generation's keys: from then on they sign.
func (r *ledgerRotation) bind(ctx context.Context, g store.LedgerKeys) error {
	r.mu.Lock()
	err := r.load(ctx, g) // what could not sign must not be bound
	before := r.loaded[g.Generation-1]
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("loading keys of the ledger: %w", err)
	}
	if before == nil {
		return ledger.ErrNoKeys
	}
	err = r.record(ctx, g, "bound", ledger.DetailLedgerKeys, func(ctx context.Context, tx *store.Tx, leaf uint64, at int64) error {
		statement, err := before.Bind(g.VerifierKeys, leaf)
		if err != nil {
			return err
		}
		return tx.BindLedgerKeys(ctx, g.Generation, leaf, statement, at)
	})
	if err != nil {
		return err
	}
	r.log.LogAttrs(ctx, slog.LevelWarn, "the ledger is signed with new keys beside the old: publish its verifier keys before the old ones are retired",
		slog.Int("generation", int(g.Generation)), slog.Time("retired", r.clock().Add(r.overlap).UTC()))
	return r.stateIfNew(ctx)
}

// retire records that the generation before the newest signs no more, and destroys its
// seeds. Whoever has only its keys must be able to step on to the newest.
func (r *ledgerRotation) retire(ctx context.Context, all []store.LedgerKeys) error {
	if _, err := r.binding(ctx, all, len(all)-1); err != nil {
		return err
	}
	before := all[len(all)-2]
	if err := r.recordRetired(ctx, before); err != nil {
		return err
	}
	return r.destroy(ctx, before)
}

func (r *ledgerRotation) recordRetired(ctx context.Context, g store.LedgerKeys) error {
	return r.record(ctx, g, "retired", ledger.DetailLedgerKeysRetired, func(ctx context.Context, tx *store.Tx, leaf uint64, at int64) error {
		return tx.RetireLedgerKeys(ctx, g.Generation, leaf, at)
	})
}

// record writes a step of a generation down and into the ledger, in one transaction.
func (r *ledgerRotation) record(ctx context.Context, g store.LedgerKeys, step, detail string, change func(ctx context.Context, tx *store.Tx, leaf uint64, at int64) error) error {
	payload := ledger.Payload{Kind: ledger.KindAdmin, Detail: detail, Digest: ledger.VerifierKeysDigest(g.VerifierKeys)}
	_, err := r.sequencer.Propose(ctx, fmt.Sprintf("ledger-keys/%d/%s", g.Generation, step), func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
		return payload, change(ctx, tx, at.Index, r.clock().Unix())
	})
	if err != nil {
		return fmt.Errorf("recording that keys of the ledger are %s: %w", step, err)
	}
	return nil
}

func (r *ledgerRotation) destroy(ctx context.Context, g store.LedgerKeys) error {
	return r.store.DestroyLedgerSeeds(ctx, g.Generation, ledgerSeeds[:], r.clock().Unix())
}

// stateIfNew states the verifier keys in the ledger, unless this process has.
func (r *ledgerRotation) stateIfNew(ctx context.Context) error {
	vkeys := r.verifier.Keys()
	if vkeys == r.stated {
		return nil
	}
	if err := r.state(ctx); err != nil {
		return err
	}
	r.stated = vkeys
	return nil
}

// binding returns the receipt of the leaf that binds a generation, under the oldest
// checkpoint that covers it: the generations before have signed that, too.
func (r *ledgerRotation) binding(ctx context.Context, all []store.LedgerKeys, i int) (*wattveilv1.Receipt, error) {
	g := all[i]
	r.mu.Lock()
	known := r.bindings[g.Generation]
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	notes, err := r.store.Checkpoints(ctx, g.Term.Bound, 1)
	if err != nil {
		return nil, err
	}
	if len(notes) == 0 {
		return nil, ledger.ErrNoCheckpoint
	}
	e, err := r.store.ReadEntry(ctx, g.Term.Bound)
	if err != nil {
		return nil, err
	}
	proof, err := r.prover.TLogProofUnder(ctx, e.Index, e.Leaf, notes[0])
	if err != nil {
		return nil, fmt.Errorf("proving record %d: %w", e.Index, err)
	}
	before, err := vouched(all[:i])
	if err != nil {
		return nil, err
	}
	if _, _, err := before.Succeed(g.VerifierKeys, g.Statement, ledger.Opening{Payload: e.Payload, Nonce: e.Nonce, Proof: proof}); err != nil {
		return nil, fmt.Errorf("checking record %d, which binds keys of the ledger: %w", e.Index, err)
	}
	receipt := &wattveilv1.Receipt{Index: e.Index, Payload: e.Payload, Nonce: e.Nonce[:], Proof: string(proof)}
	r.mu.Lock()
	r.bindings[g.Generation] = receipt
	r.mu.Unlock()
	return receipt, nil
}

// toWire tells how the generations stand.
func (r *ledgerRotation) toWire(ctx context.Context) (*wattveilv1.LedgerKeys, error) {
	all, newest, before, err := r.newestKeys(ctx)
	if err != nil {
		return nil, err
	}
	v, err := vouched(all)
	if err != nil {
		return nil, err
	}
	out := &wattveilv1.LedgerKeys{VerifierKeys: v.Keys()}
	for i, g := range all {
		if !bound(g) {
			continue
		}
		w := &wattveilv1.LedgerKeyGeneration{Number: g.Generation, VerifierKeys: g.VerifierKeys, Statement: string(g.Statement), BoundAt: g.BoundAt, RetiredAt: g.RetiredAt}
		if i == 0 {
			w.BoundAt = g.CreatedAt
		} else if w.Binding, err = r.binding(ctx, all, i); err != nil {
			return nil, err
		}
		switch {
		case g.Term.Retired != ledger.NoIndex:
			w.RetiredIndex = g.Term.Retired
		case before != nil && g.Generation == before.Generation && bound(*newest):
			w.RetiresAt = r.retiresAt(*newest)
		}
		out.Generations = append(out.Generations, w)
	}
	return out, nil
}

// GetLedgerKeys tells everybody which keys the ledger is verified with, and proves to
// whoever has older ones that they are its own.
func (a *auditService) GetLedgerKeys(ctx context.Context, _ *wattveilv1.GetLedgerKeysRequest) (*wattveilv1.GetLedgerKeysResponse, error) {
	keys, err := a.signing.toWire(ctx)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetLedgerKeysResponse{Keys: keys}, nil
}

// RotateLedgerKeys rotates the keys that sign the ledger, or retires the older ones. What
// it has done stays done when its caller goes.
func (a *auditService) RotateLedgerKeys(ctx context.Context, req *wattveilv1.RotateLedgerKeysRequest) (*wattveilv1.RotateLedgerKeysResponse, error) {
	if err := a.signing.rotate(ctx, req.GetRetireNow()); err != nil {
		return nil, err
	}
	keys, err := a.signing.toWire(ctx)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.RotateLedgerKeysResponse{Keys: keys}, nil
}
