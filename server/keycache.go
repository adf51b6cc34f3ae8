package server

import (
	"context"
	"fmt"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// keyCache holds parsed public keys of households, the most recently used
// ones; a key never changes within its generation.
type keyCache struct {
	load func(context.Context, []store.KeyID) (map[store.KeyID]seal.PublicKey, error)
	lru  *lru[store.KeyID, seal.PublicKey]
}

// get returns the keys of all occupants of the targets; those of erased
// households are absent. What is not at hand is fetched in one query.
func (c *keyCache) get(ctx context.Context, targets map[meter.UsagePoint]store.Target) (map[store.KeyID]seal.PublicKey, error) {
	keys := make(map[store.KeyID]seal.PublicKey, len(targets))
	var missing []store.KeyID
	for _, t := range targets {
		for _, o := range t.Occupants {
			id := store.KeyID{Household: o.Household, Generation: o.Generation}
			if _, have := keys[id]; have {
				continue
			}
			k, ok := c.lru.get(id)
			if !ok {
				missing = append(missing, id)
			}
			keys[id] = k
		}
	}
	loaded, err := c.load(ctx, missing)
	if err != nil {
		return nil, fmt.Errorf("looking up household keys: %w", err)
	}
	for _, id := range missing {
		k, ok := loaded[id]
		if !ok {
			delete(keys, id)
			continue
		}
		keys[id] = k
		c.lru.put(id, k)
	}
	return keys, nil
}
