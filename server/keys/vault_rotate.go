package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/wattveil/wattveil/privacy/seal"
)

// RotateKey implements seal.Rotator. With others who rotate the same key at once, the
// number may be that of one of theirs, which is newer still.
func (v *Vault) RotateKey(ctx context.Context, key string) (uint64, error) {
	newest, err := v.rotateKey(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("keys: rotating key: %w", err)
	}
	return newest, nil
}

func (v *Vault) rotateKey(ctx context.Context, key string) (uint64, error) {
	if err := checkName(key); err != nil {
		return 0, err
	}
	name := v.prefix + key
	// Not before it was seen that the key is there: what a rotation of a missing one
	// answers differs between versions of Vault.
	if _, err := v.versions(ctx, name); err != nil {
		return 0, err
	}
	if err := v.call(ctx, http.MethodPut, "keys/"+name+"/rotate", []byte(`{}`), nil); err != nil {
		return 0, v.explain(ctx, name, err)
	}
	rotated, err := v.versions(ctx, name)
	if err != nil {
		return 0, err
	}
	return rotated.Latest, nil
}

// Rewrap implements seal.Rotator: Vault opens and seals by itself, in batches.
func (v *Vault) Rewrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	out, err := v.rewrap(ctx, key, items)
	if err != nil {
		return nil, fmt.Errorf("keys: wrapping anew: %w", err)
	}
	return out, nil
}

func (v *Vault) rewrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	if err := checkClosed(key, items); err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(items))
	for chunk := range slices.Chunk(items, maxBatch) {
		answer, err := v.batch(ctx, "rewrap/", key, len(chunk), closedRequest(chunk))
		if err != nil {
			return nil, err
		}
		if out, err = answer.ciphertexts(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// RetireVersions implements seal.Rotator, in two steps: first nothing older opens any
// more, then Vault's archive is trimmed, which is what destroys. A crash in between is
// made good by the next call. It never lowers a bound, and it answers success only for
// what it has read back.
func (v *Vault) RetireVersions(ctx context.Context, key string, oldest uint64) error {
	if err := v.retireVersions(ctx, key, oldest); err != nil {
		return fmt.Errorf("keys: retiring versions: %w", err)
	}
	return nil
}

// retireAttempts bounds how often somebody else's retirement may get in between: Vault
// has no call that raises bounds and never lowers them.
const retireAttempts = 8

func (v *Vault) retireVersions(ctx context.Context, key string, oldest uint64) error {
	if err := checkName(key); err != nil {
		return err
	}
	name := v.prefix + key
	var refused error
	for range retireAttempts {
		now, err := v.versions(ctx, name)
		switch {
		case err != nil:
			return err
		case oldest > now.Latest:
			return fmt.Errorf("%w: no such version yet", seal.ErrRefused)
		case oldest <= max(now.MinAvailable, 1):
			return nil
		}
		if now.MinDecryption < oldest || now.MinEncryption < oldest {
			refused = v.raise(ctx, name+"/config", map[string]uint64{
				"min_decryption_version": max(now.MinDecryption, oldest),
				"min_encryption_version": max(now.MinEncryption, now.MinDecryption, oldest),
			})
		} else {
			refused = v.raise(ctx, name+"/trim", map[string]uint64{"min_available_version": oldest})
		}
		if refused != nil && !isStatus(refused, http.StatusBadRequest) {
			return v.explain(ctx, name, refused)
		}
	}
	if refused == nil {
		return fmt.Errorf("%w: vault does not keep the bounds that it was given", seal.ErrUnavailable)
	}
	return v.explain(ctx, name, refused)
}

// raise writes bounds of the key's versions. Its errors are the library's own.
func (v *Vault) raise(ctx context.Context, path string, bounds map[string]uint64) error {
	body, err := json.Marshal(bounds)
	if err != nil {
		return err
	}
	return v.call(ctx, http.MethodPut, "keys/"+path, body, nil)
}

// KeyVersions implements seal.Rotator.
func (v *Vault) KeyVersions(ctx context.Context, key string) (oldest, newest uint64, err error) {
	err = checkName(key)
	if err == nil {
		var now keyVersions
		if now, err = v.versions(ctx, v.prefix+key); err == nil {
			return max(now.MinDecryption, now.MinAvailable, 1), now.Latest, nil
		}
	}
	return 0, 0, fmt.Errorf("keys: asking for versions: %w", err)
}

// keyVersions are the bounds of a transit key's versions. A minimum of 0 is none.
type keyVersions struct {
	Latest        uint64 `json:"latest_version"`
	MinDecryption uint64 `json:"min_decryption_version"`
	MinEncryption uint64 `json:"min_encryption_version"`
	MinAvailable  uint64 `json:"min_available_version"` // what is older was trimmed
}

// versions answers the bounds of a key that must be there.
func (v *Vault) versions(ctx context.Context, name string) (keyVersions, error) {
	key, err := v.readKey(ctx, name)
	switch {
	case err != nil:
		return keyVersions{}, err
	case key == nil:
		return keyVersions{}, seal.ErrKeyGone
	case key.Latest < 1:
		return keyVersions{}, fmt.Errorf("%w: vault answers no version", seal.ErrUnavailable)
	}
	return key.keyVersions, nil
}

// VersionOf implements seal.Rotator.
func (v *Vault) VersionOf(ciphertext []byte) (uint64, error) {
	version, ok := ciphertextVersion(ciphertext)
	if !ok {
		return 0, fmt.Errorf("keys: %w: not a ciphertext of vault", seal.ErrRefused)
	}
	return version, nil
}
