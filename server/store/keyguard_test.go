package store_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/keyguard/keyguardtest"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// Both stores keep what keyguard needs of one: above all that an access is spent
// once.
func TestKeyguard(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		keyguardtest.TestKeys(t, func(t *testing.T) keyguardtest.Store {
			s := open(t, url(t))
			town(t, s)
			n := 0
			return keyguardtest.Store{
				Keys: s,
				Household: func(t *testing.T, h consent.Household, keys []keyguard.WrappedKey) {
					n++
					f := family(h, 0, meter.UsagePoint(fmt.Sprint("p", n)))
					f.Generation, f.WrappedPrivate = keys[0].Generation, keys[0].Wrapped
					must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{f}))
					for _, k := range keys[1:] {
						do(t, s, func(ctx context.Context, tx *store.Tx) error {
							return tx.Exec(ctx, `INSERT INTO household_keys (household, generation, wrapped_private) VALUES ($1, $2, $3)`, h, k.Generation, k.Wrapped)
						})
					}
				},
				Writer: func(t *testing.T, id seal.WriterID, key ed25519.PublicKey) {
					do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.PutWriter(ctx, id, key, 1, 0) })
				},
				Wrap: func(t *testing.T, w seal.DayKeyWrap) {
					b := batch(fmt.Sprint("wrap", w.Seq, w.Household, w.Day))
					b.Wraps = []seal.DayKeyWrap{w}
					stored(t, s, b)
				},
			}
		})
	})
}
