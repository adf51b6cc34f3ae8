package store_test

import (
	"crypto/rand"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/server/store"
)

const origin = "store.example/test"

// Both stores keep the ledger's contract: nothing lost, nothing twice, order and
// chains without holes, whatever interleaves.
func TestLedger(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		ledgertest.TestStore(t,
			func(t *testing.T) ledger.Store[*store.Tx] {
				s := open(t, url(t))
				must(t, s.CreateLedger(t.Context(), origin))
				return s
			},
			func(t *testing.T, s ledger.Store[*store.Tx], id string) {
				h := store.NewHousehold{ID: consent.Household(id), Generation: 1, PublicKey: []byte{1}, WrappedPrivate: []byte{2}}
				_, _ = rand.Read(h.SubjectKey[:])
				_, _ = rand.Read(h.CodeHash[:])
				must(t, s.(*store.Store).CreateHouseholds(t.Context(), []store.NewHousehold{h}))
			})
	})
}
