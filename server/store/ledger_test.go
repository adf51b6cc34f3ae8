package store_test

import (
	"crypto/rand"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
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

// Whatever tile a stranger asks for, a store answers what it has: up to the last
// that a log could ever have, the answer is 404 and not an error of the store. It
// would catch a position that the database has no number for.
func TestFarTiles(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.CreateLedger(t.Context(), origin))
		h := ledger.TileHandler(s)
		for _, path := range []string{
			"/tile/0/x036/x028/x797/x018/x963/967.p/1", "/tile/0/x036/x028/x797/x018/x963/968.p/1", "/tile/0/x072/x057/x594/x037/x927/935.p/1",
			"/tile/entries/x036/x028/x797/x018/x963/967", "/tile/entries/x036/x028/x797/x018/x963/968", "/tile/1/x140/x737/x488/x355/327.p/1", "/tile/1/x281/x474/x976/x710/655.p/1", "/tile/7/000.p/255",
		} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", path, w.Code)
			}
		}
		for _, far := range []uint64{1 << 40, math.MaxInt64, 1 << 63, math.MaxUint64} {
			if _, err := s.ReadEntry(t.Context(), far); !errors.Is(err, ledger.ErrNoEntry) {
				t.Errorf("entry %d: %v, want ErrNoEntry", far, err)
			}
			if _, err := s.CheckpointAt(t.Context(), far); !errors.Is(err, ledger.ErrNoCheckpoint) {
				t.Errorf("checkpoint %d: %v, want ErrNoCheckpoint", far, err)
			}
			if notes, err := s.Checkpoints(t.Context(), far, 1); err != nil || len(notes) != 0 {
				t.Errorf("checkpoints after %d: %d, %v, want none", far, len(notes), err)
			}
		}
	})
}
