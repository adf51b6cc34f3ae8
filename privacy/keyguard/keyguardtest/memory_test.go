package keyguardtest_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/keyguard/keyguardtest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// The memory keeps the contract that it stands in for.
func TestMemory(t *testing.T) {
	keyguardtest.TestKeys(t, func(*testing.T) keyguardtest.Store {
		m := new(keyguardtest.Memory)
		return keyguardtest.Store{
			Keys:      m,
			Household: func(_ *testing.T, h consent.Household, keys []keyguard.WrappedKey) { m.PutHousehold(h, keys...) },
			Writer:    func(_ *testing.T, id seal.WriterID, key ed25519.PublicKey) { m.PutWriter(id, key) },
			Wrap:      func(_ *testing.T, w seal.DayKeyWrap) { m.PutWrap(w) },
		}
	})
}
