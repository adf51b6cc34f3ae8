package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// hubKey is the key service's key for the hub's own secrets.
const hubKey = "hub"

// secrets are the hub's own: made once, wrapped by the key service, kept in the
// store.
type secrets struct {
	ledger  []byte             // seed of the Ed25519 key that signs checkpoints
	mldsa   []byte             // seed of the ML-DSA-44 key that signs them too
	release ed25519.PrivateKey // signs releases
	batches []byte             // keys the content hash of batches
	codes   []byte             // keys the hash of letter codes
}

// loadSecrets reads the hub's secrets, making those that do not exist. Of two
// processes that make one at the same moment the first to store it wins; the
// other reads it.
func loadSecrets(ctx context.Context, s *store.Store, keys seal.Wrapper, random io.Reader, clock Clock) (*secrets, error) {
	load := func(name string) ([]byte, error) {
		secret, err := s.HubSecret(ctx, name)
		if errors.Is(err, store.ErrNotFound) {
			if err := makeSecret(ctx, s, keys, random, name, clock); err != nil {
				return nil, err
			}
			secret, err = s.HubSecret(ctx, name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading secret %s: %w", name, err)
		}
		out, err := keys.Unwrap(ctx, hubKey, []seal.Item{{Context: []byte(name), Data: secret}})
		if err != nil {
			return nil, fmt.Errorf("unwrapping secret %s: %w", name, err)
		}
		if len(out[0]) != 32 {
			return nil, fmt.Errorf("secret %s: %w", name, seal.ErrRefused)
		}
		return out[0], nil
	}
	var raw [5][]byte
	for i, name := range []string{"ledger-signing", "release-signing", "batch-hash", "letter-codes", "ledger-signing-mldsa"} {
		var err error
		if raw[i], err = load(name); err != nil {
			return nil, err
		}
	}
	return &secrets{ledger: raw[0], release: ed25519.NewKeyFromSeed(raw[1]), batches: raw[2], codes: raw[3], mldsa: raw[4]}, nil
}

func makeSecret(ctx context.Context, s *store.Store, keys seal.Wrapper, random io.Reader, name string, clock Clock) error {
	var fresh [32]byte
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return fmt.Errorf("drawing secret %s: %w", name, err)
	}
	wrapped, err := keys.Wrap(ctx, hubKey, []seal.Item{{Context: []byte(name), Data: fresh[:]}})
	clear(fresh[:])
	if err != nil {
		return fmt.Errorf("wrapping secret %s: %w", name, err)
	}
	return s.PutHubSecret(ctx, name, wrapped[0], clock().Unix())
}
