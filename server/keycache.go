package server

import (
	"context"
	"fmt"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// keyCacheSize bounds the parsed public keys that ingest keeps, about 6 KiB
// each.
const keyCacheSize = 20_000

// keyCacheAge is how long a key is used without asking the store again: it never changes
// within its generation, but its household may be erased.
const keyCacheAge = 15 * time.Minute

// keyCache holds parsed public keys of households, the most recently used
// ones, for keyCacheAge.
type keyCache struct {
	load  func(context.Context, []store.KeyID) (map[store.KeyID]seal.PublicKey, error)
	lru   *lru[store.KeyID, loadedKey]
	clock Clock
}

type loadedKey struct {
	key seal.PublicKey
	at  time.Time // when it was asked for
}

func (l loadedKey) aged(now time.Time) bool { return now.Sub(l.at) >= keyCacheAge }

// forget drops what would be asked for again anyway.
func (c *keyCache) forget() {
	now := c.clock()
	c.lru.drop(func(l loadedKey) bool { return l.aged(now) })
}

// get returns what is sealed to for each occupant of the targets: the key of the generation
// that the target names, or of the one in use where a round of new key pairs came between
// the two look-ups. Erased households are absent. What is not at hand is fetched in one
// query.
func (c *keyCache) get(ctx context.Context, targets map[meter.UsagePoint]store.Target) (map[consent.Household]sealingKey, error) {
	keys := make(map[consent.Household]sealingKey, len(targets))
	var missing []store.KeyID
	now := c.clock()
	for _, t := range targets {
		for _, o := range t.Occupants {
			if _, have := keys[o.Household]; have {
				continue
			}
			id := store.KeyID{Household: o.Household, Generation: o.Generation}
			l, ok := c.lru.get(id)
			if !ok || l.aged(now) {
				missing = append(missing, id)
			}
			keys[o.Household] = sealingKey{o.Generation, l.key}
		}
	}
	loaded, err := c.load(ctx, missing)
	if err != nil {
		return nil, fmt.Errorf("looking up household keys: %w", err)
	}
	for _, id := range missing {
		delete(keys, id.Household)
	}
	for id, k := range loaded {
		keys[id.Household] = sealingKey{id.Generation, k}
		c.lru.put(id, loadedKey{k, now})
	}
	return keys, nil
}

// sealingKey is the public key that a household's readings are sealed to, and its
// generation.
type sealingKey struct {
	generation uint32
	key        seal.PublicKey
}
