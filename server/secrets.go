package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// hubKey is the key service's key for the hub's own secrets.
const hubKey = "hub"

// secrets are the hub's own: made once, wrapped by the key service, kept in the
// store. A process has those of its roles; those that sign the ledger are apart, see
// ledgerKeys.
type secrets struct {
	release hidden // seed of the Ed25519 key that signs releases
	batches hidden // keys the content hash of batches
	codes   hidden // keys the hash of letter codes

	addresses  hidden // keys the addresses of receipts
	statements hidden // seed of the Ed25519 key that signs receipts
	cursors    hidden // keys what seals cursors
}

// eraseSeeds overwrites the seed of what signs, once the signer is made.
func (s *secrets) eraseSeeds() {
	for _, seed := range []hidden{s.release, s.statements} {
		if seed.at != nil {
			clear(seed.bytes())
		}
	}
}

// hidden is bytes that no verb of fmt prints, nor log/slog or encoding/json: fmt follows
// at most one pointer inside of what it prints, and these lie behind two.
type hidden struct{ at **[]byte }

func hide(b []byte) hidden {
	p := &b
	return hidden{&p}
}

func (h hidden) bytes() []byte { return **h.at }

// loadSecrets reads the secrets of the roles of a process, making those that do not exist. Of two
// processes that make one at the same moment the first to store it wins; the
// other reads it.
func loadSecrets(ctx context.Context, s *store.Store, keys KeyService, random io.Reader, clock Clock, roles roleSet) (*secrets, error) {
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
		return openSecret(ctx, keys, name, secret)
	}
	out := &secrets{}
	for _, secret := range []struct {
		of   roleSet
		name string
		into *hidden
	}{
		{onRelease, "release-signing", &out.release},
		{onIngest, "batch-hash", &out.batches},
		{onAccess, "letter-codes", &out.codes},
		{onAccess, "receipt-addresses", &out.addresses},
		{onAccess, "statement-signing", &out.statements},
		{onAccess, "read-cursors", &out.cursors},
	} {
		if !roles.has(secret.of) {
			continue
		}
		raw, err := load(secret.name)
		if err != nil {
			return nil, err
		}
		*secret.into = hide(raw)
	}
	return out, nil
}

// openSecret unwraps a stored secret, of 32 bytes.
func openSecret(ctx context.Context, keys seal.Wrapper, name string, wrapped []byte) ([]byte, error) {
	out, err := keys.Unwrap(ctx, hubKey, []seal.Item{{Context: []byte(name), Data: wrapped}})
	if err != nil {
		return nil, fmt.Errorf("unwrapping secret %s: %w", name, err)
	}
	if len(out[0]) != 32 {
		return nil, fmt.Errorf("secret %s: %w", name, seal.ErrRefused)
	}
	return out[0], nil
}

// makeSecret draws a secret and stores it, unless another process is faster.
func makeSecret(ctx context.Context, s *store.Store, keys KeyService, random io.Reader, name string, clock Clock) error {
	var fresh [32]byte
	defer clear(fresh[:])
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return fmt.Errorf("drawing secret %s: %w", name, err)
	}
	err := putSecret(ctx, s, keys, name, fresh[:], clock().Unix())
	if errors.Is(err, store.ErrKeyRetired) { // rotated between wrapping and storing: a version lasts for days
		err = putSecret(ctx, s, keys, name, fresh[:], clock().Unix())
	}
	return err
}

// putSecret wraps a secret and stores it.
func putSecret(ctx context.Context, s *store.Store, keys KeyService, name string, secret []byte, at int64) error {
	wrapped, err := keys.Wrap(ctx, hubKey, []seal.Item{{Context: []byte(name), Data: secret}})
	if err != nil {
		return fmt.Errorf("wrapping secret %s: %w", name, err)
	}
	version, err := keys.VersionOf(wrapped[0])
	if err != nil {
		return fmt.Errorf("wrapping secret %s: %w", name, err)
	}
	return s.PutHubSecret(ctx, store.NewSecret{Name: name, Wrapped: wrapped[0], Key: hubKey, KeyVersion: version, CreatedAt: at})
}
