package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

// readProofs opens and proves to the keeper of keys what a read is recorded by: its
// own leaf, and that of the consent behind it, under one checkpoint, whose
// signatures are then checked once. Safe for concurrent use.
type readProofs struct {
	store    *store.Store
	prover   *ledger.Prover
	demanded func(ctx context.Context, index uint64) (note []byte, err error)
	// leaves are the indices of consents' leaves. Where terms were recorded never
	// changes; what opens the leaf is not kept, since an erasure destroys it.
	leaves *lru[consentTerms, uint64]
}

// consentTerms name the leaf of a grant or of a narrowing.
type consentTerms struct {
	household consent.Household
	id        consent.ID
	terms     ledger.Hash
}

// consentLeafCacheSize bounds the indices that are kept, about 250 bytes each.
const consentLeafCacheSize = 20_000

// provedRead is the leaf of a read, proved, and the checkpoint that it is under.
type provedRead struct {
	access ledger.Opening
	note   []byte
}

// prove proves the leaf of a read as the keeper of keys demands it.
func (p *readProofs) prove(ctx context.Context, recorded ledger.Receipt) (provedRead, error) {
	note, err := p.demanded(ctx, recorded.Index)
	if err != nil {
		return provedRead{}, err
	}
	proof, err := p.prover.TLogProofUnder(ctx, recorded.Index, recorded.Leaf, note)
	if err != nil {
		return provedRead{}, err
	}
	return provedRead{ledger.Opening{Payload: recorded.Payload, Nonce: recorded.Nonce, Proof: proof}, note}, nil
}

// consent proves the leaf of the terms that a read names, under the checkpoint of
// the read; nothing for a household's own.
func (p *readProofs) consent(ctx context.Context, r provedRead) (ledger.Opening, error) {
	access, err := ledger.DecodePayload(r.access.Payload)
	if err != nil {
		return ledger.Opening{}, fmt.Errorf("reading the leaf back: %w", err)
	}
	if access.Consent == "" {
		return ledger.Opening{}, nil
	}
	e, err := p.leaf(ctx, consentTerms{consent.Household(access.Subject), consent.ID(access.Consent), access.Terms})
	if err != nil {
		return ledger.Opening{}, err
	}
	proof, err := p.prover.TLogProofUnder(ctx, e.Index, e.Leaf, r.note)
	if err != nil {
		return ledger.Opening{}, err
	}
	return ledger.Opening{Payload: e.Payload, Nonce: e.Nonce, Proof: proof}, nil
}

func (p *readProofs) leaf(ctx context.Context, of consentTerms) (ledger.Entry, error) {
	if index, ok := p.leaves.get(of); ok {
		return p.store.ReadEntry(ctx, index)
	}
	e, err := p.store.ConsentLeaf(ctx, of.household, of.id, of.terms)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ledger.Entry{}, errNoConsentLeaf
	case err != nil:
		return ledger.Entry{}, err
	}
	p.leaves.put(of, e.Index)
	return e, nil
}

// errNoConsentLeaf says that the gate admitted a read under terms that no leaf of
// the household states: the store's row of the consent was altered, or its leaf's
// private row is gone.
var errNoConsentLeaf = errors.New("server: no leaf states the terms of an admitted read")
