package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// erasedPerLeaf is how many events one leaf of an erasure names: with recipients
// of the longest names they still fit into a payload.
const erasedPerLeaf = 700

// erasureTimeout bounds an erasure: a step takes a second at most.
const erasureTimeout = 10 * time.Minute

// eraser destroys what opens households' readings and events.
type eraser struct {
	store     *store.Store
	sequencer *ledger.Sequencer[*store.Tx]
	journal   *erasureJournal
	clock     Clock
	random    io.Reader
}

// erase destroys what opens a household's readings and events, step by step: each is one
// leaf that names the events it covers, the first also the household's key in the map, and
// none the household. Keys go with the first; before it the journal has the household. A
// call that is repeated after a crash goes on where the last one ended, and answers with
// the leaves of its own steps, and how many events they name. Its caller may go: what is
// begun is finished.
func (e *eraser) erase(ctx context.Context, household consent.Household, basis string) (leaves []uint64, events uint64, err error) {
	if known, err := e.store.HasHousehold(ctx, household); err != nil {
		return nil, 0, err
	} else if !known { // the journal fills with nobody's names
		return nil, 0, store.ErrNotFound
	}
	if err := e.journal.add(household, note{e.clock().Unix(), basis}); err != nil {
		return nil, 0, fmt.Errorf("%w: writing the journal of erasures", store.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), erasureTimeout)
	defer cancel()
	for more := true; more; {
		id, err := randomID(e.random)
		if err != nil {
			return nil, 0, err
		}
		var step store.Erasure
		// The id names nobody: it stays in the row of the erasure's leaf.
		receipt, err := e.sequencer.Propose(ctx, "erasure/"+id, func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
			var err error
			step, err = tx.EraseHousehold(ctx, household, erasedPerLeaf)
			return ledger.Payload{Kind: ledger.KindErasure, Detail: basis, Erased: step.Events, MapKeys: step.MapKeys}, err
		})
		if errors.Is(err, store.ErrErased) && len(leaves) > 0 {
			return leaves, events, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("erasing household: %w", err)
		}
		leaves, events, more = append(leaves, receipt.Index), events+uint64(len(step.Events)), step.More
	}
	return leaves, events, nil
}

// EraseHousehold erases a household on request of whoever may ask for it.
func (r *registryService) EraseHousehold(ctx context.Context, req *wattveilv1.EraseHouseholdRequest) (*wattveilv1.EraseHouseholdResponse, error) {
	if _, err := meter.ParseUtility(req.GetHousehold()); err != nil { // one alphabet for all names
		return nil, badName("household")
	}
	if _, err := meter.ParseUtility(req.GetLegalBasis()); err != nil {
		return nil, badName("legal basis")
	}
	leaves, events, err := r.eraser.erase(ctx, consent.Household(req.GetHousehold()), req.GetLegalBasis())
	if err != nil {
		return nil, err
	}
	return &wattveilv1.EraseHouseholdResponse{Indices: leaves, Events: events}, nil
}

// ownErasure is the legal basis of an erasure that the household itself asked for:
// consent withdrawn, GDPR article 17(1)(b).
const ownErasure = "gdpr-17-1-b"

// EraseOwnHousehold erases the calling household, and with it its session. The caller
// names itself, so that no empty call does it.
func (s *sessionService) EraseOwnHousehold(ctx context.Context, req *wattveilv1.EraseOwnHouseholdRequest) (*wattveilv1.EraseOwnHouseholdResponse, error) {
	h := caller(ctx).Household()
	if req.GetHousehold() != string(h) {
		return nil, invalid("not_confirmed", "name the household that is to be erased, which must be the caller's")
	}
	leaves, events, err := s.eraser.erase(ctx, h, ownErasure)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.EraseOwnHouseholdResponse{Indices: leaves, Events: events}, nil
}
