package consenttest_test

import (
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/consent/consenttest"
)

// The memory keeps the contract that it stands in for.
func TestMemory(t *testing.T) {
	consenttest.TestTx(t, func(*testing.T) consenttest.Store[*consenttest.Tx] {
		l := consenttest.NewLedger(time.Now)
		return consenttest.Store[*consenttest.Tx]{
			Transact: l.Transact,
			Occupy:   func(_ *testing.T, o consent.Occupancy) { l.Occupy(o) },
			Block:    func(_ *testing.T, b consenttest.Block) { l.Store(b) },
		}
	})
}
