package server

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// Ingest keeps a household's public key for a bounded time, and so many of them: it would
// catch readings sealed to a household long after it was erased, and a cache that grows.
func TestKeyCacheBounds(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var asked []store.KeyID
	erased := false
	c := &keyCache{
		clock: func() time.Time { return now }, lru: newLRU[store.KeyID, loadedKey](2),
		load: func(_ context.Context, ids []store.KeyID) (map[store.KeyID]seal.PublicKey, error) {
			asked = append(asked, ids...)
			keys := map[store.KeyID]seal.PublicKey{}
			for _, id := range ids {
				if !erased {
					keys[id] = seal.PublicKey{}
				}
			}
			return keys, nil
		},
	}
	get := func(household string) bool {
		id := store.KeyID{Household: consent.Household(household), Generation: 1}
		keys, err := c.get(t.Context(), map[meter.UsagePoint]store.Target{"up": {Occupants: []store.Occupant{{Household: id.Household, Generation: 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		_, ok := keys[id.Household]
		return ok
	}
	get("a")
	now = now.Add(keyCacheAge - time.Second)
	if !get("a") || len(asked) != 1 {
		t.Errorf("asked for %d keys, want 1: the first is fresh", len(asked))
	}
	erased = true
	now = now.Add(time.Second)
	if get("a") {
		t.Error("a household's key is used after its time, and the household is erased")
	}
	erased, asked = false, nil
	for _, h := range []string{"b", "c", "d", "c", "d", "b"} {
		get(h)
	}
	if want := 4; len(asked) != want || len(c.lru.byKey) != 2 {
		t.Errorf("asked %d times with room for two, want %d; %d are kept", len(asked), want, len(c.lru.byKey))
	}
	now = now.Add(keyCacheAge)
	c.forget()
	if len(c.lru.byKey) != 0 || c.lru.order.Len() != 0 {
		t.Errorf("%d keys are kept after their time", len(c.lru.byKey))
	}
}

// By the hub's clock, ingest keeps no key of a day whose watermark has passed, closed or
// not. It would catch day keys that live as long as the process.
func TestDayKeysEndWithTheirDay(t *testing.T) {
	r := newRig(t, onSQLite(t))
	day := meter.DayOf(r.clock.now().Unix())
	w, err := r.hub.writers.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func() error {
		_, err := w.Begin().Spool(day, key.Public(), nil)
		return err
	}
	watermark := r.hub.cfg.Catalogue.Watermark
	for _, at := range []struct {
		now  time.Time
		want error
	}{
		{time.Unix(day.End(), 0).Add(watermark - time.Second), nil},
		{time.Unix(day.End(), 0).Add(watermark), seal.ErrWriterSpent},
	} {
		if err := made(); err != nil {
			t.Fatal(err)
		}
		r.clock.set(at.now)
		_ = r.hub.Tend(t.Context()) // whether days close is another matter
		if err := made(); !errors.Is(err, at.want) {
			t.Errorf("sealing for a day %v after its end: %v, want %v", at.now.Sub(time.Unix(day.End(), 0)), err, at.want)
		}
	}
}
