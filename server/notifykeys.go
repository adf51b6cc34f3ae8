package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
)

// notifyKeys are the keys that sign what third parties are sent, by generation. The next is
// published a while before it signs, so that nobody meets it unprepared, and the one before
// a while after, for what is on its way. Which sign follows from the store and the clock
// alone: several processes agree, and nothing has to be done at the moment of the change.
type notifyKeys struct {
	store    *store.Store
	keys     KeyService
	clock    Clock
	random   io.Reader
	lifetime time.Duration
	overlap  time.Duration
	set      *notify.Keys

	mu     sync.Mutex // guards the rest
	known  []store.NotifyKey
	loaded map[uint32]notify.Key // by generation, without its times
}

// openNotifyKeys reads the generations, and makes the first where there is none: it signs at
// once.
func openNotifyKeys(ctx context.Context, d Deps, c NotifyConfig) (*notifyKeys, error) {
	k := &notifyKeys{
		store: d.Store, keys: d.Keys, clock: d.Clock, random: d.Random, lifetime: c.KeyLifetime, overlap: c.KeyOverlap,
		set: notify.NewKeys(d.Clock), loaded: map[uint32]notify.Key{},
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.follow(ctx); err != nil || len(k.known) > 0 {
		return k, err
	}
	return k, k.add(ctx, 0, false)
}

// follow takes in what the store has. The caller holds mu.
func (k *notifyKeys) follow(ctx context.Context) error {
	all, err := k.store.NotifyKeys(ctx)
	if err != nil || slices.Equal(all, k.known) {
		return err
	}
	now := k.clock().Unix()
	var published []notify.Key
	for i, g := range all {
		ends := g.WithdrawnAt
		if ends == 0 && i+1 < len(all) {
			ends = all[i+1].SignsAt + int64(k.overlap/time.Second)
		}
		if ends != 0 && ends <= now {
			continue
		}
		key, err := k.load(ctx, g.Generation)
		if err != nil {
			return fmt.Errorf("reading secret %s of generation %d: %w", store.NotifySecret, g.Generation, err)
		}
		key.SignsAt, key.EndsAt = g.SignsAt, ends
		published = append(published, key)
	}
	k.set.Replace(published)
	k.known = all
	return nil
}

func (k *notifyKeys) load(ctx context.Context, generation uint32) (notify.Key, error) {
	if key, ok := k.loaded[generation]; ok {
		return key, nil
	}
	wrapped, err := k.store.HubSecretOf(ctx, store.NotifySecret, generation)
	if err != nil {
		return notify.Key{}, err
	}
	seed, err := openSecret(ctx, k.keys, store.NotifySecret, wrapped)
	if err != nil {
		return notify.Key{}, err
	}
	defer clear(seed)
	key, err := notify.NewKey(seed, 0, 0)
	if err == nil {
		k.loaded[generation] = key
	}
	return key, err
}

// add makes the generation after one. It signs at once if it is the first or the others are
// withdrawn, and after the overlap otherwise. Another process may be faster: then that one's
// is stored. The caller holds mu.
func (k *notifyKeys) add(ctx context.Context, after uint32, withdraw bool) error {
	now := k.clock().Unix()
	next := store.NewNotifyKey{NotifyKey: store.NotifyKey{Generation: after + 1, CreatedAt: now, SignsAt: now}, Key: hubKey, Withdraw: withdraw}
	if after > 0 && !withdraw {
		next.SignsAt += int64(k.overlap / time.Second)
	}
	var seed [32]byte
	defer clear(seed[:])
	if _, err := io.ReadFull(k.random, seed[:]); err != nil {
		return fmt.Errorf("drawing secret %s: %w", store.NotifySecret, err)
	}
	put := func() error {
		wrapped, err := k.keys.Wrap(ctx, hubKey, []seal.Item{{Context: []byte(store.NotifySecret), Data: seed[:]}})
		if err != nil {
			return fmt.Errorf("wrapping secret %s: %w", store.NotifySecret, err)
		}
		next.Wrapped = wrapped[0]
		if next.KeyVersion, err = k.keys.VersionOf(wrapped[0]); err != nil {
			return fmt.Errorf("wrapping secret %s: %w", store.NotifySecret, err)
		}
		return k.store.PutNotifyKey(ctx, next)
	}
	err := put()
	if errors.Is(err, store.ErrKeyRetired) { // rotated between wrapping and storing: a version lasts for days
		err = put()
	}
	if err != nil {
		return err
	}
	return k.follow(ctx)
}

// tend follows what other processes did, and makes the next generation when it is time.
func (k *notifyKeys) tend(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.follow(ctx); err != nil {
		return err
	}
	newest := k.known[len(k.known)-1]
	if now := k.clock().Unix(); newest.SignsAt > now || now-newest.SignsAt < int64(k.lifetime/time.Second) {
		return nil
	}
	return k.add(ctx, newest.Generation, false)
}

// rotate makes the next generation now, unless one is waiting to sign, and returns the
// newest.
func (k *notifyKeys) rotate(ctx context.Context, withdraw bool) (store.NotifyKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.follow(ctx); err != nil {
		return store.NotifyKey{}, err
	}
	if newest := k.known[len(k.known)-1]; withdraw || newest.SignsAt <= k.clock().Unix() {
		if err := k.add(ctx, newest.Generation, withdraw); err != nil {
			return store.NotifyKey{}, err
		}
	}
	return k.known[len(k.known)-1], nil
}

// serveKeys shows the public keys that this part of the hub signs with for others: of
// receipts, and of what third parties are sent, the next ones too. A JWK set (RFC 7517).
func (h *Hub) serveKeys(w http.ResponseWriter, _ *http.Request) {
	set := jose.JSONWebKeySet{Keys: slices.Clone(h.statements.public.Keys)}
	for _, key := range h.notifier.keys.set.Published() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public, KeyID: key.ID, Algorithm: string(jose.EdDSA), Use: "sig"})
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_ = json.NewEncoder(w).Encode(set)
}
