package store_test

import (
	"context"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/consent/consenttest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// Both stores answer the gate's questions as consent's own ledger in memory does.
func TestConsent(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		consenttest.TestTx(t, func(t *testing.T) consenttest.Store[*store.Tx] {
			s := open(t, url(t))
			seq := uint64(0)
			return consenttest.Store[*store.Tx]{
				Transact: s.Transact,
				Occupy:   func(t *testing.T, o consent.Occupancy) { occupy(t, s, o) },
				Block: func(t *testing.T, b consenttest.Block) {
					seq++
					block := seal.Block{
						Household: b.Household, Generation: 1, UsagePoint: b.UsagePoint, Register: b.Register,
						Start: b.Start, Length: b.Length, Count: b.Count, Revision: b.Revision, Day: meter.DayOf(b.Start),
						Seq: seq, Ciphertext: []byte{1}, Signature: make([]byte, 64),
					}
					stored(t, s, store.Batch{Utility: "utility", ID: string(rune('a' + seq)), Blocks: []seal.Block{block}})
				},
			}
		})
	})
}

// occupy records an occupancy, past ones too, with all that it needs.
func occupy(t *testing.T, s *store.Store, o consent.Occupancy) {
	t.Helper()
	ctx := t.Context()
	must(t, s.PutUtilities(ctx, []store.Utility{{ID: "utility", Name: "Utility"}}))
	must(t, s.PutGridNodes(ctx, []store.GridNode{{ID: o.Node, Kind: "region"}}))
	must(t, s.PutUsagePoints(ctx, []store.UsagePoint{{ID: o.UsagePoint, Utility: "utility", Node: o.Node, CapWatts: 69_000, Zone: o.Zone}}))
	settle(t, s, o)
}

// settle records an occupancy, past ones too, of a usage point that is there.
func settle(t *testing.T, s *store.Store, o consent.Occupancy) {
	t.Helper()
	do(t, s, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Exec(ctx, `INSERT INTO households (id, generation, public_key, created_s) VALUES ($1, 1, $2, 0) ON CONFLICT DO NOTHING`,
			o.Household, []byte{1}); err != nil {
			return err
		}
		var until any
		if o.Until != 0 {
			until = o.Until
		}
		return tx.Exec(ctx, `INSERT INTO occupancies (usage_point, from_s, household, until_s) VALUES ($1, $2, $3, $4)`,
			o.UsagePoint, o.From, o.Household, until)
	})
}

// stored commits batches that must all be new.
func stored(t testing.TB, s *store.Store, batches ...store.Batch) {
	t.Helper()
	outcomes, err := s.CommitBatches(t.Context(), batches)
	must(t, err)
	for i, o := range outcomes {
		if o.Result != store.Stored {
			t.Fatalf("batch %d: result %d, want stored", i, o.Result)
		}
	}
}
