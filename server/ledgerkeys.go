package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// ledgerKeys are the keys that sign the ledger's checkpoints, by generation. Which of them
// sign is asked of the store before every signature, so that several processes that sign
// one ledger agree: a generation is bound, and retired, in the transaction that records
// it, and the next checkpoint covers that record.
type ledgerKeys struct {
	origin string
	store  *store.Store
	keys   KeyService
	random io.Reader
	clock  Clock

	// verifier checks with the keys that there are. It and whoever holds it follow.
	verifier *ledger.Verifier

	mu       sync.Mutex // guards the rest
	terms    []ledger.Term
	loaded   map[uint32]*ledger.SigningKeys // by generation: those that sign, or may soon
	bindings map[uint32]*wattveilv1.Receipt // by generation: of the leaf that binds it, as far as they are at hand
}

// ledgerSeeds name the secrets that a generation is made from: Ed25519, ML-DSA-44.
var ledgerSeeds = [2]string{"ledger-signing", "ledger-signing-mldsa"}

// openLedgerKeys reads the generations of the ledger's keys, and makes the first where
// there is none.
func openLedgerKeys(ctx context.Context, origin string, d Deps) (*ledgerKeys, error) {
	k := &ledgerKeys{
		origin: origin, store: d.Store, keys: d.Keys, random: d.Random, clock: d.Clock,
		loaded: make(map[uint32]*ledger.SigningKeys), bindings: make(map[uint32]*wattveilv1.Receipt),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all, err := k.store.LedgerKeys(ctx)
	if err == nil && len(all) == 0 {
		err = k.first(ctx)
	}
	if err == nil {
		err = k.look(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's keys: %w", err)
	}
	return k, nil
}

// signer returns a signer of the ledger's checkpoints, without a memory of its own.
func (k *ledgerKeys) signer() *ledger.NoteSigner { return ledger.NewTermSigner(k.origin, k.inForce) }

// first writes the first generation down. Its seeds may be older than that.
func (k *ledgerKeys) first(ctx context.Context) error {
	for _, name := range ledgerSeeds {
		_, err := k.store.HubSecretOf(ctx, name, 1)
		if errors.Is(err, store.ErrNotFound) {
			err = makeSecret(ctx, k.store, k.keys, k.random, name, k.clock)
		}
		if err != nil {
			return err
		}
	}
	keys, err := k.unwrapped(ctx, 1)
	if err != nil {
		return err
	}
	return k.store.PutLedgerKeys(ctx, store.NewLedgerKeys{Generation: 1, VerifierKeys: keys.VerifierKeys(), Key: hubKey, CreatedAt: k.clock().Unix()})
}

// next makes the generation after one and stores it, bound by nothing yet. Another
// process may be faster: then that one's is stored.
func (k *ledgerKeys) next(ctx context.Context, after uint32) error {
	fresh := store.NewLedgerKeys{Generation: after + 1, Seeds: make(map[string][]byte), Key: hubKey, CreatedAt: k.clock().Unix()}
	var seeds [2][]byte
	var items []seal.Item
	for i, name := range ledgerSeeds {
		seeds[i] = make([]byte, 32)
		defer clear(seeds[i])
		if _, err := io.ReadFull(k.random, seeds[i]); err != nil {
			return fmt.Errorf("drawing secret %s: %w", name, err)
		}
		items = append(items, seal.Item{Context: []byte(name), Data: seeds[i]})
	}
	wrapped, err := k.keys.Wrap(ctx, hubKey, items)
	if err != nil {
		return fmt.Errorf("wrapping seeds: %w", err)
	}
	for i, name := range ledgerSeeds {
		fresh.Seeds[name] = wrapped[i]
	}
	if fresh.KeyVersion, err = k.keys.VersionOf(wrapped[0]); err != nil {
		return fmt.Errorf("wrapping seeds: %w", err)
	}
	keys, err := ledger.NewSigningKeys(k.origin, seeds[0], seeds[1], k.clock)
	if err != nil {
		return err
	}
	fresh.VerifierKeys = keys.VerifierKeys()
	return k.store.PutLedgerKeys(ctx, fresh)
}

// unwrapped makes a generation's signing keys from its stored seeds.
func (k *ledgerKeys) unwrapped(ctx context.Context, generation uint32) (*ledger.SigningKeys, error) {
	var seeds [2][]byte
	for i, name := range ledgerSeeds {
		wrapped, err := k.store.HubSecretOf(ctx, name, generation)
		if err == nil {
			seeds[i], err = openSecret(ctx, k.keys, name, wrapped)
			defer clear(seeds[i])
		}
		if err != nil {
			return nil, fmt.Errorf("reading secret %s of generation %d: %w", name, generation, err)
		}
	}
	return ledger.NewSigningKeys(k.origin, seeds[0], seeds[1], k.clock)
}

// load has a generation's signing keys at hand, which must be those that everybody
// verifies with. The caller holds mu.
func (k *ledgerKeys) load(ctx context.Context, of store.LedgerKeys) error {
	if k.loaded[of.Generation] != nil {
		return nil
	}
	keys, err := k.unwrapped(ctx, of.Generation)
	if err == nil && keys.VerifierKeys() != of.VerifierKeys {
		err = fmt.Errorf("generation %d: %w", of.Generation, seal.ErrKeyMismatch)
	}
	if err == nil {
		k.loaded[of.Generation] = keys
	}
	return err
}

// look takes in how the store has the generations. The caller holds mu.
func (k *ledgerKeys) look(ctx context.Context) error {
	all, err := k.store.LedgerKeys(ctx)
	if err != nil {
		return err
	}
	var terms []ledger.Term
	for _, g := range all {
		terms = append(terms, g.Term)
		if g.Term.Retired != ledger.NoIndex {
			continue
		}
		if err := k.load(ctx, g); err != nil && bound(g) { // what is not bound is not needed yet
			return err
		}
	}
	v, err := vouched(all)
	switch {
	case err != nil:
	case k.verifier == nil:
		k.verifier, k.terms = v, terms
	default:
		if err = k.verifier.Replace(v.Keys()); err == nil {
			k.terms = terms
		}
	}
	return err
}

// bound reports whether a generation signs, or has signed: the first always has.
func bound(g store.LedgerKeys) bool { return g.Generation == 1 || g.Term.Bound != ledger.NoIndex }

// vouched returns the verifier of the generations that are bound, oldest first: each by
// the word of the one before, so that who can write to the store, and cannot sign, puts no
// keys of his own there.
func vouched(all []store.LedgerKeys) (*ledger.Verifier, error) {
	v, err := ledger.NewVerifier(all[0].VerifierKeys)
	for _, g := range all[1:] {
		if err == nil && bound(g) {
			v, err = v.Successor(g.VerifierKeys, g.Term.Bound, g.Statement)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys that checkpoints are verified with: %w", err)
	}
	return v, nil
}

// follow takes in what the store has, if it is not what it was.
func (k *ledgerKeys) follow(ctx context.Context) error {
	terms, err := k.store.LedgerTerms(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Equal(terms, k.terms) {
		return nil
	}
	if err := k.look(ctx); err != nil {
		return fmt.Errorf("reading the ledger's keys: %w", err)
	}
	return nil
}

// inForce returns the keys that sign a checkpoint of that size, which is committed.
func (k *ledgerKeys) inForce(ctx context.Context, size uint64) ([]*ledger.SigningKeys, error) {
	if err := k.follow(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var signing []*ledger.SigningKeys
	for i, term := range k.terms {
		switch generation := uint32(i + 1); {
		case i > 0 && term.Bound == ledger.NoIndex:
		case size > term.Retired:
			delete(k.loaded, generation) // sizes only grow
		case term.Signs(size):
			keys := k.loaded[generation]
			if keys == nil { // retired, and another process has destroyed it
				return nil, fmt.Errorf("generation %d: %w", generation, ledger.ErrNoKeys)
			}
			signing = append(signing, keys)
		}
	}
	return signing, nil
}
