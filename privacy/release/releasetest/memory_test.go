package releasetest_test

import (
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/privacy/seal/wrappertest"
)

// The store in memory keeps the contract that it stands in for.
func TestMemory(t *testing.T) {
	releasetest.TestStore(t, func(*testing.T) releasetest.Store[*releasetest.Tx] {
		m := releasetest.NewMemory("memory.example/log")
		return releasetest.Store[*releasetest.Tx]{
			Store:     m,
			Transact:  m.Transact,
			AddNodes:  func(_ *testing.T, nodes []release.Node) { m.AddNodes(nodes...) },
			AddPoint:  func(_ *testing.T, point meter.UsagePoint, at release.Place) { m.AddPoint(point, at) },
			Occupy:    func(_ *testing.T, o consent.Occupancy) { m.Occupy(o) },
			Erase:     func(_ *testing.T, h consent.Household) { m.Erase(h) },
			AddWriter: func(_ *testing.T, id seal.WriterID, key []byte) { m.AddWriter(id, key) },
			AddSpool: func(_ *testing.T, keys []seal.SpoolKeyWrap, r seal.SpoolRecord) bool {
				return m.AddSpool(keys, r)
			},
			Published: func(_ *testing.T, id string) (release.Published, bool) { return m.Published(id) },
		}
	})
}

// And the ledger's: what is built on it is still a ledger.Store.
func TestMemoryIsALedgerStore(t *testing.T) {
	ledgertest.TestStore(t,
		func(*testing.T) ledger.Store[*releasetest.Tx] { return releasetest.NewMemory("memory.example/log") },
		func(_ *testing.T, store ledger.Store[*releasetest.Tx], id string) {
			store.(*releasetest.Memory).PutSubjectKey(id, ledger.Hash{1})
		})
}

// The key service in memory keeps the contract of a real one.
func TestKeys(t *testing.T) {
	wrappertest.Test(t, func(*testing.T) seal.Wrapper { return releasetest.NewKeys() })
}
