package ledgertest

import (
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// The memory store keeps the contract it is the stand-in for.
func TestMemory(t *testing.T) {
	TestStore(t,
		func(*testing.T) ledger.Store[*Tx] { return NewMemory("ledger.example/test") },
		func(_ *testing.T, store ledger.Store[*Tx], id string) {
			store.(*Memory).PutSubjectKey(id, hashOf("key of "+id))
		})
}
