package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// erasedPerLeaf is how many events one leaf of an erasure names: with recipients
// of the longest names they still fit into a payload.
const erasedPerLeaf = 700

// EraseHousehold destroys what opens a household's readings and events, step by
// step: each is one leaf that names the events it covers, the first also the
// household's key in the map, and none the household. Keys go with the first. A
// call that is repeated after a crash goes on where the last one ended, and
// answers with the leaves of its own steps.
func (r *registryService) EraseHousehold(ctx context.Context, req *wattveilv1.EraseHouseholdRequest) (*wattveilv1.EraseHouseholdResponse, error) {
	if _, err := meter.ParseUtility(req.GetHousehold()); err != nil { // one alphabet for all names
		return nil, badName("household")
	}
	if _, err := meter.ParseUtility(req.GetLegalBasis()); err != nil {
		return nil, badName("legal basis")
	}
	resp := &wattveilv1.EraseHouseholdResponse{}
	for more := true; more; {
		id, err := randomID(r.random)
		if err != nil {
			return nil, err
		}
		var step store.Erasure
		// The id names nobody: it stays in the row of the erasure's leaf.
		receipt, err := r.sequencer.Propose(ctx, "erasure/"+id, func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
			var err error
			step, err = tx.EraseHousehold(ctx, consent.Household(req.GetHousehold()), erasedPerLeaf)
			return ledger.Payload{Kind: ledger.KindErasure, Detail: req.GetLegalBasis(), Erased: step.Events, MapKeys: step.MapKeys}, err
		})
		if errors.Is(err, store.ErrErased) && len(resp.GetIndices()) > 0 {
			return resp, nil
		}
		if err != nil {
			return nil, fmt.Errorf("erasing household: %w", err)
		}
		resp.Indices = append(resp.Indices, receipt.Index)
		resp.Events += uint64(len(step.Events))
		more = step.More
	}
	return resp, nil
}
